//! How many leases there are: of the tenant, of each mount, of each principal. The counts are stored with the leases that they
//! count, so that none has to be counted at the start.
//!
//! Whoever changes a count must know what it is, so that one change has to be written before the next is planned. Those that
//! wait meanwhile are written as one, with one sync.

use std::{
    collections::{BTreeMap, btree_map},
    mem,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use coffer_barrier::{BATCH_STEPS_MAX, Batch, Expect, RecordKey};
use coffer_core::{
    limits::{LEASES_MAX, LEASES_PER_MOUNT_MAX, LEASES_PER_PRINCIPAL_MAX},
    reason::Reason,
};
use coffer_crypto::hash;
use tokio::sync::oneshot;

use super::{
    ATTEMPTS_MAX, LeaseRecord,
    ending::name_of,
    index::{Index, Place},
};
use crate::{
    Failure, Record, Unsealed, codec,
    trail::{SETTLED_AT_ONCE, StoredRecord, add_pending},
};

/// Whose the first count is.
const TENANT: &str = "in the tenant";
/// Changes that are written as one.
const CHANGES_MAX: usize = 12;
/// Each takes a lease, two pointers to it, a record, and the counts of a mount and a principal.
const _: () = assert!(6 * CHANGES_MAX + 1 + SETTLED_AT_ONCE <= BATCH_STEPS_MAX);

/// A change of how many leases there are.
pub(super) enum Change {
    /// There is one more, with the record of that.
    Added(Place, Box<(LeaseRecord, Record)>),
    /// One is to be taken away, for this reason.
    Removed(Place, &'static str),
}

impl Change {
    const fn place(&self) -> &Place {
        match self {
            Self::Added(place, _) | Self::Removed(place, _) => place,
        }
    }
}

/// A change that waits, and whom to tell: what was stored, if anything was to be.
struct Waiting {
    change: Change,
    told: oneshot::Sender<Result<Option<StoredRecord>, Failure>>,
}

/// Changes that wait to be written.
#[derive(Default)]
pub(crate) struct Changes(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Whether somebody writes, who takes what waits next.
    is_written: bool,
}

impl Changes {
    /// Adds a change. Gives the turn to write, where nobody has it.
    fn add(&self, change: Waiting) -> bool {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.waiting.push(change);
        !mem::replace(&mut queue.is_written, true)
    }

    /// What is to be written next; the turn is over where there is nothing.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = queue.waiting.len().min(CHANGES_MAX);
        queue.is_written = count > 0;
        queue.is_written.then(|| queue.waiting.drain(..count).collect())
    }
}

/// The turn to write.
struct Turn<'a>(&'a Changes);

impl Drop for Turn<'_> {
    /// Who panics tells those who wait, and lets the next have the turn.
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Queue::default();
        }
    }
}

/// Changes as one batch.
struct Plan {
    batch: Batch,
    /// The record of each change that changes something.
    records: Vec<Option<Record>>,
    /// How many leases there are then in the tenant, where that changes.
    leases: Option<u64>,
}

/// A count that a plan changes.
struct Count {
    now: u64,
    expect: Expect,
}

impl Unsealed {
    /// Writes that there is a lease more or less, together with what others change at the same time.
    ///
    /// # Errors
    /// Fails where there are too many leases, or the store fails.
    pub(super) async fn count(self: &Arc<Self>, change: Change) -> Result<(), Failure> {
        let (told, written) = oneshot::channel();
        if self.lease_changes.add(Waiting { change, told }) {
            let vault = Arc::clone(self);
            // Not part of this request, which may be given up: it is for others, too.
            self.spawn(async move {
                let turn = Turn(&vault.lease_changes);
                while let Some(changes) = turn.0.next() {
                    vault.write_changes(changes).await;
                }
            });
        }
        match written.await.unwrap_or_else(|_| Err(Failure::unavailable()))? {
            Some(stored) => self.append_written(stored).await,
            None => Ok(()),
        }
    }

