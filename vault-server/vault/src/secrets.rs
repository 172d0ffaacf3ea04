//! The kv engine's secrets, and telling of changes: theirs, and those of static credentials.

use std::time::Duration;

use coffer_barrier::{BarrierError, PhysicalKey};
use coffer_core::{clock::Timestamp, path::Path, principal::Principal, reason::Reason};
use coffer_engines::kv::{
    Fields, Kv, KvError, Metadata, NamesPage, PutRequest, RollbackRequest, Secret, SettingsChange, VersionInfo, VersionState,
};
use coffer_secret::SecretBytes;

use crate::{Authenticated, Engine, Failure, Planned, PolicyChange, Record, Unsealed, unsealed::directory, watchers::Watcher};

/// How long to wait before the store's changes are followed again after an error.
const FOLLOW_AGAIN: Duration = Duration::from_secs(1);

/// The newest version of a secret that can be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// The number.
    pub version: u64,
    /// When it was written: tells a secret that was destroyed and made anew from the one before.
    pub created: Timestamp,
    /// When it expires; none for never.
    pub expires: Option<Timestamp>,
}

impl From<KvError> for Failure {
    fn from(error: KvError) -> Self {
        let told = |reason| Self::told(reason, error.to_string());
        match error {
            KvError::Path => told(Reason::PathInvalid),
            KvError::NotFound => Self::new(Reason::NotFound, "there is no such secret or version"),
            KvError::Gone { .. } => told(Reason::NotFound),
            KvError::Version { .. } | KvError::Etag => told(Reason::Conflict),
            KvError::CasRequired => told(Reason::InvalidArgument),
            KvError::Limit(_) => told(Reason::LimitExceeded),
            KvError::Barrier(error) => error.into(),
        }
    }
}

impl Unsealed {
    fn kv(&self, path: &Path) -> Result<Kv, Failure> {
        Ok(Kv::new(self.tenant.id, self.mount_of(path, Engine::Kv)?))
    }

    /// Reads a secret, and notes keyed hashes of its values in the record.
    ///
    /// # Errors
    /// Fails where there is no such secret, or the version cannot be read.
    pub async fn get_secret(&self, path: &Path, version: Option<u64>, record: &mut Record) -> Result<Secret, Failure> {
        let secret = self.kv(path)?.get(&self.barrier, path, version, self.now()).await?;
        record.values(secret.fields.iter().map(|(name, value)| (name, self.values.hash(value.expose()))));
        record.detail("version", secret.version.version);
        Ok(secret)
    }

    /// Plans a new version, and notes keyed hashes of its values in the record.
    ///
    /// # Errors
    /// Fails where a limit is exceeded or the newest version is not the expected one.
    pub async fn put_secret(
        &self,
        who: &Authenticated,
        path: &Path,
        put: PutRequest,
        record: &mut Record,
    ) -> Result<Planned<VersionInfo>, Failure> {
        // First: the record would be as large as the request is wrong.
        put.check_fields()?;
        record.values(put.fields.iter().map(|(name, value)| (name, self.values.hash(value.expose()))));
        let by: &Principal = &who.caller.principal;
        let planned = self.kv(path)?.put(&self.barrier, path, put, by, self.now()).await?;
        record.detail("version", planned.outcome.version);
        Ok(planned.into())
    }

    /// Plans a new version with an older one's fields, and notes keyed hashes of its values in the record.
    ///
    /// # Errors
    /// Fails where the older version cannot be read or the newest version is not the expected one.
    pub async fn rollback_secret(
        &self,
        who: &Authenticated,
        path: &Path,
        rollback: RollbackRequest,
        record: &mut Record,
    ) -> Result<Planned<VersionInfo>, Failure> {
        let by: &Principal = &who.caller.principal;
        let planned = self.kv(path)?.rollback(&self.barrier, path, rollback, by, self.now()).await?;
        let (version, fields) = planned.outcome;
        record.values(fields.iter().map(|(name, value)| (name, self.values.hash(value.expose()))));
        record.detail("version", version.version);
        Ok(coffer_engines::Planned { batch: planned.batch, outcome: version }.into())
    }

    /// Names directly below a path.
    ///
    /// # Errors
    /// Fails where there are too many to be put in order.
    pub async fn list_secrets(&self, path: &Path, after: Option<&str>, limit: usize) -> Result<NamesPage, Failure> {
        Ok(self.kv(path)?.list(&self.barrier, path, after, limit).await?)
    }

    /// What is known about a secret.
    ///
    /// # Errors
    /// Fails where there is none.
    pub async fn secret_metadata(&self, path: &Path) -> Result<Metadata, Failure> {
        Ok(self.kv(path)?.metadata(&self.barrier, path, self.now()).await?)
    }

    /// Plans other settings for a secret.
    ///
    /// # Errors
    /// Fails where a limit is exceeded or the etag is another state's.
    pub async fn put_secret_metadata(&self, path: &Path, change: SettingsChange) -> Result<Planned<Metadata>, Failure> {
        Ok(self.kv(path)?.put_metadata(&self.barrier, path, change, self.now()).await?.into())
    }

    /// Plans to soft-delete versions.
    ///
    /// # Errors
    /// Fails where there is no such secret or version.
    pub async fn delete_versions(&self, path: &Path, versions: &[u64]) -> Result<Planned<()>, Failure> {
        Ok(self.kv(path)?.delete_versions(&self.barrier, path, versions, self.now()).await?.into())
    }

