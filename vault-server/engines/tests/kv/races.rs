//! What others do between two steps of a request.

use std::sync::Arc;

use coffer_barrier::Store;
use coffer_engines::kv::{KvError, PutRequest, Settings, VersionState};
use coffer_store::faulty::{FaultPlan, FaultyStore};

use crate::common::{KV, NOW, commit, get, is_conflict, is_gone, metadata, new_version, path, put, set, shown, unsealed, vault};

/// A barrier whose reads stop before this one, counted from now.
async fn pausing(store: &Arc<dyn Store>, read: u64) -> (Arc<FaultyStore>, coffer_barrier::Barrier) {
    // Unsealing reads the header and the system's keyring; the first record of a tenant, the tenant's keyring.
    let plan = FaultPlan::parse(&format!("get:{}:pause-before", read + 3)).unwrap();
    let faulty = Arc::new(FaultyStore::new(Arc::clone(store), plan));
    let barrier = unsealed(Arc::<FaultyStore>::clone(&faulty)).await;
    (faulty, barrier)
}

#[tokio::test]
async fn a_version_destroyed_while_it_is_read_is_gone_and_not_damaged() {
    let (store, barrier) = vault().await;
    put(&barrier, "kv/a", new_version(&[("n", "1")])).await.unwrap();
    let (faulty, slow) = pausing(&store, 2).await;
    let meanwhile = async {
        faulty.paused(1).await;
        commit(&barrier, KV.destroy_versions(&barrier, &path("kv/a"), &[1], NOW).await).await.unwrap();
        faulty.release();
    };
    let (read, ()) = tokio::join!(get(&slow, "kv/a", None), meanwhile);
    assert!(is_gone(&read, VersionState::Destroyed), "{read:?}");
}

#[tokio::test]
async fn a_reader_that_is_overtaken_gets_the_newer_version() {
    let (store, barrier) = vault().await;
    set(&barrier, "kv/a", Settings { max_versions: 1, ..Settings::default() }).await.unwrap();
    put(&barrier, "kv/a", new_version(&[("n", "1")])).await.unwrap();
    let (faulty, slow) = pausing(&store, 2).await;
    let meanwhile = async {
        faulty.paused(1).await;
        put(&barrier, "kv/a", new_version(&[("n", "2")])).await.unwrap();
        faulty.release();
    };
    let (read, ()) = tokio::join!(get(&slow, "kv/a", None), meanwhile);
    assert_eq!(shown(&read.unwrap().fields), [("n", "2")]);
}

#[tokio::test]
async fn a_name_made_again_while_it_is_read_gives_one_of_both() {
    let (store, barrier) = vault().await;
    put(&barrier, "kv/a", new_version(&[("n", "old")])).await.unwrap();
    let (faulty, slow) = pausing(&store, 2).await;
    let meanwhile = async {
        faulty.paused(1).await;
        commit(&barrier, KV.destroy(&barrier, &path("kv/a"), None).await).await.unwrap();
        put(&barrier, "kv/a", new_version(&[("n", "new")])).await.unwrap();
        faulty.release();
    };
    let (read, ()) = tokio::join!(get(&slow, "kv/a", None), meanwhile);
    assert_eq!(shown(&read.unwrap().fields), [("n", "new")]);
}

#[tokio::test]
async fn a_merge_that_is_overtaken_is_planned_again() {
    let (store, barrier) = vault().await;
    set(&barrier, "kv/a", Settings { max_versions: 1, ..Settings::default() }).await.unwrap();
    put(&barrier, "kv/a", new_version(&[("n", "1")])).await.unwrap();
    let (faulty, slow) = pausing(&store, 2).await;
    let meanwhile = async {
        faulty.paused(1).await;
        put(&barrier, "kv/a", new_version(&[("n", "2")])).await.unwrap();
        faulty.release();
    };
    let merge = || PutRequest { merge: true, ..new_version(&[("m", "x")]) };
    let (merged, ()) = tokio::join!(put(&slow, "kv/a", merge()), meanwhile);
    assert!(is_conflict(&merged), "{merged:?}");
    put(&slow, "kv/a", merge()).await.unwrap();
    assert_eq!(shown(&get(&barrier, "kv/a", None).await.unwrap().fields), [("m", "x"), ("n", "2")]);
}

#[tokio::test]
async fn a_value_that_is_missing_without_a_reason_is_damage() {
    let (store, barrier) = vault().await;
    let before: Vec<_> = store.range(b"", b"", 100).await.unwrap().into_iter().map(|entry| entry.key).collect();
    put(&barrier, "kv/a", new_version(&[("n", "1")])).await.unwrap();
    let name = barrier.physical(&KV.name_key(&path("kv/a")).unwrap()).await.unwrap();
    let written = store.range(b"", b"", 100).await.unwrap().into_iter().map(|entry| entry.key);
    let value = written.filter(|key| !before.contains(key) && key != name.as_bytes());
    let writes = value.map(coffer_store::Write::Delete).collect::<Vec<_>>();
    assert_eq!(writes.len(), 1);
    store.commit(coffer_store::Transaction { conditions: Vec::new(), writes }).await.unwrap();
    let read = get(&barrier, "kv/a", None).await;
    assert!(matches!(read, Err(KvError::Barrier(coffer_barrier::BarrierError::Corrupt(_)))), "{read:?}");
    assert_eq!(metadata(&barrier, "kv/a").await.newest_version, 1);
}
