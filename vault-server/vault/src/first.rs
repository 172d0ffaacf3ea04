//! What a vault begins with.

use coffer_barrier::{Batch, Expect, RecordKey};
use coffer_core::{
    clock::Timestamp,
    id::{MountId, TenantId},
};

use crate::{
    Failure, codec,
    mounts::Engine,
    records::{BootstrapRecord, MountRecord, TenantRecord},
    sessions::BOOTSTRAP,
    unsealed::{BOOTSTRAP_TABLE, MOUNTS, TENANT_DEFAULT, TENANTS, directory, system_directory},
};

/// The mount of secrets that every tenant has from the start.
const KV: &str = "kv";

/// The records that a vault begins with: a tenant, its kv mount, and the bootstrap credential.
pub(crate) fn first_records(
    tenant: TenantId,
    mount: MountId,
    bootstrap: &BootstrapRecord,
    now: Timestamp,
) -> Result<Batch, Failure> {
    let name = |directory: RecordKey, name: &str| directory.child(name).map_err(|_| Failure::internal("a name is not one"));
    let mut batch = Batch::default();
    let record = TenantRecord { id: tenant, created: now };
    batch.put(name(system_directory(TENANTS)?, TENANT_DEFAULT)?, Expect::Absent, codec::encode(&record)?);
    let record = MountRecord { id: mount, engine: Engine::Kv.name().to_owned(), created: now, description: String::new() };
    batch.put(name(directory(tenant, MOUNTS)?, KV)?, Expect::Absent, codec::encode(&record)?);
    let place = name(directory(tenant, BOOTSTRAP_TABLE)?, BOOTSTRAP)?;
    batch.put(place, Expect::Absent, codec::encode(bootstrap)?);
    Ok(batch)
}
