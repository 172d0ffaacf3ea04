//! Ending credentials: those that are due, with bounded workers, again and again until it is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use coffer_barrier::{Batch, Expect, RecordKey};
use coffer_core::{
    id::{LeaseId, MountId},
    measure::Counter,
    path::Path,
    reason::Reason,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    LeaseName, LeaseRecord, LeaseState, Owner,
    counts::Change,
    index::{Index, Place, bucket, place},
};
use crate::{Failure, Record, Unsealed, codec};

/// Credentials that are ended at once.
pub(crate) const ENDINGS_MAX: usize = 16;
/// Credentials that are ended at once of roles whose target is away.
const ENDINGS_AILING_MAX: usize = 64;
/// And of one such role: others need not wait until each of its credentials was tried in vain.
const ENDINGS_OF_AILING_ROLE_MAX: usize = 4;
/// How often it is looked what is due.
const LOOK: Duration = Duration::from_millis(250);
/// Leases read at once.
const PAGE: usize = 64;
/// When an ending is tried again that did not come to an end: longer than any act takes.
const AFTER_STOP: Duration = Duration::from_secs(60);
/// When a credential is ended once more whose making was never confirmed: whatever was under way is over by then.
pub(crate) const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How often ending may fail before somebody should look.
pub(crate) const STUCK_AFTER: u32 = 8;
/// The longest wait between two tries.
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(10 * 60);
/// Minutes that lie empty behind before that is noted.
const NOTE_MINUTES: u64 = 10;
/// How long after its end a minute may still get something that is due: longer than what is written takes.
const LATE_MINUTES: u64 = 5;

/// Why a credential is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its time is over, or ending it was begun before.
    Due,
    /// Somebody said so.
    Revoked,
    /// Its owner is gone.
    OwnerGone,
    /// The conditions hold no longer that it was given on.
    Withheld,
}

impl Why {
    const fn name(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Revoked => "revoked",
            Self::OwnerGone => "owner-gone",
            Self::Withheld => "withheld",
        }
    }
}

/// Endings under way, and what came of those before.
pub(crate) struct Endings {
    running: Mutex<BTreeSet<LeaseId>>,
    turns: Arc<Semaphore>,
    /// Roles whose target was away when it was asked last, and how many of each are tried now.
    ailing: Mutex<BTreeMap<(MountId, String), usize>>,
    turns_of_ailing: Arc<Semaphore>,
    /// Those that somebody should look at.
    stuck: Mutex<BTreeSet<LeaseId>>,
    /// Credentials that were ended.
    pub(crate) ended: Counter,
    /// Tries that failed.
    pub(crate) failed: Counter,
}

impl Default for Endings {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            turns: Arc::new(Semaphore::new(ENDINGS_MAX)),
            ailing: Mutex::default(),
            turns_of_ailing: Arc::new(Semaphore::new(ENDINGS_AILING_MAX)),
            stuck: Mutex::default(),
            ended: Counter::default(),
            failed: Counter::default(),
        }
    }
}

