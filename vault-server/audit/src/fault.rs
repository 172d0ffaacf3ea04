//! What can be wrong with a log, and where.

use std::{io, path::PathBuf};

use crate::{
    checkpoint::{CheckpointError, Origin},
    note::VerifierKeyError,
};

/// Something is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub struct VerifyError {
    /// The file, or the folder.
    pub file: PathBuf,
    /// The line, from 1; 0 where it is the file as a whole.
    pub line: u64,
    /// What is wrong.
    #[source]
    pub problem: Problem,
}

impl std::fmt::Display for VerifyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let file = self.file.display();
        match self.line {
            0 => write!(f, "{file}: {}", self.problem),
            line => write!(f, "{file}:{line}: {}", self.problem),
        }
    }
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The folder has no log in it.
    #[error("there is no audit log in this folder: no folder epoch-NNNNNN with checkpoints and segments")]
    NoLog,
    /// The file with the checkpoints is not there.
    #[error("the file is missing")]
    FileMissing,
    /// A later build wrote it.
    #[error("the file has format version {0}, which is newer than this program: use a newer one")]
    Newer(u64),
    /// The first line is not what it must be.
    #[error("the first line is not that of a file of this log: it was changed, or the file comes from elsewhere")]
    Header,
    /// The log is another one than expected.
    #[error("this is the log {found}, and not {expected}")]
    Origin {
        /// The log that is expected.
        expected: Box<Origin>,
        /// The log that the file names.
        found: Box<Origin>,
    },
    /// Another key signs the log than expected.
    #[error("the log is signed with another key than expected")]
    Key,
    /// A whole segment is missing.
    #[error("the segment begins with entry {found}, and entry {expected} comes next: a segment is missing")]
    SegmentMissing {
        /// The entry that comes next.
        expected: u64,
        /// The entry that the segment begins with.
        found: u64,
    },
    /// A line ends where none may.
    #[error("the line is incomplete, and this is not where a loss of power leaves such a line: bytes were cut off or changed")]
    Incomplete,
    /// A line is no entry.
    #[error("the line is not an entry of a log: it was changed")]
    Line,
    /// Entries are not there.
    #[error("entry {expected} is missing: entry {found} stands in its place")]
    Missing {
        /// The entry that comes next.
        expected: u64,
        /// The entry that is there.
        found: u64,
    },
    /// Entries are in the wrong order, or there twice.
    #[error("entry {found} stands where entry {expected} belongs: entries were reordered or repeated")]
    Misplaced {
        /// The entry that comes next.
        expected: u64,
        /// The entry that is there.
        found: u64,
    },
    /// Entries are not those that were signed.
    #[error("the entries {first} to {last} are not those that were signed: at least one of them was changed")]
    Changed {
        /// The first entry that may be the changed one.
        first: u64,
        /// The last entry that may be the changed one.
        last: u64,
    },
    /// Signed entries are not there.
    #[error("the log ends after {entries} entries, and a checkpoint has {signed}: entries were cut off")]
    CutOff {
        /// Entries that are there.
        entries: u64,
        /// Entries that were signed.
        signed: u64,
    },
    /// A checkpoint is not to be believed.
    #[error("{0}")]
    Checkpoint(#[source] CheckpointError),
    /// The checkpoint that was given to compare with is not to be believed.
    #[error("the checkpoint to compare with: {0}")]
    Known(#[source] CheckpointError),
    /// The verifier key that was given is none.
    #[error("{0}")]
    KeyInvalid(#[source] VerifierKeyError),
    /// The verifier key that was given is not one of a log.
    #[error("the verifier key is not one of an audit log: its name is not coffer.dev/VAULT/NODE/EPOCH")]
    KeyForeign,
    /// No checkpoint has the entry.
    #[error("no checkpoint has entry {0} yet, so nothing proves it")]
    EntryUnsigned(u64),
    /// A checkpoint's size or revision is below that of the one before.
    #[error("the checkpoint is older than the one before it: checkpoints were reordered")]
    CheckpointOrder,
    /// A checkpoint given to compare with is of an epoch that is not there.
    #[error("the folder has no log of epoch {0}, of which there is a checkpoint")]
    EpochMissing(u64),
}

impl Problem {
    /// At a line of a file.
    pub(crate) fn at(self, file: impl Into<PathBuf>, line: u64) -> VerifyError {
        VerifyError { file: file.into(), line, problem: self }
    }

    /// Of a file as a whole.
    pub(crate) fn of(self, file: impl Into<PathBuf>) -> VerifyError {
        self.at(file, 0)
    }
}
