//! Databases: how they are reached, and how users are made in them.
//!
//! Below a mount there are three directories: `c` holds connections, `r` roles, `s` static roles, each record at its name. Users that are made
//! are no records of the engine: they are leases, and what is needed to end one is in its lease, so that a role can be changed
//! or deleted meanwhile.

mod connection;
mod error;
mod role;
mod static_role;
mod user;

use coffer_barrier::{Barrier, Expect, RecordKey, Scope, encoding};
use coffer_core::{
    id::{MountId, TenantId},
    limits::DATABASE_NAMES_MAX,
    principal::Name,
};
use serde::{Serialize, de::DeserializeOwned};

pub use connection::{ConnectionRecord, ConnectionSettings};
pub use error::DatabaseEngineError;
pub use role::{RoleRecord, RoleSettings};
pub use static_role::{Previous, StaticRoleRecord, StaticRoleSettings};
pub use user::{new_password, user_name, users_prefix};

/// A mount of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Databases {
    tenant: TenantId,
    mount: MountId,
}

/// What a mount has by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directory {
    Connections,
    Roles,
    StaticRoles,
}

/// A record as it was read, with what a change of it must expect.
pub struct Stored<T> {
    /// The record.
    pub record: T,
    /// Which write of it this is.
    pub version: u64,
}

impl Databases {
    /// The mount of this id.
    #[must_use]
    pub const fn new(tenant: TenantId, mount: MountId) -> Self {
        Self { tenant, mount }
    }

    fn directory(&self, directory: Directory) -> Result<RecordKey, DatabaseEngineError> {
        let name = match directory {
            Directory::Connections => b"c",
            Directory::Roles => b"r",
            Directory::StaticRoles => b"s",
        };
        let segments = [b"database".as_slice(), self.mount.as_bytes(), name];
        RecordKey::new(Scope::Tenant(self.tenant), segments).map_err(|_| DatabaseEngineError::Name)
    }

    fn key(&self, directory: Directory, name: &Name) -> Result<RecordKey, DatabaseEngineError> {
        self.directory(directory)?.child(name.as_str()).map_err(|_| DatabaseEngineError::Name)
    }

    async fn find<T: DeserializeOwned>(
        &self,
        barrier: &Barrier,
        directory: Directory,
        name: &Name,
    ) -> Result<Option<Stored<T>>, DatabaseEngineError> {
        let Some(found) = barrier.get(&self.key(directory, name)?).await? else { return Ok(None) };
        let record = encoding::decode(found.value.expose()).map_err(|_| DatabaseEngineError::Record)?;
        Ok(Some(Stored { record, version: found.version }))
    }

    async fn names(&self, barrier: &Barrier, directory: Directory) -> Result<Vec<String>, DatabaseEngineError> {
        let children = barrier.children(&self.directory(directory)?).await?;
        children.iter().map(|child| String::from_utf8(child.name.clone()).map_err(|_| DatabaseEngineError::Record)).collect()
    }

    /// Plans to write a record over the one of this version, or where there is none.
    async fn put<T: Serialize>(
        &self,
        barrier: &Barrier,
        directory: Directory,
        name: &Name,
        before: Option<u64>,
        record: &T,
    ) -> Result<coffer_barrier::Batch, DatabaseEngineError> {
        if before.is_none() && self.names(barrier, directory).await?.len() >= DATABASE_NAMES_MAX {
            return Err(DatabaseEngineError::TooMany);
        }
        let mut batch = coffer_barrier::Batch::default();
        let value = encoding::encode(record).map_err(|_| DatabaseEngineError::Record)?;
        batch.put(self.key(directory, name)?, before.map_or(Expect::Absent, Expect::Version), value);
        Ok(batch)
    }
}