/// An ending under way.
struct Running<'a>(&'a Endings, LeaseId);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Endings {
    fn begin(&self, id: LeaseId) -> Option<Running<'_>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id).then_some(Running(self, id))
    }

    /// How many somebody should look at, of those that were tried since the vault was unsealed.
    pub(crate) fn stuck(&self) -> usize {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn note_stuck(&self, id: LeaseId) {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    fn note_gone(&self, id: LeaseId) {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn is_running(&self, id: LeaseId) -> bool {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// Takes note of how a role's target answered.
    fn note_target(&self, place: &Place, is_away: bool) {
        let role = (place.mount, place.role.clone());
        let mut ailing = self.ailing.lock().unwrap_or_else(PoisonError::into_inner);
        if is_away {
            ailing.entry(role).or_default();
        } else {
            ailing.remove(&role);
        }
    }

    fn ails(&self, place: &Place) -> bool {
        self.ailing.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&(place.mount, place.role.clone()))
    }

    /// A turn, once there is one; none where the role's target is away and enough of the role are tried now.
    async fn turn(self: &Arc<Self>, place: &Place) -> Option<Turn> {
        if !self.ails(place) {
            // They are never closed.
            let permit = Arc::clone(&self.turns).acquire_owned().await.ok()?;
            return Some(Turn { _permit: permit, ailing: None });
        }
        let permit = Arc::clone(&self.turns_of_ailing).try_acquire_owned().ok()?;
        let role = (place.mount, place.role.clone());
        if let Some(tried) = self.ailing.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&role) {
            if *tried >= ENDINGS_OF_AILING_ROLE_MAX {
                return None;
            }
            *tried += 1;
        }
        Some(Turn { _permit: permit, ailing: Some((Arc::clone(self), role)) })
    }
}

/// A turn to end a credential.
struct Turn {
    _permit: OwnedSemaphorePermit,
    ailing: Option<(Arc<Endings>, (MountId, String))>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((endings, role)) = &self.ailing
            && let Some(tried) = endings.ailing.lock().unwrap_or_else(PoisonError::into_inner).get_mut(role)
        {
            *tried = tried.saturating_sub(1);
        }
    }
}

impl Unsealed {
    /// A lease as it is stored, and which write of it that is.
    pub(super) async fn lease(&self, place: &Place) -> Result<Option<(LeaseRecord, u64)>, Failure> {
        let Some(stored) = self.barrier.get(&Index(self.tenant.id).lease(place)?).await? else { return Ok(None) };
        Ok(Some((codec::decode(stored.value.expose())?, stored.version)))
    }

    /// Ends a credential now. Well where there is none any more.
    ///
    /// # Errors
    /// Fails where that cannot be done now: it is tried again until it is.
    pub(super) async fn end_lease(self: &Arc<Self>, place: &Place, why: Why) -> Result<(), Failure> {
        let busy = || Failure::new(Reason::Busy, "the credential is being ended already");
        let _running = self.endings.begin(place.id).ok_or_else(busy)?;
        let Some((found, version)) = self.lease(place).await? else {
            self.endings.note_gone(place.id);
            return Ok(());
        };
        let was = found.state;
        // Before the outside is touched it is noted that it will be, so that a stop in between does not leave it half done.
        let state = if was == LeaseState::Again { LeaseState::Again } else { LeaseState::Ending };
        let noted = LeaseRecord { state, due: self.now().plus(AFTER_STOP), ..found.clone() };
        let version = self.change_lease(place, (&found, version), &noted).await?;
        let ended = self.end_target(&noted).await;
        self.endings.note_target(place, ended.as_ref().is_err_and(|failure| failure.reason == Reason::TargetUnavailable));
        match ended {
            Ok(()) if was == LeaseState::Pending => {
                let again = LeaseRecord {
                    state: LeaseState::Again,
                    due: self.now().plus(AGAIN_AFTER),
                    attempts: 0,
                    error: String::new(),
                    ..noted.clone()
                };
                self.change_lease(place, (&noted, version), &again).await.map(drop)
            }
            Ok(()) => {
                self.endings.ended.add_one();
                self.remove_lease(place, why.name()).await
            }
            Err(failure) => {
                self.endings.failed.add_one();
                let attempts = noted.attempts.saturating_add(1);
                let wait = Duration::from_secs(1_u64.checked_shl(attempts.min(16)).unwrap_or(u64::MAX)).min(RETRY_MAX);
                let error = failure.message.to_string();
                let failed = LeaseRecord { attempts, error, due: self.now().plus(wait), ..noted.clone() };
                self.change_lease(place, (&noted, version), &failed).await?;
                if is_stuck(&failed) {
                    self.endings.note_stuck(place.id);
                }
                if attempts == STUCK_AFTER {
                    self.say_stuck(place, &failed).await?;
                }
                Err(failure)
            }
        }
    }

    async fn change_lease(&self, place: &Place, before: (&LeaseRecord, u64), after: &LeaseRecord) -> Result<u64, Failure> {
        let mut batch = Batch::default();
        Index(self.tenant.id).update(&mut batch, place, before, after)?;
        self.barrier.commit(batch).await?;
        Ok(before.1 + 1)
    }

