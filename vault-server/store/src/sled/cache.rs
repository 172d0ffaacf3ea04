//! Entries that were read, or written again, lately: sled need not be asked for them.

use std::{collections::HashMap, mem, sync::Arc};

use super::{journal::Written, record::PIECE_BYTES_MAX};
use crate::{Entry, Key, Revision};

/// Bytes that are kept, about: of keys and values, and of what each of them needs besides.
const KEPT_BYTES_MAX: usize = 16 << 20;
/// What an entry needs besides its key and value, about.
const OVERHEAD_BYTES: usize = 200;

struct Kept {
    value: Arc<Vec<u8>>,
    version: u64,
    modified: Revision,
}

/// There are two generations. When the young one has its half of the bytes it becomes the old one, and what was old is
/// forgotten.
#[derive(Default)]
pub(super) struct Cache {
    young: HashMap<Key, Kept>,
    old: HashMap<Key, Kept>,
    young_bytes: usize,
}

impl Cache {
    pub(super) fn get(&self, key: &[u8]) -> Option<Entry> {
        let kept = self.young.get(key).or_else(|| self.old.get(key))?;
        Some(Entry { key: key.to_vec(), value: kept.value.to_vec(), version: kept.version, modified: kept.modified })
    }

    /// Keeps what was read.
    pub(super) fn read(&mut self, entry: &Entry) {
        let Entry { key, value, version, modified } = entry;
        if value.len() <= PIECE_BYTES_MAX {
            self.put(key.clone(), Kept { value: Arc::new(value.clone()), version: *version, modified: *modified });
        }
    }

    /// Takes note of what is in sled now. Of what is new there only what was read before is kept.
    pub(super) fn written(&mut self, key: &Key, write: &Written) {
        let is_known = self.young.contains_key(key) || self.old.contains_key(key);
        match &write.value {
            Some((head, value)) if (is_known || write.is_again()) && value.len() <= PIECE_BYTES_MAX => {
                let kept = Kept { value: Arc::clone(value), version: head.version, modified: head.value.modified };
                self.put(key.clone(), kept);
            }
            _ if is_known => {
                self.young.remove(key);
                self.old.remove(key);
            }
            _ => {}
        }
    }

    fn put(&mut self, key: Key, kept: Kept) {
        let bytes = key.len() + kept.value.len() + OVERHEAD_BYTES;
        if self.young_bytes + bytes > KEPT_BYTES_MAX / 2 {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(key, kept);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{journal::Stored, record::Head},
        *,
    };

    fn entry(key: &[u8], value: &[u8], version: u64) -> Entry {
        Entry { key: key.to_vec(), value: value.to_vec(), version, modified: Revision(version) }
    }

    fn write(value: Option<&[u8]>, version: u64, stored: Stored) -> Written {
        let value = value.map(|value| (Head::new(version, Revision(version), 0, value).unwrap(), Arc::new(value.to_vec())));
        Written { revision: Revision(version), value, stored }
    }

    fn before() -> Stored {
        Stored::Value(Head::new(1, Revision(1), 0, b"1").unwrap())
    }

    #[test]
    fn what_is_kept_is_what_is_in_sled() {
        let (mut cache, key) = (Cache::default(), b"key".to_vec());
        cache.written(&key, &write(Some(b"1"), 1, Stored::Nothing));
        assert!(cache.get(&key).is_none(), "what is new is kept when it is read");
        cache.read(&entry(&key, b"1", 1));
        assert!(cache.get(&key) == Some(entry(&key, b"1", 1)));
        cache.written(&key, &write(Some(b"2"), 2, Stored::Unknown));
        assert!(cache.get(&key) == Some(entry(&key, b"2", 2)));
        cache.written(&key, &write(None, 3, before()));
        assert!(cache.get(&key).is_none());
        cache.written(&key, &write(Some(b"4"), 4, before()));
        assert!(cache.get(&key) == Some(entry(&key, b"4", 4)), "what is written again is kept");
        cache.written(&key, &write(Some(&[0; PIECE_BYTES_MAX + 1]), 5, before()));
        assert!(cache.get(&key).is_none(), "what is large is not");
        cache.read(&entry(&key, &[0; PIECE_BYTES_MAX + 1], 5));
        assert!(cache.get(&key).is_none());
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_newest_is_there() {
        let mut cache = Cache::default();
        let value = [7; PIECE_BYTES_MAX];
        let bytes = |generation: &HashMap<Key, Kept>| -> usize {
            generation.iter().map(|(key, kept)| key.len() + kept.value.len() + OVERHEAD_BYTES).sum()
        };
        for number in 0..3 * KEPT_BYTES_MAX / PIECE_BYTES_MAX {
            cache.read(&entry(&number.to_be_bytes(), &value, 1));
            assert!(cache.get(&number.to_be_bytes()).is_some());
        }
        assert!(bytes(&cache.young) + bytes(&cache.old) <= KEPT_BYTES_MAX);
        assert!(bytes(&cache.old) > KEPT_BYTES_MAX / 2 - PIECE_BYTES_MAX - 2 * OVERHEAD_BYTES);
        // Written out of an old generation, it is not there twice.
        let oldest = cache.old.keys().next().unwrap().clone();
        cache.written(&oldest, &write(None, 2, before()));
        assert!(cache.get(&oldest).is_none());
    }
}
