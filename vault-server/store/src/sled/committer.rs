//! The one thread that writes.

use std::{
    collections::{BTreeMap, btree_map},
    fs::File,
    io,
    os::unix::fs::FileExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, PoisonError, RwLockWriteGuard},
    thread,
    time::Duration,
};

use sled::{Batch, Db, IVec};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{
    OpenError, engine_error, files,
    reader::{Engine, Shared},
    record::{
        GARBAGE_PREFIX, Head, PIECE_BYTES_MAX, REVISION_KEY, ValueId, decode_garbage, decode_revision, encode_garbage,
        encode_revision, head_key,
    },
};
use crate::{Change, Condition, Key, Revision, StoreError, Transaction, Write};

/// Transactions in a batch.
const BATCH_TRANSACTIONS_MAX: usize = 1_024;
/// Bytes in a batch; one transaction may go beyond.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// How long a batch waits for more transactions, after one that served several callers: those are likely to come again.
const GATHER_TIME_MAX: Duration = Duration::from_micros(200);
/// How often it is looked whether they have come.
const GATHER_LOOK: Duration = Duration::from_micros(50);

/// A transaction that waits.
pub(super) struct Request {
    pub(super) transaction: Transaction,
    pub(super) answer: oneshot::Sender<Result<Revision, StoreError>>,
    /// Its share of the queue's bytes.
    pub(super) _space: OwnedSemaphorePermit,
}

/// The transactions of the next batch.
struct Gathered {
    requests: Vec<Request>,
    bytes: usize,
}

impl Gathered {
    const fn is_full(&self) -> bool {
        self.requests.len() >= BATCH_TRANSACTIONS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// Takes those that wait, as long as there is room.
    fn take(&mut self, requests: &mut mpsc::Receiver<Request>) {
        while !self.is_full() {
            let Ok(next) = requests.try_recv() else { return };
            self.bytes = self.bytes.saturating_add(next.transaction.bytes());
            self.requests.push(next);
        }
    }
}

pub(super) struct Committer {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) shared: Arc<Shared>,
    pub(super) db: Db,
    pub(super) log: File,
    pub(super) mark: File,
    pub(super) path: PathBuf,
}

/// What is stored before a writer starts: checks that nothing is missing, deletes what was left over, and answers with
/// the revision.
pub(super) fn recover(db: &Db, mark: &File) -> Result<Revision, OpenError> {
    let engine = |error| match engine_error(error) {
        StoreError::Unavailable(source) => OpenError::Io(io::Error::other(source)),
        other => OpenError::Corrupt(other.to_string()),
    };
    let stored = db.get(REVISION_KEY).map_err(engine)?;
    let revision = stored.and_then(|record| decode_revision(&record));
    let revision = revision.ok_or_else(|| OpenError::Corrupt("the log has lost its revision".into()))?;
    let mut known = [0; 12];
    mark.read_exact_at(&mut known, 0)?;
    match decode_revision(&known) {
        None => return Err(OpenError::Corrupt("the file mark does not match its checksum".into())),
        Some(known) if known > revision => {
            return Err(OpenError::Corrupt(format!("the log ends at revision {} and had {}", revision.0, known.0)));
        }
        Some(_) => {}
    }
    for item in db.scan_prefix(GARBAGE_PREFIX) {
        let (key, record) = item.map_err(engine)?;
        let values = decode_garbage(&record).ok_or_else(|| OpenError::Corrupt("a list of garbage is cut off".into()))?;
        let mut batch = Batch::default();
        values.iter().flat_map(|value| value.pieces()).for_each(|piece| batch.remove(&piece));
        batch.remove(key);
        db.apply_batch(batch).map_err(engine)?;
    }
    Ok(revision)
}

