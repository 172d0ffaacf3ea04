//! Reading secrets.

use std::collections::BTreeMap;

use coffer_barrier::{Barrier, BarrierError, encoding};
use coffer_core::{clock::Timestamp, path::Path};

use super::{
    Fields, Found, Kv, KvError, Metadata, Name, VersionInfo, VersionState,
    record::{SecretRecord, ValueRecord},
};

/// How often a read begins anew where writes keep overtaking it.
const ATTEMPTS_MAX: usize = 8;

/// A secret's value.
#[derive(Debug)]
pub struct Secret {
    /// The fields.
    pub fields: Fields,
    /// The version.
    pub version: VersionInfo,
    /// Custom metadata.
    pub custom_metadata: BTreeMap<String, String>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesPage {
    /// The names, in byte order.
    pub names: Vec<Name>,
    /// Whether there are more behind the last.
    pub more: bool,
}

impl Kv {
    /// Reads a version of a secret; the newest where none is given. There is no falling back to an older version: where
    /// the newest is deleted, expired or destroyed, that is the answer ([`KvError::Gone`]).
    pub async fn get(&self, barrier: &Barrier, path: &Path, version: Option<u64>, now: Timestamp) -> Result<Secret, KvError> {
        for _ in 0..ATTEMPTS_MAX {
            let Found { record, expect, .. } = self.find(barrier, path).await?.ok_or(KvError::NotFound)?;
            let number = version.unwrap_or(record.newest);
            let info = live(&record, number, now)?;
            if let Some(fields) = self.value(barrier, &record, number).await? {
                return Ok(Secret { fields, version: info, custom_metadata: record.custom });
            }
            // Destroyed since the name was read?
            if self.find(barrier, path).await?.is_some_and(|found| found.expect == expect && found.record.id == record.id) {
                return Err(KvError::damaged("a version has no value"));
            }
        }
        Err(BarrierError::Conflict.into())
    }

    /// What is known about a secret.
    pub async fn metadata(&self, barrier: &Barrier, path: &Path, now: Timestamp) -> Result<Metadata, KvError> {
        self.find(barrier, path).await?.ok_or(KvError::NotFound)?.record.metadata(now)
    }

    /// Names directly below a path (a mount, or a folder), in byte order: those behind `after`, `limit` at most. Nothing
    /// is below what does not exist.
    pub async fn list(&self, barrier: &Barrier, path: &Path, after: Option<&str>, limit: usize) -> Result<NamesPage, KvError> {
        let children = barrier.children(&self.name_key(path)?).await?;
        let first = after.map_or(0, |after| children.partition_point(|child| child.name.as_slice() <= after.as_bytes()));
        let mut names = Vec::new();
        let mut behind = children.iter().skip(first);
        for child in behind.by_ref().take(limit) {
            let name = String::from_utf8(child.name.clone()).map_err(|_| KvError::damaged("a name is not text"))?;
            names.push(Name { name, secret: child.record, folder: child.below });
        }
        Ok(NamesPage { names, more: behind.next().is_some() })
    }

    /// A version's value; `None` where there is none.
    pub(super) async fn value(&self, barrier: &Barrier, record: &SecretRecord, number: u64) -> Result<Option<Fields>, KvError> {
        let Some(value) = barrier.get(&self.value_key(record.id, number)?).await? else { return Ok(None) };
        let value: ValueRecord = encoding::decode(value.value.expose()).map_err(|_| KvError::damaged("a version's value"))?;
        Ok(Some(value.fields.into_iter().map(|(name, field)| (name, field.0)).collect()))
    }
}

/// What is known of a version that can be read.
pub(super) fn live(record: &SecretRecord, number: u64, now: Timestamp) -> Result<VersionInfo, KvError> {
    let gone = |state| KvError::Gone { version: number, state };
    let info = record.version(number)?.ok_or_else(|| gone(VersionState::Destroyed))?.info(now);
    if info.state == VersionState::Live { Ok(info) } else { Err(gone(info.state)) }
}
