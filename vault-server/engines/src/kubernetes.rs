//! Tokens of Kubernetes service accounts: whose, for whom, and for how long.
//!
//! Below a mount there is one directory, `r`: roles, each record at its name. Tokens that are made are no records of the engine:
//! they are leases, and what is needed to end one is in its lease, so that a role can be changed or deleted meanwhile.

mod error;
mod role;

use coffer_barrier::{Barrier, RecordKey, Scope, encoding};
use coffer_core::{
    id::{MountId, TenantId},
    principal::Name,
};

pub use error::KubernetesEngineError;
pub use role::{KubernetesRole, KubernetesRoleRecord, RoleAccount, RoleRule};

/// A mount of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kubernetes {
    tenant: TenantId,
    mount: MountId,
}

impl Kubernetes {
    /// The mount of this id.
    #[must_use]
    pub const fn new(tenant: TenantId, mount: MountId) -> Self {
        Self { tenant, mount }
    }

    fn roles_directory(&self) -> Result<RecordKey, KubernetesEngineError> {
        let segments = [b"kubernetes".as_slice(), self.mount.as_bytes(), b"r"];
        RecordKey::new(Scope::Tenant(self.tenant), segments).map_err(|_| KubernetesEngineError::Record)
    }

    fn key(&self, name: &Name) -> Result<RecordKey, KubernetesEngineError> {
        self.roles_directory()?.child(name.as_str()).map_err(|_| KubernetesEngineError::Record)
    }

    /// A role, and which write of it this is; `None` where there is none of this name.
    async fn find(&self, barrier: &Barrier, name: &Name) -> Result<Option<(KubernetesRoleRecord, u64)>, KubernetesEngineError> {
        let Some(found) = barrier.get(&self.key(name)?).await? else { return Ok(None) };
        let record = encoding::decode(found.value.expose()).map_err(|_| KubernetesEngineError::Record)?;
        Ok(Some((record, found.version)))
    }

    /// The names of roles.
    pub async fn roles(&self, barrier: &Barrier) -> Result<Vec<String>, KubernetesEngineError> {
        let children = barrier.children(&self.roles_directory()?).await?;
        children.iter().map(|child| String::from_utf8(child.name.clone()).map_err(|_| KubernetesEngineError::Record)).collect()
    }
}
