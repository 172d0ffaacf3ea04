//! The store's folder: made whole or not at all, locked, and known by its format.
//!
//! | name | what |
//! |---|---|
//! | `lock` | locked while the store is open; empty |
//! | `data/` | sled's own files, and those below |
//! | `data/format` | `coffer-store sled 2` |
//! | `data/journal.0`, `data/journal.1` | transactions that are not in sled yet; see `journal` |
//! | `data/mark` | a revision that is surely in sled or the journal (with its CRC-32) |
//! | `data.new/` | a store that is being made; was never used |

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::FlockOperation;
use sled::{Db, Mode};

use super::{
    OpenError, SledOptions, journal,
    record::{REVISION_KEY, decode_revision, encode_revision},
};
use crate::Revision;

/// The newest format of the folder that is known.
const FORMAT: u32 = 2;
/// The format before there was a journal.
const FORMAT_WITHOUT_JOURNAL: u32 = 1;
const FORMAT_PREFIX: &str = "coffer-store sled ";
/// Bytes of a segment of sled's log, for ever. sled writes what is larger than a quarter of it (a page of up to 256 keys,
/// say, of 4 KiB each) into a file of its own, which it never syncs.
const SEGMENT_BYTES: usize = 8 << 20;
/// How long sled's lock is waited for: after it was closed, its threads may hold it a little longer.
const LOCK_TIME_MAX: Duration = Duration::from_secs(5);
/// How often it is tried.
const LOCK_LOOK: Duration = Duration::from_millis(10);

/// What is open.
pub(super) struct Folder {
    pub(super) db: Db,
    /// The log, through a descriptor that is not sled's.
    pub(super) log: File,
    pub(super) mark: File,
    pub(super) path: PathBuf,
}

/// Locks the folder; makes it where it is missing.
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    if !dir.try_exists()? {
        DirBuilder::new().mode(0o700).create(dir)?;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        sync(parent)?;
    }
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join("lock"))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse),
        Err(error) => Err(OpenError::Io(error.into())),
    }
}

/// Opens the store in a folder that is locked.
pub(super) fn open(dir: &Path, options: &SledOptions) -> Result<Folder, OpenError> {
    let path = dir.join("data");
    let new = dir.join("data.new");
    if new.try_exists()? {
        fs::remove_dir_all(&new)?;
    }
    if !path.try_exists()? {
        create(&new, options)?;
        fs::rename(&new, &path)?;
        sync(dir)?;
    }
    if check_format(&path)? == FORMAT_WITHOUT_JOURNAL {
        upgrade(&path)?;
    }
    remove_unfinished_snapshots(&path)?;
    let mark = OpenOptions::new().read(true).write(true).open(path.join("mark")).map_err(missing("mark"))?;
    let log = File::open(path.join("db")).map_err(missing("db"))?;
    let db = open_engine(&path, options)?;
    Ok(Folder { db, log, mark, path })
}

/// Makes files that sled has left outside its log durable, and says how many there are: none, ever, as far as is known.
pub(super) fn sync_strays(path: &Path) -> io::Result<usize> {
    let blobs = path.join("blobs");
    let mut strays = 0_usize;
    for entry in fs::read_dir(&blobs)? {
        sync(&entry?.path())?;
        strays = strays.saturating_add(1);
    }
    if strays > 0 {
        sync(&blobs)?;
    }
    Ok(strays)
}

fn create(new: &Path, options: &SledOptions) -> Result<(), OpenError> {
    DirBuilder::new().mode(0o700).create(new)?;
    let db = open_engine(new, options)?;
    db.insert(REVISION_KEY, &encode_revision(Revision(0))).map_err(|error| damaged(&error))?;
    db.flush().map_err(|error| damaged(&error))?;
    drop(db);
    write(&new.join("mark"), &encode_revision(Revision(0)))?;
    write(&new.join("format"), format!("{FORMAT_PREFIX}{FORMAT}\n").as_bytes())?;
    journal::create(new)?;
    for entry in fs::read_dir(new)? {
        sync(&entry?.path())?;
    }
    sync(new)?;
    Ok(())
}