impl Committer {
    pub(super) fn run(mut self) {
        let mut served = 0;
        while let Some(first) = self.requests.blocking_recv() {
            let mut gathered = Gathered { bytes: first.transaction.bytes(), requests: vec![first] };
            gathered.take(&mut self.requests);
            if served > 1 {
                let expected = gathered.requests.len().saturating_add(served);
                let mut waited = Duration::ZERO;
                while gathered.requests.len() < expected && !gathered.is_full() && waited < GATHER_TIME_MAX {
                    thread::park_timeout(GATHER_LOOK);
                    waited += GATHER_LOOK;
                    gathered.take(&mut self.requests);
                }
            }
            served = gathered.requests.len();
            // sled may panic: then nothing is known, and the answers are dropped, which says so.
            if catch_unwind(AssertUnwindSafe(|| self.commit(gathered.requests))).is_err() {
                self.give_up("sled panicked while writing");
            }
        }
        self.close();
    }

    fn commit(&self, requests: Vec<Request>) {
        let mut plan = Plan::new(&self.db, self.engine().revision);
        let mut answers = Vec::with_capacity(requests.len());
        for Request { transaction, answer, _space } in requests {
            let planned = self.shared.healthy().and_then(|()| plan.add(transaction));
            answers.push((answer, planned, _space));
        }
        let written = if plan.changes.is_empty() { Ok(Vec::new()) } else { self.write(plan) };
        let failure = written.as_ref().err().map(ToString::to_string);
        if let Some(reason) = &failure {
            self.give_up(reason);
        }
        for (answer, planned, space) in answers {
            let result = match (&failure, planned) {
                (None, planned) => planned,
                (Some(reason), Ok(_)) => Err(StoreError::Unknown(reason.clone().into())),
                // Perhaps because of a transaction that is in doubt itself.
                (Some(reason), Err(_)) => Err(StoreError::Unavailable(reason.clone().into())),
            };
            drop(space);
            // Who does not wait any more is not told.
            drop(answer.send(result));
        }
        if let Ok(garbage) = written
            && let Err(error) = self.clean(&garbage)
        {
            self.give_up(&error.to_string());
        }
    }

    /// Makes a plan durable and visible; answers with the values that it replaced.
    fn write(&self, plan: Plan<'_>) -> Result<Garbage, WriteError> {
        let Plan { mut batch, revision, before, garbage, changes, .. } = plan;
        batch.insert(REVISION_KEY, &encode_revision(revision));
        let records = encode_garbage(revision, &garbage);
        let garbage: Garbage =
            records.iter().map(|(key, _)| *key).zip(garbage.chunks(PIECE_BYTES_MAX / 14).map(<[_]>::to_vec)).collect();
        for (key, record) in records {
            batch.insert(&key, record);
        }
        {
            let mut engine = self.engine();
            engine.before = before;
            self.db.apply_batch(batch)?;
        }
        self.db.flush()?;
        let strays = files::sync_strays(&self.path)?;
        if strays > 0 {
            tracing::error!(strays, "sled keeps pages outside its log, where a loss of power may damage them");
        }
        self.log.sync_data()?;
        // Not synced: it serves to notice a log that was cut off or replaced, and may lag behind it.
        self.mark.write_all_at(&encode_revision(revision), 0)?;
        {
            let mut engine = self.engine();
            engine.before.clear();
            engine.revision = revision;
        }
        self.shared.hub.publish(changes);
        Ok(garbage)
    }

    /// Deletes pieces that nobody can read any more. Becomes durable with the next batch; until then [`recover`] would
    /// do it again.
    fn clean(&self, garbage: &Garbage) -> sled::Result<()> {
        for (key, values) in garbage {
            let mut batch = Batch::default();
            values.iter().flat_map(|value| value.pieces()).for_each(|piece| batch.remove(&piece));
            batch.remove(key);
            // sled makes readers wait meanwhile, wherever they are: so that those who cannot wait see it.
            let _engine = self.engine();
            self.db.apply_batch(batch)?;
        }
        Ok(())
    }

    fn give_up(&self, reason: &str) {
        tracing::error!(reason, "the store stops: something was not written");
        drop(self.shared.broken.set(reason.to_owned()));
    }

    fn close(self) {
        let Self { shared, db, log, mark, .. } = self;
        // Waits for readers that are under way.
        let engine = shared.engine.write().unwrap_or_else(PoisonError::into_inner).db.take();
        if shared.broken.get().is_none() {
            let closed =
                db.flush().map_err(WriteError::from).and_then(|_| Ok(log.sync_data().and_then(|()| mark.sync_data())?));
            if let Err(error) = closed {
                tracing::warn!(%error, "the store was not closed cleanly; nothing acknowledged is lost");
            }
        }
        drop((engine, db));
    }

