//! The thread that writes the log.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use coffer_core::id::RequestId;
use coffer_crypto::sign::SigningKey;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::{LogError, Receipt, closed, state::Shared};
use crate::{
    checkpoint::{Checkpoint, Origin},
    files::{AppendFile, Files},
    format::{BATCH_BYTES_MAX, NEW_SUFFIX, segment_header, segment_name},
    merkle::{Hash, Tree},
    scan::notes::Signed,
};

type Reply<T> = oneshot::Sender<Result<T, LogError>>;

/// How long records wait for a sync whose callers wait for none: they are durable elsewhere. Whatever else is recorded
/// takes them along.
const LAZY_TIME_MAX: Duration = Duration::from_millis(20);
/// How often it is looked whether that time is over.
const LAZY_LOOK: Duration = Duration::from_millis(2);
/// Bytes of such records that are held back, at most.
const LAZY_BYTES_MAX: usize = 1 << 20;
/// How long a sync waits for more records, at most.
const GATHER_TIME_MAX: Duration = Duration::from_millis(1);
/// How often it looks whether there are any.
const GATHER_LOOK: Duration = Duration::from_micros(200);

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Command {
    /// Make a record durable.
    Append {
        id: RequestId,
        /// The record as a JSON object.
        text: Vec<u8>,
        /// Its place in the queue.
        room: OwnedSemaphorePermit,
        reply: Caller,
    },
    /// Sign what there is.
    Checkpoint { store_revision: u64, reply: Reply<Signed> },
    /// End.
    Close { reply: oneshot::Sender<()> },
}

/// Who is told that a record is durable.
pub(super) enum Caller {
    /// Somebody who waits for it.
    Waits(Reply<Receipt>),
    /// Somebody who does not: the record is durable elsewhere until then.
    IsTold(Arc<dyn Fn(RequestId) + Send + Sync>),
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Waits(_) => "Waits",
            Self::IsTold(_) => "IsTold",
        })
    }
}

/// Where the log's files are.
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) origin: Origin,
    pub(super) files: Box<dyn Files>,
}

impl Place {
    /// Makes a file that begins with this line: its path, the file, and the bytes in it. It has its name only when the
    /// line is durable.
    pub(super) fn begin_file(&self, name: &str, header: &str) -> io::Result<(PathBuf, Box<dyn AppendFile>, u64)> {
        let (path, new) = (self.dir.join(name), self.dir.join(format!("{name}{NEW_SUFFIX}")));
        let mut file = self.files.create(&new)?;
        let line = format!("{header}\n");
        file.append(line.as_bytes())?;
        file.sync()?;
        self.files.rename(&new, &path)?;
        self.files.sync_dir(&self.dir)?;
        Ok((path, file, line.len() as u64))
    }

    /// Makes the segment that goes on behind the entries of this tree.
    pub(super) fn begin_segment(&self, tree: &Tree) -> io::Result<(PathBuf, Box<dyn AppendFile>, u64)> {
        self.begin_file(&segment_name(tree.size()), &segment_header(&self.origin, tree.size(), &tree.root()))
    }
}

/// Answers; whoever asked may have gone, and what was done stays done.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    drop(reply.send(value));
}

/// An entry of a batch that is not durable yet.
struct Pending {
    id: RequestId,
    index: u64,
    /// Where its line begins in the batch.
    offset: u64,
    leaf: Hash,
    reply: Caller,
    /// Held until it is durable.
    _room: OwnedSemaphorePermit,
}

/// The lines of one write.
#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    pending: Vec<Pending>,
    /// How many callers wait for it.
    waiting: usize,
    /// When its first record came.
    since: Option<Instant>,
}

impl Batch {
    /// Whether it must be made durable now.
    fn is_due(&self) -> bool {
        self.waiting > 0 || self.lines.len() >= LAZY_BYTES_MAX || self.since.is_some_and(|since| since.elapsed() >= LAZY_TIME_MAX)
    }
}

