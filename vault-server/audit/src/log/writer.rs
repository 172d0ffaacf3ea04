//! The thread that writes the log.

use std::{fs::File, io, path::PathBuf, sync::Arc, time::Instant};

use coffer_core::id::RequestId;
use coffer_crypto::sign::SigningKey;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::{LogError, Receipt, state::Shared};
use crate::{
    checkpoint::{Checkpoint, Origin},
    files::{AppendFile, Files},
    format::{BATCH_BYTES_MAX, NEW_SUFFIX, segment_header, segment_name},
    merkle::{Hash, Tree},
    scan::notes::Signed,
};

type Reply<T> = oneshot::Sender<Result<T, LogError>>;

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
        reply: Reply<Receipt>,
    },
    /// Sign what there is.
    Checkpoint { store_revision: u64, reply: Reply<Signed> },
    /// End.
    Close { reply: oneshot::Sender<()> },
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
    /// Where its line begins in the segment.
    offset: u64,
    leaf: Hash,
    reply: Reply<Receipt>,
    /// Held until it is durable.
    _room: OwnedSemaphorePermit,
}

/// The lines of one write.
#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    pending: Vec<Pending>,
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
    /// Held as long as the writer is there.
    pub(super) _lock: File,
}

impl Writer {
    /// Does what it is asked until it is closed, or until nobody is left who could ask.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut next = commands.blocking_recv();
        while let Some(command) = next {
            next = match command {
                Command::Close { reply } => {
                    drop(self);
                    answer(reply, ());
                    return;
                }
                Command::Checkpoint { store_revision, reply } => {
                    answer(reply, self.checkpoint(store_revision));
                    None
                }
                first @ Command::Append { .. } => self.append(first, &mut commands),
            };
            next = next.or_else(|| commands.blocking_recv());
        }
    }

    /// Makes a record durable, and all that wait behind it and fit. Gives back the command that does not.
    fn append(&mut self, first: Command, commands: &mut mpsc::Receiver<Command>) -> Option<Command> {
        let rolled = self.shared.check().and_then(|()| self.roll().map_err(|error| self.fail(&error)));
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(command) = next {
            next = match self.put(&mut batch, command) {
                None => commands.try_recv().ok(),
                Some(other) => {
                    next = Some(other);
                    break;
                }
            };
        }
        let durable = rolled.and_then(|()| self.write(&batch.lines).map_err(|error| self.fail(&error)));
        match durable {
            Ok(()) => self.acknowledge(batch),
            Err(_) => {
                for pending in batch.pending {
                    answer(pending.reply, Err(self.shared.ended()));
                }
            }
        }
        next
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
        let begin = batch.lines.len();
        batch.lines.extend_from_slice(head.as_bytes());
        batch.lines.extend_from_slice(record);
        let leaf = Hash::of_leaf(batch.lines.get(begin..).unwrap_or_default());
        batch.lines.push(b'\n');
        let offset = self.written + begin as u64;
        batch.pending.push(Pending { id, index, offset, leaf, reply, _room: room });
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
        for pending in &batch.pending {
            self.tree.push(pending.leaf);
            contents.add(pending.index, pending.offset, pending.id);
        }
        drop(contents);
        self.size.send_replace(self.tree.size());
        for pending in batch.pending {
            answer(pending.reply, Ok(Receipt { index: pending.index }));
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

    fn fail(&self, error: &io::Error) -> LogError {
        tracing::error!(%error, "the audit log failed: nothing is recorded, and nothing answered, until a restart");
        self.shared.fail(&error.to_string())
    }
}
