//! What was made ready from a record, kept for as long as the record stays the same.
//!
//! To read a CA's certificate or all versions of a key costs as much as what is then done with it. A record is looked up each
//! time all the same: one that changed is read anew, and one that is gone is not found.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use coffer_barrier::{Record, RecordKey, Revision};

/// Records that something is kept of; past that, all is made anew.
pub const PREPARED_MAX: usize = 256;

/// What was made ready, by the record that it was made from.
pub(crate) struct Prepared<T>(Mutex<HashMap<RecordKey, (Revision, Arc<T>)>>);

impl<T> Default for Prepared<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Prepared<T> {
    fn entries(&self) -> MutexGuard<'_, HashMap<RecordKey, (Revision, Arc<T>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What belongs to a record, which `make` makes where it is not there yet or the record is another by now.
    pub(crate) fn of<E>(&self, key: &RecordKey, record: &Record, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        if let Some((of, kept)) = self.entries().get(key)
            && *of == record.modified
        {
            return Ok(Arc::clone(kept));
        }
        let made = Arc::new(make()?);
        let mut entries = self.entries();
        if entries.len() >= PREPARED_MAX && !entries.contains_key(key) {
            entries.clear();
        }
        entries.insert(key.clone(), (record.modified, Arc::clone(&made)));
        Ok(made)
    }

    /// Keeps nothing any more: something was deleted, and keys go with it.
    pub(crate) fn clear(&self) {
        self.entries().clear();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use coffer_barrier::Scope;
    use coffer_secret::SecretBytes;

    use super::*;

    fn key(number: usize) -> RecordKey {
        RecordKey::new(Scope::System, [number.to_be_bytes()]).unwrap()
    }

    fn at(prepared: &Prepared<u64>, number: usize, modified: u64) -> u64 {
        let record = Record { value: SecretBytes::default(), version: 1, modified: Revision(modified) };
        // What is made tells by which revision it was made.
        *prepared.of(&key(number), &record, || Ok::<_, Infallible>(modified)).unwrap()
    }

    #[test]
    fn something_is_made_once_for_a_record_and_anew_when_that_changes() {
        let prepared = Prepared::default();
        let record = Record { value: SecretBytes::default(), version: 1, modified: Revision(1) };
        assert_eq!(at(&prepared, 0, 1), 1);
        let again = prepared.of(&key(0), &record, || Err("it is made a second time"));
        assert_eq!(again.as_deref(), Ok(&1));
        // Another one under the same name has the same version, and another revision.
        assert_eq!(at(&prepared, 0, 2), 2);
        prepared.clear();
        assert_eq!(prepared.of(&key(0), &record, || Err("made")).err(), Some("made"));
        // What could not be made is not kept.
        assert_eq!(at(&prepared, 0, 1), 1);
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let prepared = Prepared::default();
        for number in 0..PREPARED_MAX {
            at(&prepared, number, 1);
        }
        assert_eq!(prepared.entries().len(), PREPARED_MAX);
        at(&prepared, 0, 2);
        assert_eq!(prepared.entries().len(), PREPARED_MAX);
        at(&prepared, PREPARED_MAX, 1);
        assert_eq!(prepared.entries().len(), 1);
    }
}
