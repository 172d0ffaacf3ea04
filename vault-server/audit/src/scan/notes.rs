//! The file with the checkpoints of a log.

use std::{
    io,
    path::{Path, PathBuf},
};

use coffer_crypto::sign::PublicKey;

use super::{
    Torn,
    lines::{Lines, Piece},
};
use crate::{
    checkpoint::{Checkpoint, Origin},
    fault::{Problem, VerifyError},
    format::{CHECKPOINTS_FILE, HeaderError, NOTE_BYTES_MAX, read_checkpoints_header},
    note::VerifierKey,
};

/// Lines that a checkpoint takes: four of text, an empty one, the signature, an empty one.
const LINES: usize = 7;

/// A checkpoint and the note that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: String,
}

/// Reads the checkpoints of a log one by one.
pub(crate) struct Notes {
    pub(crate) path: PathBuf,
    pub(crate) origin: Origin,
    pub(crate) key: VerifierKey,
    pub(crate) torn: Option<Torn>,
    /// Bytes of the file that are whole.
    pub(crate) whole: u64,
    pub(crate) count: u64,
    /// The line that the newest checkpoint begins at.
    pub(crate) line: u64,
    pub(crate) last: Option<Signed>,
    lines: Lines,
}

impl Notes {
    /// Opens the checkpoints of the log in this folder, which must be this one and signed with this key, where said.
    pub(crate) fn open(dir: &Path, origin: Option<&Origin>, public: Option<&PublicKey>) -> Result<Self, VerifyError> {
        let path = dir.join(CHECKPOINTS_FILE);
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Problem::FileMissing.of(&path),
            _ => Problem::Read(error).of(&path),
        };
        let mut lines = Lines::open(&path).map_err(unreadable)?;
        let piece = lines.next(NOTE_BYTES_MAX).map_err(unreadable)?;
        let header = if piece == Piece::Line { read_checkpoints_header(&lines.line) } else { Err(HeaderError::Other) };
        let (found, key) = header.map_err(|error| match error {
            HeaderError::Newer(version) => Problem::Newer(version).at(&path, 1),
            HeaderError::Other => Problem::Header.at(&path, 1),
        })?;
        if let Some(expected) = origin.filter(|origin| **origin != found) {
            return Err(Problem::Origin { expected: Box::new(expected.clone()), found: Box::new(found) }.at(&path, 1));
        }
        if public.is_some_and(|public| public != key.public()) {
            return Err(Problem::Key.at(&path, 1));
        }
        let whole = lines.end;
        Ok(Self { path, origin: found, key, torn: None, whole, count: 0, line: 0, last: None, lines })
    }

    /// The next checkpoint, its signature verified.
    pub(crate) fn next(&mut self) -> Result<Option<Checkpoint>, VerifyError> {
        let mut note = String::new();
        let (begin, line) = (self.lines.end, self.lines.number + 1);
        for number in 1..=LINES {
            let piece = self.lines.next(NOTE_BYTES_MAX).map_err(|error| Problem::Read(error).of(&self.path))?;
            if piece == Piece::End && number == 1 {
                return Ok(None);
            }
            if piece == Piece::End || self.lines.torn(piece) {
                let bytes = self.lines.length - begin;
                if bytes > NOTE_BYTES_MAX as u64 {
                    return Err(Problem::Incomplete.at(&self.path, self.lines.number));
                }
                self.torn = Some(Torn { file: self.path.clone(), line, offset: begin, bytes });
                return Ok(None);
            }
            let text = str::from_utf8(&self.lines.line).map_err(|_| Problem::Line.at(&self.path, self.lines.number))?;
            if number == LINES {
                if !text.is_empty() {
                    return Err(Problem::Line.at(&self.path, self.lines.number));
                }
            } else {
                note.push_str(text);
                note.push('\n');
            }
        }
        let checkpoint = Checkpoint::open(&note, &self.key).map_err(|error| Problem::Checkpoint(error).at(&self.path, line))?;
        let older =
            |last: &Signed| checkpoint.size < last.checkpoint.size || checkpoint.store_revision < last.checkpoint.store_revision;
        if self.last.as_ref().is_some_and(older) {
            return Err(Problem::CheckpointOrder.at(&self.path, line));
        }
        self.whole = self.lines.end;
        self.count += 1;
        self.line = line;
        self.last = Some(Signed { checkpoint: checkpoint.clone(), note });
        Ok(Some(checkpoint))
    }
}
