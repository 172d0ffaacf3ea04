//! Secrets as earlier versions wrote them: every later version must read them.
//!
//! The file has a line for each key that is stored: its version, the key and the value, in hexadecimal. It is written
//! once, by [`write`], when a format is new, and never again.

use std::{fmt::Write as _, path::PathBuf, sync::Arc, time::Duration};

use coffer_barrier::{Barrier, Store};
use coffer_engines::kv::{PutRequest, Settings, VersionState};
use coffer_store::{Transaction, Write, memory::MemoryStore};

use crate::common::{KV, NOW, commit, get, metadata, new_version, path, put, set, shown, unsealed, vault};

fn file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/golden/kv-v1.txt"].iter().collect()
}

async fn fill(barrier: &Barrier) {
    let custom_metadata = [("owner".to_owned(), "payments".to_owned())].into();
    set(barrier, "kv/prod/db", Settings { custom_metadata, max_versions: 5, cas_required: true }).await.unwrap();
    for number in 0..6_u64 {
        let request = PutRequest { expected: Some(number), ..new_version(&[("n", &number.to_string()), ("user", "app")]) };
        put(barrier, "kv/prod/db", request).await.unwrap();
    }
    commit(barrier, KV.delete_versions(barrier, &path("kv/prod/db"), &[4], NOW).await).await.unwrap();
    commit(barrier, KV.destroy_versions(barrier, &path("kv/prod/db"), &[3], NOW).await).await.unwrap();
    put(barrier, "kv/t\u{f6}ken", PutRequest { ttl_secs: Some(60), ..new_version(&[("n", "1")]) }).await.unwrap();
}

#[tokio::test]
#[ignore = "writes the golden file of a new format; run it by hand, once, with another name for the file"]
async fn write() {
    let (store, barrier) = vault().await;
    fill(&barrier).await;
    let mut lines = String::new();
    for entry in store.range(b"", b"", 1000).await.unwrap() {
        writeln!(lines, "{} {} {}", entry.version, hex::encode(entry.key), hex::encode(entry.value)).unwrap();
    }
    // Never over an older one.
    let mut file = std::fs::File::create_new(file()).unwrap();
    std::io::Write::write_all(&mut file, lines.as_bytes()).unwrap();
}

#[tokio::test]
async fn secrets_of_format_1_are_read() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    for line in std::fs::read_to_string(file()).unwrap().lines() {
        let [version, key, value] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let write = Write::Put(hex::decode(key).unwrap(), hex::decode(value).unwrap());
        for _ in 0..version.parse().unwrap() {
            store.commit(Transaction { conditions: Vec::new(), writes: vec![write.clone()] }).await.unwrap();
        }
    }
    let barrier = unsealed(store).await;
    let known = metadata(&barrier, "kv/prod/db").await;
    let states: Vec<_> = known.versions.iter().map(|version| (version.version, version.state)).collect();
    let live = VersionState::Live;
    assert_eq!(states, [(2, live), (3, VersionState::Destroyed), (4, VersionState::Deleted), (5, live), (6, live)]);
    assert_eq!((known.settings.custom_metadata["owner"].as_str(), known.settings.max_versions), ("payments", 5));
    assert!(known.settings.cas_required && known.created == NOW && known.versions[0].created_by == "operator:alice");
    assert_eq!(shown(&get(&barrier, "kv/prod/db", None).await.unwrap().fields), [("n", "5"), ("user", "app")]);
    let token = get(&barrier, "kv/t\u{f6}ken", None).await.unwrap();
    assert_eq!(token.version.expires, Some(NOW.plus(Duration::from_secs(60))));
    commit(&barrier, KV.undelete_versions(&barrier, &path("kv/prod/db"), &[4], NOW).await).await.unwrap();
    assert_eq!(shown(&get(&barrier, "kv/prod/db", Some(4)).await.unwrap().fields), [("n", "3"), ("user", "app")]);
}