pub(super) struct Writer {
    pub(super) place: Place,
    pub(super) key: SigningKey,
    pub(super) tree: Tree,
    pub(super) segment: Box<dyn AppendFile>,
    /// Bytes in the segment.
    pub(super) written: u64,
    pub(super) segment_bytes: u64,
    pub(super) checkpoints: Box<dyn AppendFile>,
    pub(super) shared: Arc<Shared>,
    pub(super) size: watch::Sender<u64>,
    /// How many callers the last sync served: those are likely to come again.
    pub(super) served: usize,
    /// Held as long as the writer is there.
    pub(super) lock: File,
}

impl Writer {
    /// Does what it is asked until it is closed, or until nobody is left who could ask.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut batch = Batch::default();
        let mut next = commands.blocking_recv();
        while let Some(command) = next {
            next = match command {
                Command::Close { reply } => {
                    self.sync(&mut batch);
                    self.note_closed();
                    drop(self);
                    answer(reply, ());
                    return;
                }
                Command::Checkpoint { store_revision, reply } => {
                    self.sync(&mut batch);
                    answer(reply, self.checkpoint(store_revision));
                    None
                }
                append @ Command::Append { .. } => self.append(append, &mut batch, &mut commands),
            };
            next = next.or_else(|| self.next(&mut batch, &mut commands));
        }
        self.sync(&mut batch);
    }

    /// The next command. What nobody waits for becomes durable while none comes.
    fn next(&mut self, batch: &mut Batch, commands: &mut mpsc::Receiver<Command>) -> Option<Command> {
        while !batch.lines.is_empty() {
            match commands.try_recv() {
                Ok(command) => return Some(command),
                Err(mpsc::error::TryRecvError::Empty) if !batch.is_due() => thread::park_timeout(LAZY_LOOK),
                Err(_) => self.sync(batch),
            }
        }
        commands.blocking_recv()
    }

    /// Takes a record, and all that wait behind it and fit, and makes them durable where somebody waits for it. Gives
    /// back the command that does not fit.
    fn append(&mut self, first: Command, batch: &mut Batch, commands: &mut mpsc::Receiver<Command>) -> Option<Command> {
        let mut next = self.gather(Some(first), batch, commands);
        // Those that were served last time are waited for, and where there are more already, for those that come as fast.
        let (began, more) = (Instant::now(), batch.waiting > self.served && self.served > 0);
        while next.is_none() && batch.waiting > 0 && (more || batch.waiting < self.served) && began.elapsed() < GATHER_TIME_MAX {
            let before = batch.waiting;
            thread::park_timeout(GATHER_LOOK);
            next = commands.try_recv().ok().and_then(|command| self.gather(Some(command), batch, commands));
            if more && batch.waiting == before {
                break;
            }
        }
        if batch.is_due() {
            self.sync(batch);
        }
        next
    }

    /// Takes all the records that wait. Gives back the command that is none, or does not fit.
    fn gather(&self, mut next: Option<Command>, batch: &mut Batch, commands: &mut mpsc::Receiver<Command>) -> Option<Command> {
        while let Some(command) = next {
            if let Some(other) = self.put(batch, command) {
                return Some(other);
            }
            next = commands.try_recv().ok();
        }
        None
    }

    /// Makes a batch durable, and says so to its callers.
    fn sync(&mut self, batch: &mut Batch) {
        let batch = std::mem::take(batch);
        if batch.pending.is_empty() {
            return;
        }
        self.served = batch.waiting;
        let rolled = self.shared.check().and_then(|()| self.roll().map_err(|error| self.fail(&error)));
        let durable = rolled.and_then(|()| self.write(&batch.lines).map_err(|error| self.fail(&error)));
        match durable {
            Ok(()) => {
                self.shared.note_waiting(None);
                self.acknowledge(batch);
            }
            Err(_) => {
                for pending in batch.pending {
                    if let Caller::Waits(reply) = pending.reply {
                        answer(reply, Err(self.shared.ended()));
                    }
                }
            }
        }
    }

    /// Puts a record into the batch. Gives the command back where it is none, or does not fit.
    fn put(&self, batch: &mut Batch, command: Command) -> Option<Command> {
        let Command::Append { id, text, room, reply } = command else {
            return Some(command);
        };
        let index = self.tree.size() + batch.pending.len() as u64;
        let head = format!("{{\"index\":{index},");
        let record = text.strip_prefix(b"{").unwrap_or(&text);
        if !batch.lines.is_empty() && batch.lines.len() + head.len() + record.len() + 1 > BATCH_BYTES_MAX {
            return Some(Command::Append { id, text, room, reply });
        }
        if batch.since.is_none() {
            batch.since = Some(Instant::now());
            self.shared.note_waiting(batch.since);
        }
        batch.waiting += usize::from(matches!(reply, Caller::Waits(_)));
        let begin = batch.lines.len();
        batch.lines.extend_from_slice(head.as_bytes());
        batch.lines.extend_from_slice(record);
        let leaf = Hash::of_leaf(batch.lines.get(begin..).unwrap_or_default());
        batch.lines.push(b'\n');
        batch.pending.push(Pending { id, index, offset: begin as u64, leaf, reply, _room: room });
        None
    }

    /// Begins the next segment where this one is full.
    fn roll(&mut self) -> io::Result<()> {
        if self.written >= self.segment_bytes {
            let path;
            (path, self.segment, self.written) = self.place.begin_segment(&self.tree)?;
            self.shared.contents().begin_segment(&path, &self.tree);
        }
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let began = Instant::now();
        self.segment.append(lines)?;
        self.segment.sync()?;
        self.shared.syncs.observe(began.elapsed());
        self.written += lines.len() as u64;
        Ok(())
    }

    fn acknowledge(&mut self, batch: Batch) {
        let mut contents = self.shared.contents();
        let begin = self.written - batch.lines.len() as u64;
        for pending in &batch.pending {
            self.tree.push(pending.leaf);
            contents.add(pending.index, begin + pending.offset, pending.id);
        }
        drop(contents);
        self.size.send_replace(self.tree.size());
        for pending in batch.pending {
            match pending.reply {
                Caller::Waits(reply) => answer(reply, Ok(Receipt { index: pending.index })),
                Caller::IsTold(told) => told(pending.id),
            }
        }
    }

    fn checkpoint(&mut self, store_revision: u64) -> Result<Signed, LogError> {
        self.shared.check()?;
        let last = self.shared.last_checkpoint();
        let known = last.as_ref().map_or(0, |last| last.checkpoint.store_revision);
        let store_revision = store_revision.max(known);
        let unchanged = |last: &Signed| last.checkpoint.size == self.tree.size() && known == store_revision;
        if let Some(last) = last.filter(unchanged) {
            return Ok(last);
        }
        let (origin, size, root) = (self.place.origin.clone(), self.tree.size(), self.tree.root());
        let checkpoint = Checkpoint { origin, size, root, store_revision };
        let note = checkpoint.sign(&self.key);
        let written = self.checkpoints.append(format!("{note}\n").as_bytes()).and_then(|()| self.checkpoints.sync());
        written.map_err(|error| self.fail(&error))?;
        let signed = Signed { checkpoint, note };
        self.shared.contents().last_checkpoint = Some(signed.clone());
        Ok(signed)
    }

    /// Leaves behind what makes the next opening short. Where that cannot be, the next one reads everything.
    fn note_closed(&self) {
        if self.shared.check().is_err() {
            return;
        }
        if let Err(error) = closed::write(&self.place, &self.lock, &self.shared.contents(), &self.tree, &self.key) {
            tracing::warn!(%error, "how the audit log was closed cannot be noted: the next start reads all of it");
        }
    }

    fn fail(&self, error: &io::Error) -> LogError {
        tracing::error!(%error, "the audit log failed: nothing is recorded, and nothing answered, until a restart");
        self.shared.fail(error)
    }
}
