//! Records through the barrier.

use std::sync::Arc;

use crate::common::{NOW, TENANT, VAULT, entries, key, memory, put, secret, static_key, text, vault};
use coffer_barrier::{
    BATCH_SCOPES_MAX, BATCH_STEPS_MAX, Barrier, BarrierError, Batch, Expect, Label, RecordKey, Revision, Scope,
    seal::unseal_static,
};
use coffer_core::id::TenantId;

#[tokio::test]
async fn what_was_written_is_read() {
    let barrier = vault(&memory()).await;
    put(&barrier, "a/b", "one").await;
    put(&barrier, "a/b", "two").await;
    put(&barrier, "a", "above").await;
    assert_eq!(text(&barrier, "a/b").await.unwrap(), "two");
    assert_eq!(text(&barrier, "a").await.unwrap(), "above");
    assert_eq!(text(&barrier, "a/b/c").await, None);
    let record = barrier.get(&key("a/b")).await.unwrap().unwrap();
    assert_eq!((record.version, barrier.vault_id(), barrier.store_kind()), (2, VAULT, "memory"));
    assert!(record.modified < barrier.revision().await.unwrap());
}

#[tokio::test]
async fn records_outlive_the_barrier_and_no_key_does() {
    let store = memory();
    let barrier = vault(&store).await;
    put(&barrier, "a", "one").await;
    drop(barrier);
    let barrier = unseal_static(Arc::clone(&store), &static_key(), None).await.unwrap();
    assert_eq!(text(&barrier, "a").await.unwrap(), "one");
}

#[tokio::test]
async fn the_store_sees_neither_names_nor_values() {
    let store = memory();
    let barrier = vault(&store).await;
    put(&barrier, "canary-name/canary-leaf", "canary-value").await;
    for entry in entries(&store).await {
        for canary in [b"canary".as_slice(), TENANT.as_bytes(), &[7; 32]] {
            for bytes in [&entry.key, &entry.value] {
                assert!(!bytes.windows(canary.len()).any(|window| window == canary));
            }
        }
    }
}

#[tokio::test]
async fn a_batch_is_written_all_or_not_at_all() {
    let barrier = vault(&memory()).await;
    put(&barrier, "there", "one").await;
    for wrong in [Expect::Absent, Expect::Version(2), Expect::Version(0), Expect::Version(u64::MAX)] {
        let mut batch = Batch::new();
        batch.put(key("new"), Expect::Absent, secret("new")).put(key("there"), wrong, secret("two"));
        assert!(matches!(barrier.commit(batch).await, Err(BarrierError::Conflict)), "{wrong:?}");
        let mut batch = Batch::new();
        batch.put(key("new"), Expect::Absent, secret("new")).require(key("there"), wrong);
        assert!(matches!(barrier.commit(batch).await, Err(BarrierError::Conflict)), "{wrong:?}");
        let mut batch = Batch::new();
        batch.put(key("new"), Expect::Absent, secret("new")).delete(key("there"), wrong);
        assert!(matches!(barrier.commit(batch).await, Err(BarrierError::Conflict)), "{wrong:?}");
    }
    assert_eq!((text(&barrier, "new").await, text(&barrier, "there").await.as_deref()), (None, Some("one")));
    let mut batch = Batch::new();
    batch
        .put(key("new"), Expect::Absent, secret("new"))
        .delete(key("there"), Expect::Version(1))
        .require(key("no"), Expect::Absent);
    barrier.commit(batch).await.unwrap();
    assert_eq!((text(&barrier, "new").await.as_deref(), text(&barrier, "there").await), (Some("new"), None));
}

#[tokio::test]
async fn batches_hold_to_their_limits() {
    let barrier = vault(&memory()).await;
    let steps = |count: usize| {
        let mut batch = Batch::new();
        for number in 0..count {
            batch.put(key(&number.to_string()), Expect::Absent, secret("x"));
        }
        batch
    };
    assert!(matches!(barrier.commit(steps(BATCH_STEPS_MAX + 1)).await, Err(BarrierError::Limit(_))));
    barrier.commit(steps(BATCH_STEPS_MAX)).await.unwrap();
    let scopes = |first: usize, count: usize| {
        let mut batch = Batch::new();
        for number in first..first + count {
            batch.create_scope(TenantId::from_bytes([number.try_into().unwrap(); 16]), NOW);
        }
        batch
    };
    assert!(matches!(barrier.commit(scopes(0, BATCH_SCOPES_MAX + 1)).await, Err(BarrierError::Limit(_))));
    barrier.commit(scopes(0, BATCH_SCOPES_MAX)).await.unwrap();
    let mut batch = Batch::new();
    batch.put(key("large"), Expect::Absent, secret(&"x".repeat(coffer_store::TRANSACTION_BYTES_MAX)));
    assert!(matches!(barrier.commit(batch).await, Err(BarrierError::Limit(_))));
    let long = RecordKey::new(Scope::System, vec![vec![b'x'; 255]; 15]).unwrap();
    assert!(matches!(barrier.get(&long).await, Err(BarrierError::Limit(_))));
}

#[tokio::test]
async fn a_batch_that_means_two_things_is_refused() {
    let barrier = vault(&memory()).await;
    let mut twice = Batch::new();
    twice.put(key("a"), Expect::Absent, secret("x")).require(key("a"), Expect::Absent);
    let mut root = Batch::new();
    root.put(RecordKey::root(Scope::System), Expect::Absent, secret("x"));
    let mut scope_twice = Batch::new();
    scope_twice.create_scope(TenantId::from_bytes([1; 16]), NOW).delete_scope(TenantId::from_bytes([1; 16]));
    let mut into_nothing = Batch::new();
    into_nothing.put(key("a"), Expect::Absent, secret("x")).delete_scope(TENANT);
    for batch in [twice, root, scope_twice, into_nothing] {
        assert!(matches!(barrier.commit(batch).await, Err(BarrierError::Internal(_))));
    }
}

