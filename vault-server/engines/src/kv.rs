//! Secrets as maps of field to bytes, with versions.
//!
//! Below a mount there are two directories. `n` holds the names: at the path's segments, what is known about the secret,
//! its id and its versions. `d` holds the values: at the secret's id and the version's number. Every change of a secret
//! rewrites the record of its name, whose version in the store orders all changes; a value is written once and then
//! only deleted.
//!
//! Versions have numbers from 1, never used twice. At most [`Settings::max_versions`] are kept; older ones are destroyed
//! with the write that makes them too many. A version that has expired can no longer be read from that moment on, and is
//! erased with the next change of its secret.

mod check;
mod error;
mod metadata;
mod put;
mod read;
mod record;
mod versions;

use std::collections::BTreeMap;

use coffer_barrier::{Barrier, Expect, Record, RecordKey, Scope, encoding};
use coffer_core::{
    clock::Timestamp,
    id::{MountId, SecretId, TenantId},
    path::Path,
};
use coffer_secret::SecretBytes;

pub use error::KvError;
pub use metadata::SettingsChange;
pub use put::{PutRequest, RollbackRequest};
pub use read::{NamesPage, Secret};

use record::SecretRecord;

/// A secret's value: fields by name.
pub type Fields = BTreeMap<String, SecretBytes>;

/// A mount of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kv {
    tenant: TenantId,
    mount: MountId,
}

/// State of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionState {
    /// Can be read.
    Live,
    /// Soft-deleted.
    Deleted,
    /// Its expiry has passed.
    Expired,
    /// Destroyed: its value is erased.
    Destroyed,
}

impl std::fmt::Display for VersionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::Destroyed => "destroyed",
        })
    }
}

/// A version, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInfo {
    /// The number, from 1.
    pub version: u64,
    /// When it was written.
    pub created: Timestamp,
    /// Who wrote it.
    pub created_by: String,
    /// Its state.
    pub state: VersionState,
    /// When it expires; `None` for never.
    pub expires: Option<Timestamp>,
}

/// What the owner of a secret sets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Custom metadata: at most [`coffer_core::limits::CUSTOM_METADATA_ENTRIES_MAX`] entries, keys of 1 to
    /// [`coffer_core::limits::CUSTOM_METADATA_KEY_BYTES_MAX`] bytes, values of at most
    /// [`coffer_core::limits::CUSTOM_METADATA_VALUE_BYTES_MAX`].
    pub custom_metadata: BTreeMap<String, String>,
    /// Versions kept: 1 to [`coffer_core::limits::VERSIONS_KEPT_MAX`]; 0 for
    /// [`coffer_core::limits::VERSIONS_KEPT_DEFAULT`].
    pub max_versions: u32,
    /// Whether every write must say which version it expects.
    pub cas_required: bool,
}

/// What is known about a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The newest version's number; 0 where nothing was written yet.
    pub newest_version: u64,
    /// The versions kept, oldest first.
    pub versions: Vec<VersionInfo>,
    /// What its owner set; `max_versions` is never 0 here.
    pub settings: Settings,
    /// When the secret was created.
    pub created: Timestamp,
    /// Names this state: changes with every change of the secret.
    pub etag: String,
}

/// A name in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name: one segment.
    pub name: String,
    /// Whether there is a secret of this name.
    pub secret: bool,
    /// Whether there are secrets below this name.
    pub folder: bool,
}

/// A secret's record as it was read, with what a change of it must expect.
struct Found {
    key: RecordKey,
    expect: Expect,
    record: SecretRecord,
}

impl Kv {
    /// The mount of this id.
    #[must_use]
    pub const fn new(tenant: TenantId, mount: MountId) -> Self {
        Self { tenant, mount }
    }

    /// The record that changes with every change of the secret at this path: compare with the barrier's feed. For a
    /// path without segments below the mount, the directory of all of them.
    pub fn name_key(&self, path: &Path) -> Result<RecordKey, KvError> {
        let base = [b"kv".as_slice(), self.mount.as_bytes(), b"n"];
        let segments = base.into_iter().chain(path.below_mount().map(str::as_bytes));
        RecordKey::new(Scope::Tenant(self.tenant), segments).map_err(|_| KvError::Path)
    }

    /// As [`name_key`](Self::name_key), and refuses a mount alone.
    fn secret_key(&self, path: &Path) -> Result<RecordKey, KvError> {
        if path.below_mount().next().is_none() {
            return Err(KvError::Path);
        }
        self.name_key(path)
    }

    /// Where a version's value is.
    fn value_key(&self, secret: SecretId, version: u64) -> Result<RecordKey, KvError> {
        let segments = [b"kv".as_slice(), self.mount.as_bytes(), b"d", secret.as_bytes(), &version.to_be_bytes()];
        RecordKey::new(Scope::Tenant(self.tenant), segments).map_err(|_| KvError::Path)
    }

    async fn find(&self, barrier: &Barrier, path: &Path) -> Result<Option<Found>, KvError> {
        let key = self.secret_key(path)?;
        let Some(Record { value, version, .. }) = barrier.get(&key).await? else { return Ok(None) };
        let record = encoding::decode(value.expose()).map_err(|_| KvError::damaged("what is known about a secret"))?;
        Ok(Some(Found { key, expect: Expect::Version(version), record }))
    }
}
