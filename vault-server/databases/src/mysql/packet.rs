//! Packets of MySQL's protocol: up to 16 MiB, with a number each. What a server says is read with bounds.

use coffer_secret::SecretBytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::endpoint::Stream;

/// Bytes that a packet has at most: longer ones go on in the next.
const PACKET_BYTES_MAX: usize = (1 << 24) - 1;
/// Bytes that a server's answer may have, all of its rows together.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why there is nothing more to be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The connection failed.
    #[error(transparent)]
    Stream(#[from] std::io::Error),
    /// What came is none of the protocol.
    #[error("{0}")]
    Protocol(&'static str),
}

/// Packets, one way and the other.
pub(super) struct Packets {
    stream: Stream,
    /// The number of the next packet.
    number: u8,
    /// Bytes that the answer may still have.
    left: usize,
}

impl Packets {
    /// A stream on which `number` packets went already.
    pub(super) const fn new(stream: Stream, number: u8) -> Self {
        Self { stream, number, left: ANSWER_BYTES_MAX }
    }

    /// Begins a command: numbers count from it.
    pub(super) const fn begin(&mut self) {
        self.number = 0;
        self.left = ANSWER_BYTES_MAX;
    }

    /// The next packet.
    pub(super) async fn read(&mut self) -> Result<Vec<u8>, Broken> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).await?;
        let [a, b, c, number] = header;
        let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        if number != self.number {
            return Err(Broken::Protocol("a packet with another number than is its turn"));
        }
        self.number = number.wrapping_add(1);
        if length >= PACKET_BYTES_MAX || length > self.left {
            return Err(Broken::Protocol("an answer that is too long"));
        }
        self.left -= length;
        let mut packet = vec![0; length];
        self.stream.read_exact(&mut packet).await?;
        Ok(packet)
    }

    /// Sends a packet.
    pub(super) async fn write(&mut self, body: &[u8]) -> Result<(), Broken> {
        let packet = framed(body, self.number)?;
        self.number = self.number.wrapping_add(1);
        self.stream.write_all(packet.expose()).await?;
        Ok(self.stream.flush().await?)
    }
}

/// A packet with its header, in one piece.
pub(super) fn framed(body: &[u8], number: u8) -> Result<SecretBytes, Broken> {
    let too_long = || Broken::Protocol("a statement that is too long");
    let length = u32::try_from(body.len()).map_err(|_| too_long())?;
    let [a, b, c, 0] = length.to_le_bytes() else { return Err(too_long()) };
    if body.len() >= PACKET_BYTES_MAX {
        return Err(too_long());
    }
    let mut packet = SecretBytes::with_capacity(body.len() + 4);
    packet.append(&[a, b, c, number]);
    packet.append(body);
    Ok(packet)
}

/// What is in a packet, piece by piece.
pub(super) struct Pieces<'a>(pub(super) &'a [u8]);

impl<'a> Pieces<'a> {
    /// So many bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Broken> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Broken::Protocol("a packet that ends too soon"))?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        self.bytes(N)?.try_into().map_err(|_| Broken::Protocol("a packet that ends too soon"))
    }

    pub(super) fn byte(&mut self) -> Result<u8, Broken> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn short(&mut self) -> Result<u16, Broken> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Bytes up to a zero, which is taken away; all of them where there is none.
    pub(super) fn up_to_zero(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        let (bytes, rest) = self.0.split_at_checked(end).unwrap_or((self.0, &[]));
        self.0 = rest.get(1..).unwrap_or_default();
        bytes
    }

    /// A number of one to nine bytes; none for the mark of a value that is not there.
    pub(super) fn number(&mut self) -> Result<Option<u64>, Broken> {
        Ok(match self.byte()? {
            0xFB => None,
            0xFC => Some(self.short()?.into()),
            0xFD => {
                let [a, b, c] = self.array()?;
                Some(u32::from_le_bytes([a, b, c, 0]).into())
            }
            0xFE => Some(u64::from_le_bytes(self.array()?)),
            0xFF => return Err(Broken::Protocol("no number where there is to be one")),
            small => Some(small.into()),
        })
    }

    /// A value with its length before it.
    pub(super) fn value(&mut self) -> Result<Option<&'a [u8]>, Broken> {
        let Some(length) = self.number()? else { return Ok(None) };
        let length = usize::try_from(length).map_err(|_| Broken::Protocol("a packet that ends too soon"))?;
        self.bytes(length).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answering(bytes: &[u8]) -> Packets {
        Packets::new(Box::new(tokio::io::join(std::io::Cursor::new(bytes.to_vec()), tokio::io::sink())), 0)
    }

    #[tokio::test]
    async fn a_packet_is_read_as_long_as_it_says_and_no_longer_than_it_may_be() {
        assert_eq!(answering(&[2, 0, 0, 0, 7, 8]).read().await.unwrap(), [7, 8]);
        assert!(answering(&[3, 0, 0, 0, 7, 8]).read().await.is_err(), "it ends too soon");
        assert!(answering(&[1, 0, 0, 1, 7]).read().await.is_err(), "it is another's turn");
        assert!(answering(&[0xFF, 0xFF, 0xFF, 0]).read().await.is_err(), "it would go on in the next");
        let of = |length: usize| {
            let [a, b, c, ..] = u32::try_from(length).unwrap().to_le_bytes();
            [vec![a, b, c, 0], vec![0; length]].concat()
        };
        assert_eq!(answering(&of(ANSWER_BYTES_MAX)).read().await.unwrap().len(), ANSWER_BYTES_MAX);
        assert!(answering(&of(ANSWER_BYTES_MAX + 1)).read().await.is_err());
    }

    #[test]
    fn a_packet_of_ours_is_no_longer_than_one_may_be() {
        assert_eq!(framed(&[9], 3).unwrap().expose(), [1, 0, 0, 3, 9]);
        assert!(framed(&vec![0; PACKET_BYTES_MAX - 1], 0).is_ok());
        assert!(framed(&vec![0; PACKET_BYTES_MAX], 0).is_err());
    }

    #[test]
    fn pieces_are_read_and_never_past_the_end() {
        let mut pieces = Pieces(&[1, 2, 0, b'a', b'b', 0, 2, b'x', b'y', 0xFB, 0xFC, 1, 1, 0xFD, 0, 0, 1]);
        assert_eq!(pieces.byte().unwrap(), 1);
        assert_eq!(pieces.short().unwrap(), 2);
        assert_eq!(pieces.up_to_zero(), b"ab");
        assert_eq!(pieces.value().unwrap(), Some(b"xy".as_slice()));
        assert_eq!(pieces.value().unwrap(), None);
        assert_eq!(pieces.number().unwrap(), Some(257));
        assert_eq!(pieces.number().unwrap(), Some(65_536));
        assert!(pieces.byte().is_err());
        assert!(Pieces(&[3, b'a', b'b']).value().is_err());
        assert!(Pieces(&[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]).value().is_err());
        assert!(Pieces(&[0xFF]).number().is_err());
        assert_eq!(Pieces(b"no zero").up_to_zero(), b"no zero");
    }
}
