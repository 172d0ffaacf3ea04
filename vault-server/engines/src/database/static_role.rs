//! Static roles: users that a database has already, whose passwords the vault changes.
//!
//! A rotation is noted before the database is touched, done there, and noted as done, so that it can be finished after a stop
//! at any moment. Where a role has two users they take turns: who still uses the one before has until it is retired.

use std::time::Duration;

use coffer_barrier::{Barrier, Batch, Expect, RecordKey, encoding::SecretField};
use coffer_core::{
    clock::Timestamp,
    limits::{
        DATABASE_NAME_BYTES_MAX, STATIC_GRACE_DEFAULT, STATIC_ROTATION_PERIOD_DEFAULT, STATIC_ROTATION_PERIOD_MAX,
        STATIC_ROTATION_PERIOD_MIN,
    },
    principal::Name,
};
use coffer_secret::SecretString;
use serde::{Deserialize, Serialize};

use super::{DatabaseEngineError, Databases, Directory, Stored};
use crate::Planned;

/// Users that a static role has at most: two take turns.
const USERS_MAX: usize = 2;

/// What is set about a static role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticRoleSettings {
    /// The connection's name.
    pub connection: String,
    /// The users: one, or two that take turns.
    pub users: Vec<String>,
    /// Seconds from one rotation to the next; 0 for [`STATIC_ROTATION_PERIOD_DEFAULT`].
    pub rotation_period_secs: u64,
    /// Seconds that the user before stays good at most; 0 for [`STATIC_GRACE_DEFAULT`], or half of the period if that is less.
    pub grace_secs: u64,
}

impl StaticRoleSettings {
    /// How long it takes from one rotation to the next.
    #[must_use]
    pub fn period(&self) -> Duration {
        if self.rotation_period_secs == 0 {
            STATIC_ROTATION_PERIOD_DEFAULT
        } else {
            Duration::from_secs(self.rotation_period_secs)
        }
    }

    /// How long the user before stays good at most.
    #[must_use]
    pub fn grace(&self) -> Duration {
        if self.grace_secs == 0 { STATIC_GRACE_DEFAULT.min(self.period() / 2) } else { Duration::from_secs(self.grace_secs) }
    }

    fn check(&self) -> Result<(), DatabaseEngineError> {
        let refuse = |wrong: bool, message| if wrong { Err(DatabaseEngineError::Setting(message)) } else { Ok(()) };
        let is_user = |user: &String| (1..=DATABASE_NAME_BYTES_MAX).contains(&user.len()) && !user.chars().any(char::is_control);
        refuse(!(1..=USERS_MAX).contains(&self.users.len()), "a static role has one user, or two that take turns")?;
        refuse(!self.users.iter().all(is_user), "a user has 1 to 63 bytes")?;
        refuse(self.users.first() == self.users.get(1), "the two users of a static role are different ones")?;
        refuse(
            !(STATIC_ROTATION_PERIOD_MIN..=STATIC_ROTATION_PERIOD_MAX).contains(&self.period()),
            "from one rotation to the next it is 60 to 31,536,000 seconds (a year)",
        )?;
        refuse(self.grace() > self.period() / 2, "the grace is at most half of the time from one rotation to the next")
    }
}

/// A user with the password that the vault gave it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    user: String,
    password: SecretField,
}

/// A user who was in turn, and is good still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Previous {
    /// The user.
    pub user: String,
    /// Until when, at most.
    pub until: Timestamp,
}

/// A static role as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticRoleRecord {
    /// What is set.
    pub settings: StaticRoleSettings,
    /// When it was written.
    pub updated: Timestamp,
    /// Counts rotations.
    pub version: u64,
    /// When the user in turn was given its password.
    pub rotated: Option<Timestamp>,
    /// The user before, while it is good.
    pub previous: Option<Previous>,
    current: Option<Given>,
    /// What is being given; whether the database has it already is not known.
    next: Option<Given>,
}

fn duplicate(password: &SecretField) -> Result<SecretString, DatabaseEngineError> {
    password.0.duplicate().into_text().map_err(|_| DatabaseEngineError::Record)
}

impl StaticRoleRecord {
    /// The user in turn and its password; none before the first rotation.
    pub fn current(&self) -> Result<Option<(&str, SecretString)>, DatabaseEngineError> {
        self.current.as_ref().map(|given| Ok((given.user.as_str(), duplicate(&given.password)?))).transpose()
    }

