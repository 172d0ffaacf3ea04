//! What a vault begins with.

use std::collections::BTreeSet;

use coffer_barrier::{Batch, Expect, RecordKey};
use coffer_core::{
    clock::Timestamp,
    id::{MountId, TenantId},
    principal::{Name, Principal, Role},
};

use crate::{
    ClusterSettings, Failure, NewOperator, codec,
    mounts::Engine,
    records::{BootstrapRecord, MountRecord, TenantRecord},
    sessions::BOOTSTRAP,
    unsealed::{BOOTSTRAP_TABLE, CLUSTERS, MOUNTS, OPERATORS, TENANT_DEFAULT, TENANTS, directory, system_directory},
};

/// The mount of secrets that every tenant has from the start.
const KV: &str = "kv";

/// What a vault begins with that makes itself at its server's first start, where nobody is shown a bootstrap credential.
#[derive(Default)]
pub struct Beginning {
    /// Its operators: none, or at least one admin. Without any, the first comes in by [`crate::Vault::recover_locally`].
    pub operators: Vec<NewOperator>,
    /// The cluster that it runs in.
    pub cluster: Option<(Name, ClusterSettings)>,
    /// `NAMESPACE/NAME` of a service account there: one pod of it may log in, once and within the first hour, to create operators.
    pub service_account: Option<String>,
}

impl Beginning {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// Says why not.
    pub fn check(&self) -> Result<(), Failure> {
        let names: BTreeSet<&Name> = self.operators.iter().map(|operator| &operator.name).collect();
        if names.len() < self.operators.len() {
            return Err(Failure::invalid("two operators have one name"));
        }
        let is_admin = |operator: &NewOperator| operator.roles.contains(&Role::Admin);
        if !self.operators.is_empty() && !self.operators.iter().any(is_admin) {
            return Err(Failure::invalid("one of the operators has to be an admin"));
        }
        if self.operators.iter().any(|operator| operator.certificate_pins.is_empty()) {
            return Err(Failure::invalid("an operator has at least one certificate pin to log in with"));
        }
        self.workload()?;
        self.cluster.as_ref().map_or(Ok(()), |(_, settings)| settings.check())
    }

    /// The principal that the service account is.
    pub(crate) fn workload(&self) -> Result<Option<Principal>, Failure> {
        let Some(account) = &self.service_account else { return Ok(None) };
        let (cluster, _) = self
            .cluster
            .as_ref()
            .ok_or_else(|| Failure::invalid("the service account is of the cluster: that is to be said too"))?;
        let principal = format!("k8s:{cluster}/{account}").parse();
        principal.map(Some).map_err(|_| Failure::invalid("a service account is NAMESPACE/NAME"))
    }

    /// Adds them to the first records.
    pub(crate) fn records(&self, tenant: TenantId, batch: &mut Batch, now: Timestamp) -> Result<(), Failure> {
        for operator in &self.operators {
            let place = child(directory(tenant, OPERATORS)?, operator.name.as_str())?;
            batch.put(place, Expect::Absent, codec::encode(&operator.record(now)?)?);
        }
        if let Some((name, settings)) = &self.cluster {
            let place = child(directory(tenant, CLUSTERS)?, name.as_str())?;
            batch.put(place, Expect::Absent, codec::encode(&settings.record(now)?)?);
        }
        Ok(())
    }
}

fn child(directory: RecordKey, name: &str) -> Result<RecordKey, Failure> {
    directory.child(name).map_err(|_| Failure::internal("a name is not one"))
}

/// The records that a vault begins with: a tenant, its kv mount, and the bootstrap credential, where there is one.
pub(crate) fn first_records(
    tenant: TenantId,
    mount: MountId,
    bootstrap: Option<&BootstrapRecord>,
    now: Timestamp,
) -> Result<Batch, Failure> {
    let mut batch = Batch::default();
    let record = TenantRecord { id: tenant, created: now };
    batch.put(child(system_directory(TENANTS)?, TENANT_DEFAULT)?, Expect::Absent, codec::encode(&record)?);
    let record = MountRecord { id: mount, engine: Engine::Kv.name().to_owned(), created: now, description: String::new() };
    batch.put(child(directory(tenant, MOUNTS)?, KV)?, Expect::Absent, codec::encode(&record)?);
    if let Some(bootstrap) = bootstrap {
        let place = child(directory(tenant, BOOTSTRAP_TABLE)?, BOOTSTRAP)?;
        batch.put(place, Expect::Absent, codec::encode(bootstrap)?);
    }
    Ok(batch)
}
