//! A change that is thought out and not yet made.

use coffer_barrier::Batch;
use coffer_core::{id::GrantId, policy::Grant};

use crate::table::Change;

/// What a change means for the policies in force.
pub enum PolicyChange {
    /// Nothing.
    None,
    /// One more grant.
    Added(Grant),
    /// One grant less.
    Removed(GrantId),
    /// Anything else: all are compiled anew.
    Other,
}

/// What a request wants to write, what it answers once that is written, and what then changes in memory. The caller
/// adds the audit record to the batch and commits it: effect and record are one transaction.
pub struct Planned<T> {
    /// What to write; nothing for a request that only reads.
    pub batch: Batch,
    /// The answer.
    pub answer: T,
    /// What to do in memory afterwards.
    pub then: Vec<Change>,
    /// What it means for the policies in force.
    pub policy: PolicyChange,
}

impl<T> Planned<T> {
    /// Nothing to write.
    #[must_use]
    pub fn read(answer: T) -> Self {
        Self { batch: Batch::default(), answer, then: Vec::new(), policy: PolicyChange::None }
    }

    /// The same with another answer.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Planned<U> {
        Planned { batch: self.batch, answer: f(self.answer), then: self.then, policy: self.policy }
    }
}
