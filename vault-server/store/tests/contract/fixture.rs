//! One store of each kind, empty.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use coffer_store::{
    Change, Condition, Feed, Key, Revision, Store, StoreError, Transaction, Write,
    etcd::{EtcdOptions, EtcdStore},
    faulty::{FaultPlan, FaultyStore},
    memory::MemoryStore,
    sled::{SledOptions, SledStore},
};
use tempfile::TempDir;
use tokio_stream::StreamExt;

/// How long anything may take that a test waits for.
const WAIT: Duration = Duration::from_secs(30);

pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    /// Runs of the model; fewer where each write goes over a network.
    pub(crate) model_runs: u32,
    _folder: Option<TempDir>,
}

pub(crate) async fn memory() -> Fixture {
    Fixture { store: Arc::new(MemoryStore::new()), model_runs: 256, _folder: None }
}

pub(crate) async fn sled() -> Fixture {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let store = tokio::task::spawn_blocking(move || SledStore::open(&path, SledOptions::default())).await.unwrap().unwrap();
    Fixture { store: Arc::new(store), model_runs: 64, _folder: Some(folder) }
}

pub(crate) async fn faulty() -> Fixture {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()), FaultPlan::parse("").unwrap());
    Fixture { store: Arc::new(store), model_runs: 64, _folder: None }
}

#[expect(clippy::disallowed_methods, reason = "who runs the tests says where etcd is")]
pub(crate) async fn etcd() -> Fixture {
    let endpoint = std::env::var("COFFER_TEST_ETCD").expect("COFFER_TEST_ETCD is the URL of an etcd");
    // The longest prefix that is allowed: what fits with it fits always.
    let prefix = format!("{:x>255}/", format!("{:016x}", RandomState::new().hash_one(0)));
    let options = EtcdOptions { endpoints: vec![endpoint], prefix, ca_pem: None, certificate_pem: None, key_pem: None };
    Fixture { store: Arc::new(EtcdStore::connect(options).await.unwrap()), model_runs: 32, _folder: None }
}

impl Fixture {
    pub(crate) async fn commit(&self, conditions: Vec<Condition>, writes: Vec<Write>) -> Result<Revision, StoreError> {
        self.store.commit(Transaction { conditions, writes }).await
    }

    pub(crate) async fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Revision {
        self.commit(vec![], vec![put(key, value)]).await.unwrap()
    }

    pub(crate) async fn delete(&self, key: impl AsRef<[u8]>) -> Revision {
        self.commit(vec![], vec![delete(key)]).await.unwrap()
    }

    /// The value and version of a key.
    pub(crate) async fn value(&self, key: impl AsRef<[u8]>) -> Option<(Vec<u8>, u64)> {
        self.store.get(key.as_ref()).await.unwrap().map(|entry| (entry.value, entry.version))
    }

    pub(crate) async fn keys(&self, start: &[u8], end: &[u8], limit: usize) -> Vec<Key> {
        self.store.range(start, end, limit).await.unwrap().into_iter().map(|entry| entry.key).collect()
    }
}

pub(crate) fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Write {
    Write::Put(key.as_ref().to_vec(), value.as_ref().to_vec())
}

pub(crate) fn delete(key: impl AsRef<[u8]>) -> Write {
    Write::Delete(key.as_ref().to_vec())
}

/// The next `count` changes of a feed.
pub(crate) async fn changes(feed: &mut Feed, count: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    while changes.len() < count {
        changes.push(next(feed).await.expect("a change").expect("no error"));
    }
    changes
}

/// What comes next.
pub(crate) async fn next(feed: &mut Feed) -> Option<Result<Change, StoreError>> {
    tokio::time::timeout(WAIT, feed.next()).await.expect("within the deadline")
}
