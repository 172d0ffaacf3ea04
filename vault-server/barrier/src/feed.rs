//! Changes of records, as they happen.

use std::sync::Weak;

use coffer_store::{Revision, StoreError};
use tokio::sync::mpsc;

use crate::{error::BarrierError, key::PhysicalKey, keyring, root, root::Root};

/// A change of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The record: compare with [`Barrier::physical`](crate::Barrier::physical).
    pub key: PhysicalKey,
    /// Whether there is a record now, rather than none.
    pub present: bool,
    /// The store's revision that changed it.
    pub revision: Revision,
}

/// Changes of records, in order.
///
/// Owns no keys: it may outlive the barrier.
#[derive(Debug)]
pub struct Changes {
    feed: mpsc::Receiver<Result<coffer_store::Change, StoreError>>,
    root: Weak<Root>,
}

impl Changes {
    pub(crate) fn new(feed: coffer_store::Feed, root: Weak<Root>) -> Self {
        Self { feed: feed.into_inner(), root }
    }

    /// The next change; waits for one. `None`, or an error, is the end: begin anew. [`BarrierError::Compacted`] says that
    /// changes were missed.
    pub async fn next(&mut self) -> Option<Result<Change, BarrierError>> {
        loop {
            match self.feed.recv().await? {
                Err(error) => return Some(Err(error.into())),
                Ok(change) if root::is_keyring(&change.key) => {
                    // Made, changed or deleted by any node: the next use reads it anew.
                    if let Some(root) = self.root.upgrade() {
                        root.forget_place(&change.key);
                    }
                }
                Ok(change) if keyring::is_record(&change.key) => {
                    let coffer_store::Change { key, present, revision } = change;
                    return Some(Ok(Change { key: PhysicalKey::new(key), present, revision }));
                }
                Ok(_) => {}
            }
        }
    }
}