    fn engine(&self) -> RwLockWriteGuard<'_, Engine> {
        self.shared.engine.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Values whose pieces are to be deleted, by the key of the record that lists them.
type Garbage = Vec<([u8; 13], Vec<ValueId>)>;

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("{0}")]
    Engine(#[from] sled::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A batch as it grows: transactions that hold against what is stored and against those before them.
struct Plan<'a> {
    db: &'a Db,
    durable: Revision,
    revision: Revision,
    batch: Batch,
    /// What the batch makes of the keys that it touches or asked for.
    heads: BTreeMap<Key, Option<Head>>,
    before: BTreeMap<Key, Option<IVec>>,
    garbage: Vec<ValueId>,
    changes: Vec<Change>,
}

impl<'a> Plan<'a> {
    fn new(db: &'a Db, durable: Revision) -> Self {
        Self {
            db,
            durable,
            revision: durable,
            batch: Batch::default(),
            heads: BTreeMap::new(),
            before: BTreeMap::new(),
            garbage: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Adds a transaction whole, or not at all where it answers with an error.
    fn add(&mut self, transaction: Transaction) -> Result<Revision, StoreError> {
        for condition in &transaction.conditions {
            let head = self.head(condition.key())?;
            let holds = match condition {
                Condition::Absent(_) => head.is_none(),
                Condition::Version(_, version) => head.is_some_and(|head| head.version == *version),
            };
            if !holds {
                return Err(StoreError::Conflict);
            }
        }
        let revision = Revision(self.revision.0.saturating_add(1));
        let mut puts = Vec::with_capacity(transaction.writes.len());
        for (ordinal, write) in (0_u16..).zip(&transaction.writes) {
            let old = self.head(write.key())?;
            let new = match write {
                Write::Put(_, value) => {
                    Some(Head::new(old.map_or(1, |head| head.version.saturating_add(1)), revision, ordinal, value)?)
                }
                Write::Delete(_) => None,
            };
            puts.push((old, new));
        }
        // Nothing fails from here on.
        for ((old, new), write) in puts.into_iter().zip(transaction.writes) {
            if old.is_some() || new.is_some() {
                self.write(revision, old, new, write);
            }
        }
        Ok(self.revision)
    }

    fn write(&mut self, revision: Revision, old: Option<Head>, new: Option<Head>, write: Write) {
        if let Some(old) = old.filter(|old| old.value.has_pieces()) {
            if old.value.modified > self.durable {
                old.value.pieces().for_each(|piece| self.batch.remove(&piece));
            } else {
                self.garbage.push(old.value);
            }
        }
        let (key, present) = match (write, new) {
            (Write::Put(key, value), Some(head)) => {
                for (piece, bytes) in head.value.pieces().zip(value.chunks(PIECE_BYTES_MAX)) {
                    self.batch.insert(&piece, bytes);
                }
                self.batch.insert(head_key(&key), head.encode(&key, &value));
                (key, true)
            }
            (Write::Put(key, _) | Write::Delete(key), _) => {
                self.batch.remove(head_key(&key));
                (key, false)
            }
        };
        self.heads.insert(key.clone(), new);
        self.revision = revision;
        self.changes.push(Change { key, present, revision });
    }

    /// The key's head as the batch so far leaves it.
    fn head(&mut self, key: &Key) -> Result<Option<Head>, StoreError> {
        match self.heads.entry(key.clone()) {
            btree_map::Entry::Occupied(known) => Ok(*known.get()),
            btree_map::Entry::Vacant(unknown) => {
                let record = self.db.get(head_key(key)).map_err(engine_error)?;
                let head = record.as_ref().map(|record| Head::decode(key, record)).transpose()?.map(|(head, _)| head);
                unknown.insert(head);
                self.before.insert(key.clone(), record);
                Ok(head)
            }
        }
    }
}
