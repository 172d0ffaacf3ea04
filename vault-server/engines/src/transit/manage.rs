//! How keys come to be, change and go.

use coffer_barrier::{Barrier, Batch, Expect, encoding, encoding::SecretField};
use coffer_core::{clock::Timestamp, limits::TRANSIT_VERSIONS_MAX, principal::Name};
use coffer_crypto::{random, recipients::Identity};
use coffer_secret::SecretBytes;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use super::{
    KeyKind, Stored, Transit, TransitError,
    record::{KeyRecord, KeyVersion},
};
use crate::Planned;

/// What a new key is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewKey {
    /// Its type.
    pub kind: KeyKind,
    /// Whether it may be deleted.
    pub deletable: bool,
}

/// What is to change about a key; none for what stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// The lowest version that decrypts and verifies.
    pub min_decrypt: Option<u32>,
    /// The lowest version that encrypts and signs; 0 for the newest alone.
    pub min_encrypt: Option<u32>,
    /// Whether it may be deleted.
    pub deletable: Option<bool>,
}

/// What key material is brought in under.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrappingRecord {
    identity: SecretField,
}

impl Transit {
    /// Plans a new key.
    pub async fn create(
        &self,
        barrier: &Barrier,
        name: &Name,
        new: NewKey,
        now: Timestamp,
    ) -> Result<Planned<u32>, TransitError> {
        self.first_version(barrier, name, new, (now, false, new.kind.generate()?)).await
    }

    /// Plans a new key of material that was brought in, or where `as_version` is said, a version of one that is there.
    pub async fn import(
        &self,
        barrier: &Barrier,
        name: &Name,
        new: NewKey,
        as_version: bool,
        wrapped: &[u8],
        now: Timestamp,
    ) -> Result<Planned<u32>, TransitError> {
        let identity = self.identity(barrier).await?.ok_or(TransitError::Wrapping)?;
        let material = new.kind.import(identity.decrypt(wrapped).map_err(|_| TransitError::Wrapping)?)?;
        if !as_version {
            return self.first_version(barrier, name, new, (now, true, material)).await;
        }
        let stored = self.stored(barrier, name).await?;
        if stored.record.kind != new.kind {
            return Err(TransitError::Setting("the key is of another type"));
        }
        self.next_version(barrier, name, stored, (now, true, material)).await
    }

    /// Plans a new version of a key.
    pub async fn rotate(&self, barrier: &Barrier, name: &Name, now: Timestamp) -> Result<Planned<u32>, TransitError> {
        let stored = self.stored(barrier, name).await?;
        let material = stored.record.kind.generate()?;
        self.next_version(barrier, name, stored, (now, false, material)).await
    }

    async fn first_version(
        &self,
        barrier: &Barrier,
        name: &Name,
        new: NewKey,
        made: (Timestamp, bool, SecretBytes),
    ) -> Result<Planned<u32>, TransitError> {
        if self.find(barrier, name).await?.is_some() {
            return Err(TransitError::Exists);
        }
        let created = made.0;
        let record = KeyRecord {
            id: ByteArray::new(random::bytes().map_err(|_| TransitError::Random)?),
            kind: new.kind,
            versions: vec![KeyVersion::new(new.kind, 1, made)?],
            min_decrypt: 1,
            min_encrypt: 0,
            deletable: new.deletable,
            created,
        };
        Ok(Planned { batch: self.put(barrier, name, None, &record).await?, outcome: 1 })
    }

    async fn next_version(
        &self,
        barrier: &Barrier,
        name: &Name,
        stored: Stored,
        made: (Timestamp, bool, SecretBytes),
    ) -> Result<Planned<u32>, TransitError> {
        let Stored { mut record, version } = stored;
        if record.versions.len() >= TRANSIT_VERSIONS_MAX {
            return Err(TransitError::TooManyVersions);
        }
        let number = record.newest().checked_add(1).ok_or(TransitError::TooManyVersions)?;
        record.versions.push(KeyVersion::new(record.kind, number, made)?);
        Ok(Planned { batch: self.put(barrier, name, Some(version), &record).await?, outcome: number })
    }

    /// Plans other settings for a key.
    pub async fn update(&self, barrier: &Barrier, name: &Name, change: KeyChange) -> Result<Planned<()>, TransitError> {
        let Stored { mut record, version } = self.stored(barrier, name).await?;
        record.min_decrypt = change.min_decrypt.unwrap_or(record.min_decrypt);
        record.min_encrypt = change.min_encrypt.unwrap_or(record.min_encrypt);
        record.deletable = change.deletable.unwrap_or(record.deletable);
        if !(record.oldest()..=record.newest()).contains(&record.min_decrypt) {
            return Err(TransitError::Setting("the minimum for decryption is one of the key's versions"));
        }
        if record.min_encrypt != 0 && !(record.min_decrypt..=record.newest()).contains(&record.min_encrypt) {
            return Err(TransitError::Setting(
                "the minimum for encryption is 0, for the newest version, or one of the versions that decrypt",
            ));
        }
        Ok(Planned { batch: self.put(barrier, name, Some(version), &record).await?, outcome: () })
    }

    /// Plans that the versions below the minimum for decryption are erased. The outcome is how many.
    pub async fn trim(&self, barrier: &Barrier, name: &Name) -> Result<Planned<usize>, TransitError> {
        let Stored { mut record, version } = self.stored(barrier, name).await?;
        let before = record.versions.len();
        let lowest = record.min_decrypt;
        record.versions.retain(|version| version.number >= lowest);
        let erased = before - record.versions.len();
        if erased == 0 {
            return Ok(Planned { batch: Batch::default(), outcome: 0 });
        }
        Ok(Planned { batch: self.put(barrier, name, Some(version), &record).await?, outcome: erased })
    }

    /// Plans that a key goes, with all its versions.
    pub async fn delete(&self, barrier: &Barrier, name: &Name) -> Result<Planned<()>, TransitError> {
        let stored = self.stored(barrier, name).await?;
        if !stored.record.deletable {
            return Err(TransitError::Kept);
        }
        let mut batch = Batch::default();
        batch.delete(self.key_record(name)?, Expect::Version(stored.version));
        Ok(Planned { batch, outcome: () })
    }

    /// Who key material is encrypted to that is brought in (`age1...`). Planned where there is none yet.
    pub async fn wrapping_key(&self, barrier: &Barrier) -> Result<Planned<String>, TransitError> {
        let mut batch = Batch::default();
        let identity = match self.identity(barrier).await? {
            Some(identity) => identity,
            None => {
                let identity = Identity::generate();
                let record = WrappingRecord { identity: SecretField(identity.text()) };
                let value = encoding::encode(&record).map_err(|_| TransitError::Record)?;
                batch.put(self.directory(b"w")?, Expect::Absent, value);
                identity
            }
        };
        Ok(Planned { batch, outcome: identity.recipient().to_string() })
    }

    async fn identity(&self, barrier: &Barrier) -> Result<Option<Identity>, TransitError> {
        let Some(found) = barrier.get(&self.directory(b"w")?).await? else { return Ok(None) };
        let record: WrappingRecord = encoding::decode(found.value.expose()).map_err(|_| TransitError::Record)?;
        Identity::parse(&record.identity.0).map(Some).map_err(|_| TransitError::Record)
    }
}
