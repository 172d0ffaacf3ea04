//! Certificates, made by CAs whose keys never leave the vault.
//!
//! A mount has issuers (CAs) and roles. A role decides every field of a certificate but the key and the names, and which
//! names may be asked for; whoever may use a role gets certificates of it. Below the mount's directory:
//!
//! - `issuer`, by name: the key, the certificate, and the certificates above it;
//! - `role`, by name;
//! - `config`: the issuer of roles that name none, and where revocation lists are found;
//! - `cert`, by the hour in which a certificate ends, and its number: what was issued. A number tells its hour
//!   ([`Serial`]), so there is no index, and what is over is erased hour by hour;
//! - `revoked`, by issuer, hour and number: what was taken back before its end.
//!
//! What depends on an issuer holds its id: one that is deleted and made again under the same name inherits nothing.

mod ca;
mod config;
mod error;
mod issue;
mod issuer;
mod names;
mod parameters;
mod record;
mod revoke;
mod role;

use coffer_barrier::{Barrier, Expect, Record, RecordKey, Scope, encoding};
use coffer_core::{
    id::{MountId, TenantId},
    principal::{KubernetesName, Name, Principal},
};
use serde::de::DeserializeOwned;

pub use ca::CaRequest;
pub use coffer_crypto::x509::{ExtendedKeyUsage, KeyKind, KeyUsage, Serial, SubjectName};
pub use config::Config;
pub use error::PkiError;
pub use issue::{Asker, IssueRequest, Issued, SignRequest};
pub use issuer::{CaSubject, Issuer, NewRoot};
pub use revoke::{Crl, Kept, Part, Revocation, RevocationReason};
pub use role::{Role, RoleState};

use crate::prepared::Prepared;
use issuer::Signer;
use role::Ruling;

/// A mount of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pki {
    tenant: TenantId,
    mount: MountId,
}

/// Issuers and roles that were made ready to issue, for all mounts of a tenant.
#[derive(Default)]
pub struct Ready {
    signers: Prepared<Signer>,
    rulings: Prepared<Ruling>,
}

impl Ready {
    /// Keeps none any more: an issuer was deleted, and its key goes with it.
    pub fn clear(&self) {
        self.signers.clear();
        self.rulings.clear();
    }
}

/// A record as it was read, with what a change of it must expect.
struct Found<T> {
    key: RecordKey,
    expect: Expect,
    record: T,
}

/// A page of something with names.
#[derive(Debug)]
pub struct NamedPage<T> {
    /// What was found, in the order of names.
    pub entries: Vec<T>,
    /// Whether there is more behind the last.
    pub more: bool,
}

/// A workload, as names in certificates speak of it.
#[derive(Debug, Clone, Copy)]
struct Workload<'a> {
    cluster: &'a Name,
    namespace: &'a KubernetesName,
    service_account: &'a KubernetesName,
}

impl<'a> Workload<'a> {
    const fn of(principal: &'a Principal) -> Option<Self> {
        match principal {
            Principal::Workload { cluster, namespace, service_account } => Some(Self { cluster, namespace, service_account }),
            Principal::Operator(_) | Principal::Bootstrap => None,
        }
    }
}

impl Pki {
    /// The mount of this id.
    #[must_use]
    pub const fn new(tenant: TenantId, mount: MountId) -> Self {
        Self { tenant, mount }
    }

    /// A record or a directory below the mount.
    fn key<'a>(&'a self, segments: impl IntoIterator<Item = &'a [u8]>) -> Result<RecordKey, PkiError> {
        let base = [b"pki".as_slice(), self.mount.as_bytes()];
        RecordKey::new(Scope::Tenant(self.tenant), base.into_iter().chain(segments)).map_err(|_| PkiError::damaged("a name"))
    }

    async fn find<T: DeserializeOwned>(&self, barrier: &Barrier, key: RecordKey) -> Result<Option<Found<T>>, PkiError> {
        let Some(stored) = barrier.get(&key).await? else { return Ok(None) };
        Ok(Some(Found { key, expect: Expect::Version(stored.version), record: decode(&stored)? }))
    }

    /// The names of a directory behind `after`, `limit` at most, and whether there are more.
    async fn names(&self, barrier: &Barrier, directory: &str, after: &str, limit: usize) -> Result<(Vec<Name>, bool), PkiError> {
        let children = barrier.children(&self.key([directory.as_bytes()])?).await?;
        let first = children.partition_point(|child| child.name.as_slice() <= after.as_bytes());
        let mut behind = children.iter().skip(first);
        let name = |name: &[u8]| std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        let names = behind.by_ref().take(limit).map(|child| name(&child.name).ok_or_else(|| PkiError::damaged("a name")));
        let names = names.collect::<Result<_, _>>()?;
        Ok((names, behind.next().is_some()))
    }

    /// How many names a directory has.
    async fn count(&self, barrier: &Barrier, directory: &str) -> Result<usize, PkiError> {
        Ok(barrier.children(&self.key([directory.as_bytes()])?).await?.len())
    }
}

fn decode<T: DeserializeOwned>(stored: &Record) -> Result<T, PkiError> {
    encoding::decode(stored.value.expose()).map_err(|_| PkiError::damaged("a record of the pki engine"))
}
