//! The journal: where a transaction is durable first, until it is in sled.
//!
//! Two files, `journal.0` and `journal.1`, written by turns and never made shorter. One sync makes one frame durable; a
//! frame begins at a multiple of eight. Numbers are big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `cjf1` |
//! | 4 | CRC-32 of all that follows in the frame |
//! | 4 | bytes of the writes |
//! | 8 | revision of the first transaction |
//! | 8 | revision of the last one |
//! | | the writes: revision (8), bytes of the key (4), the key, bytes of the value and 1, or 0 where it is deleted (4), the head's record without its value (31), the value |
//!
//! A frame that is not whole was never acknowledged, where none comes after it. What lies behind the last frame is from
//! an earlier use of the file: its revisions are in sled.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use super::{
    OpenError,
    record::{Fields, HEAD_BYTES, Head},
};
use crate::{Key, Revision, is_disk_full};

/// The files, in the order of their first use.
pub(super) const FILES: [&str; 2] = ["journal.0", "journal.1"];
/// By how much a file grows: a sync of what lies within costs less than one of what lies beyond.
const GROWTH_BYTES: u64 = 1 << 20;

const MAGIC: [u8; 4] = *b"cjf1";
const PREFIX_BYTES: usize = 28;
const ALIGNMENT: usize = 8;

/// What a write makes of a key.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) revision: Revision,
    /// `None` where it deletes the key.
    pub(super) value: Option<(Head, Arc<Vec<u8>>)>,
    pub(super) stored: Stored,
}

impl Written {
    /// Whether it gives another value to a key that has one.
    pub(super) const fn is_again(&self) -> bool {
        matches!(self.stored, Stored::Value(_)) && self.value.is_some()
    }
}

/// What sled has of a key beneath what the journal has, as far as it is known without looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Nothing,
    Value(Head),
    Unknown,
}

impl From<Option<Head>> for Stored {
    fn from(head: Option<Head>) -> Self {
        head.map_or(Self::Nothing, Self::Value)
    }
}

/// A frame as it grows.
pub(super) struct Frame {
    bytes: Vec<u8>,
    first: Revision,
}

impl Frame {
    pub(super) fn new(first: Revision) -> Self {
        Self { bytes: vec![0; PREFIX_BYTES], first }
    }

    pub(super) fn push(&mut self, key: &[u8], write: &Written) {
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&write.revision.0.to_be_bytes());
        self.bytes.extend_from_slice(&length(key.len()).to_be_bytes());
        self.bytes.extend_from_slice(key);
        match &write.value {
            None => self.bytes.extend_from_slice(&0_u32.to_be_bytes()),
            Some((head, value)) => {
                self.bytes.extend_from_slice(&length(value.len()).saturating_add(1).to_be_bytes());
                self.bytes.extend_from_slice(&head.encode(key, &[]));
                self.bytes.extend_from_slice(value);
            }
        }
    }

    /// The frame's bytes, filled up to where the next one begins.
    fn finish(mut self, last: Revision) -> Vec<u8> {
        let writes = u32::try_from(self.bytes.len().saturating_sub(PREFIX_BYTES)).unwrap_or(u32::MAX);
        let rest = [&writes.to_be_bytes()[..], &self.first.0.to_be_bytes(), &last.0.to_be_bytes()].concat();
        if let Some((prefix, _)) = self.bytes.split_first_chunk_mut::<PREFIX_BYTES>() {
            let (magic, after) = prefix.split_at_mut(4);
            magic.copy_from_slice(&MAGIC);
            after.split_at_mut(4).1.copy_from_slice(&rest);
        }
        let crc = crc32fast::hash(self.bytes.get(8..).unwrap_or_default());
        if let Some(place) = self.bytes.get_mut(4..8) {
            place.copy_from_slice(&crc.to_be_bytes());
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        self.bytes
    }
}

/// The files while the store is open.
pub(super) struct Journal {
    files: [File; 2],
    sizes: [u64; 2],
    active: usize,
    /// Where the next frame goes.
    end: u64,
}