    /// Writes changes as one, or one by one where that cannot be: each then has an answer of its own.
    async fn write_changes(&self, changes: Vec<Waiting>) {
        if changes.len() > 1
            && let Ok(plan) = self.plan_changes(&changes.iter().map(|waiting| &waiting.change).collect::<Vec<_>>()).await
        {
            match self.write_plan(plan).await {
                // Nothing is written.
                Err(failure) if matches!(failure.reason, Reason::Conflict | Reason::LimitExceeded) => {}
                Err(failure) => {
                    changes.into_iter().for_each(|waiting| drop(waiting.told.send(Err(failure.clone()))));
                    return;
                }
                Ok(stored) => {
                    changes.into_iter().zip(stored).for_each(|(waiting, stored)| drop(waiting.told.send(Ok(stored))));
                    return;
                }
            }
        }
        for Waiting { change, told } in changes {
            drop(told.send(self.write_change(&change).await));
        }
    }

    async fn write_change(&self, change: &Change) -> Result<Option<StoredRecord>, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            match self.write_plan(self.plan_changes(&[change]).await?).await {
                Err(failure) if failure.reason == Reason::Conflict => {}
                written => return Ok(written?.pop().flatten()),
            }
        }
        Err(Failure::conflict())
    }

    async fn plan_changes(&self, changes: &[&Change]) -> Result<Plan, Failure> {
        let index = Index(self.tenant.id);
        let mut plan = Plan { batch: Batch::default(), records: Vec::new(), leases: None };
        let (mut counts, mut places) = (BTreeMap::new(), Vec::new());
        for change in changes {
            if places.contains(&change.place()) {
                // A batch names nothing twice.
                return Err(Failure::conflict());
            }
            places.push(change.place());
            let removed;
            let (lease, is_more) = match change {
                Change::Added(place, added) => {
                    let (lease, record) = &**added;
                    index.insert(&mut plan.batch, place, lease)?;
                    plan.records.push(Some(record.clone()));
                    (lease, true)
                }
                Change::Removed(place, why) => {
                    let Some((lease, version)) = self.lease(place).await? else {
                        plan.records.push(None);
                        continue;
                    };
                    let record = Record::event("lease_ended", self.now())?
                        .detailed("lease", name_of(place, &lease)?)
                        .detailed("for", &lease.principal)
                        .detailed("why", why);
                    index.remove(&mut plan.batch, place, &lease, version)?;
                    plan.records.push(Some(record));
                    removed = lease;
                    (&removed, false)
                }
            };
            for (key, max, whose) in self.counters(lease)? {
                let count = match counts.entry(key) {
                    btree_map::Entry::Occupied(count) => count.into_mut(),
                    btree_map::Entry::Vacant(unread) => {
                        let (now, expect) = self.counted(unread.key()).await?;
                        unread.insert(Count { now, expect })
                    }
                };
                if is_more && count.now >= max {
                    let message = format!("there are {} leases {whose}: revoke some, or let them last less long", count.now);
                    return Err(Failure::told(Reason::LimitExceeded, message));
                }
                count.now = if is_more { count.now + 1 } else { count.now.saturating_sub(1) };
                if whose == TENANT {
                    plan.leases = Some(count.now);
                }
            }
        }
        for (key, Count { now, expect }) in counts {
            match now {
                0 if expect == Expect::Absent => {}
                0 => drop(plan.batch.delete(key, expect)),
                _ => drop(plan.batch.put(key, expect, codec::encode(&now)?)),
            }
        }
        Ok(plan)
    }

    /// Writes changes with their records. A conflict says that nothing is written, for others wrote meanwhile.
    async fn write_plan(&self, Plan { mut batch, records, leases }: Plan) -> Result<Vec<Option<StoredRecord>>, Failure> {
        let stored = records.iter().map(|record| record.as_ref().map(|record| add_pending(&mut batch, record)).transpose());
        let stored = stored.collect::<Result<_, _>>()?;
        // Without it there is nothing to write.
        let Some(leases) = leases else { return Ok(stored) };
        let records: Vec<_> = records.iter().flatten().collect();
        match self.write_recorded(batch, &records).await {
            Ok(()) => {
                self.leases.store(leases, Ordering::Relaxed);
                Ok(stored)
            }
            Err(failure) if failure.reason == Reason::Conflict => Err(failure),
            Err(failure) => {
                // It may be written all the same.
                records.into_iter().for_each(|record| self.let_go_of(record));
                if let Ok(count) = self.leases_count().await {
                    self.leases.store(count, Ordering::Relaxed);
                }
                Err(failure)
            }
        }
    }

    /// How many leases a mount has.
    pub(crate) async fn leases_of_mount(&self, mount: coffer_core::id::MountId) -> Result<u64, Failure> {
        let key = Index(self.tenant.id).at([b"count".as_slice(), b"mount", mount.as_bytes()])?;
        Ok(self.counted(&key).await?.0)
    }

    /// How many leases there are, as is stored.
    pub(crate) async fn leases_count(&self) -> Result<u64, Failure> {
        Ok(self.counted(&Index(self.tenant.id).at([b"count".as_slice(), b"tenant"])?).await?.0)
    }

    async fn counted(&self, key: &RecordKey) -> Result<(u64, Expect), Failure> {
        let stored = self.barrier.get(key).await?;
        let expect = Expect::unchanged(stored.as_ref());
        let count = stored.map(|record| codec::decode(record.value.expose())).transpose()?;
        Ok((count.unwrap_or(0), expect))
    }

    fn counters(&self, lease: &LeaseRecord) -> Result<[(RecordKey, u64, &'static str); 3], Failure> {
        let index = Index(self.tenant.id);
        let principal = hash::sha256(lease.principal.as_bytes());
        Ok([
            (index.at([b"count".as_slice(), b"tenant"])?, LEASES_MAX, TENANT),
            (index.at([b"count".as_slice(), b"mount", lease.mount.as_bytes()])?, LEASES_PER_MOUNT_MAX, "of the mount"),
            (index.at([b"count".as_slice(), b"principal", &principal])?, LEASES_PER_PRINCIPAL_MAX, "of the caller"),
        ])
    }
}

