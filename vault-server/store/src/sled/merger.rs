//! The thread that puts into sled what the journal holds, many transactions at once.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sled::{Batch, Db};

use super::{
    OpenError, engine_error, files,
    journal::{self, Stored, Written},
    reader::{Broken, Shared, head},
    record::{
        GARBAGE_PREFIX, GARBAGE_VALUES_MAX, Head, PIECE_BYTES_MAX, REVISION_KEY, ValueId, decode_garbage, decode_revision,
        encode_garbage, encode_revision, head_key,
    },
};
use crate::{Key, Revision, StoreError};

/// How long writes wait to be merged: what is written again meanwhile costs sled nothing.
pub(super) const MERGE_TIME: Duration = Duration::from_secs(1);
/// Bytes in the journal that are merged at once, without waiting.
pub(super) const MERGE_BYTES: u64 = 4 << 20;
/// Bytes of a step: sled makes readers wait while it takes one.
const STEP_BYTES: usize = 128 << 10;

pub(super) struct Merger {
    pub(super) shared: Arc<Shared>,
    pub(super) db: Db,
    pub(super) log: File,
    pub(super) path: PathBuf,
    /// Set when no more transactions come.
    pub(super) closing: Arc<AtomicBool>,
}

impl Merger {
    pub(super) fn run(self) {
        loop {
            if self.shared.journal().bytes() == 0 && !self.closing.load(Ordering::Acquire) {
                thread::park();
                continue;
            }
            self.wait();
            let closing = self.closing.load(Ordering::Acquire);
            if self.shared.broken.get().is_some() {
                break;
            }
            // sled may panic: what it was given stays in the journal.
            match catch_unwind(AssertUnwindSafe(|| self.merge())) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => _ = self.shared.give_up(error.broken()),
                Err(_) => _ = self.shared.give_up(Broken::new("sled panicked while writing")),
            }
            if closing {
                break;
            }
        }
        self.shared.turned.notify_all();
    }

    /// Until there is enough to merge, or what there is has waited long enough.
    fn wait(&self) {
        let until = Instant::now() + MERGE_TIME;
        while self.shared.journal().bytes() < MERGE_BYTES && !self.closing.load(Ordering::Acquire) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::park_timeout(left);
        }
    }

    fn merge(&self) -> Result<(), MergeError> {
        let (revision, writes) = {
            // In this order, as the committer: all that is in the journal is among the writes.
            let mut journal = self.shared.journal();
            if journal.bytes() == 0 {
                return Ok(());
            }
            let mut newest = self.shared.newest_mut();
            journal.turn();
            (newest.revision, newest.merge())
        };
        self.shared.turned.notify_all();
        let garbage = put(&self.db, &writes, revision, Some(&self.shared.pages), |batch| self.apply(batch))?;
        make_durable(&self.db, &self.log, &self.path)?;
        self.shared.merged(&writes);
        drop(writes);
        // Becomes durable with the next merge; until then `recover` would do it again.
        for (key, values) in garbage {
            self.apply(removal(&key, &values))?;
        }
        Ok(())
    }

    fn apply(&self, batch: Batch) -> sled::Result<()> {
        let _engine = self.shared.engine.write().unwrap_or_else(PoisonError::into_inner);
        self.db.apply_batch(batch)
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum MergeError {
    #[error("{0}")]
    Engine(#[from] sled::Error),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl MergeError {
    fn broken(self) -> Broken {
        match self {
            Self::Engine(error) => Broken::by_store(&engine_error(error)),
            Self::Store(error) => Broken::by_store(&error),
            Self::Io(error) => Broken::by(&error),
        }
    }
}

impl From<MergeError> for OpenError {
    fn from(error: MergeError) -> Self {
        let error = match error {
            MergeError::Engine(error) => engine_error(error),
            MergeError::Store(error) => error,
            MergeError::Io(error) => return Self::Io(error),
        };
        match error {
            StoreError::Unavailable(source) => Self::Io(io::Error::other(source)),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

/// Values whose pieces are to be deleted, by the key of the record that lists them.
type Garbage = Vec<([u8; 13], Vec<ValueId>)>;

/// Puts writes into sled, in steps, each with the record of what it replaces. The revision comes last: until then the
/// journal has them, too. Whoever reads a page locks `pages`.
fn put(
    db: &Db,
    writes: &BTreeMap<Key, Written>,
    revision: Revision,
    pages: Option<&RwLock<()>>,
    apply: impl Fn(Batch) -> sled::Result<()>,
) -> Result<Garbage, MergeError> {
    let mut step = Step::default();
    let mut garbage = Garbage::new();
    for (key, write) in writes {
        let old = match write.stored {
            Stored::Nothing => None,
            Stored::Value(head) => Some(head),
            Stored::Unknown => head(db, key)?,
        };
        let in_place = {
            let _no_page = pages.map(|pages| pages.write().unwrap_or_else(PoisonError::into_inner));
            put_in_place(db, key, write, old)?
        };
        if in_place {
            continue;
        }
        step.add(key, write, old);
        if step.bytes >= STEP_BYTES {
            apply(std::mem::take(&mut step).finish(revision, &mut garbage))?;
        }
    }
    step.batch.insert(REVISION_KEY, &encode_revision(revision));
    apply(step.finish(revision, &mut garbage))?;
    Ok(garbage)
}

/// Does a write that is one record, and leaves nothing behind: it needs no others with it, and readers of a value need not wait
/// for it. Says whether it is one.
fn put_in_place(db: &Db, key: &Key, write: &Written, old: Option<Head>) -> Result<bool, MergeError> {
    if old.is_some_and(|old| old.value.has_pieces()) {
        return Ok(false);
    }
    match &write.value {
        Some((head, _)) if head.value.has_pieces() => return Ok(false),
        Some((head, value)) => drop(db.insert(head_key(key), head.encode(key, value))?),
        None if old.is_none() => {}
        None => drop(db.remove(head_key(key))?),
    }
    Ok(true)
}

/// What is applied at once.
#[derive(Default)]
struct Step {
    batch: Batch,
    bytes: usize,
    replaced: Vec<ValueId>,
}

impl Step {
    fn add(&mut self, key: &Key, write: &Written, old: Option<Head>) {
        match &write.value {
            // It is there already, after a merge that was cut short.
            Some((head, _)) if old.is_some_and(|old| old.value == head.value) => return,
            Some((head, value)) => {
                for (piece, bytes) in head.value.pieces().zip(value.chunks(PIECE_BYTES_MAX)) {
                    self.batch.insert(&piece, bytes);
                }
                self.batch.insert(head_key(key), head.encode(key, value));
                self.bytes = self.bytes.saturating_add(value.len());
            }
            None => self.batch.remove(head_key(key)),
        }
        self.bytes = self.bytes.saturating_add(key.len());
        self.replaced.extend(old.map(|old| old.value).filter(|value| value.has_pieces()));
    }

    /// The step's batch, with the record of what it replaces.
    fn finish(self, revision: Revision, garbage: &mut Garbage) -> Batch {
        let Self { mut batch, replaced, .. } = self;
        let number = u32::try_from(garbage.len()).unwrap_or(u32::MAX);
        let records = encode_garbage(revision, number, &replaced);
        for ((key, record), values) in records.into_iter().zip(replaced.chunks(GARBAGE_VALUES_MAX)) {
            batch.insert(&key, record);
            garbage.push((key, values.to_vec()));
        }
        batch
    }
}

fn make_durable(db: &Db, log: &File, path: &Path) -> Result<(), MergeError> {
    db.flush()?;
    let strays = files::sync_strays(path)?;
    if strays > 0 {
        tracing::error!(strays, "sled keeps pages outside its log, where a loss of power may damage them");
    }
    Ok(log.sync_data()?)
}

/// What is stored before writers start: deletes what was left over, puts into sled what the journal has beyond it, checks
/// that nothing is missing, and answers with the revision.
pub(super) fn recover(db: &Db, log: &File, path: &Path, mark: Revision) -> Result<Revision, OpenError> {
    let stored = stored_revision(db)
        .map_err(MergeError::from)?
        .ok_or_else(|| OpenError::Corrupt("the log has lost its revision".into()))?;
    let (writes, revision) = journal::read(path, stored)?;
    if mark > revision {
        return Err(OpenError::Corrupt(format!("the log ends at revision {} and had {}", revision.0, mark.0)));
    }
    clean(db)?;
    if revision > stored {
        replay(db, writes, revision)?;
        make_durable(db, log, path)?;
        clean(db)?;
    }
    Ok(revision)
}

/// As [`recover`], as far as it is needed to look at a copy that nobody will write to.
pub(super) fn recover_copy(db: &Db, path: &Path) -> Result<(), OpenError> {
    // Who looks finds out where it has none.
    let Some(stored) = stored_revision(db).map_err(MergeError::from)? else { return Ok(()) };
    let (writes, revision) = journal::read(path, stored)?;
    Ok(replay(db, writes, revision)?)
}

/// The revision of what is in sled; `None` where it is missing or does not match its checksum.
pub(super) fn stored_revision(db: &Db) -> sled::Result<Option<Revision>> {
    Ok(db.get(REVISION_KEY)?.and_then(|record| decode_revision(&record)))
}

fn replay(db: &Db, writes: Vec<(Key, Written)>, revision: Revision) -> Result<(), MergeError> {
    // Of several writes of a key the last one counts.
    put(db, &writes.into_iter().collect(), revision, None, |batch| db.apply_batch(batch)).map(drop)
}

/// Deletes pieces that nobody can read any more.
fn clean(db: &Db) -> Result<(), OpenError> {
    for item in db.scan_prefix(GARBAGE_PREFIX) {
        let (key, record) = item.map_err(MergeError::from)?;
        let values = decode_garbage(&record).ok_or_else(|| OpenError::Corrupt("a list of garbage is cut off".into()))?;
        db.apply_batch(removal(&key, &values)).map_err(MergeError::from)?;
    }
    Ok(())
}

/// Takes away the pieces that a record of garbage lists, and the record.
fn removal(key: &[u8], values: &[ValueId]) -> Batch {
    let mut batch = Batch::default();
    values.iter().flat_map(|value| value.pieces()).for_each(|piece| batch.remove(&piece));
    batch.remove(key);
    batch
}
