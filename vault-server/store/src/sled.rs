//! A store in a folder, on sled 0.34: the default.
//!
//! sled alone does not make writes survive a loss of power, and can be left unable to open. What is done about it:
//!
//! - One thread, the committer, takes the transactions that wait, checks their conditions against what is stored and
//!   against one another, and appends them to a journal of our own, with one sync for all. Only then are they
//!   acknowledged, and only then do readers see them: what is in the journal is in memory, too.
//! - Another one, the merger, puts what the journal holds into sled, at most a second later, flushes, and syncs sled's
//!   file through a descriptor of its own. Only then is that part of the journal written over. After a crash the journal
//!   is read again. sled alone needs more work for a flush than for the writes.
//! - A value above 4 KiB is cut into pieces, because sled writes large pages to files that it never syncs.
//! - A crash while opening leaves `snap.*.generating`, which sled then takes for a snapshot: they are deleted first,
//!   under a lock of our own. The log is the truth.
//! - The folder is made under another name, synced, and renamed: it is there whole or not at all.
//! - The newest revision is noted beside the log, so that a log that was cut off or replaced is noticed.
//!
//! After an error in writing nothing is trusted: the transactions in doubt answer [`StoreError::Unknown`], everything
//! later [`StoreError::Unavailable`], until the store is opened again.
//!
//! Deleting does not scrub: old bytes stay in the files until they are overwritten. The folder must not be copied while
//! it is open. It does not shrink. The private modules `files` and `record` have the layout.

mod cache;
mod committer;
mod files;
mod heads;
mod inspect;
mod journal;
mod merger;
mod reader;
mod record;

use std::{
    fs::File,
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, OnceLock, RwLock, atomic::AtomicBool},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task,
    time::timeout,
};

pub use self::inspect::{FINDINGS_MAX, Finding, Inspection, inspect};
use self::{
    committer::{Committer, Request},
    files::Folder,
    heads::Heads,
    journal::Journal,
    merger::Merger,
    reader::{Newest, Shared},
};
use crate::{Entry, Feed, Revision, Store, StoreError, TRANSACTION_BYTES_MAX, Transaction, check, feed::Hub};

/// Transactions that wait for the committer.
const QUEUE_TRANSACTIONS_MAX: usize = 1_024;
/// Bytes of the transactions that wait for the committer or are being written.
const QUEUE_BYTES_MAX: usize = 32 << 20;
/// How long a transaction may take, waiting included, before its caller is told that nothing is known.
const COMMIT_SECS_MAX: u64 = 30;

const _: () = assert!(TRANSACTION_BYTES_MAX < QUEUE_BYTES_MAX, "every transaction fits into the queue");

/// How a [`SledStore`] is opened.
#[derive(Debug, Clone)]
pub struct SledOptions {
    /// Bytes of pages that sled aims to keep in memory; it takes three to seven times as much when all is scanned.
    pub cache_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20 }
    }
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or this one, has it open.
    #[error("the store is in use")]
    InUse,
    /// A newer version of this program wrote it.
    #[error("the store has format {found}, and this program knows {supported} at most")]
    Newer {
        /// The store's format.
        found: u32,
        /// The newest format that this program knows.
        supported: u32,
    },
    /// What is stored is not what was written.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The folder cannot be read or written to.
    #[error("the store's folder cannot be used")]
    Io(#[from] io::Error),
}

/// A store in a folder.
///
/// Dropping it waits until everything accepted is written and the folder is closed: drop it on a blocking thread where
/// that matters.
pub struct SledStore {
    queue: Option<mpsc::Sender<Request>>,
    queue_bytes: Arc<Semaphore>,
    committer: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    /// Held until the fields above are gone.
    _lock: File,
}

