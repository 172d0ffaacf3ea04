//! A connection to Redis: the library `redis`, on a stream of ours that gives it no more of a reply than one may have.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, Value, aio::MultiplexedConnection};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::endpoint::Stream;

/// Bytes that a reply may have: the names of 50,000 users.
const REPLY_BYTES_MAX: u64 = 4 << 20;

/// Why a command was not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The server refuses; in its words, which begin with a code.
    Refused(String),
    /// There is no server to refuse anything.
    Broken(String),
}

/// A connection. It is closed when this is dropped, whatever is under way on it.
pub(crate) struct Client {
    connection: MultiplexedConnection,
    _driver: AbortOnDropHandle<()>,
}

impl Client {
    /// Nobody is logged in yet, and nothing was said.
    pub(super) async fn new(stream: Stream, tasks: &TaskTracker) -> Result<Self, Failed> {
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        // How long a reply may take is said for the whole act.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, Bounded::new(stream), config).await?;
        Ok(Self { connection, _driver: AbortOnDropHandle::new(tasks.spawn(driver)) })
    }

    /// Says a command, and waits for the reply.
    pub(super) async fn ask(&mut self, words: &[&str]) -> Result<Value, Failed> {
        let mut command = Cmd::new();
        command.arg(words);
        Ok(self.connection.send_packed_command(&command).await?.extract_error()?)
    }
}

impl From<RedisError> for Failed {
    fn from(error: RedisError) -> Self {
        if let Some(code) = error.code() {
            let detail = error.detail().map(|detail| format!(" {detail}")).unwrap_or_default();
            return Self::Refused(format!("{code}{detail}"));
        }
        Self::Broken(match error.kind() {
            // What it says of that has what came in it.
            ErrorKind::Parse => "this is no Redis".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// A stream that breaks off where more comes than a reply may have.
struct Bounded(Take<Stream>);

impl Bounded {
    /// One byte more than may come: that there is more is seen by it.
    const LIMIT: u64 = REPLY_BYTES_MAX + 1;

    fn new(stream: Stream) -> Self {
        Self(stream.take(Self::LIMIT))
    }
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_read(context, into))?;
        Poll::Ready(match self.0.limit() {
            0 => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "a reply that is too long")),
            _ => Ok(()),
        })
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.set_limit(Self::LIMIT);
        Pin::new(self.0.get_mut()).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.get_mut()).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    async fn connected() -> (Client, DuplexStream) {
        let (ours, theirs) = duplex(64 << 10);
        (Client::new(Box::new(ours), &TaskTracker::new()).await.unwrap(), theirs)
    }

    /// What a server says is told as, and what it was told.
    async fn answered(reply: &[u8]) -> (Result<Value, Failed>, Vec<u8>) {
        let (mut client, mut server) = connected().await;
        let serve = async {
            let mut heard = vec![0; 64];
            let count = server.read(&mut heard).await.unwrap();
            heard.truncate(count);
            // A client that has enough of it closes the connection.
            drop(server.write_all(reply).await);
            drop(server);
            heard
        };
        tokio::join!(client.ask(&["ECHO", "a b\r\n*1"]), serve)
    }

    #[tokio::test]
    async fn a_command_is_said_as_it_is_and_nothing_before_it() {
        let (reply, heard) = answered(b"$2\r\nab\r\n").await;
        assert_eq!(reply, Ok(Value::BulkString(b"ab".to_vec())));
        assert_eq!(heard, b"*2\r\n$4\r\nECHO\r\n$7\r\na b\r\n*1\r\n");
    }

    #[tokio::test]
    async fn what_a_server_refuses_is_told_in_its_words() {
        for words in ["ERR max number of clients reached", "WRONGPASS invalid username-password pair", "LOADING wait", "DENIED"] {
            let (refused, _) = answered(format!("-{words}\r\n").as_bytes()).await;
            assert_eq!(refused, Err(Failed::Refused(words.to_owned())));
        }
    }

    #[tokio::test]
    async fn a_reply_is_no_longer_than_one_may_be() {
        let whole = |bytes: u64| {
            let length = usize::try_from(bytes).unwrap() - 12;
            [format!("${length}\r\n").as_bytes(), &vec![b'a'; length], b"\r\n"].concat()
        };
        assert_eq!(whole(REPLY_BYTES_MAX).len(), usize::try_from(REPLY_BYTES_MAX).unwrap());
        assert!(answered(&whole(REPLY_BYTES_MAX)).await.0.is_ok());
        for long in [whole(REPLY_BYTES_MAX + 1), [b"+".as_slice(), &vec![b'a'; 5 << 20]].concat(), b"*1\r\n".repeat(1 << 20)] {
            let (refused, _) = answered(&long).await;
            assert!(matches!(refused, Err(Failed::Broken(_))), "{refused:?}");
        }
        let (refused, _) = answered(&whole(REPLY_BYTES_MAX + 1)).await;
        assert!(matches!(&refused, Err(Failed::Broken(words)) if words.contains("too long")), "{refused:?}");
    }

    #[tokio::test]
    async fn a_list_has_no_room_before_it_has_anything_in_it() {
        for count in ["9223372036854775807", "1099511627776"] {
            for kind in ["*", "%", "|", "~", ">", "$", "="] {
                let (refused, _) = answered(format!("{kind}{count}\r\n:1\r\n").as_bytes()).await;
                assert!(matches!(refused, Err(Failed::Broken(_))), "{kind}{count}: {refused:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_reply_is_not_told_and_the_connection_ends() {
        for strange in ["HTTP/1.1 400 secret\r\n", ":secret\r\n", "$6\r\nsecret##"] {
            let (refused, _) = answered(strange.as_bytes()).await;
            assert_eq!(refused, Err(Failed::Broken("this is no Redis".to_owned())), "{strange:?}");
        }
        let (mut client, mut server) = connected().await;
        server.write_all(b"HTTP/1.1 400\r\n").await.unwrap();
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0, "it is closed");
        assert!(matches!(client.ask(&["PING"]).await, Err(Failed::Broken(_))));
    }

    #[tokio::test]
    async fn what_was_said_before_it_was_asked_for_answers_nothing() {
        let (mut client, mut server) = connected().await;
        server.write_all(b"+early\r\n").await.unwrap();
        let serve = async {
            let count = server.read(&mut [0; 64]).await.unwrap();
            server.write_all(b"+PONG\r\n").await.unwrap();
            count
        };
        let (reply, _) = tokio::join!(client.ask(&["PING"]), serve);
        assert_eq!(reply, Ok(Value::SimpleString("PONG".to_owned())));
    }

    #[tokio::test]
    async fn a_connection_is_closed_when_it_is_dropped_whatever_is_under_way() {
        let (mut client, mut server) = connected().await;
        let mut heard = [0; 64];
        tokio::select! {
            reply = client.ask(&["PING"]) => panic!("{reply:?}"),
            count = server.read(&mut heard) => assert!(count.unwrap() > 0),
        }
        drop(client);
        assert_eq!(server.read(&mut heard).await.unwrap(), 0);
    }
}
