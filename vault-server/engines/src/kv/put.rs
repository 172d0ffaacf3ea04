//! Writing versions.

use std::time::Duration;

use coffer_barrier::{Barrier, BarrierError, Batch, Expect, encoding};
use coffer_core::{clock::Timestamp, id::SecretId, path::Path, principal::Principal};
use coffer_crypto::random;

use super::{
    Fields, Found, Kv, KvError, VersionInfo, check,
    read::live,
    record::{Kept, SecretRecord, ValueRef, VersionRecord},
};
use crate::Planned;

/// A new version.
#[derive(Debug)]
pub struct PutRequest {
    /// The fields: 1 to [`coffer_core::limits::FIELDS_MAX`], names of 1 to
    /// [`coffer_core::limits::FIELD_NAME_BYTES_MAX`] bytes, [`coffer_core::limits::SECRET_BYTES_MAX`] in all.
    pub fields: Fields,
    /// The version that must be the newest; 0 where the secret must not exist (no version, or only destroyed ones).
    pub expected: Option<u64>,
    /// Whether to keep the newest version's other fields. Fails with [`KvError::Gone`] where that is not live.
    pub merge: bool,
    /// Seconds until the version expires: 1 to [`coffer_core::limits::TTL_SECS_MAX`]; `None` for never.
    pub ttl_secs: Option<u64>,
}

impl PutRequest {
    /// Whether the fields hold to their limits: to be asked before anything is done with each of them.
    ///
    /// # Errors
    /// [`KvError::Limit`].
    pub fn check_fields(&self) -> Result<(), KvError> {
        check::fields(&self.fields)
    }
}

/// Going back to an older version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollbackRequest {
    /// The version whose fields the new one has. Fails with [`KvError::Gone`] where that is not live.
    pub version: u64,
    /// The version that must be the newest.
    pub expected: Option<u64>,
    /// Seconds until the new version expires, as in [`PutRequest`]: the older version's expiry is not taken over.
    pub ttl_secs: Option<u64>,
}

impl Kv {
    /// Plans to write a new version.
    pub async fn put(
        &self,
        barrier: &Barrier,
        path: &Path,
        request: PutRequest,
        by: &Principal,
        now: Timestamp,
    ) -> Result<Planned<VersionInfo>, KvError> {
        request.check_fields()?;
        let PutRequest { mut fields, expected, merge, ttl_secs } = request;
        ttl_secs.map_or(Ok(()), check::ttl)?;
        let Found { key, expect, record } = match self.find(barrier, path).await? {
            Some(found) => found,
            None => self.absent(path, now)?,
        };
        check_expected(&record, expected)?;
        if merge && record.newest > 0 {
            live(&record, record.newest, now)?;
            let kept = self.value(barrier, &record, record.newest).await?.ok_or(BarrierError::Conflict)?;
            for (name, value) in kept {
                fields.entry(name).or_insert(value);
            }
            check::fields(&fields)?;
        }
        self.write(Found { key, expect, record }, &fields, ttl_secs, by, now)
    }

    /// Plans to write a new version with the fields of an older one, which must be live. Gives the fields too.
    pub async fn rollback(
        &self,
        barrier: &Barrier,
        path: &Path,
        request: RollbackRequest,
        by: &Principal,
        now: Timestamp,
    ) -> Result<Planned<(VersionInfo, Fields)>, KvError> {
        let RollbackRequest { version, expected, ttl_secs } = request;
        ttl_secs.map_or(Ok(()), check::ttl)?;
        let found = self.find(barrier, path).await?.ok_or(KvError::NotFound)?;
        check_expected(&found.record, expected)?;
        live(&found.record, version, now)?;
        let fields = self.value(barrier, &found.record, version).await?.ok_or(BarrierError::Conflict)?;
        let Planned { batch, outcome } = self.write(found, &fields, ttl_secs, by, now)?;
        Ok(Planned { batch, outcome: (outcome, fields) })
    }

    /// Plans the version that follows a secret's newest.
    fn write(
        &self,
        found: Found,
        fields: &Fields,
        ttl_secs: Option<u64>,
        by: &Principal,
        now: Timestamp,
    ) -> Result<Planned<VersionInfo>, KvError> {
        let Found { key, expect, mut record } = found;
        let number = record.newest.checked_add(1).ok_or(KvError::Limit("versions of a secret"))?;
        record.newest = number;
        record.versions.push(VersionRecord {
            number,
            created: now,
            by: by.to_string(),
            expires: ttl_secs.map(|secs| now.plus(Duration::from_secs(secs))),
            kept: Kept::Live,
        });
        let mut batch = Batch::new();
        self.settle(&mut batch, &mut record, now)?;
        let outcome = record.versions.last().map(|version| version.info(now)).ok_or(KvError::NotFound)?;
        batch.put(self.value_key(record.id, number)?, Expect::New, encoding::encode(&ValueRef { fields })?);
        batch.put(key, expect, encoding::encode(&record)?);
        Ok(Planned { batch, outcome })
    }

    /// A secret that does not exist yet.
    pub(super) fn absent(&self, path: &Path, now: Timestamp) -> Result<Found, KvError> {
        let id = random::bytes().map_err(|_| BarrierError::Internal("the operating system gave no random numbers"))?;
        let record = SecretRecord::new(SecretId::from_bytes(id), now);
        Ok(Found { key: self.secret_key(path)?, expect: Expect::Absent, record })
    }

    /// Destroys the versions that are too many, and erases those that have expired.
    pub(super) fn settle(&self, batch: &mut Batch, record: &mut SecretRecord, now: Timestamp) -> Result<(), KvError> {
        let kept = usize::try_from(record.max_versions()).unwrap_or(usize::MAX);
        let too_many = record.versions.len().saturating_sub(kept);
        for version in record.versions.drain(..too_many) {
            if version.has_value() {
                batch.delete(self.value_key(record.id, version.number)?, Expect::Any);
            }
        }
        for version in &mut record.versions {
            if version.has_value() && version.expires.is_some_and(|expires| expires <= now) {
                batch.delete(self.value_key(record.id, version.number)?, Expect::Any);
                version.kept = Kept::Expired;
            }
        }
        Ok(())
    }
}

fn check_expected(record: &SecretRecord, expected: Option<u64>) -> Result<(), KvError> {
    let holds = match expected {
        None if record.cas_required => return Err(KvError::CasRequired),
        None => true,
        Some(0) => record.versions.iter().all(|version| version.kept == Kept::Destroyed),
        Some(expected) => expected == record.newest,
    };
    if holds { Ok(()) } else { Err(KvError::Version { newest: record.newest }) }
}