    /// Plans to bring versions back.
    ///
    /// # Errors
    /// Fails where there is no such secret or version, or its value is erased.
    pub async fn undelete_versions(&self, path: &Path, versions: &[u64]) -> Result<Planned<()>, Failure> {
        Ok(self.kv(path)?.undelete_versions(&self.barrier, path, versions, self.now()).await?.into())
    }

    /// Plans to destroy versions.
    ///
    /// # Errors
    /// Fails where there is no such secret or version.
    pub async fn destroy_versions(&self, path: &Path, versions: &[u64]) -> Result<Planned<()>, Failure> {
        Ok(self.kv(path)?.destroy_versions(&self.barrier, path, versions, self.now()).await?.into())
    }

    /// Plans to destroy a secret.
    ///
    /// # Errors
    /// Fails where there is none, or the etag is another state's.
    pub async fn destroy_secret(&self, path: &Path, etag: Option<&str>) -> Result<Planned<()>, Failure> {
        Ok(self.kv(path)?.destroy(&self.barrier, path, etag).await?.into())
    }

    /// Whether what is had at a path is made for each who asks: it has no versions, and does not change.
    #[must_use]
    pub fn is_made_for_each(&self, path: &Path) -> bool {
        let makes = |engine| matches!(engine, Engine::Database | Engine::Kubernetes | Engine::Pki);
        self.engine_of(path).is_ok_and(makes) && !self.is_static_credential(path)
    }

    /// The fields of a secret's newest version, if it can be read now.
    pub(crate) async fn newest_fields(&self, path: &Path) -> Result<Option<Fields>, Failure> {
        match self.kv(path)?.get(&self.barrier, path, None, self.now()).await {
            Ok(secret) => Ok(Some(secret.fields)),
            Err(KvError::NotFound | KvError::Gone { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The newest version of a secret, if it can be read now.
    ///
    /// # Errors
    /// Fails where the store does.
    pub async fn newest_version(&self, path: &Path) -> Result<Option<Newest>, Failure> {
        if self.is_static_credential(path) {
            return self.newest_static(path).await;
        }
        match self.kv(path)?.metadata(&self.barrier, path, self.now()).await {
            Ok(metadata) => {
                let newest = metadata.versions.iter().find(|version| version.version == metadata.newest_version);
                Ok(newest.filter(|version| version.state == VersionState::Live).map(|newest| Newest {
                    version: newest.version,
                    created: newest.created,
                    expires: newest.expires,
                }))
            }
            Err(KvError::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins to watch secrets. Look at each after this, not before: a change between the two would be missed.
    ///
    /// # Errors
    /// Fails where there is no such mount, or there are too many watches.
    pub async fn watch(&self, who: &Authenticated, paths: &[Path]) -> Result<Watcher, Failure> {
        let mut keys = Vec::with_capacity(paths.len());
        for path in paths {
            keys.push(self.secret_key(path).await?);
        }
        let pod = who.pod.as_ref().map(|pod| (pod.uid.clone(), paths.into()));
        self.watchers.add(who.claims.id, who.caller.principal.to_string(), keys, pod)
    }

    /// Seals what a watch has been told, for `context` alone.
    ///
    /// # Errors
    /// Fails where the cipher does.
    pub fn resume_token(&self, context: &[u8], told: &[u8]) -> Result<String, Failure> {
        let sealed = self.watch_sealer.seal_within(context, told);
        sealed.map(|token| token.expose().to_owned()).map_err(|_| Failure::internal("a resume token cannot be sealed"))
    }

    /// Opens a resume token of this context.
    #[must_use]
    pub fn open_resume_token(&self, context: &[u8], token: &str) -> Option<SecretBytes> {
        self.watch_sealer.open_within(context, token).ok()
    }

    async fn secret_key(&self, path: &Path) -> Result<PhysicalKey, Failure> {
        if self.is_static_credential(path) {
            return self.static_credential_key(path).await;
        }
        if self.is_made_for_each(path) {
            // It is watched for what policy says of it: no change of the store is one of it.
            return Ok(self.barrier.physical(&directory(self.tenant.id, "offered")?).await?);
        }
        Ok(self.barrier.physical(&self.kv(path)?.name_key(path)?).await?)
    }

    /// Passes the store's changes on to watchers until the vault is sealed.
    pub(crate) async fn pass_changes_on(&self) {
        loop {
            let followed = tokio::select! {
                () = self.ending.cancelled() => return,
                followed = self.follow_store() => followed,
            };
            let Err(error) = followed else { continue };
            tracing::warn!(%error, "the store's changes cannot be followed; trying again");
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = tokio::time::sleep(FOLLOW_AGAIN) => {}
            }
        }
    }

    /// Follows the store until its feed ends; well where it only has to be begun anew.
    async fn follow_store(&self) -> Result<(), BarrierError> {
        let since = self.barrier.revision().await?;
        let mut feed = self.barrier.changes(since).await?;
        // What changed while nobody followed is seen by looking.
        self.watchers.all_changed();
        loop {
            match feed.next().await {
                Some(Ok(change)) => self.watchers.changed(&change.key),
                Some(Err(BarrierError::Compacted)) | None => return Ok(()),
                Some(Err(error)) => return Err(error),
            }
        }
    }
}

impl<T> From<coffer_engines::Planned<T>> for Planned<T> {
    fn from(planned: coffer_engines::Planned<T>) -> Self {
        Self { batch: planned.batch, answer: planned.outcome, then: Vec::new(), policy: PolicyChange::None }
    }
}