/// Gives a store its journal. A crash at any point leaves one that opens.
fn upgrade(path: &Path) -> Result<(), OpenError> {
    journal::create(path)?;
    sync(path)?;
    let new = path.join("format.new");
    if new.try_exists()? {
        fs::remove_file(&new)?;
    }
    write(&new, format!("{FORMAT_PREFIX}{FORMAT}\n").as_bytes())?;
    sync(&new)?;
    fs::rename(&new, path.join("format"))?;
    Ok(sync(path)?)
}

/// The folder's format, where it is known.
pub(super) fn check_format(path: &Path) -> Result<u32, OpenError> {
    let format = fs::read_to_string(path.join("format")).map_err(missing("format"))?;
    let found: Option<u32> = format.strip_prefix(FORMAT_PREFIX).and_then(|rest| rest.trim_end().parse().ok());
    match found {
        Some(known @ (FORMAT | FORMAT_WITHOUT_JOURNAL)) => Ok(known),
        Some(found) if found > FORMAT => Err(OpenError::Newer { found, supported: FORMAT }),
        _ => Err(OpenError::Corrupt("the file format is not one of a store".into())),
    }
}

pub(super) fn has_journal(format: u32) -> bool {
    format != FORMAT_WITHOUT_JOURNAL
}

pub(super) fn remove_unfinished_snapshots(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(b"snap.") && name.ends_with(b".generating") {
            tracing::warn!("the store's last start was cut short; its unfinished snapshot is removed");
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

pub(super) fn open_engine(path: &Path, options: &SledOptions) -> Result<Db, OpenError> {
    let config = sled::Config::new()
        .path(path)
        .mode(Mode::LowSpace)
        .cache_capacity(options.cache_bytes)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(Some(500));
    let until = Instant::now() + LOCK_TIME_MAX;
    loop {
        // Recovery has been seen to panic on files that were cut off.
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            // The folder is locked, so nobody but this process can hold sled's own lock.
            Ok(Err(sled::Error::Io(error))) if is_locked(&error) && Instant::now() < until => thread::park_timeout(LOCK_LOOK),
            Ok(Err(error)) => return Err(damaged(&error)),
            Err(_) => return Err(OpenError::Corrupt("sled panicked while opening".into())),
        }
    }
}

/// sled tells it by a text alone.
fn is_locked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
}

fn damaged(error: &sled::Error) -> OpenError {
    match error {
        sled::Error::Io(error) => OpenError::Io(io::Error::new(error.kind(), error.to_string())),
        other => OpenError::Corrupt(other.to_string()),
    }
}

/// A revision that the store has surely had.
pub(super) fn read_mark(mark: &File) -> Result<Revision, OpenError> {
    let mut known = [0; 12];
    mark.read_exact_at(&mut known, 0)?;
    decode_revision(&known).ok_or_else(|| OpenError::Corrupt("the file mark does not match its checksum".into()))
}

pub(super) fn missing(name: &'static str) -> impl Fn(io::Error) -> OpenError {
    move |error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::Corrupt(format!("the file {name} is missing")),
        io::ErrorKind::InvalidData => OpenError::Corrupt(format!("the file {name} is not one of a store")),
        _ => OpenError::Io(error),
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?.write_all(bytes)
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{SledOptions, fs, lock, open, sync_strays};

    #[test]
    fn a_page_outside_the_log_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let _lock = lock(folder.path()).unwrap();
        let store = open(folder.path(), &SledOptions::default()).unwrap();
        assert_eq!(sync_strays(&store.path).unwrap(), 0);
        fs::write(store.path.join("blobs/1"), b"page").unwrap();
        assert_eq!(sync_strays(&store.path).unwrap(), 1);
    }
}