impl SledStore {
    /// Opens the store in `dir`, or makes one where there is none. Blocks, after a crash for seconds a gigabyte: call
    /// it on a blocking thread.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. A store that was damaged is left as it is.
    pub fn open(dir: &Path, options: SledOptions) -> Result<Self, OpenError> {
        let lock = files::lock(dir)?;
        let Folder { db, log, mark, path } = files::open(dir, &options)?;
        let revision = merger::recover(&db, &log, &path, files::read_mark(&mark)?)?;
        let shared = Arc::new(Shared {
            journal: Mutex::new(Journal::open(&path)?),
            turned: Condvar::new(),
            engine: RwLock::new(Some(db.clone())),
            pages: RwLock::new(()),
            newest: RwLock::new(Newest::new(revision)),
            hub: Hub::new(revision),
            broken: OnceLock::new(),
        });
        let (queue, requests) = mpsc::channel(QUEUE_TRANSACTIONS_MAX);
        let closing = Arc::new(AtomicBool::new(false));
        let merger = Merger { shared: Arc::clone(&shared), db: db.clone(), log, path, closing: Arc::clone(&closing) };
        let merger = std::thread::Builder::new().name("store-merger".into()).spawn(move || merger.run())?;
        let committer = Committer { requests, shared: Arc::clone(&shared), known: Heads::default(), db, mark, merger, closing };
        let thread = std::thread::Builder::new().name("store-committer".into()).spawn(move || committer.run())?;
        Ok(Self {
            queue: Some(queue),
            queue_bytes: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            committer: Some(thread),
            shared,
            _lock: lock,
        })
    }

    /// Hands the transaction to the committer; the answer comes when it is durable.
    async fn enqueue(&self, transaction: Transaction) -> Result<oneshot::Receiver<Result<Revision, StoreError>>, StoreError> {
        let closed = || StoreError::Unavailable("the store was closed".into());
        let bytes = u32::try_from(transaction.bytes()).map_err(|_| StoreError::Limit("bytes in a transaction"))?;
        let space = Arc::clone(&self.queue_bytes).acquire_many_owned(bytes).await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        queue.send(Request { transaction, answer, _space: space }).await.map_err(|_| closed())?;
        Ok(answered)
    }

    /// Reads on a blocking thread, for what may take long: pages, and whatever has to wait for sled. A single
    /// value is read where its caller runs, 0.7 us against 14 us, though now and then it comes from the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        match task::spawn_blocking(move || read(&shared)).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Unavailable(Box::new(error))),
        }
    }
}

#[async_trait::async_trait]
impl Store for SledStore {
    fn kind(&self) -> &'static str {
        "sled"
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        check::key(key)?;
        if let Some(result) = self.shared.try_get(key) {
            return result;
        }
        let key = key.to_vec();
        self.read(move |shared| shared.get(&key)).await
    }

    async fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        check::range(start, end, limit)?;
        let (start, end) = (start.to_vec(), end.to_vec());
        self.read(move |shared| shared.range(&start, &end, limit)).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        check::transaction(&transaction)?;
        self.shared.healthy()?;
        let limit = Duration::from_secs(COMMIT_SECS_MAX);
        let Ok(enqueued) = timeout(limit, self.enqueue(transaction)).await else {
            return Err(StoreError::Unavailable("the store is too slow to take the transaction".into()));
        };
        match timeout(limit, enqueued?).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(StoreError::Unknown("the store stopped".into())),
            Err(_) => Err(StoreError::Unknown("the store is too slow".into())),
        }
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.shared.healthy()?;
        Ok(self.shared.newest().revision)
    }

    async fn changes(&self, since: Revision) -> Result<Feed, StoreError> {
        self.shared.healthy()?;
        self.shared.hub.subscribe(since)
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        // Without senders the committer writes what it has accepted, closes sled, and ends.
        self.queue = None;
        if let Some(committer) = self.committer.take()
            && committer.join().is_err()
        {
            tracing::error!("the store's committer panicked");
        }
    }
}

/// What an error of sled's says about the store.
fn engine_error(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => StoreError::Unavailable(Box::new(error)),
        sled::Error::Corruption { .. } => StoreError::Corrupt("the log does not match its checksums".into()),
        sled::Error::CollectionNotFound(_) | sled::Error::Unsupported(_) | sled::Error::ReportableBug(_) => {
            StoreError::Corrupt("the log contradicts itself".into())
        }
    }
}
