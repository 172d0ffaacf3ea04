//! The one thread that takes transactions.

use std::{
    collections::{BTreeMap, btree_map},
    fs::File,
    os::unix::fs::FileExt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use sled::Db;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{
    heads::Heads,
    journal::{Frame, Stored, Written},
    merger::{MERGE_BYTES, MERGE_TIME},
    reader::{Broken, Shared, head},
    record::{Head, encode_revision},
};
use crate::{Change, Condition, Key, Revision, StoreError, Transaction, Write, is_disk_full};

/// Transactions in a batch.
const BATCH_TRANSACTIONS_MAX: usize = 1_024;
/// Bytes in a batch; one transaction may go beyond.
const BATCH_BYTES_MAX: usize = 2 << 20;
/// Bytes in the journal from which on transactions wait for the merger; one batch may go beyond.
const JOURNAL_BYTES_MAX: u64 = 2 * MERGE_BYTES;

/// How long a batch waits for more transactions, at most.
const GATHER_TIME_MAX: Duration = Duration::from_millis(1);
/// How often it looks whether there are any.
const GATHER_LOOK: Duration = Duration::from_micros(200);

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

    /// Waits for as many as were served last time, who are likely to come again; and where there are more already, for those
    /// that come as fast.
    fn wait(&mut self, requests: &mut mpsc::Receiver<Request>, served: usize) {
        let (began, more) = (Instant::now(), self.requests.len() > served && served > 0);
        while (more || self.requests.len() < served) && !self.is_full() && began.elapsed() < GATHER_TIME_MAX {
            let before = self.requests.len();
            thread::park_timeout(GATHER_LOOK);
            self.take(requests);
            if more && self.requests.len() == before {
                return;
            }
        }
    }
}

pub(super) struct Committer {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) shared: Arc<Shared>,
    pub(super) known: Heads,
    pub(super) db: Db,
    pub(super) mark: File,
    pub(super) merger: JoinHandle<()>,
    /// Tells the merger that no more transactions come.
    pub(super) closing: Arc<AtomicBool>,
}

impl Committer {
    pub(super) fn run(mut self) {
        let mut served = 0;
        while let Some(first) = self.requests.blocking_recv() {
            let mut gathered = Gathered { bytes: first.transaction.bytes(), requests: vec![first] };
            gathered.take(&mut self.requests);
            gathered.wait(&mut self.requests, served);
            served = gathered.requests.len();
            // sled may panic: then nothing is known, and the answers are dropped, which says so.
            if catch_unwind(AssertUnwindSafe(|| self.commit(gathered.requests))).is_err() {
                self.shared.give_up(Broken::new("sled panicked while reading"));
            }
        }
        self.close();
    }

    fn commit(&mut self, requests: Vec<Request>) {
        let mut plan = Plan::new(&self.db, &self.shared, &mut self.known);
        let mut answers = Vec::with_capacity(requests.len());
        for Request { transaction, answer, _space } in requests {
            let planned = self.shared.healthy().and_then(|()| plan.add(transaction));
            answers.push((answer, planned, _space));
        }
        let Plan { durable, revision, writes, .. } = plan;
        let written = if writes.is_empty() { Ok(()) } else { self.write(writes, durable, revision) };
        let failure = written.err().map(|broken| self.shared.give_up(broken));
        for (answer, planned, space) in answers {
            let result = match (failure, planned) {
                (None, planned) => planned,
                (Some(broken), Ok(_)) => Err(StoreError::Unknown(broken.cause())),
                // Perhaps because of a transaction that is in doubt itself.
                (Some(broken), Err(_)) => Err(StoreError::Unavailable(broken.cause())),
            };
            drop(space);
            // Who does not wait any more is not told.
            drop(answer.send(result));
        }
    }

