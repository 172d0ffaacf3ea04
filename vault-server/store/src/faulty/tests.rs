use std::sync::Arc;

use super::{FaultPlan, FaultyStore, Operation};
use crate::{Store, StoreError, Transaction, Write, memory::MemoryStore};

fn faulty(plan: &str) -> (Arc<FaultyStore>, Arc<MemoryStore>) {
    let inner = Arc::new(MemoryStore::new());
    let store = FaultyStore::new(Arc::<MemoryStore>::clone(&inner), FaultPlan::parse(plan).unwrap());
    (Arc::new(store), inner)
}

fn put(key: &str) -> Transaction {
    Transaction { conditions: Vec::new(), writes: vec![Write::Put(key.into(), b"value".to_vec())] }
}

#[tokio::test]
async fn a_commit_fails_before_or_after_its_effect_and_the_next_goes_through() {
    let (store, inner) = faulty("commit:1:before,commit:2:after");
    assert!(matches!(store.commit(put("a")).await, Err(StoreError::Unavailable(_))));
    assert!(inner.get(b"a").await.unwrap().is_none());
    assert!(matches!(store.commit(put("b")).await, Err(StoreError::Unknown(_))));
    assert!(inner.get(b"b").await.unwrap().is_some());
    store.commit(put("c")).await.unwrap();
    assert_eq!(store.calls(Operation::Commit), 3);
}

#[tokio::test]
async fn after_the_power_goes_every_call_fails() {
    for (plan, done) in [("commit:1:off-before", false), ("commit:1:off-after", true)] {
        let (store, inner) = faulty(plan);
        let failed = store.commit(put("a")).await;
        assert!(if done {
            matches!(failed, Err(StoreError::Unknown(_)))
        } else {
            matches!(failed, Err(StoreError::Unavailable(_)))
        });
        assert_eq!(inner.get(b"a").await.unwrap().is_some(), done);
        assert!(matches!(store.get(b"a").await, Err(StoreError::Unavailable(_))));
        assert!(matches!(store.range(b"", b"", 1).await, Err(StoreError::Unavailable(_))));
        assert!(matches!(store.commit(put("b")).await, Err(StoreError::Unavailable(_))));
        assert!(matches!(store.revision().await, Err(StoreError::Unavailable(_))));
        assert!(matches!(store.changes(crate::Revision(0)).await, Err(StoreError::Unavailable(_))));
    }
}

#[tokio::test]
async fn a_read_fails_when_it_is_its_turn() {
    let (store, _inner) = faulty("get:2:before,range:1:before");
    assert!(store.get(b"a").await.is_ok());
    assert!(matches!(store.get(b"a").await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.range(b"", b"", 1).await, Err(StoreError::Unavailable(_))));
    assert!(store.range(b"", b"", 1).await.is_ok());
}

#[tokio::test]
async fn a_paused_commit_is_done_when_the_plan_says_and_goes_on_when_released() {
    for (plan, done_while_paused) in [("commit:1:pause-before", false), ("commit:1:pause-after", true)] {
        let (store, inner) = faulty(plan);
        let committing = async {
            store.commit(put("a")).await.unwrap();
        };
        let watching = async {
            store.paused(1).await;
            assert_eq!(inner.get(b"a").await.unwrap().is_some(), done_while_paused);
            store.release();
        };
        tokio::join!(committing, watching);
        assert!(inner.get(b"a").await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_commit_that_is_paused_before_its_effect_fails_when_the_power_goes() {
    let (store, inner) = faulty("commit:1:pause-before");
    let watching = async {
        store.paused(1).await;
        store.power_off();
        store.release();
    };
    let (failed, ()) = tokio::join!(store.commit(put("a")), watching);
    assert!(matches!(failed, Err(StoreError::Unavailable(_))));
    assert!(inner.get(b"a").await.unwrap().is_none());
}
