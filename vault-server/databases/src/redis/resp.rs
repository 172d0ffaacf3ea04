//! The protocol of Redis (RESP 2): commands as lists of texts, and replies, which are read with bounds.

use coffer_secret::SecretBytes;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::endpoint::Stream;

/// Bytes that a reply may have: the names of 50,000 users.
const REPLY_BYTES_MAX: usize = 4 << 20;
/// Lists in lists that a reply may have.
const REPLY_DEPTH_MAX: usize = 8;
/// Bytes in a line of a reply.
const LINE_BYTES_MAX: usize = 64 << 10;

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A short text, such as `OK`.
    Status(String),
    /// It refuses; in its words, which begin with a code.
    Refused(String),
    Number(i64),
    Text(String),
    List(Vec<Self>),
    /// Nothing.
    None,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The connection failed.
    #[error(transparent)]
    Stream(#[from] std::io::Error),
    /// What came is none of the protocol.
    #[error("{0}")]
    Protocol(&'static str),
}

/// A connection.
pub(crate) struct Client(BufReader<Stream>);

impl Client {
    pub(super) fn new(stream: Stream) -> Self {
        Self(BufReader::new(stream))
    }

    /// Says a command, and waits for the reply.
    pub(super) async fn ask(&mut self, words: &[&str]) -> Result<Reply, Broken> {
        self.0.write_all(command(words).expose()).await?;
        self.0.flush().await?;
        self.reply().await
    }

    async fn reply(&mut self) -> Result<Reply, Broken> {
        let mut left = REPLY_BYTES_MAX;
        // Lists that are not complete yet, with how many are still to come.
        let mut open: Vec<(usize, Vec<Reply>)> = Vec::new();
        loop {
            let mut reply = self.piece(&mut left).await?;
            if let Piece::List(count @ 1..) = reply {
                if open.len() >= REPLY_DEPTH_MAX {
                    return Err(Broken::Protocol("a reply that is too deep"));
                }
                open.push((count, Vec::new()));
                continue;
            }
            loop {
                let whole = match reply {
                    Piece::List(_) => Reply::List(Vec::new()),
                    Piece::Whole(whole) => whole,
                };
                let Some((count, list)) = open.last_mut() else { return Ok(whole) };
                list.push(whole);
                if list.len() < *count {
                    break;
                }
                let Some((_, list)) = open.pop() else { break };
                reply = Piece::Whole(Reply::List(list));
            }
        }
    }

    /// A reply, or the beginning of a list.
    async fn piece(&mut self, left: &mut usize) -> Result<Piece, Broken> {
        let line = self.line(left).await?;
        let mut characters = line.chars();
        let (kind, rest) = (characters.next(), characters.as_str());
        let number = || rest.parse::<i64>().map_err(|_| Broken::Protocol("no number where there is to be one"));
        Ok(Piece::Whole(match kind {
            Some('+') => Reply::Status(rest.to_owned()),
            Some('-') => Reply::Refused(rest.to_owned()),
            Some(':') => Reply::Number(number()?),
            Some('$' | '*') if number()? < 0 => Reply::None,
            Some('$') => Reply::Text(self.text(usize::try_from(number()?).unwrap_or(usize::MAX), left).await?),
            Some('*') => return Ok(Piece::List(usize::try_from(number()?).unwrap_or(usize::MAX))),
            _ => return Err(Broken::Protocol("this is no Redis")),
        }))
    }

    async fn line(&mut self, left: &mut usize) -> Result<String, Broken> {
        let most = LINE_BYTES_MAX.min(*left);
        let mut line = Vec::new();
        let limit = u64::try_from(most).unwrap_or(0);
        (&mut self.0).take(limit).read_until(b'\n', &mut line).await?;
        *left -= line.len();
        let Some(text) = line.strip_suffix(b"\r\n") else {
            let why = if line.len() == most { "a reply that is too long" } else { "the connection was closed" };
            return Err(Broken::Protocol(why));
        };
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    async fn text(&mut self, length: usize, left: &mut usize) -> Result<String, Broken> {
        let whole = length.checked_add(2).filter(|whole| whole <= left).ok_or(Broken::Protocol("a reply that is too long"))?;
        *left -= whole;
        let mut bytes = vec![0; whole];
        self.0.read_exact(&mut bytes).await?;
        let text = bytes.strip_suffix(b"\r\n").ok_or(Broken::Protocol("a text without its end"))?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}

enum Piece {
    Whole(Reply),
    List(usize),
}

/// A command as it is sent.
fn command(words: &[&str]) -> SecretBytes {
    let mut command = SecretBytes::with_capacity(16 + words.iter().map(|word| word.len() + 16).sum::<usize>());
    command.append(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        command.append(format!("${}\r\n", word.len()).as_bytes());
        command.append(word.as_bytes());
        command.append(b"\r\n");
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Result<Reply, Broken> {
        let stream = tokio::io::join(std::io::Cursor::new(bytes.to_vec()), tokio::io::sink());
        Client::new(Box::new(stream)).ask(&["PING"]).await
    }

    fn text(text: &str) -> Reply {
        Reply::Text(text.into())
    }

    #[test]
    fn words_are_sent_with_their_lengths_whatever_is_in_them() {
        assert_eq!(command(&["ACL", "a b\r\n*1"]).expose(), b"*2\r\n$3\r\nACL\r\n$7\r\na b\r\n*1\r\n");
    }

    #[tokio::test]
    async fn replies_of_every_kind_are_read() {
        assert_eq!(read(b"+PONG\r\n").await.unwrap(), Reply::Status("PONG".into()));
        assert_eq!(read(b"-ERR no\r\n").await.unwrap(), Reply::Refused("ERR no".into()));
        assert_eq!(read(b":-3\r\n").await.unwrap(), Reply::Number(-3));
        assert_eq!(read(b"$4\r\na\r\nb\r\n").await.unwrap(), text("a\r\nb"));
        assert_eq!(read(b"$-1\r\n").await.unwrap(), Reply::None);
        assert_eq!(read(b"*-1\r\n").await.unwrap(), Reply::None);
        assert_eq!(read(b"*0\r\n").await.unwrap(), Reply::List(vec![]));
        let nested = read(b"*4\r\n*2\r\n$1\r\na\r\n:1\r\n*0\r\n*1\r\n*1\r\n$1\r\nb\r\n$1\r\nc\r\n").await.unwrap();
        let expected = [
            Reply::List(vec![text("a"), Reply::Number(1)]),
            Reply::List(vec![]),
            Reply::List(vec![Reply::List(vec![text("b")])]),
            text("c"),
        ];
        assert_eq!(nested, Reply::List(expected.into()));
    }

    #[tokio::test]
    async fn what_is_no_reply_or_longer_than_one_may_be_is_refused() {
        for strange in [b"".as_slice(), b"HTTP/1.1 400\r\n", b"+PONG", b"$5\r\nab\r\n", b"$2\r\nabcd", b":x\r\n", b"*2\r\n:1\r\n"]
        {
            assert!(read(strange).await.is_err(), "{strange:?}");
        }
        let line = |bytes: usize| [b"+".as_slice(), &vec![b'a'; bytes - 3], b"\r\n"].concat();
        assert!(read(&line(LINE_BYTES_MAX)).await.is_ok());
        assert!(read(&line(LINE_BYTES_MAX + 1)).await.is_err());
        let whole = |bytes: usize| {
            let length = bytes - 12;
            [format!("${length}\r\n").as_bytes(), &vec![b'a'; length], b"\r\n"].concat()
        };
        assert_eq!(whole(REPLY_BYTES_MAX).len(), REPLY_BYTES_MAX);
        assert!(read(&whole(REPLY_BYTES_MAX)).await.is_ok());
        assert!(read(&whole(REPLY_BYTES_MAX + 1)).await.is_err());
        let deep = |depth: usize| [b"*1\r\n".repeat(depth).as_slice(), b":1\r\n"].concat();
        assert!(read(&deep(REPLY_DEPTH_MAX)).await.is_ok());
        assert!(read(&deep(REPLY_DEPTH_MAX + 1)).await.is_err());
        assert!(read(b"*9999999999999\r\n:1\r\n").await.is_err());
        assert!(read(b"$99999999999999999999\r\n").await.is_err());
    }
}
