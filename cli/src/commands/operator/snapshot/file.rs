//! A snapshot's file: what it says in the clear, and whether it is whole. docs/formats.md has the format.

use std::io::{self, BufRead, Read, Write};

use sha2::{Digest as _, Sha256};

/// How a snapshot begins.
const MAGIC: &[u8] = b"coffer-snapshot-1\n";
/// How a snapshot of any format begins.
const ANY: &[u8] = b"coffer-snapshot-";
/// Bytes in what it says about itself.
const ABOUT_BYTES_MAX: u64 = 4 << 10;
/// Bytes in a frame.
const FRAME_BYTES_MAX: usize = 128 << 10;
/// Bytes of the digest that ends it.
const DIGEST_BYTES: usize = 32;

/// What is known of a file that was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    /// Entries in it.
    pub(super) entries: u64,
    /// Bytes of the file.
    pub(super) bytes: u64,
}

/// A file as it is read: yields the encrypted content, and checks the rest.
pub(super) struct Frames<R> {
    inner: R,
    digest: Sha256,
    bytes: u64,
    left: usize,
    whole: Option<Whole>,
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl<R: BufRead> Frames<R> {
    /// Begins to read; answers what the file says about itself, too.
    pub(super) fn begin(mut inner: R) -> io::Result<(String, Self)> {
        let mut line = Vec::new();
        inner.by_ref().take(ABOUT_BYTES_MAX).read_until(b'\n', &mut line)?;
        if line != MAGIC {
            let newer = line.starts_with(ANY);
            return Err(damaged(if newer {
                "it is a snapshot of a format that this version does not know"
            } else {
                "it is no snapshot"
            }));
        }
        let mut about = Vec::new();
        inner.by_ref().take(ABOUT_BYTES_MAX + 1).read_until(b'\n', &mut about)?;
        let mut digest = Sha256::new();
        digest.update(&line);
        digest.update(&about);
        let bytes = u64::try_from(line.len() + about.len()).unwrap_or(u64::MAX);
        if about.pop() != Some(b'\n') {
            return Err(cut());
        }
        let about = String::from_utf8(about).map_err(|_| damaged("what it says about itself is not text"))?;
        Ok((about, Self { inner, digest, bytes, left: 0, whole: None }))
    }

    /// Reads what is left, and says whether the file is whole.
    pub(super) fn finish(mut self) -> io::Result<Whole> {
        io::copy(&mut self, &mut io::sink())?;
        self.whole.ok_or_else(cut)
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).map_err(short)?;
        self.note(&bytes);
        Ok(bytes)
    }

    fn note(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }

    fn end(&mut self) -> io::Result<()> {
        let entries = u64::from_be_bytes(self.take()?);
        let digest = self.digest.clone().finalize();
        if digest.as_slice() != self.take::<DIGEST_BYTES>()? {
            return Err(damaged("it was changed: its checksum is wrong"));
        }
        if self.inner.read(&mut [0])? != 0 {
            return Err(damaged("there is more behind its end"));
        }
        self.whole = Some(Whole { entries, bytes: self.bytes });
        Ok(())
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut short")
}

fn short(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { cut() } else { error }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.whole.is_some() || buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            let length = usize::try_from(u32::from_be_bytes(self.take()?)).unwrap_or(usize::MAX);
            if length > FRAME_BYTES_MAX {
                return Err(damaged("it was changed: a frame is too long"));
            }
            if length == 0 {
                self.end()?;
                return Ok(0);
            }
            self.left = length;
        }
        let room = buffer.len().min(self.left);
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        let read = self.inner.read(buffer)?;
        if read == 0 {
            return Err(cut());
        }
        self.left -= read;
        self.note(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// A file as it is written: knows in the end whether all of it came.
pub(super) struct Written<W> {
    inner: W,
    digest: Sha256,
    /// The last bytes, which are a digest if that was all.
    last: Vec<u8>,
    pub(super) bytes: u64,
}

impl<W: Write> Written<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, digest: Sha256::new(), last: Vec::new(), bytes: 0 }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)?;
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.last.extend_from_slice(bytes);
        let rest = self.last.split_off(self.last.len().saturating_sub(DIGEST_BYTES));
        self.digest.update(&self.last);
        self.last = rest;
        Ok(())
    }

    /// Flushes what was written; fails where the end did not come.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.inner.flush()?;
        if self.digest.finalize().as_slice() != self.last { Err(cut()) } else { Ok(self.inner) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut file = [MAGIC, b"{}\n", &[0, 0, 0, 3], b"abc", &[0, 0, 0, 2], b"de", &[0; 4], &7_u64.to_be_bytes()].concat();
        let digest = Sha256::digest(&file);
        file.extend_from_slice(&digest);
        file
    }

    fn read(file: &[u8]) -> io::Result<(String, String, Whole)> {
        let (about, mut frames) = Frames::begin(file)?;
        let mut content = String::new();
        frames.read_to_string(&mut content)?;
        Ok((about, content, frames.finish()?))
    }

    #[test]
    fn a_whole_file_is_read() {
        let file = file();
        let whole = Whole { entries: 7, bytes: file.len() as u64 };
        assert_eq!(read(&file).unwrap(), ("{}".to_owned(), "abcde".to_owned(), whole));
    }

    #[test]
    fn a_file_that_is_cut_changed_or_longer_is_told_from_a_whole_one() {
        let file = file();
        for cut in 0..file.len() {
            assert!(read(&file[..cut]).is_err(), "cut at {cut}");
        }
        for changed in 0..file.len() {
            let mut file = file.clone();
            file[changed] ^= 1;
            assert!(read(&file).is_err(), "changed at {changed}");
        }
        assert!(read(&[file.as_slice(), b"x"].concat()).is_err());
    }

    #[test]
    fn a_newer_format_is_told_from_no_snapshot() {
        assert!(read(b"coffer-snapshot-2\n{}\n").unwrap_err().to_string().contains("format"));
        assert!(read(b"something else\n").unwrap_err().to_string().contains("no snapshot"));
    }

    #[test]
    fn what_is_written_is_known_to_be_whole_or_not() {
        let file = file();
        for pieces in [1, 5, 40, 1_000] {
            let mut written = Written::new(Vec::new());
            for piece in file.chunks(pieces) {
                written.add(piece).unwrap();
            }
            assert_eq!(written.finish().unwrap(), file);
        }
        let mut written = Written::new(Vec::new());
        written.add(&file[..file.len() - 1]).unwrap();
        assert!(written.finish().is_err());
    }
}
