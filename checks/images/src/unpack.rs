//! Compressed bytes, made plain as a stream.

use std::io::{self, BufReader, Cursor, Read};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// Bytes that tell how something is packed.
pub(crate) const SAMPLE_BYTES: usize = 512;
const BUFFER_BYTES: usize = 64 << 10;

/// How bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zstd,
    /// A tar archive, not compressed.
    Tar,
    Zip,
    /// Nothing that is opened here.
    Plain,
}

impl Packing {
    /// How what begins with these bytes is packed.
    pub(crate) fn of(sample: &[u8]) -> Self {
        match sample {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [b'P', b'K', 3, 4, ..] => Self::Zip,
            _ if sample.get(257..262) == Some(b"ustar") => Self::Tar,
            _ => Self::Plain,
        }
    }
}

/// The first bytes of a reader, and a reader of all.
pub(crate) fn sampled<R: Read>(mut reader: R) -> io::Result<(Vec<u8>, impl Read)> {
    let mut sample = Vec::with_capacity(SAMPLE_BYTES);
    reader.by_ref().take(SAMPLE_BYTES as u64).read_to_end(&mut sample)?;
    Ok((sample.clone(), Cursor::new(sample).chain(reader)))
}

/// Decompresses; what is in no format that is known stays as it is.
pub(crate) fn plain<'a>(packing: Packing, reader: impl Read + 'a) -> Box<dyn Read + 'a> {
    match packing {
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, reader))),
        Packing::Zstd => Box::new(Zstd::Between(Source {
            back: Cursor::default(),
            inner: BufReader::with_capacity(BUFFER_BYTES, Box::new(reader)),
        })),
        _ => Box::new(reader),
    }
}

/// Frames of zstd one after another (RFC 8878), those that are to be skipped among them.
enum Zstd<'a> {
    Between(Source<'a>),
    In(Box<StreamingDecoder<Source<'a>, FrameDecoder>>),
    Ended,
}

/// A reader to which the beginning of a frame was given back.
struct Source<'a> {
    back: Cursor<Vec<u8>>,
    inner: BufReader<Box<dyn Read + 'a>>,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.back.read(buffer)? {
            0 => self.inner.read(buffer),
            read => Ok(read),
        }
    }
}

impl Read for Zstd<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(self, Self::Ended) {
                Self::Ended => return Ok(0),
                Self::In(mut decoder) => match decoder.read(buffer)? {
                    0 if !buffer.is_empty() => *self = Self::Between(decoder.into_inner()),
                    read => {
                        *self = Self::In(decoder);
                        return Ok(read);
                    }
                },
                Self::Between(source) => *self = begin(source)?,
            }
        }
    }
}

/// Begins the next frame, if there is one.
fn begin(mut source: Source<'_>) -> io::Result<Zstd<'_>> {
    let mut magic = Vec::new();
    source.by_ref().take(4).read_to_end(&mut magic)?;
    match magic.as_slice() {
        [] => Ok(Zstd::Ended),
        [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            let mut length = [0; 4];
            source.read_exact(&mut length)?;
            io::copy(&mut source.by_ref().take(u32::from_le_bytes(length).into()), &mut io::sink())?;
            Ok(Zstd::Between(source))
        }
        _ => {
            source.back = Cursor::new(magic);
            let decoder = StreamingDecoder::new(source);
            decoder
                .map(|decoder| Zstd::In(Box::new(decoder)))
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zstd(text: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (sample, reader) = sampled(bytes)?;
        let mut out = Vec::new();
        plain(Packing::of(&sample), reader).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn frames_of_zstd_follow_one_another_and_some_are_skipped() {
        let skipped = [&[0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        let both = [zstd(b"one "), skipped, zstd(b"two")].concat();
        assert_eq!(read(&both).unwrap(), b"one two");
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let whole = zstd(&[7; 100_000]);
        assert!(read(whole.get(..whole.len() - 3).unwrap()).is_err());
        assert!(read(&[&whole[..], b"rest"].concat()).is_err());
    }

    #[test]
    fn what_is_not_packed_stays_as_it_is() {
        assert_eq!(read(b"plain").unwrap(), b"plain");
        assert_eq!(read(b"").unwrap(), b"");
    }
}
