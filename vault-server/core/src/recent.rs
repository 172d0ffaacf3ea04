//! A bounded memory of what was computed lately.

use std::{borrow::Borrow, collections::HashMap, hash::Hash, mem};

/// A map that keeps the entries put last: half as many as its bound at least, and never more than that.
///
/// There are two generations. When the young one is full it becomes the old one, and what was old is forgotten, so
/// that making room costs nothing.
#[derive(Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    generation_max: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// An empty map for this many entries; 2 at least.
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation_max: (entries_max / 2).max(1) }
    }

    /// The value of a key, if it is remembered.
    #[must_use]
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Remembers a value.
    pub fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation_max {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Entries remembered; one that was put again may count twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_the_newest_is_there() {
        let mut recent = Recent::new(100);
        assert!(recent.is_empty());
        for number in 0..1_000_u32 {
            recent.put(number, number * 2);
            assert!(recent.len() <= 100);
            for newest in number.saturating_sub(49)..=number {
                assert_eq!(recent.get(&newest), Some(&(newest * 2)));
            }
        }
        assert_eq!(recent.get(&0), None);
    }

    #[test]
    fn what_is_put_again_has_the_new_value() {
        let mut recent = Recent::new(2);
        recent.put("a", 1);
        recent.put("b", 2);
        recent.put("a", 3);
        assert_eq!(recent.get("a"), Some(&3));
    }
}
