//! What the writer and everybody else know of the log in common.

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use coffer_core::{id::RequestId, measure::Durations};

use super::{LogError, RECENT_ENTRIES, is_disk_full};
use crate::{
    merkle::Tree,
    scan::{Seen, Visit, notes::Signed},
};

/// How long records may wait before the log counts as behind, and whoever writes waits for it.
const BEHIND_TIME: Duration = Duration::from_millis(100);

/// Entries from one mark to the next: what reading from anywhere reads too much, at most.
const MARK_EVERY: u64 = 512;

/// Where an entry's line begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) index: u64,
    pub(super) offset: u64,
}

impl Mark {
    /// The beginning of a segment, before its first line.
    pub(super) const HEADER: Self = Self { index: 0, offset: 0 };

    /// Whether the first line from here on is that of the file and no entry's.
    pub(super) const fn is_header(self) -> bool {
        self.offset == 0
    }
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// The tree of the entries before it.
    pub(super) before: Tree,
    /// One every [`MARK_EVERY`] entries.
    pub(super) marks: Vec<Mark>,
}

/// What there is of the log: grows with the number of segments, and by 16 bytes every [`MARK_EVERY`] entries.
#[derive(Debug, Default)]
pub(super) struct Contents {
    segments: Vec<Segment>,
    recent: VecDeque<RequestId>,
    /// How often each id is among the recent ones.
    known: HashMap<RequestId, usize>,
    pub(super) last_checkpoint: Option<Signed>,
}

impl Contents {
    pub(super) fn begin_segment(&mut self, path: &Path, before: &Tree) {
        self.segments.push(Segment { path: path.to_owned(), before: before.clone(), marks: Vec::new() });
    }

    pub(super) fn add(&mut self, index: u64, offset: u64, id: RequestId) {
        if let Some(segment) = self.segments.last_mut()
            && (index - segment.before.size()).is_multiple_of(MARK_EVERY)
        {
            segment.marks.push(Mark { index, offset });
        }
        self.add_recent(id);
    }

    /// Gives the newest segment all its marks.
    pub(super) fn mark_all(&mut self, offsets: &[u64]) {
        if let Some(segment) = self.segments.last_mut() {
            let first = segment.before.size();
            let mark = |(number, offset): (u64, &u64)| Mark { index: first + number * MARK_EVERY, offset: *offset };
            segment.marks = (0..).zip(offsets).map(mark).collect();
        }
    }

    /// The segments, in order.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The ids of the newest records, the oldest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = &RequestId> {
        self.recent.iter()
    }

    pub(super) fn add_recent(&mut self, id: RequestId) {
        if self.recent.len() == RECENT_ENTRIES
            && let Some(oldest) = self.recent.pop_front()
            && let Some(times) = self.known.get_mut(&oldest)
        {
            *times -= 1;
            if *times == 0 {
                self.known.remove(&oldest);
            }
        }
        self.recent.push_back(id);
        *self.known.entry(id).or_default() += 1;
    }
}

impl Visit for Contents {
    fn segment(&mut self, path: &Path, before: &Tree) {
        self.begin_segment(path, before);
    }

    fn entry(&mut self, entry: &Seen<'_>) {
        self.add(entry.head.index, entry.offset, entry.head.id);
    }
}

/// Shared by the log and its writer.
#[derive(Debug)]
pub(super) struct Shared {
    contents: Mutex<Contents>,
    failed: OnceLock<Failed>,
    /// Since when the oldest record waits that is not durable here yet.
    waits_since: Mutex<Option<Instant>>,
    pub(super) syncs: Durations,
}

/// Why nothing is recorded any more.
#[derive(Debug)]
struct Failed {
    reason: Arc<str>,
    disk_full: bool,
}

impl Failed {
    fn error(&self) -> LogError {
        let reason = Arc::clone(&self.reason);
        if self.disk_full { LogError::Full(reason) } else { LogError::Failed(reason) }
    }
}

impl Shared {
    pub(super) fn new(contents: Contents) -> Self {
        Self {
            contents: Mutex::new(contents),
            failed: OnceLock::new(),
            waits_since: Mutex::new(None),
            syncs: Durations::default(),
        }
    }

