//! What is stored of a secret.

use std::collections::BTreeMap;

use coffer_barrier::encoding::{self, SecretField};
use coffer_core::{clock::Timestamp, id::SecretId, limits::VERSIONS_KEPT_DEFAULT};
use coffer_crypto::hash::sha256;
use serde::{Deserialize, Serialize, Serializer};
use serde_bytes::Bytes;

use super::{Fields, KvError, Metadata, Settings, VersionInfo, VersionState};

/// What is known about a secret, at its name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretRecord {
    pub(super) id: SecretId,
    pub(super) created: Timestamp,
    /// The newest version's number.
    pub(super) newest: u64,
    /// The versions kept, oldest first.
    pub(super) versions: Vec<VersionRecord>,
    pub(super) custom: BTreeMap<String, String>,
    /// 0 for the default.
    pub(super) max_versions: u32,
    pub(super) cas_required: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionRecord {
    pub(super) number: u64,
    pub(super) created: Timestamp,
    pub(super) by: String,
    pub(super) expires: Option<Timestamp>,
    pub(super) kept: Kept,
}

/// What is kept of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kept {
    /// Its value.
    Live,
    /// Its value, soft-deleted.
    Deleted,
    /// Nothing: it was erased after it had expired.
    Expired,
    /// Nothing: it was destroyed.
    Destroyed,
}

impl VersionRecord {
    /// Whether there is a value.
    pub(super) const fn has_value(&self) -> bool {
        matches!(self.kept, Kept::Live | Kept::Deleted)
    }

    pub(super) fn state(&self, now: Timestamp) -> VersionState {
        let expired = self.expires.is_some_and(|expires| expires <= now);
        match self.kept {
            Kept::Destroyed => VersionState::Destroyed,
            Kept::Expired => VersionState::Expired,
            Kept::Live | Kept::Deleted if expired => VersionState::Expired,
            Kept::Live => VersionState::Live,
            Kept::Deleted => VersionState::Deleted,
        }
    }

    pub(super) fn info(&self, now: Timestamp) -> VersionInfo {
        VersionInfo {
            version: self.number,
            created: self.created,
            created_by: self.by.clone(),
            state: self.state(now),
            expires: self.expires,
        }
    }
}

impl SecretRecord {
    pub(super) const fn new(id: SecretId, now: Timestamp) -> Self {
        Self { id, created: now, newest: 0, versions: Vec::new(), custom: BTreeMap::new(), max_versions: 0, cas_required: false }
    }

    /// The version of a number; `None` where it was destroyed to make room. Fails where there never was such a version.
    pub(super) fn version(&self, number: u64) -> Result<Option<&VersionRecord>, KvError> {
        if number == 0 || number > self.newest {
            return Err(KvError::NotFound);
        }
        Ok(self.versions.iter().find(|version| version.number == number))
    }

    /// As [`version`](Self::version), to be changed.
    pub(super) fn version_mut(&mut self, number: u64) -> Result<Option<&mut VersionRecord>, KvError> {
        if number == 0 || number > self.newest {
            return Err(KvError::NotFound);
        }
        Ok(self.versions.iter_mut().find(|version| version.number == number))
    }

    /// How many versions are kept.
    pub(super) const fn max_versions(&self) -> u32 {
        if self.max_versions == 0 { VERSIONS_KEPT_DEFAULT } else { self.max_versions }
    }

    /// Names the state: what the record says, and not which write of it this is, which re-encryption and restoring change.
    pub(super) fn etag(&self) -> Result<String, KvError> {
        let [digest @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = sha256(encoding::encode(self)?.expose());
        Ok(format!("{}-{:032x}", self.id, u128::from_be_bytes(digest)))
    }

    pub(super) fn metadata(&self, now: Timestamp) -> Result<Metadata, KvError> {
        Ok(Metadata {
            newest_version: self.newest,
            versions: self.versions.iter().map(|version| version.info(now)).collect(),
            settings: Settings {
                custom_metadata: self.custom.clone(),
                max_versions: self.max_versions(),
                cas_required: self.cas_required,
            },
            created: self.created,
            etag: self.etag()?,
        })
    }
}

/// A version's value as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ValueRecord {
    pub(super) fields: BTreeMap<String, SecretField>,
}

/// A version's value as it is written.
#[derive(Serialize)]
pub(super) struct ValueRef<'a> {
    #[serde(serialize_with = "expose")]
    pub(super) fields: &'a Fields,
}

fn expose<S: Serializer>(fields: &Fields, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().map(|(name, value)| (name, Bytes::new(value.expose()))))
}
