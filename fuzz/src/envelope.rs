//! Encrypted values as they stand in the store: none opens but the one that was written.

use std::sync::Arc;

use coffer_barrier::{
    Barrier, BarrierError, Batch, Expect, RecordKey, Scope, Store,
    seal::{Initialisation, SealChoice},
};
use coffer_core::{
    clock::Timestamp,
    id::{TenantId, VaultId},
};
use coffer_crypto::key::Key;
use coffer_secret::SecretBytes;
use coffer_store::{Transaction, Write, memory::MemoryStore};

use crate::block_on;

const TENANT: TenantId = TenantId::from_bytes(*b"the tenant's id.");
const VALUE: &[u8] = b"a value that nobody else may see";

/// A vault with one record, and what stands in the store of it.
struct Vault {
    store: Arc<dyn Store>,
    barrier: Barrier,
    record: RecordKey,
    place: Vec<u8>,
    written: Vec<u8>,
}

thread_local! {
    static VAULT: Vault = block_on(vault());
}

async fn vault() -> Vault {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let seal = SealChoice::StaticKey(Key::from_bytes([7; 32]));
    let vault = VaultId::from_bytes(*b"the vault's id..");
    let init = Initialisation::new(vault, seal, &[TENANT], Timestamp::from_secs(1_700_000_000)).expect("keys");
    let barrier = init.commit(Arc::clone(&store), Batch::new()).await.expect("an empty store").barrier;
    let record = RecordKey::new(Scope::Tenant(TENANT), ["kv", "one"]).expect("good segments");
    let mut batch = Batch::new();
    batch.put(record.clone(), Expect::Absent, SecretBytes::copied_from(VALUE));
    barrier.commit(batch).await.expect("no conflict");
    let place = barrier.physical(&record).await.expect("a place").as_bytes().to_vec();
    let written = store.get(&place).await.expect("a good store").expect("it was written").value;
    Vault { store, barrier, record, place, written }
}

/// The first byte says what the others are: the value as it is to stand there, or changes of the one that was written, a
/// place and what is to be flipped there.
pub(crate) fn check(input: &[u8]) {
    VAULT.with(|vault| {
        let planted = match input.split_first() {
            Some((kind, rest)) if kind % 2 == 0 => rest.to_vec(),
            Some((_, rest)) => changed(&vault.written, rest),
            None => vault.written.clone(),
        };
        block_on(vault.opens_only_what_was_written(planted));
    });
}

fn changed(written: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut value = written.to_vec();
    let length = value.len();
    for (place, bits) in changes.as_chunks::<2>().0.iter().map(|[place, bits]| (usize::from(*place) % length, bits)) {
        if let Some(byte) = value.get_mut(place) {
            *byte ^= bits;
        }
    }
    value
}

impl Vault {
    async fn opens_only_what_was_written(&self, value: Vec<u8>) {
        let unchanged = value == self.written;
        // Deleted before, so that it is the first write there, as the true one was.
        for write in [Write::Delete(self.place.clone()), Write::Put(self.place.clone(), value)] {
            let transaction = Transaction { conditions: Vec::new(), writes: vec![write] };
            self.store.commit(transaction).await.expect("a good store");
        }
        match self.barrier.get(&self.record).await {
            Ok(Some(record)) => {
                assert!(unchanged, "a value opens that was not written");
                assert_eq!(record.value.expose(), VALUE);
            }
            Ok(None) => unreachable!("there is a value"),
            Err(error) => {
                assert!(!unchanged, "the value that was written does not open: {error}");
                assert!(matches!(error, BarrierError::Corrupt(_) | BarrierError::Newer { .. }), "{error:?}");
            }
        }
    }
}
