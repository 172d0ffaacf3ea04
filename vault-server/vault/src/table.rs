//! A directory of records that is kept in memory as well: few, small, read with every request.
//!
//! Changes of tables are made one at a time (under the vault's lock for changes), first in the store, then here.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
};

use coffer_barrier::{Barrier, Batch, Expect, RecordKey};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, codec};

/// A record with the version it has in the store.
pub struct Row<V> {
    /// The record.
    pub value: Arc<V>,
    /// The version of the write.
    pub version: u64,
}

impl<V> Clone for Row<V> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), version: self.version }
    }
}

pub(crate) struct Table<V> {
    directory: RecordKey,
    rows: RwLock<BTreeMap<String, Row<V>>>,
}

impl<V: Serialize + DeserializeOwned> Table<V> {
    /// The table of this directory, read from the store.
    pub(crate) async fn load(barrier: &Barrier, directory: RecordKey) -> Result<Self, Failure> {
        let mut rows = BTreeMap::new();
        for (name, record) in barrier.children_records(&directory).await? {
            let name = String::from_utf8(name).map_err(|_| Failure::internal("a table's name is not text"))?;
            let value = Arc::new(codec::decode(record.value.expose())?);
            rows.insert(name, Row { value, version: record.version });
        }
        Ok(Self { directory, rows: RwLock::new(rows) })
    }

    /// Reads the table again, where memory and store may differ.
    pub(crate) async fn reload(&self, barrier: &Barrier) -> Result<(), Failure> {
        let stored = Self::load(barrier, self.directory.clone()).await?;
        let rows = stored.rows.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.write(|before| *before = rows);
        Ok(())
    }

    pub(crate) fn find(&self, name: &str) -> Option<Row<V>> {
        self.read(|rows| rows.get(name).cloned())
    }

    pub(crate) fn all(&self) -> Vec<(String, Row<V>)> {
        self.read(|rows| rows.iter().map(|(name, row)| (name.clone(), row.clone())).collect())
    }

    /// The rows behind a name (`""` for the first), `limit` at most, and whether there are more.
    pub(crate) fn page(&self, after: &str, limit: usize, wanted: impl Fn(&V) -> bool) -> (Vec<(String, Row<V>)>, bool) {
        self.read(|rows| {
            let mut rest = rows
                .range::<str, _>((Bound::Excluded(after), Bound::Unbounded))
                .filter(|(_, row)| wanted(&row.value))
                .map(|(name, row)| (name.clone(), row.clone()));
            let page = rest.by_ref().take(limit).collect();
            (page, rest.next().is_some())
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.read(BTreeMap::is_empty)
    }

    pub(crate) fn len(&self) -> usize {
        self.read(BTreeMap::len)
    }

    /// Plans the row's new value: the write goes into the batch, and what is returned brings it here once that is done.
    pub(crate) fn put(self: &Arc<Self>, batch: &mut Batch, name: &str, value: V) -> Result<Change, Failure>
    where
        V: Send + Sync + 'static,
    {
        let version = self.find(name).map(|row| row.version);
        batch.put(self.key(name)?, version.map_or(Expect::Absent, Expect::Version), codec::encode(&value)?);
        let (table, name) = (Arc::clone(self), name.to_owned());
        let row = Row { value: Arc::new(value), version: version.unwrap_or(0) + 1 };
        Ok(Box::new(move || {
            table.write(|rows| rows.insert(name, row));
        }))
    }

    /// Takes note that a record was re-encrypted, if it is one of these rows: it is of another version from then on.
    pub(crate) fn rewritten(&self, key: &RecordKey, version: u64) {
        let mut segments = key.segments();
        let Some(name) = segments.next_back().and_then(|name| std::str::from_utf8(name).ok()) else { return };
        if key.scope() == self.directory.scope() && segments.eq(self.directory.segments()) {
            self.write(|rows| {
                if let Some(row) = rows.get_mut(name) {
                    row.version = version;
                }
            });
        }
    }

    /// Plans that the row goes; `None` where there is none.
    pub(crate) fn delete(self: &Arc<Self>, batch: &mut Batch, name: &str) -> Result<Option<Change>, Failure>
    where
        V: Send + Sync + 'static,
    {
        let Some(row) = self.find(name) else { return Ok(None) };
        batch.delete(self.key(name)?, Expect::Version(row.version));
        let (table, name) = (Arc::clone(self), name.to_owned());
        Ok(Some(Box::new(move || {
            table.write(|rows| rows.remove(&name));
        })))
    }

    fn key(&self, name: &str) -> Result<RecordKey, Failure> {
        self.directory.child(name).map_err(|_| Failure::internal("a table's name is too long"))
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<String, Row<V>>) -> T) -> T {
        look(&self.rows.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Row<V>>) -> T) -> T {
        change(&mut self.rows.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is done in memory once a batch is in the store.
pub type Change = Box<dyn FnOnce() + Send>;
