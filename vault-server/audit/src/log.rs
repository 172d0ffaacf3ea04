//! The log as its one writer has it.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use coffer_core::{id::RequestId, measure::DurationsRead};
use coffer_crypto::sign::SigningKey;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use self::{
    state::{Mark, Shared},
    writer::{Caller, Command},
};
use crate::{
    checkpoint::{Checkpoint, Origin},
    fault::VerifyError,
    files::{Disk, Files},
    format::{LINE_BYTES_MAX, SEGMENT_BYTES_DEFAULT},
    merkle::Hash,
    note::VerifierKey,
    record::Record,
    scan::{Torn, notes::Signed},
};

mod closed;
mod open;
mod state;
mod writer;

/// Records that wait for the writer, at most; more wait with their callers.
pub const QUEUE_RECORDS_MAX: usize = 4_096;
/// Bytes of records that wait for the writer, at most.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;
/// How many of the newest entries [`Log::contains_recent`] knows.
pub const RECENT_ENTRIES: usize = 16_384;
/// Entries that [`Log::read`] gives at once, at most.
pub const READ_ENTRIES_MAX: usize = 1_000;
/// Bytes that [`Log::read`] gives at once, if there is more than one entry.
pub const READ_BYTES_MAX: usize = 4 << 20;
/// Bytes that an entry's line has besides its record: the index.
const INDEX_BYTES_MAX: usize = 32;

/// Where a log is, and whose it is.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The folder of the node's logs. It is made where it is missing.
    pub dir: PathBuf,
    /// The log: vault, node and epoch.
    pub origin: Origin,
    /// Bytes in a segment before the next one begins ([`SEGMENT_BYTES_DEFAULT`]).
    pub segment_bytes: u64,
    /// For tests only: while there is a file of this name, the log's syncs wait, so that nothing may be answered.
    pub stall_file: Option<PathBuf>,
}

impl LogConfig {
    /// A log with everything as usual.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, origin: Origin) -> Self {
        Self { dir: dir.into(), origin, segment_bytes: SEGMENT_BYTES_DEFAULT, stall_file: None }
    }
}

/// Why the log did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// What is there is not what was written.
    #[error("the audit log does not hold: {0}")]
    Invalid(#[from] VerifyError),
    /// A file cannot be used.
    #[error("the audit log cannot be opened: {}", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// Another process writes this log.
    #[error("another process has the audit log open: {}", .0.display())]
    Locked(PathBuf),
    /// There is a newer epoch than the one that was asked for.
    #[error("the folder has a log of epoch {found}, which is newer than {asked}")]
    EpochBehind {
        /// The epoch that was asked for.
        asked: u64,
        /// The newest one that is there.
        found: u64,
    },
    /// The record is too large for a line ([`LINE_BYTES_MAX`]).
    #[error("the record has more bytes than a line of the audit log may")]
    RecordTooLarge,
    /// Log and store are not of the same moment.
    #[error("{0}")]
    Rollback(#[from] Rollback),
    /// Writing failed, now or earlier. Nothing can be recorded until the log is opened again, so nothing may be
    /// answered.
    #[error("the audit log has failed and records nothing more: {0}")]
    Failed(Arc<str>),
    /// As [`LogError::Failed`], and the cause is a disk without room.
    #[error("the audit log's disk is full, and it records nothing more: {0}")]
    Full(Arc<str>),
    /// The log was closed.
    #[error("the audit log is closed")]
    Closed,
}

impl LogError {
    /// Whether the cause is a disk without room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::File(_, error) => is_disk_full(error),
            _ => false,
        }
    }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What was found when the log was opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// How many entries there are.
    pub size: u64,
    /// How many of them were not read: no file of the log was touched since it was closed with them.
    pub unread: u64,
    /// The root of their tree.
    pub root: Hash,
    /// The newest checkpoint. Entries behind it are there, but nothing signed says so.
    pub last_checkpoint: Option<Signed>,
    /// The end of the newest segment, where a loss of power had torn it: it was cut off.
    pub truncated_tail: Option<Torn>,
    /// The end of the file with the checkpoints, where a loss of power had torn it: it was cut off.
    pub truncated_checkpoint: Option<Torn>,
}

/// Log and store are not of the same moment: one of them is an older copy, or of another vault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rollback {
    /// The store knows entries that the log has not.
    #[error("the audit log has {entries} entries, and the store knows of {known}: the log is older than the store")]
    LogBehind {
        /// Entries that the log has.
        entries: u64,
        /// Entries that the store knows of.
        known: u64,
    },
    /// The log's entries are others than those that the store knows.
    #[error("the audit log's first {known} entries are not those that the store knows of: it is another log")]
    LogDiffers {
        /// Entries that the store knows of.
        known: u64,
    },
    /// The store's checkpoint is none of this log's.
    #[error("the store's checkpoint of the audit log is none of this log's: {0}")]
    Foreign(#[from] crate::checkpoint::CheckpointError),
    /// The log knows a revision that the store has not reached.
    #[error("the store is at revision {revision}, and the audit log knows of {known}: the store is older than the log")]
    StoreBehind {
        /// The store's revision.
        revision: u64,
        /// The revision that the log knows of.
        known: u64,
    },
}

