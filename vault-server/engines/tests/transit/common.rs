//! A vault with a mount of keys.

use std::sync::Arc;

use coffer_barrier::{
    Barrier, Batch, Store,
    seal::{Initialisation, SealChoice, unseal_static},
};
use coffer_core::{
    clock::Timestamp,
    id::{MountId, TenantId, VaultId},
    principal::Name,
};
use coffer_crypto::key::Key;
use coffer_engines::{
    Planned,
    transit::{KeyKind, NewKey, Ready, Transit, TransitError, TransitKey},
};
use coffer_secret::SecretBytes;
use coffer_store::memory::MemoryStore;

pub(crate) const TENANT: TenantId = TenantId::from_bytes([2; 16]);
pub(crate) const TRANSIT: Transit = Transit::new(TENANT, MountId::from_bytes([3; 16]));
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn static_key() -> Key {
    Key::from_bytes([7; 32])
}

pub(crate) async fn vault() -> (Arc<dyn Store>, Barrier) {
    ready().clear();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let choice = SealChoice::StaticKey(static_key());
    let init = Initialisation::new(VaultId::from_bytes([1; 16]), choice, &[TENANT], NOW).unwrap();
    let barrier = init.commit(Arc::clone(&store), Batch::new()).await.unwrap().barrier;
    (store, barrier)
}

pub(crate) async fn unsealed(store: Arc<dyn Store>) -> Barrier {
    unseal_static(store, &static_key(), None).await.unwrap()
}

thread_local! {
    /// What is kept ready: by all that a test does, for each has a thread of its own.
    static READY: Arc<Ready> = Arc::default();
}

pub(crate) fn ready() -> Arc<Ready> {
    READY.with(Arc::clone)
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn bytes(text: &str) -> SecretBytes {
    SecretBytes::copied_from(text.as_bytes())
}

pub(crate) const fn new(kind: KeyKind) -> NewKey {
    NewKey { kind, deletable: false }
}

pub(crate) async fn commit<T>(barrier: &Barrier, planned: Result<Planned<T>, TransitError>) -> Result<T, TransitError> {
    let Planned { batch, outcome } = planned?;
    if !batch.is_empty() {
        barrier.commit(batch).await?;
    }
    Ok(outcome)
}

pub(crate) async fn create(barrier: &Barrier, key: &str, kind: KeyKind) {
    commit(barrier, TRANSIT.create(barrier, &name(key), new(kind), NOW).await).await.unwrap();
}

pub(crate) async fn rotate(barrier: &Barrier, key: &str) -> u32 {
    commit(barrier, TRANSIT.rotate(barrier, &name(key), NOW).await).await.unwrap()
}

pub(crate) async fn key(barrier: &Barrier, of: &str) -> Arc<TransitKey> {
    TRANSIT.key(barrier, &ready(), &name(of)).await.unwrap()
}
