//! A store in memory: for tests, and for servers that may forget everything.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use crate::{Change, Condition, Entry, Feed, Key, Revision, Store, StoreError, Transaction, Write, check, feed::Hub};

/// A store that lives as long as the process. Its size is bounded by what is put in.
pub struct MemoryStore {
    state: RwLock<State>,
    hub: Hub,
}

#[derive(Default)]
struct State {
    revision: Revision,
    values: BTreeMap<Key, Value>,
}

struct Value {
    bytes: Vec<u8>,
    version: u64,
    modified: Revision,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { state: RwLock::default(), hub: Hub::new(Revision(0)) }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait::async_trait]
impl Store for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        check::key(key)?;
        Ok(self.state().values.get(key).map(|value| value.entry(key)))
    }

    async fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        check::range(start, end, limit)?;
        let mut page = check::Page::default();
        if !end.is_empty() && start >= end {
            return Ok(page.into_entries());
        }
        let upper = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        for (key, value) in self.state().values.range::<[u8], _>((Bound::Included(start), upper)).take(limit) {
            page.push(value.entry(key))?;
        }
        Ok(page.into_entries())
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        check::transaction(&transaction)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if !transaction.conditions.iter().all(|condition| state.holds(condition)) {
            return Err(StoreError::Conflict);
        }
        let changes = state.apply(transaction.writes);
        let revision = state.revision;
        // Under the lock, so that readers of the feed see transactions in order.
        self.hub.publish(changes);
        drop(state);
        Ok(revision)
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.state().revision)
    }

    async fn changes(&self, since: Revision) -> Result<Feed, StoreError> {
        self.hub.subscribe(since)
    }
}

impl State {
    fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Absent(key) => !self.values.contains_key(key),
            Condition::Version(key, version) => self.values.get(key).is_some_and(|value| value.version == *version),
        }
    }

    fn apply(&mut self, writes: Vec<Write>) -> Vec<Change> {
        let revision = Revision(self.revision.0.saturating_add(1));
        let mut changes = Vec::with_capacity(writes.len());
        for write in writes {
            match write {
                Write::Put(key, bytes) | Write::Create(key, bytes) => {
                    let version = self.values.get(&key).map_or(1, |value| value.version.saturating_add(1));
                    self.values.insert(key.clone(), Value { bytes, version, modified: revision });
                    changes.push(Change { key, present: true, revision });
                }
                Write::Delete(key) | Write::Erase(key) => {
                    if self.values.remove(&key).is_some() {
                        changes.push(Change { key, present: false, revision });
                    }
                }
            }
        }
        if !changes.is_empty() {
            self.revision = revision;
        }
        changes
    }
}

impl Value {
    fn entry(&self, key: &[u8]) -> Entry {
        Entry { key: key.to_vec(), value: self.bytes.clone(), version: self.version, modified: self.modified }
    }
}
