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

/// What has more names than may be listed at once is read piece by piece: each name once, whatever goes meanwhile.
#[tokio::test]
async fn a_directory_is_read_in_pieces() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let choice = SealChoice::StaticKey(Key::from_bytes([7; 32]));
    let init = Initialisation::new(VaultId::from_bytes([1; 16]), choice, &[], Timestamp::from_secs(1)).unwrap();
    let barrier = init.commit(Arc::clone(&store), Batch::new()).await.unwrap().barrier;
    let (records, directories) =
        (RecordKey::new(Scope::System, [b"records"]).unwrap(), RecordKey::new(Scope::System, [b"directories"]).unwrap());
    for number in 0_u8..200 {
        let mut batch = Batch::new();
        batch.put(records.child([number]).unwrap(), Expect::Absent, SecretBytes::from(vec![number]));
        // More below than a page of the store has, in one.
        for below in 0..if number == 7 { 100_u8 } else { 2 } {
            let key = directories.child([number]).unwrap().child([below]).unwrap();
            batch.put(key, Expect::Absent, SecretBytes::from(vec![0]));
        }
        barrier.commit(batch).await.unwrap();
    }
    let (mut found, mut last) = (Vec::new(), None);
    loop {
        let page = barrier.some_records(&records, last.as_deref(), 7).await.unwrap();
        assert!(page.len() <= 7);
        let Some((name, _)) = page.last() else { break };
        last = Some(name.clone());
        for (name, record) in page {
            assert_eq!(record.value.expose(), name);
            let mut batch = Batch::new();
            batch.delete(records.child(&name).unwrap(), Expect::Any);
            barrier.commit(batch).await.unwrap();
            found.push(name);
        }
    }
    found.sort();
    assert_eq!(found, (0..200).map(|number| vec![number]).collect::<Vec<_>>());

    let (mut found, mut last) = (Vec::new(), None);
    loop {
        let page = barrier.some_children(&directories, last.as_deref(), 7).await.unwrap();
        let Some(child) = page.last() else { break };
        last = Some(child.name.clone());
        found.extend(page.into_iter().map(|child| child.name));
    }
    found.sort();
    assert_eq!(found, (0..200).map(|number| vec![number]).collect::<Vec<_>>());
}
