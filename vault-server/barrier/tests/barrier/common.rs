//! Vaults to test with.

use std::{path::Path, sync::Arc};

use coffer_barrier::{
    Barrier, Batch, Expect, RecordKey, Scope, Store,
    seal::{Initialisation, SealChoice},
};
use coffer_core::{
    clock::Timestamp,
    id::{TenantId, VaultId},
};
use coffer_crypto::key::Key;
use coffer_secret::SecretBytes;
use coffer_store::{
    Entry, Transaction,
    memory::MemoryStore,
    sled::{SledOptions, SledStore},
};

pub(crate) const VAULT: VaultId = VaultId::from_bytes(*b"the vault's id..");
pub(crate) const TENANT: TenantId = TenantId::from_bytes(*b"the tenant's id.");
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

pub(crate) fn static_key() -> Key {
    Key::from_bytes([7; 32])
}

pub(crate) fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

pub(crate) fn sled(folder: &Path) -> Arc<dyn Store> {
    Arc::new(SledStore::open(folder, SledOptions::default()).expect("a good folder"))
}

/// A new vault, sealed with [`static_key`].
pub(crate) async fn vault(store: &Arc<dyn Store>) -> Barrier {
    let init = Initialisation::new(VAULT, SealChoice::StaticKey(static_key()), &[TENANT], NOW).expect("keys");
    init.commit(Arc::clone(store), Batch::new()).await.expect("an empty store").barrier
}

/// A key of the tenant: segments with a slash between them.
pub(crate) fn key(segments: &str) -> RecordKey {
    RecordKey::new(Scope::Tenant(TENANT), segments.split('/')).expect("good segments")
}

pub(crate) fn secret(text: &str) -> SecretBytes {
    SecretBytes::copied_from(text.as_bytes())
}

/// Writes a record, whatever it was.
pub(crate) async fn put(barrier: &Barrier, segments: &str, value: &str) {
    let key = key(segments);
    let expect = Expect::unchanged(barrier.get(&key).await.expect("a good record").as_ref());
    let mut batch = Batch::new();
    batch.put(key, expect, secret(value));
    barrier.commit(batch).await.expect("no conflict");
}

/// What a record holds, as text.
pub(crate) async fn text(barrier: &Barrier, segments: &str) -> Option<String> {
    let record = barrier.get(&key(segments)).await.expect("a good record")?;
    Some(String::from_utf8(record.value.expose().to_vec()).expect("text"))
}

/// Everything that is stored.
pub(crate) async fn entries(store: &Arc<dyn Store>) -> Vec<Entry> {
    store.range(b"", b"", 1000).await.expect("a good store")
}

/// Writes beneath the barrier.
pub(crate) async fn raw(store: &Arc<dyn Store>, writes: Vec<coffer_store::Write>) {
    store.commit(Transaction { conditions: Vec::new(), writes }).await.expect("a good store");
}

/// A test on memory and on sled.
macro_rules! on_each_store {
    ($($(#[$doc:meta])* async fn $name:ident($store:ident: Arc<dyn Store>) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$doc])*
            async fn run($store: Arc<dyn Store>) $body

            #[tokio::test]
            async fn memory() {
                run(crate::common::memory()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn sled() {
                let folder = tempfile::tempdir().unwrap();
                run(crate::common::sled(folder.path())).await;
            }
        }
    )*};
}
pub(crate) use on_each_store;
