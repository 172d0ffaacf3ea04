//! Advisories in one file: JSON, compressed by gzip.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
};

use coffer_checks::Day;
use flate2::{Compression, GzBuilder, read::MultiGzDecoder};
use serde::{Deserialize, Serialize};

use super::{ADVISORIES_MAX, About, Advisories, Advisory};

/// Bytes of such a file, at most.
pub const FILE_BYTES_MAX: usize = 64 << 20;
/// Bytes of what is in it, at most.
pub const UNPACKED_BYTES_MAX: u64 = 512 << 20;
const FORMAT: &str = "coffer-advisories";
const VERSION: u32 = 1;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is cut off, or was not made by `coffer advisories import`.
    #[error("it is no file of advisories: {0}")]
    Other(String),
    /// It was made by a later version.
    #[error("it has format {0}, and {VERSION} is the latest that is known here")]
    Newer(u32),
    /// It is larger than any.
    #[error("it is larger than is read: {FILE_BYTES_MAX} bytes, {UNPACKED_BYTES_MAX} unpacked")]
    TooLarge,
}

#[derive(Serialize)]
struct Written<'a> {
    format: &'static str,
    version: u32,
    made: Day,
    newest: Option<Day>,
    counts: Counts,
    advisories: &'a [Advisory],
    packages: &'a BTreeMap<String, BTreeMap<String, Vec<About>>>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Counts {
    advisories: usize,
    packages: usize,
}

#[derive(Deserialize)]
struct Beginning {
    format: String,
    version: u32,
}

#[derive(Deserialize)]
struct Whole {
    made: Day,
    newest: Option<Day>,
    counts: Counts,
    advisories: Vec<Advisory>,
    packages: BTreeMap<String, BTreeMap<String, Vec<About>>>,
}

impl Advisories {
    fn counts(&self) -> Counts {
        Counts { advisories: self.len(), packages: self.packages().map(|(_, count)| count).sum() }
    }

    /// The file: the same for the same advisories.
    ///
    /// # Errors
    /// Those of writing.
    pub fn write(&self, out: impl io::Write) -> io::Result<()> {
        let mut packed = GzBuilder::new().mtime(0).write(out, Compression::best());
        let written = Written {
            format: FORMAT,
            version: VERSION,
            made: self.made,
            newest: self.newest,
            counts: self.counts(),
            advisories: &self.advisories,
            packages: &self.scopes,
        };
        serde_json::to_writer(&mut packed, &written)?;
        io::Write::flush(&mut packed.finish()?)
    }

    /// From the bytes of a file.
    ///
    /// # Errors
    /// Where they are not whole, of a later format, or too many.
    pub fn read(bytes: &[u8]) -> Result<Self, FileError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(FileError::TooLarge);
        }
        let text = unpacked(bytes, UNPACKED_BYTES_MAX)?;
        let wrong = |error: serde_json::Error| FileError::Other(error.to_string());
        let beginning: Beginning = serde_json::from_slice(&text).map_err(wrong)?;
        if beginning.format != FORMAT {
            return Err(FileError::Other(format!("its format is {}", beginning.format)));
        }
        if beginning.version != VERSION {
            return Err(FileError::Newer(beginning.version));
        }
        let Whole { made, newest, counts, advisories, packages } = serde_json::from_slice(&text).map_err(wrong)?;
        let all = Self { made, newest, advisories, scopes: packages };
        let mut about = all.scopes.values().flat_map(BTreeMap::values).flatten();
        if all.counts() != counts || all.len() > ADVISORIES_MAX || about.any(|about| about.advisory >= all.len()) {
            return Err(FileError::Other("what is in it is not what it says".to_owned()));
        }
        Ok(all)
    }
}

fn unpacked(bytes: &[u8], max: u64) -> Result<Vec<u8>, FileError> {
    let mut text = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(max + 1).read_to_end(&mut text);
    read.map_err(|error| FileError::Other(error.to_string()))?;
    if text.len() as u64 > max { Err(FileError::TooLarge) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut packed = GzBuilder::new().write(Vec::new(), Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        for (text, said) in [
            ("{}", "missing field"),
            (r#"{"format":"x","version":1}"#, "its format is x"),
            (r#"{"format":"coffer-advisories","version":2}"#, "it has format 2"),
            (
                r#"{"format":"coffer-advisories","version":1,"made":"2026-01-01","newest":null,"counts":{"advisories":1,"packages":0},"advisories":[],"packages":{}}"#,
                "not what it says",
            ),
            (
                r#"{"format":"coffer-advisories","version":1,"made":"2026-01-01","newest":null,"counts":{"advisories":0,"packages":1},"advisories":[],"packages":{"Go":{"x":[{"i":0}]}}}"#,
                "not what it says",
            ),
        ] {
            let error = Advisories::read(&packed(text)).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        let whole = packed("{}");
        assert!(matches!(Advisories::read(&whole[..whole.len() - 4]), Err(FileError::Other(_))));
        assert!(matches!(Advisories::read(b"{}"), Err(FileError::Other(_))));
    }

    #[test]
    fn files_are_read_up_to_their_limit() {
        assert!(matches!(Advisories::read(&vec![0; FILE_BYTES_MAX]), Err(FileError::Other(_))));
        assert!(matches!(Advisories::read(&vec![0; FILE_BYTES_MAX + 1]), Err(FileError::TooLarge)));
        assert_eq!(unpacked(&packed("12345"), 5).unwrap(), b"12345");
        assert!(matches!(unpacked(&packed("123456"), 5), Err(FileError::TooLarge)));
    }
}