    /// Makes the writes of a plan, which come after a revision, durable and visible.
    fn write(&mut self, writes: Vec<(Key, Written)>, durable: Revision, revision: Revision) -> Result<(), Broken> {
        let mut frame = Frame::new(Revision(durable.0.saturating_add(1)));
        writes.iter().for_each(|(key, write)| frame.push(key, write));
        let changes = writes.iter().map(|(key, write)| Change {
            key: key.clone(),
            present: write.value.is_some(),
            revision: write.revision,
        });
        let changes = changes.collect();

        let mut journal = self.shared.journal();
        while journal.bytes() >= JOURNAL_BYTES_MAX {
            self.merger.thread().unpark();
            journal = self.shared.turned.wait_timeout(journal, MERGE_TIME).unwrap_or_else(PoisonError::into_inner).0;
            if let Some(broken) = self.shared.broken.get() {
                return Err(broken.clone());
            }
        }
        let before = journal.bytes();
        journal.append(frame, revision).map_err(|error| Broken::by(&error))?;
        // Not synced: it serves to notice a log that was cut off or replaced, and may lag behind it.
        match self.mark.write_all_at(&encode_revision(revision), 0) {
            Ok(()) => {}
            // The transactions are durable: to answer otherwise would be wrong.
            Err(error) if is_disk_full(&error) => tracing::warn!(%error, "the mark lags behind"),
            Err(error) => return Err(Broken::by(&error)),
        }
        writes.iter().for_each(|(key, write)| self.known.written(key, write));
        let mut newest = self.shared.newest_mut();
        newest.add(writes, revision);
        // Under the lock: whatever revision is seen, the feed knows it.
        self.shared.hub.publish(changes);
        drop(newest);
        let after = journal.bytes();
        drop(journal);
        if before == 0 || (before < MERGE_BYTES && after >= MERGE_BYTES) {
            self.merger.thread().unpark();
        }
        Ok(())
    }

    fn close(self) {
        let Self { shared, db, mark, merger, closing, .. } = self;
        closing.store(true, Ordering::Release);
        merger.thread().unpark();
        if merger.join().is_err() {
            shared.give_up(Broken::new("the merger panicked"));
        }
        // Waits for readers that are under way.
        let engine = shared.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        if shared.broken.get().is_none()
            && let Err(error) = mark.sync_data()
        {
            tracing::warn!(%error, "the store was not closed cleanly; nothing acknowledged is lost");
        }
        drop((engine, db));
    }
}

/// A batch as it grows: transactions that hold against what is stored and against those before them.
struct Plan<'a> {
    db: &'a Db,
    shared: &'a Shared,
    known: &'a mut Heads,
    durable: Revision,
    revision: Revision,
    /// What the batch makes of the keys that it touches or asked for.
    heads: BTreeMap<Key, Option<Head>>,
    writes: Vec<(Key, Written)>,
}

impl<'a> Plan<'a> {
    fn new(db: &'a Db, shared: &'a Shared, known: &'a mut Heads) -> Self {
        let durable = shared.newest().revision;
        Self { db, shared, known, durable, revision: durable, heads: BTreeMap::new(), writes: Vec::new() }
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
        let mut heads = Vec::with_capacity(transaction.writes.len());
        for (ordinal, write) in (0_u16..).zip(&transaction.writes) {
            let stored = match write {
                Write::Put(key, _) | Write::Delete(key) => self.head(key)?.into(),
                Write::Create(..) => Stored::Nothing,
                Write::Erase(_) => Stored::Unknown,
            };
            let new = match write {
                Write::Put(_, value) | Write::Create(_, value) => {
                    let version = if let Stored::Value(head) = stored { head.version.saturating_add(1) } else { 1 };
                    Some(Head::new(version, revision, ordinal, value)?)
                }
                Write::Delete(_) | Write::Erase(_) => None,
            };
            heads.push((stored, new));
        }
        // Nothing fails from here on.
        for ((stored, head), write) in heads.into_iter().zip(transaction.writes) {
            if stored == Stored::Nothing && head.is_none() {
                continue;
            }
            let (key, value) = match write {
                Write::Put(key, value) | Write::Create(key, value) => (key, head.map(|head| (head, Arc::new(value)))),
                Write::Delete(key) | Write::Erase(key) => (key, None),
            };
            self.heads.insert(key.clone(), head);
            self.revision = revision;
            self.writes.push((key, Written { revision, value, stored }));
        }
        Ok(self.revision)
    }

    /// The key's head as the batch so far leaves it.
    fn head(&mut self, key: &Key) -> Result<Option<Head>, StoreError> {
        match self.heads.entry(key.clone()) {
            btree_map::Entry::Occupied(known) => Ok(*known.get()),
            btree_map::Entry::Vacant(unknown) => {
                if let Some(known) = self.known.get(key) {
                    return Ok(*unknown.insert(known));
                }
                // The lock is let go before sled is asked: what leaves the writes meanwhile is in sled.
                let written = self.shared.newest().get(key).map(|write| write.value.as_ref().map(|(head, _)| *head));
                let head = match written {
                    Some(head) => head,
                    None => {
                        let head = head(self.db, key)?;
                        self.known.put(key.clone(), head);
                        head
                    }
                };
                Ok(*unknown.insert(head))
            }
        }
    }
}