    /// The user in turn; none before the first rotation.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.current.as_ref().map(|given| given.user.as_str())
    }

    /// The user that is being given a password, and the password.
    pub fn next(&self) -> Result<Option<(&str, SecretString)>, DatabaseEngineError> {
        self.next.as_ref().map(|given| Ok((given.user.as_str(), duplicate(&given.password)?))).transpose()
    }

    /// Whether it is not known which password holds for the user in turn.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        self.next.as_ref().is_some_and(|next| Some(next.user.as_str()) == self.user())
    }

    /// When the next rotation is due.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        self.rotated.map_or(self.updated, |rotated| rotated.plus(self.settings.period()))
    }

    /// Notes that the user whose turn is next is about to be given a password.
    pub fn begin(&mut self, password: &SecretString) -> Result<(), DatabaseEngineError> {
        let turn = self.settings.users.iter().find(|user| Some(user.as_str()) != self.user());
        let user = turn.or_else(|| self.settings.users.first()).ok_or(DatabaseEngineError::Record)?.clone();
        self.next = Some(Given { user, password: SecretField(password.duplicate().into_bytes()) });
        Ok(())
    }

    /// Notes that the password that was being given was not.
    pub fn abandon(&mut self) {
        self.next = None;
    }

    /// Notes that the password that was being given is the one that holds.
    pub fn finish(&mut self, now: Timestamp) {
        let Some(next) = self.next.take() else { return };
        let before = self.current.replace(next);
        let before = before.map(|given| given.user).filter(|user| Some(user.as_str()) != self.user());
        self.previous = before.map(|user| Previous { user, until: now.plus(self.settings.grace()) });
        self.version += 1;
        self.rotated = Some(now);
    }
}

impl Databases {
    /// A static role; `None` where there is none of this name.
    pub async fn static_role(
        &self,
        barrier: &Barrier,
        name: &Name,
    ) -> Result<Option<Stored<StaticRoleRecord>>, DatabaseEngineError> {
        self.find(barrier, Directory::StaticRoles, name).await
    }

    /// The names of static roles.
    pub async fn static_roles(&self, barrier: &Barrier) -> Result<Vec<String>, DatabaseEngineError> {
        self.names(barrier, Directory::StaticRoles).await
    }

    /// Where a static role is stored: what changes when it is rotated.
    pub fn static_role_key(&self, name: &Name) -> Result<RecordKey, DatabaseEngineError> {
        self.key(Directory::StaticRoles, name)
    }

    /// Plans a static role, new or changed. One whose users and connection stay keeps its credential. Fails where a setting
    /// cannot be, there is no such connection, or a user is the vault's own or another static role's.
    pub async fn put_static_role(
        &self,
        barrier: &Barrier,
        name: &Name,
        settings: StaticRoleSettings,
        now: Timestamp,
    ) -> Result<Planned<()>, DatabaseEngineError> {
        settings.check()?;
        let connection: Name = settings.connection.parse().map_err(|_| DatabaseEngineError::NoConnection)?;
        let there = self.connection(barrier, &connection).await?.ok_or(DatabaseEngineError::NoConnection)?;
        if settings.users.contains(&there.record.settings.user) {
            return Err(DatabaseEngineError::Setting(
                "the vault's own user is rotated with its connection: coffer database connection rotate",
            ));
        }
        for other in self.static_roles(barrier).await? {
            let other: Name = other.parse().map_err(|_| DatabaseEngineError::Record)?;
            let found = if other == *name { None } else { self.static_role(barrier, &other).await? };
            let Some(Stored { record, .. }) = found else { continue };
            let shares = record.settings.users.iter().any(|user| settings.users.contains(user));
            if record.settings.connection == settings.connection && shares {
                return Err(DatabaseEngineError::Taken(other.to_string()));
            }
        }
        let before = self.static_role(barrier, name).await?;
        let version = before.as_ref().map(|before| before.version);
        let record = match before.map(|before| before.record) {
            Some(before) if before.settings.connection == settings.connection && before.settings.users == settings.users => {
                StaticRoleRecord { settings, updated: now, ..before }
            }
            before => StaticRoleRecord {
                settings,
                updated: now,
                // It never goes back, for those who follow it.
                version: before.map_or(0, |before| before.version),
                rotated: None,
                previous: None,
                current: None,
                next: None,
            },
        };
        let mut batch = self.put(barrier, Directory::StaticRoles, name, version, &record).await?;
        batch.require(self.key(Directory::Connections, &connection)?, Expect::Version(there.version));
        Ok(Planned { batch, outcome: () })
    }

    /// Plans to write a static role over the version that it was made of.
    pub async fn change_static_role(
        &self,
        barrier: &Barrier,
        name: &Name,
        role: &Stored<StaticRoleRecord>,
    ) -> Result<Planned<()>, DatabaseEngineError> {
        let batch = self.put(barrier, Directory::StaticRoles, name, Some(role.version), &role.record).await?;
        Ok(Planned { batch, outcome: () })
    }

    /// Plans that a static role goes. Its users stay, with the passwords that they have.
    pub async fn delete_static_role(&self, barrier: &Barrier, name: &Name) -> Result<Planned<()>, DatabaseEngineError> {
        let stored = self.static_role(barrier, name).await?.ok_or(DatabaseEngineError::NotFound)?;
        let mut batch = Batch::default();
        batch.delete(self.key(Directory::StaticRoles, name)?, Expect::Version(stored.version));
        Ok(Planned { batch, outcome: () })
    }
}

#[cfg(test)]
mod tests;
