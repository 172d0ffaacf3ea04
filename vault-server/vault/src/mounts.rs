//! Mounts: which engine answers below which name.
//!
//! What an engine keeps hangs on its mount's id, so a mount that is deleted leaves nothing to be reached, whatever is
//! mounted under its name next. Its records are erased page by page in the background; a note of what is to be erased is
//! written with the deletion and goes when all is done, so that a restart in between leaves nothing behind.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use coffer_barrier::{Batch, RecordKey, Scope};
use coffer_core::{
    id::MountId,
    limits::{MOUNT_DESCRIPTION_BYTES_MAX, MOUNTS_MAX},
    path::Path,
    principal::Name,
    reason::Reason,
};
use coffer_crypto::random;

use crate::{
    Failure, Planned, PolicyChange, Record, Unsealed,
    records::{ErasureRecord, MountRecord},
    table::Row,
};

/// How long to wait after a failure to erase.
const RETRY: Duration = Duration::from_secs(5);
/// The rest after a page is as long as erasing it took, and no longer than this.
const REST_MAX: Duration = Duration::from_secs(1);

/// An engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Secrets with versions.
    Kv,
    /// Users of databases.
    Database,
    /// Tokens of Kubernetes service accounts.
    Kubernetes,
    /// Certificates.
    Pki,
    /// Keys that stay in the vault.
    Transit,
}

impl Engine {
    /// Every engine.
    pub const ALL: &[Self] = &[Self::Kv, Self::Database, Self::Kubernetes, Self::Pki, Self::Transit];

    /// The name in mounts, and of the directory that holds what its mounts keep.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kv => "kv",
            Self::Database => "database",
            Self::Kubernetes => "kubernetes",
            Self::Pki => "pki",
            Self::Transit => "transit",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = Failure;

    fn from_str(name: &str) -> Result<Self, Failure> {
        Self::ALL.iter().copied().find(|engine| engine.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|engine| engine.name()).collect();
            Failure::told(Reason::InvalidArgument, format!("there is no engine of this name; engines are {}", names.join(", ")))
        })
    }
}

/// What is asked for in a new mount.
pub struct NewMount {
    /// The name.
    pub name: Name,
    /// The engine.
    pub engine: Engine,
    /// What it is for: at most [`MOUNT_DESCRIPTION_BYTES_MAX`] bytes, no control characters.
    pub description: String,
}

impl Unsealed {
    /// The id of the mount that a path begins with, where it is one of this engine.
    ///
    /// # Errors
    /// Fails where there is none.
    pub(crate) fn mount_of(&self, path: &Path, engine: Engine) -> Result<MountId, Failure> {
        let row = self.mounts.find(path.mount()).ok_or_else(no_mount)?;
        if row.value.engine == engine.name() {
            return Ok(row.value.id);
        }
        let message = format!("'{}' is a mount of the engine {}, not {engine}", path.mount(), row.value.engine);
        Err(Failure::told(Reason::InvalidArgument, message))
    }

    /// The id of the mount that a path begins with, of whatever engine.
    ///
    /// # Errors
    /// Fails where there is none.
    pub(crate) fn mount(&self, path: &Path) -> Result<MountId, Failure> {
        self.mounts.find(path.mount()).map(|row| row.value.id).ok_or_else(no_mount)
    }

    /// The engine of the mount that a path begins with.
    ///
    /// # Errors
    /// Fails where there is none.
    pub(crate) fn engine_of(&self, path: &Path) -> Result<Engine, Failure> {
        let row = self.mounts.find(path.mount()).ok_or_else(no_mount)?;
        row.value.engine.parse().map_err(|_| Failure::internal("a mount of an unknown engine"))
    }

    /// Plans a mount.
    ///
    /// # Errors
    /// Fails where there is one of this name, there are too many, or the description is too long.
    pub fn create_mount(&self, new: &NewMount) -> Result<Planned<Arc<MountRecord>>, Failure> {
        if new.description.len() > MOUNT_DESCRIPTION_BYTES_MAX || new.description.chars().any(char::is_control) {
            let message = format!("a description has at most {MOUNT_DESCRIPTION_BYTES_MAX} bytes, and no control characters");
            return Err(Failure::told(Reason::InvalidArgument, message));
        }
        // The name is the first segment of paths.
        let _: Path = new.name.as_str().parse()?;
        if self.mounts.find(new.name.as_str()).is_some() {
            return Err(Failure::new(Reason::AlreadyExists, "there is a mount of this name already"));
        }
        if self.mounts.len() + self.erasures.len() >= MOUNTS_MAX {
            return Err(Failure::told(Reason::LimitExceeded, format!("there are {MOUNTS_MAX} mounts already")));
        }
        let record = MountRecord {
            id: MountId::from_bytes(random::bytes().map_err(|_| Failure::internal("no random numbers"))?),
            engine: new.engine.name().to_owned(),
            created: self.now(),
            description: new.description.clone(),
        };
        let (mut batch, answer) = (Batch::default(), Arc::new(record.clone()));
        let put = self.mounts.put(&mut batch, new.name.as_str(), record)?;
        Ok(Planned { batch, answer, then: vec![put], policy: PolicyChange::Other })
    }

