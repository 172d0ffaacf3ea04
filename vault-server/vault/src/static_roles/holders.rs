//! Who holds a static credential: so that the one before can end as soon as everybody has the next.
//!
//! This is in memory alone. What it is not sure to know, a time limit decides.

use std::collections::BTreeMap;

use coffer_core::limits::STATIC_HOLDERS_MAX;

use crate::leases::Owner;

/// Those who hold a role's credential, with the oldest version that each may use still.
#[derive(Default)]
pub(super) struct Holders {
    oldest: BTreeMap<Owner, u64>,
    /// Whether somebody was left out.
    incomplete: bool,
}

impl Holders {
    /// Notes that this version was given out. A pod says itself when it uses no other; a person is believed to.
    pub(super) fn given(&mut self, owner: Owner, version: u64) {
        let is_operator = matches!(owner, Owner::Operator(_));
        if self.oldest.len() >= STATIC_HOLDERS_MAX && !self.oldest.contains_key(&owner) {
            self.incomplete = true;
            return;
        }
        let oldest = self.oldest.entry(owner).or_insert(version);
        if is_operator {
            *oldest = version;
        }
    }

    /// Notes that a holder uses this version, and none before.
    pub(super) fn acknowledged(&mut self, owner: &Owner, version: u64) {
        if let Some(oldest) = self.oldest.get_mut(owner) {
            *oldest = version.max(*oldest);
        }
    }

    /// How many may still use a version before this one.
    pub(super) fn behind(&self, version: u64) -> usize {
        self.oldest.values().filter(|oldest| **oldest < version).count()
    }

    /// Whether nobody uses a version before this one any more. Forgets those who are gone.
    pub(super) fn all_have(&mut self, version: u64, is_gone: impl Fn(&Owner) -> bool) -> bool {
        self.oldest.retain(|owner, _| !is_gone(owner));
        !self.incomplete && self.behind(version) == 0
    }
}

#[cfg(test)]
mod tests {
    use coffer_core::id::{ClusterId, OperatorId};

    use super::*;

    fn pod(number: usize) -> Owner {
        Owner::Pod(ClusterId::from_bytes([1; 16]), number.to_string())
    }

    #[test]
    fn a_pod_is_waited_for_until_it_says_that_it_has_the_new_one_or_is_gone() {
        let mut holders = Holders::default();
        holders.given(pod(1), 1);
        holders.given(pod(2), 1);
        assert!(holders.all_have(1, |_| false));
        assert_eq!(holders.behind(2), 2);
        holders.given(pod(1), 2);
        assert_eq!(holders.behind(2), 2, "that it was given does not mean that it is used");
        holders.acknowledged(&pod(1), 2);
        assert!(!holders.all_have(2, |_| false));
        assert!(holders.all_have(2, |owner| *owner == pod(2)));
    }

    #[test]
    fn who_never_had_the_one_before_is_not_waited_for() {
        let mut holders = Holders::default();
        holders.given(pod(1), 2);
        assert!(holders.all_have(2, |_| false));
    }

    #[test]
    fn a_person_who_was_given_the_new_one_is_not_waited_for() {
        let mut holders = Holders::default();
        let person = Owner::Operator(OperatorId::from_bytes([2; 16]));
        holders.given(person.clone(), 1);
        assert!(!holders.all_have(2, |_| false));
        holders.given(person, 2);
        assert!(holders.all_have(2, |_| false));
    }

    #[test]
    fn past_the_limit_of_holders_nobody_is_believed_to_be_the_last() {
        let mut holders = Holders::default();
        (0..STATIC_HOLDERS_MAX).for_each(|number| holders.given(pod(number), 2));
        assert!(holders.all_have(2, |_| false));
        holders.given(pod(STATIC_HOLDERS_MAX), 2);
        assert!(!holders.all_have(2, |_| false));
    }
}