    /// Takes a lease away whose credential is no more, and records that.
    pub(super) async fn remove_lease(self: &Arc<Self>, place: &Place, why: &'static str) -> Result<(), Failure> {
        self.count(Change::Removed(place.clone(), why)).await?;
        self.endings.note_gone(place.id);
        Ok(())
    }

    async fn say_stuck(&self, place: &Place, lease: &LeaseRecord) -> Result<(), Failure> {
        tracing::error!(attempts = lease.attempts, "a credential cannot be ended: see coffer lease list --stuck");
        let record =
            Record::event("lease_stuck", self.now())?.detailed("lease", name_of(place, lease)?).detailed("error", &lease.error);
        self.append(record.answered(crate::Outcome::Failed(Reason::TargetUnavailable))).await.map(drop)
    }

    /// Ends what is due, until the vault is sealed.
    pub(crate) async fn end_what_is_due(self: Arc<Self>) {
        let mut looked = None;
        loop {
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let ended = tokio::select! {
                () = self.ending.cancelled() => return,
                ended = self.end_due(&mut looked) => ended,
            };
            if let Err(failure) = ended {
                tracing::warn!(%failure, "what is due cannot be looked for; trying again");
            }
        }
    }

    async fn end_due(self: &Arc<Self>, looked: &mut Option<Looked>) -> Result<(), Failure> {
        let (now, this_second) = bucket(self.now());
        let before = match looked {
            Some(before) => *before,
            None => Looked { first: self.first_minute(now).await?, empty_at: 0 },
        };
        let mut first = before.first;
        // Once in a minute is enough for minutes that were empty when they were looked at.
        let begin = if before.empty_at == now { now.saturating_sub(1).max(first) } else { first };
        let index = Index(self.tenant.id);
        let mut were_empty = true;
        for minute in begin..=now {
            let seconds = self.barrier.children_once(&index.due_minute(minute)?).await?;
            if seconds.is_empty() && minute == first && minute + LATE_MINUTES < now {
                first = minute + 1;
            }
            were_empty &= seconds.is_empty() || minute + 1 >= now;
            for second in seconds.iter().filter_map(|child| child.name.first()) {
                if minute < now || *second < this_second {
                    self.end_all_of(&index.due_second(minute, *second)?, Why::Due).await?;
                }
            }
        }
        if looked.is_none() || first / NOTE_MINUTES != before.first / NOTE_MINUTES {
            self.note_first_minute(first).await?;
        }
        *looked = Some(Looked { first, empty_at: if were_empty { now } else { 0 } });
        Ok(())
    }

    /// Ends all that a directory points to, [`ENDINGS_MAX`] at once, and does not wait for the last of them.
    pub(super) async fn end_all_of(self: &Arc<Self>, directory: &RecordKey, why: Why) -> Result<(), Failure> {
        let mut last: Option<Vec<u8>> = None;
        loop {
            let found = self.barrier.some_records(directory, last.as_deref(), PAGE).await?;
            let Some((name, _)) = found.last() else { return Ok(()) };
            last = Some(name.clone());
            for (_, pointer) in found {
                let place = place(&pointer.value)?;
                if !self.endings.is_running(place.id) {
                    self.end_in_turn(place, why).await;
                }
            }
        }
    }

    /// The credentials of an owner that were given on conditions, each with the path that it was asked for at.
    pub(crate) async fn conditional_leases(&self, owner: &Owner) -> Result<Vec<(Place, Path)>, Failure> {
        let all = self.leases_of(owner).await?.into_iter();
        Ok(all.filter(|(_, _, conditional)| *conditional).map(|(place, path, _)| (place, path)).collect())
    }

    /// The paths that the credentials of an owner were asked for at, each with whether it was given on conditions.
    pub(crate) async fn live_leases(&self, owner: &Owner) -> Result<Vec<(Path, bool)>, Failure> {
        Ok(self.leases_of(owner).await?.into_iter().map(|(_, path, conditional)| (path, conditional)).collect())
    }