    /// A page of mounts behind a name, and whether there are more.
    pub fn mounts(&self, after: &str, limit: usize) -> (Vec<(String, Row<MountRecord>)>, bool) {
        self.mounts.page(after, limit, |_| true)
    }

    /// Plans that a mount goes, with all it holds. `id` is the mount that is meant; none for whichever has the name.
    ///
    /// # Errors
    /// Fails where there is no such mount, there are leases of it still, or a key that may not be deleted.
    pub async fn delete_mount(self: &Arc<Self>, name: &Name, id: Option<MountId>) -> Result<Planned<Arc<MountRecord>>, Failure> {
        let row = self.mounts.find(name.as_str()).ok_or_else(no_mount)?;
        if id.is_some_and(|id| id != row.value.id) {
            return Err(Failure::new(Reason::NotFound, "there is another mount of this name now"));
        }
        let leases = self.leases_of_mount(row.value.id).await?;
        if leases > 0 {
            let message = format!("there are {leases} leases of this mount: first, coffer lease revoke --path {name}");
            return Err(Failure::told(Reason::Conflict, message));
        }
        if row.value.engine == Engine::Transit.name() {
            self.check_deletable_keys(row.value.id).await?;
        }
        let mut batch = Batch::default();
        let mut then: Vec<_> = self.mounts.delete(&mut batch, name.as_str())?.into_iter().collect();
        let erasure = ErasureRecord { engine: row.value.engine.clone(), mount: name.to_string(), begun: self.now() };
        then.push(self.erasures.put(&mut batch, &row.value.id.to_string(), erasure)?);
        let (vault, mount) = (Arc::clone(self), row.value.id);
        then.push(Box::new(move || {
            vault.databases_in_use.close(mount, None);
            vault.pki_in_use.clear();
            vault.transit_in_use.clear();
            vault.erasing.notify_one();
        }));
        Ok(Planned { batch, answer: row.value, then, policy: PolicyChange::Other })
    }

    /// Erases what deleted mounts held, until the vault is sealed.
    pub(crate) async fn erase_deleted_mounts(&self) {
        loop {
            let erased = tokio::select! {
                () = self.ending.cancelled() => return,
                erased = self.erase_all() => erased,
            };
            let again = async {
                match erased {
                    Ok(()) => self.erasing.notified().await,
                    Err(failure) => {
                        tracing::warn!(%failure, "what a deleted mount held cannot be erased; trying again");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            };
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = again => {}
            }
        }
    }

    async fn erase_all(&self) -> Result<(), Failure> {
        for (id, row) in self.erasures.all() {
            let mount: MountId = id.parse().map_err(|_| Failure::internal("a mount's id cannot be read"))?;
            let directory = self.mount_directory(&row.value.engine, mount)?;
            let mut records = 0_usize;
            loop {
                let began = tokio::time::Instant::now();
                match self.barrier.erase_below(&directory).await? {
                    0 => break,
                    erased => records += erased,
                }
                tokio::time::sleep(began.elapsed().min(REST_MAX)).await;
            }
            let _one_at_a_time = self.change().await;
            let mut batch = Batch::default();
            let gone = self.erasures.delete(&mut batch, &id)?;
            let record = Record::event("mount_erased", self.now())?
                .detailed("mount", &row.value.mount)
                .detailed("mount_id", &id)
                .detailed("engine", &row.value.engine)
                .detailed("records", records);
            let stored = self.write(batch, &record).await?;
            gone.into_iter().for_each(|change| change());
            self.append_written(stored).await?;
        }
        Ok(())
    }

    /// Where a mount keeps what it holds.
    fn mount_directory(&self, engine: &str, mount: MountId) -> Result<RecordKey, Failure> {
        RecordKey::new(Scope::Tenant(self.tenant.id), [engine.as_bytes(), mount.as_bytes()])
            .map_err(|_| Failure::internal("a mount's directory is not one"))
    }
}

fn no_mount() -> Failure {
    Failure::new(Reason::NotFound, "there is no mount of this name: 'coffer mount list' shows those there are")
}