/// How a log is doing.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Entries in it.
    pub entries: u64,
    /// What waits for the writer: records, at most [`QUEUE_RECORDS_MAX`].
    pub waiting: usize,
    /// How long it took to make records durable, many at once.
    pub syncs: DurationsRead,
    /// Whether it has failed, so that nothing is answered any more.
    pub failed: bool,
}

/// Where a record is: it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's position, from 0.
    pub index: u64,
}

/// The append-only log of one node and epoch. There is one writer: a thread that makes many records durable with one
/// write and one sync.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    queue_bytes: Arc<Semaphore>,
    size: watch::Receiver<u64>,
    key: VerifierKey,
}

impl Log {
    /// Opens the log, or begins it, and checks every entry and checkpoint: all but those that it had when it was closed,
    /// where no file of it was touched since. The end of a file that a loss of power tore is cut off and reported; anything
    /// else that is wrong is refused. Blocks; reads the whole log unless it was closed well.
    ///
    /// The key must be the node's own for all its epochs.
    ///
    /// # Errors
    /// [`LogError`]: nothing was changed then.
    pub fn open(config: LogConfig, key: SigningKey) -> Result<(Self, Opened), LogError> {
        let files = Disk { stall_file: config.stall_file.clone() };
        Self::open_with(config, key, Box::new(files))
    }

