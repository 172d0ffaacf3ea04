use std::sync::Arc;

use coffer_core::{clock::Timestamp, id::VaultId};
use coffer_crypto::key::Key;
use coffer_secret::SecretBytes;
use coffer_store::{Store, memory::MemoryStore};

use super::*;
use crate::{
    Batch, Expect, RecordKey, Scope,
    seal::{Initialisation, SealChoice},
};

/// Limits are tried out smaller than they are: what is past them costs a minute otherwise.
#[tokio::test]
async fn directories_hold_to_their_limits() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let choice = SealChoice::StaticKey(Key::from_bytes([7; 32]));
    let init = Initialisation::new(VaultId::from_bytes([1; 16]), choice, &[], Timestamp::from_secs(1)).unwrap();
    let barrier = init.commit(Arc::clone(&store), Batch::new()).await.unwrap().barrier;
    let root = RecordKey::root(Scope::System);
    let mut batch = Batch::new();
    for number in 0_u8..100 {
        batch.put(root.child([number]).unwrap(), Expect::Absent, SecretBytes::from(vec![0; 38]));
    }
    barrier.commit(batch).await.unwrap();

    let keyring = barrier.root().keyring(&*store, Scope::System).await.unwrap();
    let parent = keyring.physical(&root).unwrap();
    // A head of 22 bytes, a nonce of 24, a tag of 16.
    let good = Bounds { children: 100, bytes: 10_000 };
    assert_eq!(children(&*store, &keyring, &parent, good).await.unwrap().len(), 100);
    assert_eq!(records(&*store, &keyring, &parent, good).await.unwrap().len(), 100);
    let few = Bounds { children: 99, ..good };
    assert!(matches!(children(&*store, &keyring, &parent, few).await, Err(BarrierError::Limit(_))));
    assert!(matches!(records(&*store, &keyring, &parent, few).await, Err(BarrierError::Limit(_))));
    let small = Bounds { bytes: 9_999, ..good };
    assert_eq!(children(&*store, &keyring, &parent, small).await.unwrap().len(), 100);
    assert!(matches!(records(&*store, &keyring, &parent, small).await, Err(BarrierError::Limit(_))));
}
