//! A store whose work is counted and timed. It stands around the store only where metrics are asked for.

use std::{sync::Arc, time::Instant};

use coffer_core::measure::{Counter, Durations};
use coffer_store::{Entry, Feed, Revision, Store, StoreError, Transaction};

/// What came of transactions, as a label.
pub(crate) const OUTCOMES: [&str; 3] = ["ok", "conflict", "error"];

/// What is counted of a store.
#[derive(Default)]
pub(crate) struct StoreMetrics {
    /// Transactions by outcome, in the order of [`OUTCOMES`].
    pub(crate) commits: [Counter; OUTCOMES.len()],
    /// How long they took, waiting included.
    pub(crate) durations: Durations,
    /// Those that wait or are being written.
    pub(crate) in_flight: Counter,
    /// Reads of one entry and of ranges.
    pub(crate) reads: Counter,
}

pub(crate) struct Metered {
    store: Arc<dyn Store>,
    metrics: Arc<StoreMetrics>,
}

impl Metered {
    pub(crate) fn new(store: Arc<dyn Store>, metrics: Arc<StoreMetrics>) -> Self {
        Self { store, metrics }
    }
}

/// A transaction under way: counted down also where its caller goes.
struct InFlight<'a>(&'a Counter);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.take_one();
    }
}

#[async_trait::async_trait]
impl Store for Metered {
    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.metrics.reads.add_one();
        self.store.get(key).await
    }

    async fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.metrics.reads.add_one();
        self.store.range(start, end, limit).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        let began = Instant::now();
        self.metrics.in_flight.add_one();
        let _in_flight = InFlight(&self.metrics.in_flight);
        let done = self.store.commit(transaction).await;
        self.metrics.durations.observe(began.elapsed());
        let [ok, conflict, error] = &self.metrics.commits;
        match &done {
            Ok(_) => ok,
            Err(StoreError::Conflict) => conflict,
            Err(_) => error,
        }
        .add_one();
        done
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }

    async fn changes(&self, since: Revision) -> Result<Feed, StoreError> {
        self.store.changes(since).await
    }
}
