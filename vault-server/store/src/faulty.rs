//! A store that fails on purpose, in front of a real one: for tests, of a whole server too.
//!
//! Calls are counted from 1, each kind for itself, from the moment the store is made.

mod plan;

pub use self::plan::{Effect, Fault, FaultPlan, Operation, PLAN_FAULTS_MAX, PlanError};

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use crate::{Entry, Feed, Revision, Store, StoreError, Transaction};

/// How long a call is delayed that is to be.
pub const DELAY: Duration = Duration::from_millis(500);

/// A store that does as its [`FaultPlan`] says, and otherwise as the store behind it.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    plan: FaultPlan,
    calls: Mutex<BTreeMap<Operation, u64>>,
    off: AtomicBool,
    paused: watch::Sender<u64>,
    releases: watch::Sender<u64>,
}

impl FaultyStore {
    /// Puts `plan` in front of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, plan: FaultPlan) -> Self {
        Self {
            inner,
            plan,
            calls: Mutex::default(),
            off: AtomicBool::new(false),
            paused: watch::Sender::new(0),
            releases: watch::Sender::new(0),
        }
    }

    /// How many calls of a kind there were, those that failed included.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.counts().get(&operation).copied().unwrap_or(0)
    }

    /// Lets all calls go on that are paused now.
    pub fn release(&self) {
        self.releases.send_modify(|releases| *releases = releases.saturating_add(1));
    }

    /// Waits until a call pauses; where `pauses` of them did already, returns at once.
    pub async fn paused(&self, pauses: u64) {
        // The sender is ours: this ends with the condition only.
        drop(self.paused.subscribe().wait_for(|paused| *paused >= pauses).await);
    }

    /// Turns the power off: every later call fails.
    pub fn power_off(&self) {
        self.off.store(true, Ordering::SeqCst);
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Operation, u64>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call and says what is to become of it.
    fn next(&self, operation: Operation) -> Result<Option<Effect>, StoreError> {
        let call = {
            let mut counts = self.counts();
            let count = counts.entry(operation).or_default();
            *count = count.saturating_add(1);
            *count
        };
        self.on()?;
        let effect = self.plan.effect(operation, call);
        if let Some(effect) = effect {
            // Read by tests of a whole server, which cannot call `paused`.
            tracing::warn!(%operation, call, %effect, "a planned fault");
        }
        Ok(effect)
    }

    fn on(&self) -> Result<(), StoreError> {
        if self.off.load(Ordering::SeqCst) { Err(unavailable("the power is off")) } else { Ok(()) }
    }

    async fn pause(&self) {
        let mut releases = self.releases.subscribe();
        let now = *releases.borrow_and_update();
        self.paused.send_modify(|paused| *paused = paused.saturating_add(1));
        drop(releases.wait_for(|releases| *releases > now).await);
    }

    /// What happens before the call.
    async fn before(&self, effect: Option<Effect>) -> Result<(), StoreError> {
        match effect {
            Some(Effect::Before) => Err(unavailable("a planned fault")),
            Some(Effect::OffBefore) => {
                self.power_off();
                self.on()
            }
            Some(Effect::PauseBefore) => {
                self.pause().await;
                self.on()
            }
            Some(Effect::Delay) => {
                tokio::time::sleep(DELAY).await;
                self.on()
            }
            #[expect(clippy::panic, reason = "the fault that was planned")]
            Some(Effect::Panic) => panic!("a planned fault"),
            None | Some(Effect::After | Effect::PauseAfter | Effect::OffAfter) => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl Store for FaultyStore {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.before(self.next(Operation::Get)?).await?;
        self.inner.get(key).await
    }

    async fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.before(self.next(Operation::Range)?).await?;
        self.inner.range(start, end, limit).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        let effect = self.next(Operation::Commit)?;
        self.before(effect).await?;
        let result = self.inner.commit(transaction).await;
        let unknown = || Err(StoreError::Unknown("a planned fault".into()));
        match effect {
            Some(Effect::After) => unknown(),
            Some(Effect::OffAfter) => {
                self.power_off();
                unknown()
            }
            Some(Effect::PauseAfter) => {
                self.pause().await;
                result
            }
            None | Some(Effect::Before | Effect::PauseBefore | Effect::OffBefore | Effect::Delay | Effect::Panic) => result,
        }
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.on()?;
        self.inner.revision().await
    }

    async fn changes(&self, since: Revision) -> Result<Feed, StoreError> {
        self.on()?;
        self.inner.changes(since).await
    }
}

fn unavailable(reason: &'static str) -> StoreError {
    StoreError::Unavailable(reason.into())
}

#[cfg(test)]
mod tests;
