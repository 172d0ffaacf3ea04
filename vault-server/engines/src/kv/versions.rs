//! Deleting, bringing back and destroying versions.

use coffer_barrier::{Barrier, Batch, Expect, encoding};
use coffer_core::{clock::Timestamp, path::Path};

use super::{
    Found, Kv, KvError, VersionState, check,
    record::{Kept, SecretRecord},
};
use crate::Planned;

impl Kv {
    /// Plans to soft-delete versions; the newest where none is given. What cannot be read anyway stays as it is.
    pub async fn delete_versions(
        &self,
        barrier: &Barrier,
        path: &Path,
        versions: &[u64],
        now: Timestamp,
    ) -> Result<Planned<()>, KvError> {
        check::versions(versions)?;
        self.change(barrier, path, now, |_, record| {
            let newest = [record.newest];
            let versions = if versions.is_empty() { &newest } else { versions };
            for number in versions {
                if let Some(version) = record.version_mut(*number)?.filter(|version| version.kept == Kept::Live) {
                    version.kept = Kept::Deleted;
                }
            }
            Ok(())
        })
        .await
    }

    /// Plans to bring soft-deleted versions back. Fails with [`KvError::Gone`] where the value of one is erased.
    pub async fn undelete_versions(
        &self,
        barrier: &Barrier,
        path: &Path,
        versions: &[u64],
        now: Timestamp,
    ) -> Result<Planned<()>, KvError> {
        check::some_versions(versions)?;
        self.change(barrier, path, now, |_, record| {
            for number in versions {
                let gone = |state| KvError::Gone { version: *number, state };
                let version = record.version_mut(*number)?.ok_or_else(|| gone(VersionState::Destroyed))?;
                match version.state(now) {
                    VersionState::Live | VersionState::Deleted => version.kept = Kept::Live,
                    state @ (VersionState::Expired | VersionState::Destroyed) => return Err(gone(state)),
                }
            }
            Ok(())
        })
        .await
    }

    /// Plans to destroy versions: their values are erased. What is destroyed already stays so.
    pub async fn destroy_versions(
        &self,
        barrier: &Barrier,
        path: &Path,
        versions: &[u64],
        now: Timestamp,
    ) -> Result<Planned<()>, KvError> {
        check::some_versions(versions)?;
        self.change(barrier, path, now, |batch, record| {
            let id = record.id;
            for number in versions {
                if let Some(version) = record.version_mut(*number)? {
                    if version.has_value() {
                        batch.delete(self.value_key(id, *number)?, Expect::Any);
                    }
                    version.kept = Kept::Destroyed;
                }
            }
            Ok(())
        })
        .await
    }

    /// Plans to destroy a secret: its versions, custom metadata and name. One made again under the name begins anew. With an
    /// etag, only the state that it names: fails with [`KvError::Etag`] where it is another.
    pub async fn destroy(&self, barrier: &Barrier, path: &Path, etag: Option<&str>) -> Result<Planned<()>, KvError> {
        let Found { key, expect, record } = self.find(barrier, path).await?.ok_or(KvError::NotFound)?;
        if let Some(etag) = etag
            && etag != record.etag()?
        {
            return Err(KvError::Etag);
        }
        let mut batch = Batch::new();
        for version in record.versions.iter().filter(|version| version.has_value()) {
            batch.delete(self.value_key(record.id, version.number)?, Expect::Any);
        }
        batch.delete(key, expect);
        Ok(Planned { batch, outcome: () })
    }

    /// Plans a change of a secret's record.
    async fn change(
        &self,
        barrier: &Barrier,
        path: &Path,
        now: Timestamp,
        change: impl FnOnce(&mut Batch, &mut SecretRecord) -> Result<(), KvError> + Send,
    ) -> Result<Planned<()>, KvError> {
        let Found { key, expect, mut record } = self.find(barrier, path).await?.ok_or(KvError::NotFound)?;
        let mut batch = Batch::new();
        change(&mut batch, &mut record)?;
        self.settle(&mut batch, &mut record, now)?;
        batch.put(key, expect, encoding::encode(&record)?);
        Ok(Planned { batch, outcome: () })
    }
}
