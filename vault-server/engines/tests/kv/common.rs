//! A vault with a mount, and short names for what is done to it.

use std::sync::Arc;

use coffer_barrier::{
    Barrier, BarrierError, Batch, Store,
    seal::{Initialisation, SealChoice, unseal_static},
};
use coffer_core::{
    clock::Timestamp,
    id::{MountId, TenantId, VaultId},
    path::Path,
    principal::Principal,
};
use coffer_crypto::key::Key;
use coffer_engines::{
    Planned,
    kv::{Fields, Kv, KvError, Metadata, PutRequest, Secret, Settings, SettingsChange, VersionInfo, VersionState},
};
use coffer_secret::SecretBytes;
use coffer_store::memory::MemoryStore;

pub(crate) const TENANT: TenantId = TenantId::from_bytes([2; 16]);
pub(crate) const KV: Kv = Kv::new(TENANT, MountId::from_bytes([3; 16]));
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn static_key() -> Key {
    Key::from_bytes([7; 32])
}

pub(crate) async fn vault() -> (Arc<dyn Store>, Barrier) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let choice = SealChoice::StaticKey(static_key());
    let init = Initialisation::new(VaultId::from_bytes([1; 16]), choice, &[TENANT], NOW).unwrap();
    let barrier = init.commit(Arc::clone(&store), Batch::new()).await.unwrap().barrier;
    (store, barrier)
}

/// Another node's barrier over the same store.
pub(crate) async fn unsealed(store: Arc<dyn Store>) -> Barrier {
    unseal_static(store, &static_key(), None).await.unwrap()
}

pub(crate) fn path(text: &str) -> Path {
    text.parse().unwrap()
}

pub(crate) fn alice() -> Principal {
    "operator:alice".parse().unwrap()
}

pub(crate) fn fields(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), SecretBytes::copied_from(value.as_bytes()))).collect()
}

/// Fields as they compare and print.
pub(crate) fn shown(fields: &Fields) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), std::str::from_utf8(value.expose()).unwrap())).collect()
}

pub(crate) fn new_version(pairs: &[(&str, &str)]) -> PutRequest {
    PutRequest { fields: fields(pairs), expected: None, merge: false, ttl_secs: None }
}

pub(crate) async fn commit<T>(barrier: &Barrier, planned: Result<Planned<T>, KvError>) -> Result<T, KvError> {
    let Planned { batch, outcome } = planned?;
    barrier.commit(batch).await?;
    Ok(outcome)
}

pub(crate) async fn put(barrier: &Barrier, at: &str, request: PutRequest) -> Result<VersionInfo, KvError> {
    commit(barrier, KV.put(barrier, &path(at), request, &alice(), NOW).await).await
}

pub(crate) async fn get(barrier: &Barrier, at: &str, version: Option<u64>) -> Result<Secret, KvError> {
    KV.get(barrier, &path(at), version, NOW).await
}

pub(crate) async fn metadata(barrier: &Barrier, at: &str) -> Metadata {
    KV.metadata(barrier, &path(at), NOW).await.unwrap()
}

pub(crate) async fn set(barrier: &Barrier, at: &str, settings: Settings) -> Result<Metadata, KvError> {
    let change = SettingsChange { settings, etag: None };
    commit(barrier, KV.put_metadata(barrier, &path(at), change, NOW).await).await
}

pub(crate) fn is_conflict<T>(result: &Result<T, KvError>) -> bool {
    matches!(result, Err(KvError::Barrier(BarrierError::Conflict)))
}

pub(crate) fn is_gone<T>(result: &Result<T, KvError>, expected: VersionState) -> bool {
    matches!(result, Err(KvError::Gone { state, .. }) if *state == expected)
}

pub(crate) fn is_limit<T>(result: &Result<T, KvError>) -> bool {
    matches!(result, Err(KvError::Limit(_)))
}