#[cfg(test)]
mod tests {
    use coffer_core::id::{LeaseId, MountId};

    use super::*;

    fn waiting(number: u8) -> Waiting {
        let place = Place { mount: MountId::from_bytes([1; 16]), role: "app".to_owned(), id: LeaseId::from_bytes([number; 16]) };
        Waiting { change: Change::Removed(place, "due"), told: oneshot::channel().0 }
    }

    #[test]
    fn one_has_the_turn_and_takes_what_waits_in_its_order_so_many_at_once() {
        let changes = Changes::default();
        assert!(changes.add(waiting(0)), "nobody had it");
        assert_eq!(changes.next().unwrap().len(), 1);
        for number in 0..=u8::try_from(CHANGES_MAX).unwrap() {
            assert!(!changes.add(waiting(number)), "it is somebody's");
        }
        let ids = |taken: Vec<Waiting>| taken.iter().map(|taken| taken.change.place().id.as_bytes()[0]).collect::<Vec<_>>();
        assert_eq!(ids(changes.next().unwrap()), (0..12).collect::<Vec<_>>());
        assert_eq!(ids(changes.next().unwrap()), [12]);
        assert!(changes.next().is_none());
        assert!(changes.add(waiting(0)), "it is nobody's any more");
    }

    #[test]
    fn whoever_panics_in_its_turn_tells_those_who_wait_and_gives_it_up() {
        let changes = Changes::default();
        let (told, mut hears) = oneshot::channel();
        assert!(changes.add(Waiting { told, ..waiting(0) }));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _turn = Turn(&changes);
            panic!("in its turn");
        }));
        assert!(panicked.is_err());
        assert!(matches!(hears.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(changes.add(waiting(1)), "it is nobody's");
    }
}
