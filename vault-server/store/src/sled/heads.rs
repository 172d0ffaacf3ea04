//! What the committer remembers of keys that it has looked for: it alone changes them, so that it need not look again.

use std::collections::HashMap;

use super::{journal::Written, record::Head};
use crate::Key;

/// Keys that are remembered; with one more all are forgotten.
const REMEMBERED_MAX: usize = 32_768;

/// What keys have: a value, or none.
#[derive(Default)]
pub(super) struct Heads(HashMap<Key, Option<Head>>);

impl Heads {
    /// Nothing where it is not known.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<Head>> {
        self.0.get(key).copied()
    }

    pub(super) fn put(&mut self, key: Key, head: Option<Head>) {
        if self.0.len() >= REMEMBERED_MAX {
            self.0.clear();
        }
        self.0.insert(key, head);
    }

    /// Takes note of a write. Names that come or go are not worth it: they are seldom looked for again.
    pub(super) fn written(&mut self, key: &Key, write: &Written) {
        let head = write.value.as_ref().map(|(head, _)| *head);
        if write.is_again() {
            self.put(key.clone(), head);
        } else if let Some(known) = self.0.get_mut(key) {
            *known = head;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::journal::Stored, *};
    use crate::Revision;

    fn head(version: u64) -> Head {
        Head::new(version, Revision(version), 0, b"value").unwrap()
    }

    fn write(value: Option<Head>, stored: Stored) -> Written {
        Written { revision: Revision(9), value: value.map(|head| (head, b"value".to_vec().into())), stored }
    }

    #[test]
    fn what_is_remembered_is_what_was_written_last() {
        let (mut heads, key) = (Heads::default(), b"key".to_vec());
        heads.written(&key, &write(Some(head(1)), Stored::Nothing));
        assert_eq!(heads.get(&key), None, "a new name is not remembered");
        heads.put(key.clone(), None);
        heads.written(&key, &write(Some(head(1)), Stored::Nothing));
        assert_eq!(heads.get(&key), Some(Some(head(1))));
        heads.written(&key, &write(Some(head(2)), Stored::Value(head(1))));
        assert_eq!(heads.get(&key), Some(Some(head(2))));
        heads.written(&key, &write(None, Stored::Unknown));
        assert_eq!(heads.get(&key), Some(None));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut heads = Heads::default();
        for number in 0..=REMEMBERED_MAX {
            heads.put(number.to_be_bytes().to_vec(), None);
            assert!(heads.0.len() <= REMEMBERED_MAX);
        }
        assert_eq!(heads.get(&REMEMBERED_MAX.to_be_bytes()), Some(None));
        assert_eq!(heads.get(&0_usize.to_be_bytes()), None);
    }
}
