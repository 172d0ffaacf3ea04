//! Transit: keys that stay in the vault, and what is done with them for others.
//!
//! Below a mount there is the directory `k` with a record for each key, all its versions in it, and the record `w`: the
//! identity that key material is brought in under. Ciphertexts and signatures are kept by nobody but their owners.

mod error;
mod key;
mod manage;
mod record;
mod text;

use std::sync::Arc;

use coffer_barrier::{Barrier, Batch, Expect, Record, RecordKey, Scope, encoding};
use coffer_core::{
    id::{MountId, TenantId},
    limits::TRANSIT_KEYS_MAX,
    principal::Name,
};

pub use error::{TransitError, UseError};
pub use key::TransitKey;
pub use manage::{KeyChange, NewKey};
pub use record::{KeyInfo, KeyKind, VersionInfo};
pub use text::weight;

use crate::prepared::Prepared;
use record::KeyRecord;

/// A mount of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transit {
    tenant: TenantId,
    mount: MountId,
}

/// Keys that were made ready for use, for all mounts of a tenant.
#[derive(Default)]
pub struct Ready(Prepared<TransitKey>);

impl Ready {
    /// Keeps none any more: a key, or a version of one, was deleted.
    pub fn clear(&self) {
        self.0.clear();
    }
}

/// A record as it was read, with what a change of it must expect.
struct Stored {
    record: KeyRecord,
    version: u64,
}

impl Transit {
    /// The mount of this id.
    #[must_use]
    pub const fn new(tenant: TenantId, mount: MountId) -> Self {
        Self { tenant, mount }
    }

    fn directory(&self, name: &[u8]) -> Result<RecordKey, TransitError> {
        let segments = [b"transit".as_slice(), self.mount.as_bytes(), name];
        RecordKey::new(Scope::Tenant(self.tenant), segments).map_err(|_| TransitError::Name)
    }

    fn key_record(&self, name: &Name) -> Result<RecordKey, TransitError> {
        self.directory(b"k")?.child(name.as_str()).map_err(|_| TransitError::Name)
    }

    async fn find(&self, barrier: &Barrier, name: &Name) -> Result<Option<Stored>, TransitError> {
        let Some(found) = barrier.get(&self.key_record(name)?).await? else { return Ok(None) };
        Ok(Some(Stored { record: decode(&found)?, version: found.version }))
    }

    async fn stored(&self, barrier: &Barrier, name: &Name) -> Result<Stored, TransitError> {
        self.find(barrier, name).await?.ok_or(TransitError::NotFound)
    }

    /// A key, ready for use.
    pub async fn key(&self, barrier: &Barrier, ready: &Ready, name: &Name) -> Result<Arc<TransitKey>, TransitError> {
        let key = self.key_record(name)?;
        let found = barrier.get(&key).await?.ok_or(TransitError::NotFound)?;
        ready.0.of(&key, &found, || Ok(TransitKey::new(self.mount, decode(&found)?)))
    }

    /// What is known of a key, with its public keys.
    pub async fn info(&self, barrier: &Barrier, name: &Name) -> Result<KeyInfo, TransitError> {
        self.stored(barrier, name).await?.record.info()
    }

    /// The names of keys.
    pub async fn names(&self, barrier: &Barrier) -> Result<Vec<String>, TransitError> {
        let children = barrier.children(&self.directory(b"k")?).await?;
        children.iter().map(|child| String::from_utf8(child.name.clone()).map_err(|_| TransitError::Record)).collect()
    }

    /// The name of a key that may not be deleted, where there is one.
    pub async fn undeletable(&self, barrier: &Barrier) -> Result<Option<String>, TransitError> {
        for (name, record) in barrier.children_records(&self.directory(b"k")?).await? {
            let record = decode(&record)?;
            if !record.deletable {
                return String::from_utf8(name).map(Some).map_err(|_| TransitError::Record);
            }
        }
        Ok(None)
    }

    /// Plans to write a key over the record of this version, or where there is none.
    async fn put(&self, barrier: &Barrier, name: &Name, before: Option<u64>, record: &KeyRecord) -> Result<Batch, TransitError> {
        if before.is_none() && self.names(barrier).await?.len() >= TRANSIT_KEYS_MAX {
            return Err(TransitError::TooMany);
        }
        let mut batch = Batch::default();
        let value = encoding::encode(record).map_err(|_| TransitError::Record)?;
        batch.put(self.key_record(name)?, before.map_or(Expect::Absent, Expect::Version), value);
        Ok(batch)
    }
}

fn decode(record: &Record) -> Result<KeyRecord, TransitError> {
    encoding::decode(record.value.expose()).map_err(|_| TransitError::Record)
}
