//! Change feeds for the adapters that live in one process: a bounded history and bounded readers.

use std::{
    collections::VecDeque,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

use crate::{Change, Feed, Revision, StoreError};

/// Changes that a feed keeps for readers that resume.
pub const FEED_HISTORY_CHANGES_MAX: usize = 16_384;
/// Bytes of keys that a feed keeps for readers that resume.
pub const FEED_HISTORY_BYTES_MAX: usize = 8 << 20;
/// Changes that a reader may be behind before it is dropped.
pub const FEED_BUFFER_CHANGES: usize = 1_024;

type Sender = mpsc::Sender<Result<Change, StoreError>>;

/// Hands changes to readers and keeps the latest ones.
pub(crate) struct Hub(Mutex<State>);

struct State {
    /// Every change after this revision is in `history`.
    floor: Revision,
    newest: Revision,
    history: VecDeque<Change>,
    history_bytes: usize,
    readers: Vec<Sender>,
}

impl Hub {
    /// A hub for a store that is at `now`; what was before is not known.
    pub(crate) const fn new(now: Revision) -> Self {
        Self(Mutex::new(State { floor: now, newest: now, history: VecDeque::new(), history_bytes: 0, readers: Vec::new() }))
    }

    /// Tells all readers. `changes` are those of whole transactions, in order.
    pub(crate) fn publish(&self, changes: Vec<Change>) {
        let mut state = self.state();
        for change in changes {
            state.readers.retain(|reader| deliver(reader, &change));
            state.newest = change.revision;
            state.history_bytes = state.history_bytes.saturating_add(change.key.len());
            state.history.push_back(change);
        }
        state.forget();
    }

    pub(crate) fn subscribe(&self, since: Revision) -> Result<Feed, StoreError> {
        let mut state = self.state();
        if since < state.floor || since > state.newest {
            return Err(StoreError::Compacted);
        }
        let start = state.history.partition_point(|change| change.revision <= since);
        // One place more than may be used: for the error that ends the feed.
        let capacity = state.history.len().saturating_sub(start).saturating_add(FEED_BUFFER_CHANGES).saturating_add(1);
        let (sender, receiver) = mpsc::channel(capacity);
        state.readers.retain(|reader| !reader.is_closed());
        if state.history.range(start..).all(|change| deliver(&sender, change)) {
            state.readers.push(sender);
        }
        Ok(Feed::new(receiver))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops the oldest transactions, each whole, until the history is within its bounds.
    fn forget(&mut self) {
        while self.history.len() > FEED_HISTORY_CHANGES_MAX || self.history_bytes > FEED_HISTORY_BYTES_MAX {
            let Some(oldest) = self.history.front() else { return };
            self.floor = oldest.revision;
            while let Some(change) = self.history.pop_front_if(|change| change.revision <= self.floor) {
                self.history_bytes = self.history_bytes.saturating_sub(change.key.len());
            }
        }
    }
}

/// Whether the reader is still one. It ends with an error before it would miss a change.
fn deliver(reader: &Sender, change: &Change) -> bool {
    let last = reader.capacity() <= 1;
    let message = if last { Err(StoreError::Compacted) } else { Ok(change.clone()) };
    let delivered = reader.try_send(message).is_ok();
    delivered && !last
}

impl Drop for Hub {
    fn drop(&mut self) {
        // A feed that ends without an error would look like one that missed nothing.
        for reader in mem::take(&mut self.state().readers) {
            let told = reader.try_send(Err(StoreError::Unavailable("the store was closed".into())));
            drop(told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, FEED_BUFFER_CHANGES, FEED_HISTORY_BYTES_MAX, FEED_HISTORY_CHANGES_MAX, Hub, Revision, StoreError};
    use crate::KEY_BYTES_MAX;
    use tokio_stream::StreamExt;

    fn change(revision: usize, key_bytes: usize) -> Change {
        Change { key: vec![7; key_bytes], present: true, revision: Revision(revision as u64) }
    }

    #[tokio::test]
    async fn a_reader_as_slow_as_the_buffer_is_kept_and_one_slower_is_told() {
        for (behind, kept) in [(FEED_BUFFER_CHANGES, true), (FEED_BUFFER_CHANGES + 1, false)] {
            let hub = Hub::new(Revision(0));
            let mut feed = hub.subscribe(Revision(0)).unwrap();
            for revision in 1..=behind {
                hub.publish(vec![change(revision, 1)]);
            }
            for revision in 1..=FEED_BUFFER_CHANGES {
                assert_eq!(feed.next().await.unwrap().unwrap(), change(revision, 1));
            }
            if kept {
                hub.publish(vec![change(behind + 1, 1)]);
                assert_eq!(feed.next().await.unwrap().unwrap(), change(behind + 1, 1));
            } else {
                assert!(matches!(feed.next().await, Some(Err(StoreError::Compacted))));
                assert!(feed.next().await.is_none());
            }
        }
    }

    #[tokio::test]
    async fn history_is_bounded_by_changes_and_by_bytes() {
        for (key_bytes, kept) in [(1, FEED_HISTORY_CHANGES_MAX), (KEY_BYTES_MAX, FEED_HISTORY_BYTES_MAX / KEY_BYTES_MAX)] {
            let hub = Hub::new(Revision(0));
            for revision in 1..=kept {
                hub.publish(vec![change(revision, key_bytes)]);
            }
            assert!(hub.subscribe(Revision(0)).is_ok(), "at the limit nothing is forgotten");
            hub.publish(vec![change(kept + 1, key_bytes)]);
            assert!(matches!(hub.subscribe(Revision(0)), Err(StoreError::Compacted)));
            let mut feed = hub.subscribe(Revision(1)).unwrap();
            for revision in 2..=kept + 1 {
                assert_eq!(feed.next().await.unwrap().unwrap().revision, Revision(revision as u64));
            }
        }
    }

    #[tokio::test]
    async fn a_transaction_is_forgotten_whole() {
        let hub = Hub::new(Revision(0));
        hub.publish(vec![change(1, 1), change(1, 1)]);
        hub.publish((0..FEED_HISTORY_CHANGES_MAX - 1).map(|_| change(2, 1)).collect());
        assert!(matches!(hub.subscribe(Revision(0)), Err(StoreError::Compacted)));
        let mut feed = hub.subscribe(Revision(1)).unwrap();
        assert_eq!(feed.next().await.unwrap().unwrap().revision, Revision(2));
    }

    #[tokio::test]
    async fn a_revision_that_was_not_reached_is_refused() {
        let hub = Hub::new(Revision(5));
        assert!(matches!(hub.subscribe(Revision(6)), Err(StoreError::Compacted)));
        assert!(matches!(hub.subscribe(Revision(4)), Err(StoreError::Compacted)));
        assert!(hub.subscribe(Revision(5)).is_ok());
    }

    #[tokio::test]
    async fn a_feed_ends_with_an_error_when_the_store_is_closed() {
        let hub = Hub::new(Revision(0));
        let mut feed = hub.subscribe(Revision(0)).unwrap();
        drop(hub);
        assert!(matches!(feed.next().await, Some(Err(StoreError::Unavailable(_)))));
        assert!(feed.next().await.is_none());
    }
}
