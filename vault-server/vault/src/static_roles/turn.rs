//! A role's turn: what is due is done in the database, noted before and after.

use std::{sync::Arc, time::Duration};

use coffer_core::{clock::Timestamp, reason::Reason};
use coffer_databases::{DatabaseError, Fault};
use coffer_engines::database::{DatabaseEngineError, Databases, StaticRoleRecord, Stored, new_password};

use super::{Key, due::RoleTurns};
use crate::{
    Failure, Record, Unsealed,
    databases::connection_name,
    leases::{Owner, told, untold},
};

/// How often it is looked whether everybody has the new credential, where nobody said so.
const LOOK: Duration = Duration::from_secs(5);
/// The longest wait between two tries.
const RETRY_MAX: Duration = Duration::from_secs(10 * 60);

/// What a turn is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// What is due.
    Due,
    /// A rotation, whether it is due or not.
    Rotate {
        /// Whether the user before is retired at once.
        at_once: bool,
    },
    /// What must be done before the credential can be given out.
    Settle,
}

/// Why a turn came to nothing.
pub(super) enum Trouble {
    Database(DatabaseError),
    Other(Failure),
}

impl<E: Into<Failure>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl Trouble {
    /// For whoever configures the database.
    pub(super) fn told(&self) -> Failure {
        match self {
            Self::Database(error) => told(error),
            Self::Other(failure) => failure.clone(),
        }
    }

    /// For whoever only wants a credential.
    pub(super) fn untold(&self) -> Failure {
        match self {
            Self::Database(error) => untold(error),
            Self::Other(failure) => failure.clone(),
        }
    }
}

impl Unsealed {
    /// Takes a role's turn, alone; gives the version of its credential.
    pub(super) async fn static_turn(&self, key: &Key, turn: Turn) -> Result<u64, Trouble> {
        let alone = self.static_turns.of(key.clone(), |turns| Arc::clone(&turns.alone));
        let _alone = alone.lock().await;
        let is_mounted = self.mounts.all().iter().any(|(_, row)| row.value.id == key.0);
        let databases = Databases::new(self.tenant.id, key.0);
        let role = if is_mounted { databases.static_role(&self.barrier, &key.1).await? } else { None };
        let Some(role) = role else {
            self.static_turns.forget(key);
            return Err(DatabaseEngineError::NotFound.into());
        };
        let done = self.take_turn(key, turn, role).await;
        let now = self.now();
        self.static_turns.of(key.clone(), |turns| match &done {
            Ok(role) => {
                turns.failures = 0;
                turns.error = String::new();
                let end = role.previous.as_ref().map(|previous| previous.until.min(now.plus(LOOK)));
                turns.due = Some(end.into_iter().fold(role.due(), Timestamp::min));
            }
            Err(trouble) => {
                turns.failures = turns.failures.saturating_add(1);
                turns.error = trouble.told().message.to_string();
                let wait = Duration::from_secs(1_u64.checked_shl(turns.failures.min(16)).unwrap_or(u64::MAX)).min(RETRY_MAX);
                turns.due = Some(now.plus(wait));
            }
        });
        self.static_turns.changed();
        done.map(|role| role.version)
    }

    async fn take_turn(&self, key: &Key, turn: Turn, mut role: Stored<StaticRoleRecord>) -> Result<StaticRoleRecord, Trouble> {
        // Whatever is wanted, what was begun is finished first.
        let unfinished = role.record.next()?.is_some();
        if unfinished {
            role = self.give(key, role).await?;
        }
        match turn {
            Turn::Settle if role.record.user().is_some() => return Ok(role.record),
            Turn::Rotate { at_once: false } if role.record.previous.is_some() && !unfinished => {
                let message = "the credential before is good still, for somebody may hold it: wait, or have it end at once";
                return Err(Failure::new(Reason::Conflict, message).into());
            }
            _ => {}
        }
        let due = self.now() >= role.record.due();
        let rotate = (matches!(turn, Turn::Rotate { .. }) && !unfinished) || role.record.user().is_none() || due;
        if rotate {
            // The user whose turn is next must not be one that somebody else still uses.
            role = self.retire(key, role).await?;
            role.record.begin(&new_password().map_err(|_| Failure::internal("no random numbers"))?)?;
            role = self.store_role(key, role, None).await?;
            role = self.give(key, role).await?;
        }
        let now = self.now();
        let is_over = role.record.previous.as_ref().is_some_and(|previous| {
            let version = role.record.version;
            now >= previous.until
                || self.static_turns.of(key.clone(), |turns| turns.everybody_has(version, |owner| self.is_gone(owner)))
        });
        if is_over || turn == (Turn::Rotate { at_once: true }) {
            role = self.retire(key, role).await?;
        }
        Ok(role.record)
    }

    /// Gives the database the password that is noted as being given.
    async fn give(&self, key: &Key, mut role: Stored<StaticRoleRecord>) -> Result<Stored<StaticRoleRecord>, Trouble> {
        let Some((user, password)) = role.record.next()? else { return Ok(role) };
        let given = async {
            let database = self.database(key.0, &connection_name(&role.record.settings.connection)?).await?;
            database.set_password(user, &password).await.map_err(Trouble::Database)
        };
        match given.await {
            Ok(()) => {}
            // It was done, perhaps: what is noted is given again.
            Err(trouble @ Trouble::Database(DatabaseError { fault: Fault::Lost | Fault::Timeout, .. })) => return Err(trouble),
            Err(trouble) => {
                role.record.abandon();
                self.store_role(key, role, None).await?;
                return Err(trouble);
            }
        }
        role.record.finish(self.now());
        self.static_turns.of(key.clone(), RoleTurns::rotated);
        self.store_role(key, role, Some("static_role_rotated")).await
    }

    /// Gives the user before a password that nobody has.
    async fn retire(&self, key: &Key, mut role: Stored<StaticRoleRecord>) -> Result<Stored<StaticRoleRecord>, Trouble> {
        let Some(previous) = role.record.previous.take() else { return Ok(role) };
        let database = self.database(key.0, &connection_name(&role.record.settings.connection)?).await?;
        let password = new_password().map_err(|_| Failure::internal("no random numbers"))?;
        database.set_password(&previous.user, &password).await.map_err(Trouble::Database)?;
        self.store_role(key, role, Some("static_role_retired")).await
    }

    /// Writes a role, with a record in the audit log where the event has a name.
    async fn store_role(
        &self,
        key: &Key,
        role: Stored<StaticRoleRecord>,
        event: Option<&'static str>,
    ) -> Result<Stored<StaticRoleRecord>, Trouble> {
        let planned = Databases::new(self.tenant.id, key.0).change_static_role(&self.barrier, &key.1, &role).await?;
        match event {
            None => {
                self.barrier.commit(planned.batch).await?;
            }
            Some(event) => {
                let record = Record::event(event, self.now())?
                    .detailed("mount_id", key.0)
                    .detailed("role", &key.1)
                    .detailed("version", role.record.version);
                let stored = self.write(planned.batch, &record).await?;
                self.append_written(stored).await?;
            }
        }
        Ok(Stored { version: role.version + 1, ..role })
    }

    fn is_gone(&self, owner: &Owner) -> bool {
        match owner {
            Owner::Pod(cluster, uid) => self.pod_state(*cluster, uid) == Some(coffer_kubernetes::PodState::Gone),
            Owner::Operator(id) => !self.operators.all().iter().any(|(_, row)| row.value.id == *id),
        }
    }
}