    async fn leases_of(&self, owner: &Owner) -> Result<Vec<(Place, Path, bool)>, Failure> {
        let directory = Index(self.tenant.id).of_owner(owner)?;
        let (mut leases, mut last) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let found = self.barrier.some_records(&directory, last.as_deref(), PAGE).await?;
            let Some((name, _)) = found.last() else { return Ok(leases) };
            last = Some(name.clone());
            for (_, pointer) in found {
                let place = place(&pointer.value)?;
                let Some((lease, _)) = self.lease(&place).await? else { continue };
                if matches!(lease.state, LeaseState::Live | LeaseState::Pending) {
                    let path = name_of(&place, &lease)?.path()?;
                    leases.push((place, path, lease.conditional));
                }
            }
        }
    }

    /// Waits for a turn, and has a credential ended. Where its target is away and others of its role are tried, it is left as
    /// it is; gives whether it is ended.
    pub(crate) async fn end_in_turn(self: &Arc<Self>, place: Place, why: Why) -> bool {
        let Some(turn) = self.endings.turn(&place).await else { return false };
        let (vault, ending) = (Arc::clone(self), self.ending());
        self.spawn(async move {
            let _turn = turn;
            tokio::select! {
                () = ending.cancelled() => {}
                ended = vault.end_lease(&place, why) => if let Err(failure) = ended {
                    tracing::warn!(reason = failure.reason.code(), "a credential is not ended yet; it is tried again");
                }
            }
        });
        true
    }

    /// Has a credential be due now, unless it was ended and is to be once more, which has its time.
    pub(super) async fn end_soon(&self, place: &Place) -> Result<(), Failure> {
        let Some((lease, version)) = self.lease(place).await? else { return Ok(()) };
        let state = match lease.state {
            LeaseState::Again => return Ok(()),
            LeaseState::Live => LeaseState::Ending,
            state => state,
        };
        self.change_lease(place, (&lease, version), &LeaseRecord { state, due: self.now(), ..lease.clone() }).await.map(drop)
    }

    fn swept(&self) -> Result<RecordKey, Failure> {
        Index(self.tenant.id).at([b"swept".as_slice(), b"minute"])
    }

    /// The first minute that may have something due.
    async fn first_minute(&self, now: u64) -> Result<u64, Failure> {
        let stored = self.barrier.get(&self.swept()?).await?;
        let noted: Option<u64> = stored.map(|record| codec::decode(record.value.expose())).transpose()?;
        if let Some(noted) = noted {
            // It is later where the clock was ahead then.
            return Ok(noted.min(now));
        }
        // Leases may have been made before the first look.
        let minutes = self.barrier.some_children(&Index(self.tenant.id).at([b"due"])?, None, usize::MAX).await?;
        let minutes = minutes.iter().filter_map(|child| child.name.as_slice().try_into().ok().map(u64::from_be_bytes));
        Ok(minutes.min().unwrap_or(now).min(now))
    }

    async fn note_first_minute(&self, minute: u64) -> Result<(), Failure> {
        let key = self.swept()?;
        let stored = self.barrier.get(&key).await?;
        let mut batch = Batch::default();
        batch.put(key, Expect::unchanged(stored.as_ref()), codec::encode(&minute)?);
        self.barrier.commit(batch).await?;
        Ok(())
    }
}

/// How far it was looked for what is due.
#[derive(Debug, Clone, Copy)]
struct Looked {
    /// The first minute that may have something due.
    first: u64,
    /// The minute in which all before it were seen to be empty; 0 where they were not.
    empty_at: u64,
}

/// What a lease is called.
pub(super) fn name_of(place: &Place, lease: &LeaseRecord) -> Result<LeaseName, Failure> {
    let role = lease.role.parse().map_err(|_| Failure::internal("a role's name is not one"))?;
    Ok(LeaseName { mount: lease.mount_name.clone(), role, id: place.id })
}

/// Whether somebody should look.
pub(super) fn is_stuck(lease: &LeaseRecord) -> bool {
    lease.attempts >= STUCK_AFTER
}
