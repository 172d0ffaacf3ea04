//! What readers and the committer share, and how it is read.

use std::{
    collections::BTreeMap,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{OnceLock, PoisonError, RwLock, TryLockError},
};

use sled::{Db, IVec};

use super::{
    engine_error,
    record::{HEADS_END, Head, head_key, key_of},
};
use crate::{Entry, Key, Revision, StoreError, check::Page, feed::Hub};

pub(super) struct Shared {
    pub(super) engine: RwLock<Engine>,
    pub(super) hub: Hub,
    /// Why nothing works any more, once something was not written.
    pub(super) broken: OnceLock<String>,
}

pub(super) struct Engine {
    /// `None` once the store is closed.
    pub(super) db: Option<Db>,
    /// Heads as they were before the batch that is in sled but not yet durable: what readers see instead.
    pub(super) before: BTreeMap<Key, Option<IVec>>,
    /// The newest durable revision.
    pub(super) revision: Revision,
}

impl Shared {
    /// Refuses once something was not written.
    pub(super) fn healthy(&self) -> Result<(), StoreError> {
        match self.broken.get() {
            None => Ok(()),
            Some(reason) => Err(StoreError::Unavailable(format!("stopped after an error: {reason}").into())),
        }
    }

    /// Runs a read, after waiting for the committer where that is changing something.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Engine) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.healthy()?;
        guarded(&self.engine.read().unwrap_or_else(PoisonError::into_inner), read)
    }

    /// Runs a read, or does not where it would have to wait.
    pub(super) fn try_read<T>(&self, read: impl FnOnce(&Engine) -> Result<T, StoreError>) -> Option<Result<T, StoreError>> {
        if let Err(error) = self.healthy() {
            return Some(Err(error));
        }
        match self.engine.try_read() {
            Ok(engine) => Some(guarded(&engine, read)),
            Err(TryLockError::Poisoned(engine)) => Some(guarded(&engine.into_inner(), read)),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// sled has been seen to panic on damaged files: that is damage, not a bug of the caller's.
fn guarded<T>(engine: &Engine, read: impl FnOnce(&Engine) -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(|| read(engine)))
        .unwrap_or_else(|_| Err(StoreError::Corrupt("sled panicked while reading".into())))
}

impl Engine {
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        let db = self.db()?;
        let record = match self.before.get(key) {
            Some(before) => before.clone(),
            None => db.get(head_key(key)).map_err(engine_error)?,
        };
        record.map(|record| load(db, key.to_vec(), &record)).transpose()
    }

    pub(super) fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut page = Page::default();
        if !end.is_empty() && start >= end {
            return Ok(page.into_entries());
        }
        let db = self.db()?;
        let upper = if end.is_empty() { HEADS_END.to_vec() } else { head_key(end) };
        let mut stored = db.range((Bound::Included(head_key(start)), Bound::Excluded(upper))).map(|item| {
            let (key, record) = item.map_err(engine_error)?;
            Ok::<_, StoreError>((key_of(&key)?.to_vec(), record))
        });
        let upper = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        let mut before = self.before.range::<[u8], _>((Bound::Included(start), upper)).peekable();
        let mut next = stored.next().transpose()?;
        while page.len() < limit {
            let changed = before.next_if(|(key, _)| next.as_ref().is_none_or(|(stored, _)| *key <= stored));
            let (key, record) = match (changed, next) {
                (None, None) => break,
                (None, Some(unchanged)) => {
                    next = stored.next().transpose()?;
                    unchanged
                }
                (Some((key, record)), current) => {
                    next = if current.as_ref().is_some_and(|(stored, _)| stored == key) {
                        stored.next().transpose()?
                    } else {
                        current
                    };
                    let Some(record) = record else { continue };
                    (key.clone(), record.clone())
                }
            };
            page.push(load(db, key, &record)?)?;
        }
        Ok(page.into_entries())
    }

    fn db(&self) -> Result<&Db, StoreError> {
        self.db.as_ref().ok_or_else(|| StoreError::Unavailable("the store was closed".into()))
    }
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
    use std::collections::BTreeMap;

    use super::{Engine, Head, IVec, Revision, head_key};

    fn record(key: &[u8], value: &[u8], revision: u64) -> IVec {
        Head::new(1, Revision(revision), 0, value).unwrap().encode(key, value).into()
    }

    /// Changed, made, left alone, deleted: the batch of revision 2 is in sled, and not yet durable.
    fn engine(folder: &std::path::Path) -> Engine {
        let db = sled::Config::new().path(folder).open().unwrap();
        for (key, revision) in [(b"changed", 2), (b"made...", 2), (b"alone..", 1)] {
            db.insert(head_key(key), record(key, &[revision], revision.into())).unwrap();
        }
        let before = BTreeMap::from([
            (b"changed".to_vec(), Some(record(b"changed", &[1], 1))),
            (b"made...".to_vec(), None),
            (b"deleted".to_vec(), Some(record(b"deleted", &[1], 1))),
        ]);
        Engine { db: Some(db), before, revision: Revision(1) }
    }

    #[test]
    fn what_is_not_durable_is_not_seen() {
        let folder = tempfile::tempdir().unwrap();
        let mut engine = engine(folder.path());
        let seen = |engine: &Engine, start: &[u8], end: &[u8], limit| -> Vec<(String, u64)> {
            let page = engine.range(start, end, limit).unwrap();
            page.into_iter().map(|entry| (String::from_utf8(entry.key).unwrap(), entry.modified.0)).collect()
        };
        let durable = [("alone..".into(), 1), ("changed".into(), 1), ("deleted".into(), 1)];
        assert_eq!(seen(&engine, b"", b"", 10), durable);
        assert_eq!(seen(&engine, b"", b"", 2), durable[..2]);
        assert_eq!(seen(&engine, b"b", b"d", 10), durable[1..2]);
        assert_eq!(seen(&engine, b"changed\0", b"", 10), durable[2..]);
        assert_eq!(engine.get(b"changed").unwrap().unwrap().value, [1]);
        assert_eq!(engine.get(b"made...").unwrap(), None);
        assert_eq!(engine.get(b"deleted").unwrap().unwrap().value, [1]);

        engine.before.clear();
        assert_eq!(seen(&engine, b"", b"", 10), [("alone..".into(), 1), ("changed".into(), 2), ("made...".into(), 2)]);
    }
}