impl Journal {
    /// Opens the files. What they hold is written over: [`read`] it, and put it into sled, before.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let open = |name: &'static str| OpenOptions::new().write(true).open(path.join(name)).map_err(super::files::missing(name));
        let [first, second] = FILES;
        let files = [open(first)?, open(second)?];
        let sizes = [files[0].metadata()?.len(), files[1].metadata()?.len()];
        Ok(Self { files, sizes, active: 0, end: 0 })
    }

    /// Makes a frame durable. After an error nothing is known of it, and nothing more may be written.
    pub(super) fn append(&mut self, frame: Frame, last: Revision) -> io::Result<()> {
        let bytes = frame.finish(last);
        let end = self.end.saturating_add(bytes.len() as u64);
        if let (Some(file), Some(size)) = (self.files.get(self.active), self.sizes.get_mut(self.active)) {
            file.write_all_at(&bytes, self.end)?;
            if end > *size {
                let grown = end.next_multiple_of(GROWTH_BYTES);
                let zeros = usize::try_from(grown.saturating_sub(end)).unwrap_or_default();
                match file.write_all_at(&vec![0; zeros], end) {
                    Ok(()) => *size = grown,
                    // The frame itself is there, and would be read again: it counts, and the next one may not.
                    Err(error) if is_disk_full(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            file.sync_data()?;
        }
        self.end = end;
        Ok(())
    }

    /// Bytes of the frames since the last turn.
    pub(super) const fn bytes(&self) -> u64 {
        self.end
    }

    /// From now on the other file is written to, from its beginning: all that it held is in sled, durably.
    pub(super) const fn turn(&mut self) {
        self.active = 1 - self.active;
        self.end = 0;
    }
}

/// Makes the files where they are missing; who calls it syncs the folder.
pub(super) fn create(path: &Path) -> io::Result<()> {
    for name in FILES {
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join(name))?.sync_all()?;
    }
    Ok(())
}

/// The writes of all transactions after `stored`, in order, and the revision of the last one.
///
/// # Errors
///
/// [`OpenError::Corrupt`] where a frame is missing or does not match its checksum, and a later one is there.
pub(super) fn read(path: &Path, stored: Revision) -> Result<(Vec<(Key, Written)>, Revision), OpenError> {
    let mut found = Vec::new();
    let mut beyond = stored;
    for name in FILES {
        let bytes = std::fs::read(path.join(name)).map_err(super::files::missing(name))?;
        let (frames, last) = frames(&bytes);
        found.extend(frames.into_iter().filter(|frame| frame.last > stored));
        beyond = beyond.max(last);
    }
    found.sort_by_key(|frame| frame.first);
    let (mut writes, mut newest) = (Vec::new(), stored);
    for frame in found {
        if frame.first.0 != newest.0.saturating_add(1) {
            break;
        }
        newest = frame.last;
        writes.extend(frame.writes);
    }
    // A newer one was written when all before it were whole.
    if beyond > newest {
        let why = format!("the journal has revision {}, and lacks what comes after {}", beyond.0, newest.0);
        return Err(OpenError::Corrupt(why));
    }
    Ok((writes, newest))
}

struct Found {
    first: Revision,
    last: Revision,
    writes: Vec<(Key, Written)>,
}

/// The frames of a file's last use, and the newest revision of any frame anywhere in it.
fn frames(bytes: &[u8]) -> (Vec<Found>, Revision) {
    let (mut found, mut newest) = (Vec::<Found>::new(), Revision(0));
    let mut rest = bytes;
    let follows = |last: Option<&Found>, frame: &Found| last.is_none_or(|last| frame.first.0 == last.last.0.saturating_add(1));
    while let Some((next, after)) = frame(rest).filter(|(next, _)| follows(found.last(), next)) {
        newest = newest.max(next.last);
        found.push(next);
        rest = after;
    }
    while rest.len() > PREFIX_BYTES {
        if rest.starts_with(&MAGIC)
            && let Some((other, _)) = frame(rest)
        {
            newest = newest.max(other.last);
        }
        rest = rest.get(ALIGNMENT..).unwrap_or_default();
    }
    (found, newest)
}

/// The frame at the beginning, and what comes after it.
fn frame(bytes: &[u8]) -> Option<(Found, &[u8])> {
    let mut fields = Fields(bytes.get(..PREFIX_BYTES)?);
    if fields.take()? != MAGIC {
        return None;
    }
    let crc = u32::from_be_bytes(fields.take()?);
    let writes = usize::try_from(u32::from_be_bytes(fields.take()?)).ok()?;
    let (first, last) = (Revision(u64::from_be_bytes(fields.take()?)), Revision(u64::from_be_bytes(fields.take()?)));
    let end = PREFIX_BYTES.checked_add(writes)?;
    if crc32fast::hash(bytes.get(8..end)?) != crc {
        return None;
    }
    let mut body = Fields(bytes.get(PREFIX_BYTES..end)?);
    let mut writes = Vec::new();
    while !body.0.is_empty() {
        writes.push(write(&mut body)?);
    }
    Some((Found { first, last, writes }, bytes.get(end.next_multiple_of(ALIGNMENT)..).unwrap_or_default()))
}

fn write(body: &mut Fields<'_>) -> Option<(Key, Written)> {
    let revision = Revision(u64::from_be_bytes(body.take()?));
    let key_bytes = usize::try_from(u32::from_be_bytes(body.take()?)).ok()?;
    let key = body.slice(key_bytes)?.to_vec();
    let value = match u32::from_be_bytes(body.take()?).checked_sub(1) {
        None => None,
        Some(bytes) => {
            let (head, _) = Head::decode(&key, body.slice(HEAD_BYTES)?).ok()?;
            Some((head, Arc::new(body.slice(usize::try_from(bytes).ok()?)?.to_vec())))
        }
    };
    Some((key, Written { revision, value, stored: Stored::Unknown }))
}

#[cfg(test)]
mod tests;
