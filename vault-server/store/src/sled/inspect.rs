//! Looks for damage in a store that no server has open, without keys and without changing it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use rustix::fs::FlockOperation;
use sled::{Db, IVec};

use super::{
    OpenError, SledOptions, engine_error, files, merger,
    record::{Head, KIND_GARBAGE, KIND_HEAD, KIND_PIECE, REVISION_KEY, decode_garbage, decode_revision},
};
use crate::{Revision, StoreError};

/// Findings that a report holds; more are counted.
pub const FINDINGS_MAX: usize = 1_000;
/// Bytes of a record's key that a finding shows.
const KEY_SHOWN_BYTES_MAX: usize = 24;

/// What is in a store, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The newest revision.
    pub revision: Option<Revision>,
    /// The revision that the file `mark` holds: never above the newest one.
    pub mark: Option<Revision>,
    /// Values.
    pub values: u64,
    /// Bytes of values.
    pub value_bytes: u64,
    /// Pieces of values above 4 KiB.
    pub pieces: u64,
    /// Pieces that belong to no value: the next start or write deletes those that are listed for it. Harmless.
    pub pieces_unused: u64,
    /// The value of the key that was asked for, where it is there and whole.
    pub wanted: Option<Vec<u8>>,
    /// What is wrong, [`FINDINGS_MAX`] at most.
    pub findings: Vec<Finding>,
    /// How much is wrong.
    pub findings_count: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where: a file of the store's folder, or a record of the log by its key. Names of secrets are encrypted in it.
    pub place: String,
    /// What.
    pub what: String,
}

impl Inspection {
    fn add(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.findings_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { place: place.into(), what: what.into() });
        }
    }
}

/// Looks at every record of the store in `dir`. sled changes what it opens: so the store is locked, copied into
/// `scratch`, a folder that is there and empty, and the copy is opened. The value of the key `wanted` is kept. Blocks.
///
/// # Errors
///
/// [`OpenError::InUse`] while a server has it open, [`OpenError::Newer`], and [`OpenError::Io`] where there is no store or
/// no room for the copy. What is damaged is no error but in the report.
pub fn inspect(dir: &Path, scratch: &Path, options: &SledOptions, wanted: &[u8]) -> Result<Inspection, OpenError> {
    // The lock's file is made before all else; without it this is no store's folder.
    let lock = File::open(dir.join("lock"))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(OpenError::InUse),
        Err(error) => return Err(OpenError::Io(error.into())),
    }
    let path = dir.join("data");
    let mut found = Inspection::default();
    if !path.try_exists()? {
        found.add("data", "the folder is missing: the store was never used, or it was taken away");
        return Ok(found);
    }
    let has_journal = match files::check_format(&path) {
        Err(OpenError::Corrupt(what)) => {
            found.add("data/format", what);
            true
        }
        format => files::has_journal(format?),
    };
    match fs::read(path.join("mark")).map(|mark| decode_revision(mark.get(..12).unwrap_or_default())) {
        Ok(Some(mark)) => found.mark = Some(mark),
        Ok(None) => found.add("data/mark", "it does not match its checksum"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => found.add("data/mark", "the file is missing"),
        Err(error) => return Err(OpenError::Io(error)),
    }
    // sled would make an empty one.
    if !path.join("db").try_exists()? {
        found.add("data/db", "the file is missing");
        return Ok(found);
    }
    let copy = scratch.join("data");
    copy_folder(&path, &copy)?;
    files::remove_unfinished_snapshots(&copy)?;
    match files::open_engine(&copy, options) {
        Ok(db) => {
            match has_journal.then(|| merger::recover_copy(&db, &copy)) {
                Some(Err(OpenError::Corrupt(what))) => found.add("data/journal", what),
                other => other.transpose().map(drop)?,
            }
            let looked = catch_unwind(AssertUnwindSafe(|| records(&db, wanted, &mut found)));
            match looked {
                Ok(Ok(())) => {}
                Ok(Err(error)) => found.add("data/db", error.to_string()),
                Err(_) => found.add("data/db", "sled panicked while reading"),
            }
        }
        Err(OpenError::Corrupt(what)) => found.add("data/db", what),
        Err(error) => return Err(error),
    }
    Ok(found)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Pieces by their keys.
type Pieces = BTreeSet<[u8; 13]>;

fn records(db: &Db, wanted: &[u8], found: &mut Inspection) -> Result<(), StoreError> {
    found.revision = merger::stored_revision(db).map_err(engine_error)?;
    match (found.revision, found.mark) {
        (None, _) => found.add("data/db", "the log has lost its revision"),
        (Some(revision), Some(mark)) if mark > revision => {
            found.add("data/db", format!("the log ends at revision {} and had {}: its end is lost", revision.0, mark.0));
        }
        _ => {}
    }
    let (mut used, mut stored) = (Pieces::new(), Pieces::new());
    for item in db.iter() {
        let (key, record) = item.map_err(engine_error)?;
        match key.split_first() {
            Some((&KIND_HEAD, name)) => {
                let whole = value(db, name, &record, found, &mut used)?;
                found.wanted = found.wanted.take().or_else(|| whole.filter(|_| name == wanted));
            }
            Some((&KIND_PIECE, _)) => match <[u8; 13]>::try_from(key.as_ref()) {
                Ok(piece) => drop(stored.insert(piece)),
                Err(_) => found.add(shown(&key), "the key is not one of a piece"),
            },
            Some((&KIND_GARBAGE, _)) if decode_garbage(&record).is_none() => {
                found.add(shown(&key), "a list of garbage is cut off");
            }
            Some((&KIND_GARBAGE, _)) => {}
            _ if key == REVISION_KEY => {}
            _ => found.add(shown(&key), "no record is of this kind"),
        }
    }
    found.pieces = stored.len() as u64;
    found.pieces_unused = stored.difference(&used).count() as u64;
    Ok(())
}

/// Checks one value, with its pieces; gives it where it is whole.
fn value(db: &Db, key: &[u8], record: &IVec, found: &mut Inspection, used: &mut Pieces) -> Result<Option<Vec<u8>>, StoreError> {
    found.values += 1;
    let (head, inline) = match Head::decode(key, record) {
        Ok(decoded) => decoded,
        Err(error) => {
            found.add(shown(key), error.to_string());
            return Ok(None);
        }
    };
    if found.revision.is_some_and(|revision| head.value.modified > revision) {
        found.add(shown(key), format!("it is of revision {}, which the log has not reached", head.value.modified.0));
    }
    let mut bytes = inline.to_vec();
    for piece in head.value.pieces() {
        used.insert(piece);
        match db.get(piece).map_err(engine_error)? {
            Some(piece) => bytes.extend_from_slice(&piece),
            None => {
                found.add(shown(key), "a piece of its value is missing");
                return Ok(None);
            }
        }
    }
    found.value_bytes = found.value_bytes.saturating_add(bytes.len() as u64);
    if let Err(error) = head.verify(&bytes) {
        found.add(shown(key), error.to_string());
        return Ok(None);
    }
    Ok(Some(bytes))
}

fn shown(key: &[u8]) -> String {
    let start: String = key.iter().take(KEY_SHOWN_BYTES_MAX).map(|byte| format!("{byte:02x}")).collect();
    format!("record {start}{}", if key.len() > KEY_SHOWN_BYTES_MAX { "..." } else { "" })
}
