//! What readers and the committer share, and how it is read.

use std::{
    collections::{BTreeMap, btree_map},
    io, mem,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError},
};

use sled::Db;

use super::{
    cache::Cache,
    engine_error,
    journal::{Journal, Stored, Written},
    record::{HEADS_END, Head, head_key, key_of},
};
use crate::{Entry, Key, Revision, StoreError, check::Page, feed::Hub, is_disk_full};

/// Writes that are noted at once when they are in sled.
const NOTED_AT_ONCE: usize = 32;

pub(super) struct Shared {
    /// Who needs several of these locks takes them in this order.
    pub(super) journal: Mutex<Journal>,
    /// Told when the journal has turned to its other file, and when it never will.
    pub(super) turned: Condvar,
    /// `None` once the store is closed. sled makes readers wait while it takes a batch, wherever they are: whoever gives
    /// it one locks this, so that those who cannot wait see it.
    pub(super) engine: RwLock<Option<Db>>,
    /// Locked by whoever reads a page, and by the merger for each record that it changes: a page is of one moment.
    pub(super) pages: RwLock<()>,
    pub(super) newest: RwLock<Newest>,
    pub(super) hub: Hub,
    /// Why nothing works any more, once something was not written.
    pub(super) broken: OnceLock<Broken>,
}

/// Why a store stopped.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    reason: String,
    disk_full: bool,
}

impl Broken {
    pub(super) fn new(reason: &str) -> Self {
        Self { reason: reason.to_owned(), disk_full: false }
    }

    /// By what the system said.
    pub(super) fn by(error: &io::Error) -> Self {
        Self { reason: error.to_string(), disk_full: is_disk_full(error) }
    }

    /// By a failure of the store's own.
    pub(super) fn by_store(error: &StoreError) -> Self {
        let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        Self { reason: cause, disk_full: error.is_disk_full() }
    }

    /// The same, for one more caller.
    pub(super) fn cause(&self) -> Box<io::Error> {
        let kind = if self.disk_full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        Box::new(io::Error::new(kind, format!("stopped after an error: {}", self.reason)))
    }
}

/// What is not durably in sled: readers see it instead of what is there. Locked for moments only.
pub(super) struct Newest {
    /// What has come to the journal since the merger began.
    written: BTreeMap<Key, Written>,
    /// What the merger puts into sled now.
    merging: Arc<BTreeMap<Key, Written>>,
    /// Some of what is in sled.
    cache: Cache,
    /// How often something was merged.
    merges: u64,
    /// The newest durable revision.
    pub(super) revision: Revision,
}

impl Newest {
    pub(super) fn new(revision: Revision) -> Self {
        Self { written: BTreeMap::new(), merging: Arc::default(), cache: Cache::default(), merges: 0, revision }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Written> {
        self.written.get(key).or_else(|| self.merging.get(key))
    }

    /// The writes of a range, in order.
    fn range(&self, start: &[u8], upper: Bound<&[u8]>) -> Vec<(Key, Written)> {
        let bounds = (Bound::Included(start), upper);
        let mut found = self.merging.range::<[u8], _>(bounds).map(copied).collect::<BTreeMap<_, _>>();
        found.extend(self.written.range::<[u8], _>(bounds).map(copied));
        found.into_iter().collect()
    }

    /// Adds what has become durable in the journal.
    pub(super) fn add(&mut self, writes: Vec<(Key, Written)>, revision: Revision) {
        for (key, mut write) in writes {
            match self.written.entry(key) {
                btree_map::Entry::Vacant(place) => _ = place.insert(write),
                btree_map::Entry::Occupied(mut before) => {
                    write.stored = before.get().stored;
                    if write.value.is_none() && write.stored == Stored::Nothing {
                        // It came and went before sled heard of it.
                        before.remove();
                    } else {
                        before.insert(write);
                    }
                }
            }
        }
        self.revision = revision;
    }

    /// What is to be merged now; [`Shared::merged`] ends it.
    pub(super) fn merge(&mut self) -> Arc<BTreeMap<Key, Written>> {
        self.merging = Arc::new(mem::take(&mut self.written));
        Arc::clone(&self.merging)
    }

    /// The key's entry, where it is in memory. Otherwise how often something was merged: what is then found in sled may be kept
    /// as long as that is the same.
    fn entry(&self, key: &[u8]) -> Result<Option<Entry>, u64> {
        match self.get(key) {
            Some(write) => Ok(entry(key, write)),
            None => self.cache.get(key).map(Some).ok_or(self.merges),
        }
    }
}

fn copied((key, write): (&Key, &Written)) -> (Key, Written) {
    (key.clone(), write.clone())
}

impl Shared {
    /// Refuses once something was not written.
    pub(super) fn healthy(&self) -> Result<(), StoreError> {
        match self.broken.get() {
            None => Ok(()),
            Some(broken) => Err(StoreError::Unavailable(broken.cause())),
        }
    }

