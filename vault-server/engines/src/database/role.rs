//! Roles: how users are made.

use std::time::Duration;

use coffer_barrier::{Barrier, Batch, Expect};
use coffer_core::{
    clock::Timestamp,
    limits::{LEASE_LIFETIME_DEFAULT, LEASE_LIFETIME_MAX, LEASE_LIFETIME_MAX_DEFAULT},
    principal::Name,
};
use coffer_databases::{Kind, check_templates};
use serde::{Deserialize, Serialize};

use super::{DatabaseEngineError, Databases, Directory, Stored};
use crate::Planned;

/// What is set about a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSettings {
    /// The connection's name.
    pub connection: String,
    /// Statements that make a user; rules for a user of Redis.
    pub creation: Vec<String>,
    /// Statements that end one; none for those of the database's kind.
    pub revocation: Vec<String>,
    /// Seconds that a user lasts where nothing else is asked; 0 for [`LEASE_LIFETIME_DEFAULT`].
    pub default_ttl_secs: u64,
    /// Seconds that a user lasts at most; 0 for [`LEASE_LIFETIME_MAX_DEFAULT`].
    pub max_ttl_secs: u64,
}

impl RoleSettings {
    /// How long a user lasts at most.
    #[must_use]
    pub fn max_ttl(&self) -> Duration {
        if self.max_ttl_secs == 0 { LEASE_LIFETIME_MAX_DEFAULT } else { Duration::from_secs(self.max_ttl_secs) }
    }

    /// How long a user lasts for which this is asked; `None` for what the role says. Never longer than it may.
    #[must_use]
    pub fn ttl(&self, asked: Option<Duration>) -> Duration {
        let default =
            if self.default_ttl_secs == 0 { LEASE_LIFETIME_DEFAULT } else { Duration::from_secs(self.default_ttl_secs) };
        asked.unwrap_or(default).min(self.max_ttl())
    }

    fn check(&self, kind: Kind) -> Result<(), DatabaseEngineError> {
        check_templates(kind, &self.creation, true)?;
        check_templates(kind, &self.revocation, false)?;
        if self.max_ttl() > LEASE_LIFETIME_MAX {
            return Err(DatabaseEngineError::Setting("a credential lasts at most 31,536,000 seconds (a year)"));
        }
        if Duration::from_secs(self.default_ttl_secs) > self.max_ttl() {
            return Err(DatabaseEngineError::Setting("the default time is longer than the longest"));
        }
        Ok(())
    }
}

/// A role as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleRecord {
    /// What is set.
    pub settings: RoleSettings,
    /// When it was written.
    pub updated: Timestamp,
}

impl Databases {
    /// A role; `None` where there is none of this name.
    pub async fn role(&self, barrier: &Barrier, name: &Name) -> Result<Option<Stored<RoleRecord>>, DatabaseEngineError> {
        self.find(barrier, Directory::Roles, name).await
    }

    /// The names of roles.
    pub async fn roles(&self, barrier: &Barrier) -> Result<Vec<String>, DatabaseEngineError> {
        self.names(barrier, Directory::Roles).await
    }

    /// Plans a role, new or changed. Fails where its statements or times cannot be, or there is no such connection.
    pub async fn put_role(
        &self,
        barrier: &Barrier,
        name: &Name,
        settings: RoleSettings,
        now: Timestamp,
    ) -> Result<Planned<()>, DatabaseEngineError> {
        let connection: Name = settings.connection.parse().map_err(|_| DatabaseEngineError::NoConnection)?;
        let connection_key = self.key(Directory::Connections, &connection)?;
        let there = self.connection(barrier, &connection).await?.ok_or(DatabaseEngineError::NoConnection)?;
        settings.check(there.record.settings.kind()?)?;
        let before = self.role(barrier, name).await?.map(|before| before.version);
        let mut batch = self.put(barrier, Directory::Roles, name, before, &RoleRecord { settings, updated: now }).await?;
        batch.require(connection_key, Expect::Version(there.version));
        Ok(Planned { batch, outcome: () })
    }

    /// Plans that a role goes. Users that were made with it stay.
    pub async fn delete_role(&self, barrier: &Barrier, name: &Name) -> Result<Planned<()>, DatabaseEngineError> {
        let stored = self.role(barrier, name).await?.ok_or(DatabaseEngineError::NotFound)?;
        let mut batch = Batch::default();
        batch.delete(self.key(Directory::Roles, name)?, Expect::Version(stored.version));
        Ok(Planned { batch, outcome: () })
    }
}
