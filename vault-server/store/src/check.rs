//! The limits of the port, checked in one place for all adapters.

use std::collections::BTreeSet;

use crate::{
    Entry, KEY_BYTES_MAX, PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, StoreError, TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX,
    Transaction, Write,
};

pub(crate) fn key(key: &[u8]) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::Limit("a key is empty"));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(StoreError::Limit("bytes in a key"));
    }
    Ok(())
}

/// Bounds may be a byte longer than a key, so that a reader can start right behind the longest.
pub(crate) const fn range(start: &[u8], end: &[u8], limit: usize) -> Result<(), StoreError> {
    if start.len() > KEY_BYTES_MAX + 1 || end.len() > KEY_BYTES_MAX + 1 {
        return Err(StoreError::Limit("bytes in a bound of a range"));
    }
    if limit == 0 || limit > PAGE_ENTRIES_MAX {
        return Err(StoreError::Limit("entries in a page"));
    }
    Ok(())
}

pub(crate) fn transaction(transaction: &Transaction) -> Result<(), StoreError> {
    if transaction.conditions.len() > TRANSACTION_OPERATIONS_MAX {
        return Err(StoreError::Limit("conditions in a transaction"));
    }
    if transaction.writes.len() > TRANSACTION_OPERATIONS_MAX {
        return Err(StoreError::Limit("writes in a transaction"));
    }
    if transaction.bytes() > TRANSACTION_BYTES_MAX {
        return Err(StoreError::Limit("bytes in a transaction"));
    }
    for condition in &transaction.conditions {
        key(condition.key())?;
    }
    let mut written = BTreeSet::new();
    for write in &transaction.writes {
        key(write.key())?;
        if !written.insert(Write::key(write)) {
            return Err(StoreError::Limit("a transaction writes a key twice"));
        }
    }
    Ok(())
}

/// A page as it grows: refuses the entry that makes it too large.
#[derive(Default)]
pub(crate) struct Page {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Page {
    pub(crate) fn push(&mut self, entry: Entry) -> Result<(), StoreError> {
        self.bytes = self.bytes.saturating_add(entry.key.len()).saturating_add(entry.value.len());
        if self.bytes > PAGE_BYTES_MAX {
            return Err(StoreError::Limit("bytes in a page"));
        }
        self.entries.push(entry);
        Ok(())
    }

    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}
