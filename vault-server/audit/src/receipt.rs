//! Proof, apart from the log, that an entry is in it: C2SP's tlog-proof (v1), with the entry as its extra data.

use std::{fmt, path::Path, str::FromStr};

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::{
    checkpoint::{Checkpoint, CheckpointError},
    fault::{Problem, VerifyError},
    format::{LINE_BYTES_MAX, NOTE_BYTES_MAX, epoch_dir},
    merkle::{Hash, RangeRoots, consistency_ranges, inclusion_ranges, verify_inclusion},
    note::VerifierKey,
    record::Entry,
    scan::{Expected, Seen, Visit, notes::Notes, scan},
};

const FORMAT: &str = "c2sp.org/tlog-proof@v1";
const EXTRA: &str = "extra ";
const INDEX: &str = "index ";
/// Hashes in a proof: one for each bit of a size.
const HASHES_MAX: usize = 64;
/// Bytes in a receipt's text.
pub const RECEIPT_BYTES_MAX: usize = 2 * LINE_BYTES_MAX;

/// An entry with the proof that it is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryProof {
    /// The entry's line, as it is in the log, without its newline.
    pub line: String,
    /// The entry's position, from 0.
    pub index: u64,
    /// The proof (RFC 6962, section 2.1.1).
    pub hashes: Vec<Hash>,
    /// The checkpoint that the proof leads to, as a signed note.
    pub checkpoint: String,
}

/// Why a receipt proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It has not the form of one.
    #[error("this is not a receipt: not a c2sp.org/tlog-proof@v1 with an entry")]
    Form,
    /// Its checkpoint is not to be believed.
    #[error("the receipt's checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The entry is not in the tree that the checkpoint signs.
    #[error("the entry is not the one that was recorded: entry, position or proof were changed")]
    Differs,
}

impl EntryProof {
    /// The entry, where the key signed a log that has it at its position.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, key: &VerifierKey) -> Result<(Entry, Checkpoint), ProofError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, key)?;
        let leaf = Hash::of_leaf(self.line.as_bytes());
        let entry: Entry = serde_json::from_str(&self.line).map_err(|_| ProofError::Form)?;
        let held = verify_inclusion(&leaf, self.index, checkpoint.size, &self.hashes, &checkpoint.root);
        if held && entry.index == self.index { Ok((entry, checkpoint)) } else { Err(ProofError::Differs) }
    }
}

impl fmt::Display for EntryProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FORMAT}\n{EXTRA}{}\n{INDEX}{}", BASE64_STANDARD.encode(&self.line), self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for EntryProof {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, ProofError> {
        let (proof, checkpoint) = text.split_once("\n\n").filter(|_| text.len() <= RECEIPT_BYTES_MAX).ok_or(ProofError::Form)?;
        let mut lines = proof.split('\n');
        let (Some(FORMAT), Some(extra), Some(index)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(ProofError::Form);
        };
        let line = extra.strip_prefix(EXTRA).and_then(|extra| BASE64_STANDARD.decode(extra).ok());
        let line = line.and_then(|line| String::from_utf8(line).ok()).ok_or(ProofError::Form)?;
        let index = index.strip_prefix(INDEX).and_then(|index| index.parse().ok()).ok_or(ProofError::Form)?;
        let hashes: Vec<Hash> = lines.map(str::parse).collect::<Result<_, _>>().map_err(|_| ProofError::Form)?;
        if hashes.len() > HASHES_MAX || checkpoint.len() > NOTE_BYTES_MAX {
            return Err(ProofError::Form);
        }
        Ok(Self { line, index, hashes, checkpoint: checkpoint.to_owned() })
    }
}

/// Checks the log of an epoch and proves that an entry is in it, under the newest checkpoint; nothing where no
/// checkpoint has the entry yet. Reads the whole log.
///
/// # Errors
/// [`VerifyError`] where something is wrong with the log.
pub fn prove_entry(dir: &Path, epoch: u64, index: u64) -> Result<Option<EntryProof>, VerifyError> {
    let dir = epoch_dir(dir, epoch);
    let mut notes = Notes::open(&dir, None, None)?;
    while notes.next()?.is_some() {}
    let Some(signed) = notes.last else { return Ok(None) };
    let Some(ranges) = inclusion_ranges(index, signed.checkpoint.size) else { return Ok(None) };
    let mut seek = Seek { index, line: None, roots: RangeRoots::new(ranges) };
    let expected = Expected { origin: Some(&notes.origin), public: Some(notes.key.public()), known: Some(&signed.checkpoint) };
    scan(&dir, &expected, &mut seek)?;
    Ok(seek.line.zip(seek.roots.finish()).map(|(line, hashes)| EntryProof { line, index, hashes, checkpoint: signed.note }))
}

/// Checks the log of an epoch and proves that its first `new` entries begin with its first `old` (RFC 6962, section
/// 2.1.2); nothing where there are not as many. Reads the whole log.
///
/// # Errors
/// [`VerifyError`] where something is wrong with the log.
pub fn prove_consistency(dir: &Path, epoch: u64, old: u64, new: u64) -> Result<Option<Vec<Hash>>, VerifyError> {
    let Some(ranges) = consistency_ranges(old, new) else { return Ok(None) };
    let mut seek = Seek { index: u64::MAX, line: None, roots: RangeRoots::new(ranges) };
    let scanned = scan(&epoch_dir(dir, epoch), &Expected::default(), &mut seek)?;
    Ok(if scanned.tree.size() < new { None } else { seek.roots.finish() })
}

/// Looks for an entry, and for the hashes of a proof.
struct Seek {
    index: u64,
    line: Option<String>,
    roots: RangeRoots,
}

impl Visit for Seek {
    fn entry(&mut self, entry: &Seen<'_>) {
        if entry.head.index == self.index {
            self.line = Some(String::from_utf8_lossy(entry.line).into_owned());
        }
        self.roots.leaf(entry.head.index, entry.leaf);
    }
}

/// Checks the log of an epoch, and that an entry is in it under the key: gives the entry with its proof.
///
/// # Errors
/// [`VerifyError`] where something is wrong with the log, or the entry is not signed yet.
pub fn verify_receipt(dir: &Path, key: &VerifierKey, index: u64) -> Result<EntryProof, VerifyError> {
    let origin: crate::checkpoint::Origin = key.name().parse().map_err(|_| Problem::KeyForeign.of(dir))?;
    let unsigned = || Problem::EntryUnsigned(index).of(epoch_dir(dir, origin.epoch()));
    let proof = prove_entry(dir, origin.epoch(), index)?.ok_or_else(unsigned)?;
    match proof.verify(key) {
        Ok(_) => Ok(proof),
        Err(ProofError::Checkpoint(error)) => Err(Problem::Checkpoint(error).of(epoch_dir(dir, origin.epoch()))),
        Err(ProofError::Form | ProofError::Differs) => Err(Problem::Line.of(epoch_dir(dir, origin.epoch()))),
    }
}