    /// Nothing works from now on.
    pub(super) fn give_up(&self, broken: Broken) -> &Broken {
        tracing::error!(reason = broken.reason, "the store stops: something was not written");
        self.broken.get_or_init(|| broken)
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn newest(&self) -> RwLockReadGuard<'_, Newest> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn newest_mut(&self) -> RwLockWriteGuard<'_, Newest> {
        self.newest.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key's entry; nothing where sled would have to be waited for.
    pub(super) fn try_get(&self, key: &[u8]) -> Option<Result<Option<Entry>, StoreError>> {
        if let Err(error) = self.healthy() {
            return Some(Err(error));
        }
        let known = self.newest().entry(key);
        let merges = match known {
            Ok(entry) => return Some(Ok(entry)),
            Err(merges) => merges,
        };
        // What has left the journal's writes since then is in sled.
        let engine = match self.engine.try_read() {
            Ok(engine) => engine,
            Err(TryLockError::Poisoned(engine)) => engine.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(self.stored(engine.as_ref(), key, merges))
    }

    /// The key's entry, after waiting for sled where it is changing something.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.healthy()?;
        // Bound to a name, so that the lock is let go.
        let known = self.newest().entry(key);
        match known {
            Ok(entry) => Ok(entry),
            Err(merges) => self.stored(self.engine().as_ref(), key, merges),
        }
    }

    /// The key's entry in sled; it is kept, unless it may have changed meanwhile.
    fn stored(&self, engine: Option<&Db>, key: &[u8], merges: u64) -> Result<Option<Entry>, StoreError> {
        let found = guarded(engine, |db| stored(db, key))?;
        if let Some(entry) = &found {
            let mut newest = self.newest_mut();
            if newest.merges == merges && newest.get(key).is_none() {
                newest.cache.read(entry);
            }
        }
        Ok(found)
    }

    /// These writes are in sled: they need not be remembered but for what is kept of it.
    pub(super) fn merged(&self, writes: &BTreeMap<Key, Written>) {
        // Readers see the writes until all are noted, and need not wait for that.
        let mut writes = writes.iter().peekable();
        while writes.peek().is_some() {
            let mut newest = self.newest_mut();
            writes.by_ref().take(NOTED_AT_ONCE).for_each(|(key, write)| newest.cache.written(key, write));
        }
        let mut newest = self.newest_mut();
        newest.merging = Arc::default();
        newest.merges += 1;
    }

    pub(super) fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.healthy()?;
        if !end.is_empty() && start >= end {
            return Ok(Vec::new());
        }
        let _page = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        let engine = self.engine();
        let upper = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        // Copied, so that nobody waits while sled is read.
        let written = self.newest().range(start, upper);
        guarded(engine.as_ref(), |db| range(db, &written, start, end, limit))
    }

    fn engine(&self) -> RwLockReadGuard<'_, Option<Db>> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// sled has been seen to panic on damaged files: that is damage, not a bug of the caller's.
fn guarded<T>(db: Option<&Db>, read: impl FnOnce(&Db) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let db = db.ok_or_else(|| StoreError::Unavailable("the store was closed".into()))?;
    catch_unwind(AssertUnwindSafe(|| read(db))).unwrap_or_else(|_| Err(StoreError::Corrupt("sled panicked while reading".into())))
}

/// What is known of the key's value in sled.
pub(super) fn head(db: &Db, key: &[u8]) -> Result<Option<Head>, StoreError> {
    let record = db.get(head_key(key)).map_err(engine_error)?;
    record.map(|record| Head::decode(key, &record).map(|(head, _)| head)).transpose()
}

fn stored(db: &Db, key: &[u8]) -> Result<Option<Entry>, StoreError> {
    let record = db.get(head_key(key)).map_err(engine_error)?;
    record.map(|record| load(db, key.to_vec(), &record)).transpose()
}

/// A page of what is in sled, and what was written to that range since.
fn range(db: &Db, written: &[(Key, Written)], start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
    let mut page = Page::default();
    let upper = if end.is_empty() { HEADS_END.to_vec() } else { head_key(end) };
    let mut stored = db.range((Bound::Included(head_key(start)), Bound::Excluded(upper))).map(|item| {
        let (key, record) = item.map_err(engine_error)?;
        Ok::<_, StoreError>((key_of(&key)?.to_vec(), record))
    });
    let mut written = written.iter().peekable();
    let mut next = stored.next().transpose()?;
    while page.len() < limit {
        match (written.next_if(|(key, _)| next.as_ref().is_none_or(|(stored, _)| key <= stored)), next.take()) {
            (None, None) => break,
            (None, Some((key, record))) => {
                page.push(load(db, key, &record)?)?;
                next = stored.next().transpose()?;
            }
            (Some((key, write)), current) => {
                let replaced = current.as_ref().is_some_and(|(stored, _)| stored == key);
                next = if replaced { stored.next().transpose()? } else { current };
                if let Some(entry) = entry(key, write) {
                    page.push(entry)?;
                }
            }
        }
    }
    Ok(page.into_entries())
}

/// The entry that a write made, where it did not delete the key.
fn entry(key: &[u8], write: &Written) -> Option<Entry> {
    let (head, value) = write.value.as_ref()?;
    Some(Entry { key: key.to_vec(), value: value.to_vec(), version: head.version, modified: head.value.modified })
}

/// The entry of a head's record, with the value's pieces put together.
fn load(db: &Db, key: Key, record: &[u8]) -> Result<Entry, StoreError> {
    let (head, inline) = Head::decode(&key, record)?;
    let mut value = inline.to_vec();
    for piece in head.value.pieces() {
        let piece = db.get(piece).map_err(engine_error)?;
        value.extend_from_slice(&piece.ok_or_else(|| StoreError::Corrupt("a piece of a value is missing".into()))?);
    }
    head.verify(&value)?;
    Ok(Entry { key, value, version: head.version, modified: head.value.modified })
}

#[cfg(test)]
mod tests {
    use super::{Head, Revision, Stored, Written, head_key, range};

    fn head(value: &[u8], revision: u64) -> Head {
        Head::new(1, Revision(revision), 0, value).unwrap()
    }

    fn written(value: Option<u8>) -> Written {
        let value = value.map(|value| (head(&[value], 2), vec![value].into()));
        Written { revision: Revision(2), value, stored: Stored::Unknown }
    }

    #[test]
    fn what_is_in_the_journal_is_seen_instead_of_what_is_in_sled() {
        let folder = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(folder.path()).open().unwrap();
        // Changed, made, left alone, deleted: revision 2 is in the journal, and half of it in sled, too.
        for (key, revision) in [(b"changed", 2), (b"deleted", 1), (b"alone..", 1)] {
            let record = head(&[revision], revision.into()).encode(key, &[revision]);
            db.insert(head_key(key), record).unwrap();
        }
        let newest = [
            (b"changed".to_vec(), written(Some(2))),
            (b"deleted".to_vec(), written(None)),
            (b"made...".to_vec(), written(Some(2))),
        ];
        let seen = |newest: &[_], start: &[u8], end: &[u8], limit| -> Vec<(String, u64)> {
            let page = range(&db, newest, start, end, limit).unwrap();
            page.into_iter().map(|entry| (String::from_utf8(entry.key).unwrap(), entry.modified.0)).collect()
        };
        let expected = [("alone..".into(), 1), ("changed".into(), 2), ("made...".into(), 2)];
        assert_eq!(seen(&newest, b"", b"", 10), expected);
        assert_eq!(seen(&newest, b"", b"", 2), expected[..2]);
        assert_eq!(seen(&newest[..1], b"b", b"d", 10), expected[1..2]);
        assert_eq!(seen(&newest[2..], b"e", b"", 10), expected[2..]);
        assert_eq!(seen(&[], b"", b"", 10), [("alone..".into(), 1), ("changed".into(), 2), ("deleted".into(), 1)]);
    }
}
