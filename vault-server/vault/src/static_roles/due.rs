//! When a role's turn is, and taking it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use coffer_core::{clock::Timestamp, principal::Name};
use coffer_engines::database::Databases;
use tokio::sync::{Notify, Semaphore};

use super::{Key, holders::Holders, turn::Turn};
use crate::{Engine, Failure, Unsealed, leases::Owner};

/// Turns that are taken at once.
const TURNS_MAX: usize = 8;
/// How often it is looked whose turn it is.
const LOOK: Duration = Duration::from_secs(1);
/// When roles are looked for again after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// The turns of all roles.
#[derive(Default)]
pub(crate) struct StaticTurns {
    roles: Mutex<BTreeMap<Key, RoleTurns>>,
    changed: Notify,
}

/// The turns of a role.
#[derive(Default)]
pub(super) struct RoleTurns {
    /// Who has the lock has the turn.
    pub(super) alone: Arc<tokio::sync::Mutex<()>>,
    /// When the next turn is; none where that is not known yet.
    pub(super) due: Option<Timestamp>,
    /// How often the last turns failed.
    pub(super) failures: u32,
    /// Why the last one did.
    pub(super) error: String,
    /// Who holds the credential.
    pub(super) holders: Holders,
    /// Whether everybody is known who holds the credential before, or the present one: those to whom it was given before
    /// the vault was unsealed are not.
    knows_previous: bool,
    knows_current: bool,
}

impl RoleTurns {
    /// Notes that there is a new credential.
    pub(super) fn rotated(&mut self) {
        self.knows_previous = self.knows_current;
        self.knows_current = true;
    }

    /// Whether nobody uses a version before this one any more.
    pub(super) fn everybody_has(&mut self, version: u64, is_gone: impl Fn(&Owner) -> bool) -> bool {
        self.holders.all_have(version, is_gone) && self.knows_previous
    }
}

impl StaticTurns {
    /// Does something with a role's turns.
    pub(super) fn of<T>(&self, key: Key, act: impl FnOnce(&mut RoleTurns) -> T) -> T {
        act(self.roles.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default())
    }

    /// Has a role's turn be at that time at the latest.
    pub(super) fn look_at(&self, key: Key, at: Timestamp) {
        self.of(key, |turns| turns.due = Some(turns.due.map_or(at, |due| due.min(at))));
        self.changed();
    }

    /// Has it looked at once whose turn it is.
    pub(super) fn changed(&self) {
        self.changed.notify_one();
    }

    pub(super) fn forget(&self, key: &Key) {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Those whose turn it is; each is given its turn once.
    fn take_due(&self, now: Timestamp) -> Vec<Key> {
        let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        let due = roles.iter_mut().filter(|(_, turns)| turns.due.is_some_and(|due| due <= now));
        due.map(|(key, turns)| {
            turns.due = None;
            key.clone()
        })
        .collect()
    }
}

impl Unsealed {
    /// Takes the turns of static roles until the vault is sealed.
    pub(crate) async fn rotate_static_roles(self: Arc<Self>) {
        while let Err(failure) = self.find_static_roles().await {
            tracing::warn!(%failure, "static roles cannot be looked for; trying again");
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
        let places = Arc::new(Semaphore::new(TURNS_MAX));
        loop {
            for key in self.static_turns.take_due(self.now()) {
                // It is never closed.
                let place = Arc::clone(&places).acquire_owned().await;
                let (vault, ending) = (Arc::clone(&self), self.ending());
                self.spawn(async move {
                    let _place = place;
                    tokio::select! {
                        () = ending.cancelled() => {}
                        taken = vault.static_turn(&key, Turn::Due) => if let Err(trouble) = taken {
                            tracing::warn!(reason = trouble.told().reason.code(), "a static role is not rotated yet; it is tried again");
                        }
                    }
                });
            }
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = self.static_turns.changed.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Has every static role looked at.
    async fn find_static_roles(&self) -> Result<(), Failure> {
        for (_, row) in self.mounts.all() {
            if row.value.engine != Engine::Database.name() {
                continue;
            }
            let databases = Databases::new(self.tenant.id, row.value.id);
            for name in databases.static_roles(&self.barrier).await? {
                let name: Name = name.parse().map_err(|_| Failure::internal("a role's name is not one"))?;
                self.static_turns.look_at((row.value.id, name), self.now());
            }
        }
        Ok(())
    }
}
