//! Which keys change while a snapshot is saved.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coffer_store::{Change, Feed, Revision, Store, StoreError, Transaction, Write};
use tokio::{sync::Notify, time::timeout};

use crate::snapshot::{MARKER, SaveError};

/// Bytes of the keys that may have changed since they were copied.
const CHANGED_BYTES_MAX: usize = 32 << 20;
/// How long the news of a write may take.
const NEWS_TIME_MAX: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Follow {
    changed: Mutex<Changed>,
    news: Notify,
}

#[derive(Default)]
struct Changed {
    keys: BTreeSet<Vec<u8>>,
    bytes: usize,
    /// The newest marker heard of.
    marker: Revision,
    /// The newest change heard of, and the newest of the transaction before.
    newest: Revision,
    whole: Revision,
}

impl Follow {
    /// Takes note of changes after those that the feed begins with, until that fails.
    pub(super) async fn run(&self, store: &dyn Store, feed: Feed) -> SaveError {
        let mut feed = feed.into_inner();
        loop {
            let before = self.changed().newest;
            let error = loop {
                match feed.recv().await {
                    Some(Ok(change)) => {
                        if let Err(error) = self.note(change) {
                            return error;
                        }
                    }
                    Some(Err(error)) => break error,
                    None => return SaveError::Internal("the store's changes ended"),
                }
            };
            let (newest, whole) = {
                let changed = self.changed();
                (changed.newest, changed.whole)
            };
            // Too slow for the feed, and not for what the store keeps of it.
            match error {
                StoreError::Compacted if newest > before && whole > Revision(0) => match store.changes(whole).await {
                    Ok(again) => feed = again.into_inner(),
                    Err(_) => return SaveError::TooFast,
                },
                StoreError::Compacted => return SaveError::TooFast,
                error => return error.into(),
            }
        }
    }

    fn note(&self, change: Change) -> Result<(), SaveError> {
        let mut changed = self.changed();
        if change.revision > changed.newest {
            changed.whole = changed.newest;
            changed.newest = change.revision;
        }
        if change.key == MARKER {
            changed.marker = changed.marker.max(change.revision);
            self.news.notify_one();
            return Ok(());
        }
        let bytes = change.key.len();
        if changed.keys.insert(change.key) {
            changed.bytes += bytes;
        }
        if changed.bytes > CHANGED_BYTES_MAX { Err(SaveError::TooFast) } else { Ok(()) }
    }

    /// How many keys have changed since they were taken the last time.
    pub(super) fn len(&self) -> usize {
        self.changed().keys.len()
    }

    /// The keys that have changed since the last time.
    pub(super) fn take(&self) -> BTreeSet<Vec<u8>> {
        let mut changed = self.changed();
        changed.bytes = 0;
        std::mem::take(&mut changed.keys)
    }

    /// Waits until every change that was made before is known, by making one of its own.
    pub(super) async fn catch_up(&self, store: &dyn Store) -> Result<(), SaveError> {
        let writes = vec![Write::Put(MARKER.to_vec(), b"1".to_vec())];
        let marker = store.commit(Transaction { conditions: Vec::new(), writes }).await?;
        let heard = async {
            while self.changed().marker < marker {
                self.news.notified().await;
            }
        };
        timeout(NEWS_TIME_MAX, heard).await.map_err(|_| SaveError::Internal("the store does not tell of its changes"))
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
