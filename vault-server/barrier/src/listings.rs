//! Directories whose names were opened before.
//!
//! Opening 10,000 names takes milliseconds, and a list of them is asked for page by page. What is remembered goes when a
//! name comes or goes below the directory, and with the keys when the vault is sealed. Whoever reads a directory says so
//! first ([`Listings::begin`]): a change that comes to an end meanwhile keeps what was read from being remembered. One
//! server works on a store, so all changes come by here.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use coffer_store::{Condition, Key, Transaction, Write};

use crate::{key::PhysicalKey, listing::Child};

/// Directories remembered.
const DIRECTORIES_MAX: usize = 64;
/// Names remembered in all of them.
const NAMES_MAX: usize = 400_000;

/// How long nothing is remembered after a transaction of which it is not known whether and when it is applied: longer than
/// any store lets one wait.
const UNCERTAIN_TIME: Duration = Duration::from_secs(300);

/// The names in some directories.
#[derive(Default)]
pub(crate) struct Listings(Mutex<Known>);

#[derive(Default)]
struct Known {
    directories: HashMap<PhysicalKey, State>,
    names: usize,
    readings: u64,
    uncertain_until: Option<Instant>,
}

enum State {
    /// It is being read: by the reading of this number, if nothing changes meanwhile.
    Reading(u64),
    Read(Arc<[Child]>),
}

/// A reading that may be remembered.
pub(crate) struct Reading(u64);

/// Names that a transaction brings or takes: their directories are forgotten when this is dropped.
pub(crate) struct Changing<'a> {
    listings: &'a Listings,
    keys: Vec<Key>,
    /// Whether it is known what became of the transaction.
    pub(crate) is_known: bool,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let mut known = self.listings.known();
        if !self.is_known && !self.keys.is_empty() {
            known.uncertain_until = Some(Instant::now() + UNCERTAIN_TIME);
            known.forget(|_| true);
        }
        if !known.directories.is_empty() {
            for key in &self.keys {
                known.forget(|directory| key.starts_with(directory.as_bytes()));
            }
        }
    }
}

impl Listings {
    /// The names in a directory, or else a reading of them begins.
    pub(crate) fn begin(&self, directory: &PhysicalKey) -> Result<Arc<[Child]>, Reading> {
        let mut known = self.known();
        if let Some(State::Read(children)) = known.directories.get(directory) {
            return Ok(Arc::clone(children));
        }
        known.readings += 1;
        let number = known.readings;
        if known.directories.len() >= DIRECTORIES_MAX {
            known.forget(|_| true);
        }
        known.directories.insert(directory.clone(), State::Reading(number));
        Err(Reading(number))
    }

    /// Remembers what was read, unless something changed meanwhile.
    pub(crate) fn end(&self, directory: &PhysicalKey, reading: &Reading, children: &Arc<[Child]>) {
        let mut known = self.known();
        if !matches!(known.directories.get(directory), Some(State::Reading(number)) if *number == reading.0) {
            return;
        }
        if known.uncertain_until.is_some_and(|until| Instant::now() < until) {
            known.directories.remove(directory);
            return;
        }
        if known.names.saturating_add(children.len()) > NAMES_MAX {
            known.forget(|_| true);
        }
        if children.len() <= NAMES_MAX {
            known.names += children.len();
            known.directories.insert(directory.clone(), State::Read(Arc::clone(children)));
        }
    }

    /// What a transaction changes about names: those that were not there, and those that are deleted.
    pub(crate) fn changing(&self, transaction: &Transaction) -> Changing<'_> {
        let absent: BTreeSet<&Key> = transaction
            .conditions
            .iter()
            .filter_map(|condition| match condition {
                Condition::Absent(key) => Some(key),
                Condition::Version(..) => None,
            })
            .collect();
        let keys = transaction.writes.iter().filter_map(|write| match write {
            Write::Put(key, _) => absent.contains(key).then(|| key.clone()),
            Write::Create(key, _) | Write::Delete(key) | Write::Erase(key) => Some(key.clone()),
        });
        Changing { listings: self, keys: keys.collect(), is_known: false }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn forget(&mut self, which: impl Fn(&PhysicalKey) -> bool) {
        let names = &mut self.names;
        self.directories.retain(|directory, state| {
            let forgotten = which(directory);
            if let (true, State::Read(children)) = (forgotten, state) {
                *names -= children.len();
            }
            !forgotten
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PhysicalKey {
        PhysicalKey::new(name.as_bytes().to_vec())
    }

    fn children(count: usize) -> Arc<[Child]> {
        vec![Child { name: b"name".to_vec(), record: true, below: false }; count].into()
    }

    /// A transaction that makes a name, or deletes it.
    fn change(listings: &Listings, key: &str, made: bool, is_known: bool) {
        let key = key.as_bytes().to_vec();
        let transaction = if made {
            Transaction { conditions: vec![Condition::Absent(key.clone())], writes: vec![Write::Put(key, Vec::new())] }
        } else {
            Transaction { conditions: vec![Condition::Version(key.clone(), 1)], writes: vec![Write::Delete(key)] }
        };
        listings.changing(&transaction).is_known = is_known;
    }

    #[test]
    fn what_was_read_is_remembered_until_something_below_changes() {
        let (listings, folder) = (Listings::default(), directory("folder/"));
        let reading = listings.begin(&folder).unwrap_err();
        listings.end(&folder, &reading, &children(2));
        change(&listings, "other/name", true, true);
        let key = b"folder/name".to_vec();
        let written =
            Transaction { conditions: vec![Condition::Version(key.clone(), 1)], writes: vec![Write::Put(key, Vec::new())] };
        listings.changing(&written).is_known = true;
        assert_eq!(listings.begin(&folder).ok().map(|children| children.len()), Some(2));
        for made in [true, false] {
            change(&listings, "folder/deep/name", made, true);
            let reading = listings.begin(&folder).unwrap_err();
            listings.end(&folder, &reading, &children(2));
        }
    }

    #[test]
    fn nothing_is_remembered_while_it_is_not_known_what_a_transaction_did() {
        let (listings, folder) = (Listings::default(), directory("folder/"));
        change(&listings, "elsewhere", true, false);
        let reading = listings.begin(&folder).unwrap_err();
        listings.end(&folder, &reading, &children(2));
        assert!(listings.begin(&folder).is_err());
    }

    #[test]
    fn what_changed_while_it_was_read_is_not_remembered() {
        let (listings, folder) = (Listings::default(), directory("folder/"));
        let first = listings.begin(&folder).unwrap_err();
        change(&listings, "folder/name", true, true);
        let second = listings.begin(&folder).unwrap_err();
        listings.end(&folder, &first, &children(1));
        assert!(listings.begin(&folder).is_err(), "the first reading is outdated");
        listings.end(&folder, &second, &children(2));
        assert!(listings.begin(&folder).is_err(), "a later reading has begun");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let listings = Listings::default();
        for number in 0..3 * DIRECTORIES_MAX {
            let folder = directory(&format!("{number}/"));
            let reading = listings.begin(&folder).unwrap_err();
            listings.end(&folder, &reading, &children(NAMES_MAX / 8));
            let known = listings.0.lock().unwrap();
            assert!(known.directories.len() <= DIRECTORIES_MAX && known.names <= NAMES_MAX);
        }
        let (folder, reading) = (directory("large/"), listings.begin(&directory("large/")).unwrap_err());
        listings.end(&folder, &reading, &children(NAMES_MAX + 1));
        assert!(listings.begin(&folder).is_err());
    }
}