    /// As [`open`](Self::open), writing through `files`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(config: LogConfig, key: SigningKey, files: Box<dyn Files>) -> Result<(Self, Opened), LogError> {
        open::open(config, key, files)
    }

    /// Records something. When this returns well, it is durable. Waits while the queue is full; a caller that stops
    /// waiting does not take the record back.
    ///
    /// # Errors
    /// [`LogError`]: the record may or may not be there, and nothing may be answered on it.
    pub async fn append(&self, record: Record) -> Result<Receipt, LogError> {
        let text = serde_json::to_vec(&record).map_err(|_| LogError::RecordTooLarge)?;
        self.append_text(record.id, text).await
    }

    async fn append_text(&self, id: RequestId, text: Vec<u8>) -> Result<Receipt, LogError> {
        let (reply, answer) = oneshot::channel();
        self.queue(id, text, Caller::Waits(reply)).await?;
        answer.await.map_err(|_| self.shared.ended())?
    }

    /// Records something that is durable elsewhere until `durable` is called with its id: a write's record, which is in
    /// the store, as the JSON of a [`Record`] of this id. It comes to the log with the next sync, within 20 ms at most where
    /// nothing is slow. Waits while the queue is full, and for the sync itself where the log has fallen behind.
    ///
    /// # Errors
    /// [`LogError`] where the log has failed already, or the record is too large.
    pub async fn append_stored(
        &self,
        id: RequestId,
        text: Vec<u8>,
        durable: Arc<dyn Fn(RequestId) + Send + Sync>,
    ) -> Result<(), LogError> {
        if self.shared.is_behind() {
            self.append_text(id, text).await?;
            durable(id);
            return Ok(());
        }
        self.queue(id, text, Caller::IsTold(durable)).await
    }

    async fn queue(&self, id: RequestId, text: Vec<u8>, reply: Caller) -> Result<(), LogError> {
        self.shared.check()?;
        if text.len() > LINE_BYTES_MAX - INDEX_BYTES_MAX {
            return Err(LogError::RecordTooLarge);
        }
        let bytes = u32::try_from(text.len()).map_err(|_| LogError::RecordTooLarge)?;
        let room = Arc::clone(&self.queue_bytes).acquire_many_owned(bytes).await.map_err(|_| LogError::Closed)?;
        let command = Command::Append { id, text, room, reply };
        self.commands.send(command).await.map_err(|_| self.shared.ended())
    }

    /// Signs the present state, with everything recorded so far in it, and the revision that the store has reached:
    /// this one at least. The newest checkpoint is given again where nothing has happened since.
    ///
    /// # Errors
    /// [`LogError`]: there may or may not be a new checkpoint.
    pub async fn checkpoint_now(&self, store_revision: u64) -> Result<Signed, LogError> {
        self.shared.check()?;
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Checkpoint { store_revision, reply }, answer).await
    }

    async fn ask<T>(&self, command: Command, answer: oneshot::Receiver<Result<T, LogError>>) -> Result<T, LogError> {
        self.commands.send(command).await.map_err(|_| self.shared.ended())?;
        answer.await.map_err(|_| self.shared.ended())?
    }

    /// Ends the log: everything recorded before is durable, nothing can be recorded after, and the files are free for
    /// another writer.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Close { reply }).await.is_ok() {
            // An error means that the writer has ended already.
            drop(answer.await);
        }
        self.commands.closed().await;
    }

    /// Figures for operators.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            entries: self.size(),
            waiting: self.commands.max_capacity().saturating_sub(self.commands.capacity()),
            syncs: self.shared.syncs.read(),
            failed: self.shared.check().is_err(),
        }
    }

    /// How many entries are durable.
    #[must_use]
    pub fn size(&self) -> u64 {
        *self.size.borrow()
    }

    /// Follows how many entries are durable.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.size.clone()
    }

    /// The root of the tree of the first `size` entries; nothing where there are not as many. Blocks; reads a segment
    /// at most.
    ///
    /// # Errors
    /// [`LogError`] where the log cannot be read.
    pub fn root_at(&self, size: u64) -> Result<Option<Hash>, LogError> {
        if size > self.size() {
            return Ok(None);
        }
        if let Some(signed) = self.shared.last_checkpoint().filter(|last| last.checkpoint.size == size) {
            return Ok(Some(signed.checkpoint.root));
        }
        let Some((path, mut tree)) = self.shared.segment_before(size) else {
            return Ok(None);
        };
        self.each_line(&path, Mark::HEADER, |line| {
            if tree.size() == size {
                return false;
            }
            tree.push(Hash::of_leaf(line));
            true
        })?;
        Ok((tree.size() == size).then(|| tree.root()))
    }

    /// Compares with what the store says about the log, and the other way round: the newest checkpoint that the store
    /// keeps, and the store's revision. Blocks; reads a segment at most.
    ///
    /// # Errors
    /// [`LogError::Rollback`] where one of them is behind the other; [`LogError::File`] where the log cannot be read.
    pub fn compare(&self, store_checkpoint: Option<&str>, store_revision: u64) -> Result<(), LogError> {
        let last = self.shared.last_checkpoint().map_or(0, |last| last.checkpoint.store_revision);
        if last > store_revision {
            return Err(Rollback::StoreBehind { revision: store_revision, known: last }.into());
        }
        let Some(note) = store_checkpoint else { return Ok(()) };
        let known = Checkpoint::open(note, &self.key).map_err(Rollback::Foreign)?;
        match self.root_at(known.size)? {
            None => Err(Rollback::LogBehind { entries: self.size(), known: known.size }.into()),
            Some(root) if root != known.root => Err(Rollback::LogDiffers { known: known.size }.into()),
            Some(_) => Ok(()),
        }
    }

    /// The newest checkpoint, as a signed note.
    #[must_use]
    pub fn latest_checkpoint(&self) -> Option<String> {
        self.shared.last_checkpoint().map(|signed| signed.note)
    }

    /// The key that verifies the checkpoints: `NAME+HASH+BASE64`.
    #[must_use]
    pub fn verifier_key(&self) -> String {
        self.key.to_string()
    }

    /// Whether a record of this id is among the newest [`RECENT_ENTRIES`].
    #[must_use]
    pub fn contains_recent(&self, id: &RequestId) -> bool {
        self.shared.contains_recent(id)
    }

    /// Durable entries from `from` on, with their positions: up to `limit`, [`READ_ENTRIES_MAX`] and
    /// [`READ_BYTES_MAX`]. None where there are no more. Blocks.
    ///
    /// # Errors
    /// [`LogError`] where the log cannot be read.
    pub fn read(&self, from: u64, limit: usize) -> Result<Vec<(u64, String)>, LogError> {
        let (size, limit) = (self.size(), limit.min(READ_ENTRIES_MAX));
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut next = from;
        while next < size && entries.len() < limit && bytes < READ_BYTES_MAX {
            let Some((path, mark)) = self.shared.mark_before(next) else { break };
            let (mut index, before) = (mark.index, next);
            self.each_line(&path, mark, |line| {
                if index >= next {
                    bytes += line.len();
                    if !entries.is_empty() && bytes > READ_BYTES_MAX {
                        return false;
                    }
                    entries.push((index, String::from_utf8_lossy(line).into_owned()));
                    next += 1;
                }
                index += 1;
                next < size && entries.len() < limit
            })?;
            if next == before {
                break;
            }
        }
        Ok(entries)
    }

    /// Gives the lines of a segment from a mark on, as long as `take` wants more.
    fn each_line(&self, path: &Path, mark: Mark, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), LogError> {
        let failed = |error| LogError::File(path.to_owned(), error);
        let mut file = File::open(path).map_err(failed)?;
        file.seek(SeekFrom::Start(mark.offset)).map_err(failed)?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        let mut header = mark.is_header();
        while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 {
            if line.pop_if(|byte| *byte == b'\n').is_none() {
                break;
            }
            if !header && !take(&line) {
                break;
            }
            header = false;
            line.clear();
        }
        Ok(())
    }
}