#[tokio::test]
async fn a_tenant_is_made_with_its_records_and_erased_with_its_keyring() {
    let store = memory();
    let barrier = vault(&store).await;
    let tenant = TenantId::from_bytes([1; 16]);
    let name = RecordKey::new(Scope::Tenant(tenant), ["a"]).unwrap();
    assert!(matches!(barrier.get(&name).await, Err(BarrierError::NoScope)));
    let mut batch = Batch::new();
    batch.create_scope(tenant, NOW).put(name.clone(), Expect::Absent, secret("x"));
    barrier.commit(batch).await.unwrap();
    assert!(matches!(barrier.create_scope(tenant, NOW).await, Err(BarrierError::Conflict)));
    let again = unseal_static(Arc::clone(&store), &static_key(), None).await.unwrap();
    assert_eq!(again.get(&name).await.unwrap().unwrap().value.expose(), b"x");

    let mut batch = Batch::new();
    batch.delete_scope(tenant);
    barrier.commit(batch).await.unwrap();
    assert!(matches!(barrier.get(&name).await, Err(BarrierError::NoScope)));
    // Whoever knew the keyring cannot write under it any more, and learns so.
    let mut batch = Batch::new();
    batch.put(name.clone(), Expect::Version(1), secret("y"));
    assert!(matches!(again.commit(batch).await, Err(BarrierError::NoScope)));
    barrier.create_scope(tenant, NOW).await.unwrap();
    assert!(barrier.get(&name).await.unwrap().is_none());
}

#[tokio::test]
async fn a_new_term_writes_and_the_old_ones_still_read() {
    let store = memory();
    let barrier = vault(&store).await;
    let other = unseal_static(Arc::clone(&store), &static_key(), None).await.unwrap();
    put(&barrier, "old", "one").await;
    assert_eq!(text(&other, "old").await.unwrap(), "one");
    barrier.add_term(Scope::Tenant(TENANT), NOW).await.unwrap();
    put(&barrier, "new", "two").await;
    for barrier in [&barrier, &other] {
        assert_eq!(text(barrier, "old").await.unwrap(), "one");
        assert_eq!(text(barrier, "new").await.unwrap(), "two");
    }
    barrier.add_term(Scope::Tenant(TENANT), NOW).await.unwrap();
    put(&barrier, "d/new", "three").await;
    assert_eq!(other.children_records(&key("d")).await.unwrap().len(), 1);
    // A node that has not heard of the term writes under it all the same: its conflict is not the caller's.
    barrier.add_term(Scope::Tenant(TENANT), NOW).await.unwrap();
    put(&other, "newer", "three").await;
    assert_eq!(text(&barrier, "newer").await.unwrap(), "three");
    let physical = barrier.physical(&key("newer")).await.unwrap();
    let entry = store.get(physical.as_bytes()).await.unwrap().unwrap();
    assert_eq!(entry.value[18..22], 4_u32.to_be_bytes());
}

#[tokio::test]
async fn derived_keys_differ_by_scope_and_use_and_last() {
    let store = memory();
    let barrier = vault(&store).await;
    let again = unseal_static(Arc::clone(&store), &static_key(), None).await.unwrap();
    let one = barrier.derived(Scope::System, Label::Sessions).await.unwrap();
    assert!(one.same(&again.derived(Scope::System, Label::Sessions).await.unwrap()));
    assert!(!one.same(&barrier.derived(Scope::System, Label::Pages).await.unwrap()));
    assert!(!one.same(&barrier.derived(Scope::Tenant(TENANT), Label::Sessions).await.unwrap()));
}

#[tokio::test]
async fn the_feed_tells_of_records_by_their_physical_names() {
    let barrier = vault(&memory()).await;
    let since = barrier.revision().await.unwrap();
    let mut changes = barrier.changes(since).await.unwrap();
    put(&barrier, "a/b", "one").await;
    barrier.add_term(Scope::Tenant(TENANT), NOW).await.unwrap();
    let mut batch = Batch::new();
    batch.delete(key("a/b"), Expect::Version(1));
    barrier.commit(batch).await.unwrap();
    let expected = barrier.physical(&key("a/b")).await.unwrap();
    let directory = barrier.physical(&key("a")).await.unwrap();
    let first = changes.next().await.unwrap().unwrap();
    assert_eq!((&first.key, first.present, first.revision), (&expected, true, Revision(since.0 + 1)));
    assert!(first.key.is_within(&directory) && !directory.is_within(&first.key));
    let second = changes.next().await.unwrap().unwrap();
    assert_eq!((&second.key, second.present, second.revision), (&expected, false, Revision(since.0 + 3)));
}

#[tokio::test]
async fn the_feed_makes_a_deleted_tenant_forgotten() {
    let store = memory();
    let barrier = vault(&store).await;
    let other = unseal_static(Arc::clone(&store), &static_key(), None).await.unwrap();
    put(&barrier, "a", "one").await;
    assert!(text(&other, "a").await.is_some());
    let mut changes = other.changes(other.revision().await.unwrap()).await.unwrap();
    let mut batch = Batch::new();
    batch.delete_scope(TENANT).put(RecordKey::new(Scope::System, ["end"]).unwrap(), Expect::Absent, secret(""));
    barrier.commit(batch).await.unwrap();
    changes.next().await.unwrap().unwrap();
    assert!(matches!(other.get(&key("a")).await, Err(BarrierError::NoScope)));
}

#[test]
fn a_barrier_can_be_shared_between_threads() {
    const fn shared<T: Send + Sync + 'static>() {}
    shared::<Barrier>();
}
