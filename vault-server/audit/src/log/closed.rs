//! What a log leaves behind when it is closed, so that opening it again need not read all of it.
//!
//! The file says how far the log had come, and how the file system knows each of its files: its inode, its bytes, and the
//! time of its last change, which only writing to it sets. It is signed with the log's key, so nobody but the log's writer can
//! make one. A file that is not what it was, whatever the reason, and nothing here is believed: then all is read.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use coffer_core::id::RequestId;
use coffer_crypto::sign::SigningKey;
use serde::{Deserialize, Serialize};

use super::{state::Contents, writer::Place};
use crate::{
    checkpoint::Checkpoint,
    format::{CHECKPOINTS_FILE, CLOSED_BYTES_MAX, CLOSED_FILE, segment_name},
    merkle::{Hash, Tree},
    note::{self, VerifierKey},
    scan::{notes::Signed, segments},
};

/// What the text begins with: no checkpoint does.
const FIRST_LINE: &str = "coffer-audit-closed 1\n";
/// How long it is waited for the file system's clock, which ticks every few milliseconds.
const TICK_TIME_MAX: Duration = Duration::from_millis(500);
/// How often that clock is looked at.
const TICK_LOOK: Duration = Duration::from_millis(1);
/// Bytes in the id of a record.
const ID_BYTES: usize = 16;

/// A file as the file system knows it. The time is that of the inode (ctime): unlike the other, no program can set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { inode: metadata.ino(), bytes: metadata.len(), changed: (metadata.ctime(), metadata.ctime_nsec()) }
    }

    fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&fs::symlink_metadata(path)?))
    }
}

/// A tree's size is told beside it.
#[derive(Serialize, Deserialize)]
struct Peaks(Vec<String>);

impl Peaks {
    fn of(tree: &Tree) -> Self {
        Self(tree.peaks().iter().map(ToString::to_string).collect())
    }

    fn tree(&self, size: u64) -> Option<Tree> {
        let peaks: Result<Vec<Hash>, _> = self.0.iter().map(|peak| peak.parse()).collect();
        Tree::from_peaks(size, peaks.ok()?)
    }
}

#[derive(Serialize, Deserialize)]
struct Segment {
    first: u64,
    before: Peaks,
    /// Where its marks are.
    marks: Vec<u64>,
    stamp: Stamp,
}

#[derive(Serialize, Deserialize)]
struct Closed {
    size: u64,
    tree: Peaks,
    segments: Vec<Segment>,
    checkpoints: Stamp,
    last_checkpoint: Option<String>,
    /// The newest records' ids, one behind the other, in base64.
    recent: String,
}

/// A log that is as it was closed.
pub(super) struct Reopened {
    pub(super) contents: Contents,
    pub(super) tree: Tree,
    /// The last segment, and how many bytes it has.
    pub(super) end: (PathBuf, u64),
    /// Bytes in the file with the checkpoints.
    pub(super) checkpoints: u64,
}

/// Notes how the log is now. Every byte of it must be durable already, and the lock its writer's.
pub(super) fn write(place: &Place, lock: &File, contents: &Contents, tree: &Tree, key: &SigningKey) -> io::Result<()> {
    let mut segments = Vec::new();
    for segment in contents.segments() {
        let marks = segment.marks.iter().map(|mark| mark.offset).collect();
        let stamp = Stamp::read(&segment.path)?;
        segments.push(Segment { first: segment.before.size(), before: Peaks::of(&segment.before), marks, stamp });
    }
    let checkpoints = Stamp::read(&place.dir.join(CHECKPOINTS_FILE))?;
    let newest = segments.iter().map(|segment| segment.stamp.changed).chain([checkpoints.changed]).max();
    wait_for_tick(lock, newest.unwrap_or_default())?;
    let recent: Vec<u8> = contents.recent().flat_map(|id| *id.as_bytes()).collect();
    let closed = Closed {
        size: tree.size(),
        tree: Peaks::of(tree),
        segments,
        checkpoints,
        last_checkpoint: contents.last_checkpoint.as_ref().map(|last| last.note.clone()),
        recent: BASE64_STANDARD.encode(recent),
    };
    let text = format!("{FIRST_LINE}{}\n", serde_json::to_string(&closed)?);
    let note = note::sign(&text, &place.origin.to_string(), key).map_err(io::Error::other)?;
    if note.len() > CLOSED_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    place.begin_file(CLOSED_FILE, note.trim_end_matches('\n'))?;
    Ok(())
}

/// Waits until the file system's clock is past a time: what is changed after this has a later time than that.
fn wait_for_tick(lock: &File, newest: (i64, i64)) -> io::Result<()> {
    let began = Instant::now();
    loop {
        // Cutting a file to the length that it has sets its time as well.
        lock.set_len(0)?;
        if Stamp::of(&lock.metadata()?).changed > newest {
            return Ok(());
        }
        if began.elapsed() > TICK_TIME_MAX {
            return Err(io::Error::other("the file system's clock stands, or the log's files are from the future"));
        }
        thread::park_timeout(TICK_LOOK);
    }
}

/// The log in this folder, where it is in all as it was closed.
pub(super) fn read(dir: &Path, key: &VerifierKey) -> Option<Reopened> {
    let path = dir.join(CLOSED_FILE);
    if fs::symlink_metadata(&path).ok()?.len() > CLOSED_BYTES_MAX as u64 {
        return None;
    }
    let note = fs::read_to_string(path).ok()?;
    let json = note::open(&note, key).ok()?.strip_prefix(FIRST_LINE)?;
    let closed: Closed = serde_json::from_str(json).ok()?;
    closed.reopen(dir, key)
}

impl Closed {
    fn reopen(self, dir: &Path, key: &VerifierKey) -> Option<Reopened> {
        let named = |first: u64| dir.join(segment_name(first));
        let is_there = |segment: &Segment| Stamp::read(&named(segment.first)).ok() == Some(segment.stamp);
        let found = segments(dir).ok()?;
        let same = Stamp::read(&dir.join(CHECKPOINTS_FILE)).ok()? == self.checkpoints
            && found.iter().map(|(first, _)| *first).eq(self.segments.iter().map(|segment| segment.first))
            && self.segments.iter().all(is_there);
        if !same {
            return None;
        }
        let tree = self.tree.tree(self.size)?;
        let last = self.segments.last()?;
        let end = (named(last.first), last.stamp.bytes);
        let mut contents = Contents::default();
        for segment in &self.segments {
            contents.begin_segment(&named(segment.first), &segment.before.tree(segment.first)?);
            contents.mark_all(&segment.marks);
        }
        for id in BASE64_STANDARD.decode(&self.recent).ok()?.chunks_exact(ID_BYTES) {
            contents.add_recent(RequestId::from_bytes(id.try_into().ok()?));
        }
        contents.last_checkpoint = match self.last_checkpoint {
            Some(note) => Some(Signed { checkpoint: Checkpoint::open(&note, key).ok()?, note }),
            None => None,
        };
        Some(Reopened { contents, tree, end, checkpoints: self.checkpoints.bytes })
    }
}
