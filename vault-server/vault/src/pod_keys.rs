//! Which keys pods log in with: a second one for a living pod is worth an alarm.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Pods remembered.
const PODS_MAX: usize = 10_000;

/// The last key of each pod, as far as remembered.
#[derive(Default)]
pub(crate) struct PodKeys(Mutex<BTreeMap<String, [u8; 32]>>);

impl PodKeys {
    /// Notes a pod's key, and says whether the pod had another before. An agent that was started again has a new key
    /// too: this is a sign, no proof.
    pub(crate) fn another(&self, uid: &str, key: [u8; 32]) -> bool {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= PODS_MAX && !keys.contains_key(uid) {
            keys.pop_first();
        }
        keys.insert(uid.to_owned(), key).is_some_and(|before| before != key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_key_of_a_pod_is_noticed_and_the_same_again_is_not() {
        let keys = PodKeys::default();
        assert!(!keys.another("a", [1; 32]));
        assert!(!keys.another("a", [1; 32]));
        assert!(!keys.another("b", [2; 32]));
        assert!(keys.another("a", [2; 32]));
    }
}