    /// The contents. A panic elsewhere leaves them usable: every change is one that can stand alone.
    pub(super) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes since when the oldest record waits.
    pub(super) fn note_waiting(&self, since: Option<Instant>) {
        *self.waits_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Whether records have been waiting for longer than they should.
    pub(super) fn is_behind(&self) -> bool {
        let since = *self.waits_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() > BEHIND_TIME)
    }

    /// Says that nothing can be recorded any more.
    pub(super) fn fail(&self, error: &io::Error) -> LogError {
        let failed = || Failed { reason: error.to_string().into(), disk_full: is_disk_full(error) };
        self.failed.get_or_init(failed).error()
    }

    /// Whether something can be recorded.
    pub(super) fn check(&self) -> Result<(), LogError> {
        self.failed.get().map_or(Ok(()), |failed| Err(failed.error()))
    }

    /// Why the writer is not there any more.
    pub(super) fn ended(&self) -> LogError {
        self.check().err().unwrap_or(LogError::Closed)
    }

    pub(super) fn last_checkpoint(&self) -> Option<Signed> {
        self.contents().last_checkpoint.clone()
    }

    pub(super) fn contains_recent(&self, id: &RequestId) -> bool {
        self.contents().known.contains_key(id)
    }

    /// The segment that has entry `size - 1`, and the tree before it; the first one for no entries.
    pub(super) fn segment_before(&self, size: u64) -> Option<(PathBuf, Tree)> {
        let contents = self.contents();
        let at = contents.segments.partition_point(|segment| segment.before.size() < size).saturating_sub(1);
        contents.segments.get(at).map(|segment| (segment.path.clone(), segment.before.clone()))
    }

    /// The nearest mark at or before an entry.
    pub(super) fn mark_before(&self, index: u64) -> Option<(PathBuf, Mark)> {
        let contents = self.contents();
        let at = contents.segments.partition_point(|segment| segment.before.size() <= index).checked_sub(1)?;
        let segment = contents.segments.get(at)?;
        let mark = segment.marks.partition_point(|mark| mark.index <= index).checked_sub(1)?;
        segment.marks.get(mark).map(|mark| (segment.path.clone(), *mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> RequestId {
        RequestId::from_bytes((number as u128).to_be_bytes())
    }

    #[test]
    fn the_newest_entries_are_known_and_no_more() {
        let mut contents = Contents::default();
        for number in 0..=RECENT_ENTRIES {
            contents.add(number as u64, 0, id(number));
        }
        let shared = Shared::new(contents);
        assert!(!shared.contains_recent(&id(0)));
        assert!(shared.contains_recent(&id(1)) && shared.contains_recent(&id(RECENT_ENTRIES)));
        assert_eq!(shared.contents().known.len(), RECENT_ENTRIES);
    }

    #[test]
    fn an_id_is_known_until_its_last_entry_is_old() {
        let mut contents = Contents::default();
        for number in 0..RECENT_ENTRIES {
            contents.add(number as u64, 0, id(number / 2));
        }
        let shared = Shared::new(contents);
        shared.contents().add(RECENT_ENTRIES as u64, 0, id(RECENT_ENTRIES));
        assert!(shared.contains_recent(&id(0)), "its second entry is among the newest");
        shared.contents().add(RECENT_ENTRIES as u64 + 1, 0, id(RECENT_ENTRIES));
        assert!(!shared.contains_recent(&id(0)));
    }

    #[test]
    fn entries_are_found_from_the_nearest_mark() {
        let mut contents = Contents::default();
        let mut tree = Tree::new();
        for segment in 0..3_u64 {
            contents.begin_segment(Path::new(&segment.to_string()), &tree);
            for entry in 0..2 * MARK_EVERY {
                contents.add(tree.size(), 100 + entry, id(0));
                tree.push(crate::merkle::Hash::of_leaf(b""));
            }
        }
        let shared = Shared::new(contents);
        for (index, segment, mark, offset) in [
            (0, "0", 0, 100),
            (MARK_EVERY - 1, "0", 0, 100),
            (MARK_EVERY, "0", MARK_EVERY, 100 + MARK_EVERY),
            (2 * MARK_EVERY, "1", 2 * MARK_EVERY, 100),
            (6 * MARK_EVERY - 1, "2", 5 * MARK_EVERY, 100 + MARK_EVERY),
        ] {
            let (path, found) = shared.mark_before(index).unwrap();
            assert_eq!((path.as_path(), found.index, found.offset), (Path::new(segment), mark, offset), "{index}");
        }
    }
}
