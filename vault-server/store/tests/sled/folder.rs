//! Folders, and what is in them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use coffer_store::{
    Entry, Key, Revision, Store, StoreError, Transaction, Write,
    sled::{OpenError, SledOptions, SledStore},
};
use tempfile::TempDir;

/// Opens a store; what opening does blocks, and so may this test.
pub(super) fn open(path: &Path) -> Result<SledStore, OpenError> {
    SledStore::open(path, SledOptions::default())
}

pub(super) fn temporary() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    (folder, path)
}

/// Empties the journal of a store that was closed: all of it is in sled then, and is what would mend sled otherwise.
pub(super) fn forget_journal(path: &Path) {
    for name in ["journal.0", "journal.1"] {
        fs::write(path.join("data").join(name), b"").unwrap();
    }
}

pub(super) async fn put(store: &SledStore, key: impl AsRef<[u8]>, value: &[u8]) -> Result<Revision, StoreError> {
    let writes = vec![Write::Put(key.as_ref().to_vec(), value.to_vec())];
    store.commit(Transaction { conditions: vec![], writes }).await
}

pub(super) async fn delete(store: &SledStore, key: impl AsRef<[u8]>) -> Result<Revision, StoreError> {
    let writes = vec![Write::Delete(key.as_ref().to_vec())];
    store.commit(Transaction { conditions: vec![], writes }).await
}

/// All entries, read one by one as well as in pages, and the revision.
pub(super) async fn content(store: &SledStore) -> Result<(BTreeMap<Key, Entry>, Revision), StoreError> {
    let (mut all, mut start) = (BTreeMap::new(), Vec::new());
    loop {
        let page = store.range(&start, b"", 50).await?;
        let Some(last) = page.last() else { return Ok((all, store.revision().await?)) };
        start = [last.key.as_slice(), b"\0"].concat();
        for entry in page {
            assert!(store.get(&entry.key).await?.as_ref() == Some(&entry));
            all.insert(entry.key.clone(), entry);
        }
    }
}

/// A store with values of all sizes, some of them changed and deleted.
pub(super) async fn filled(path: &Path) -> SledStore {
    let store = open(path).unwrap();
    for number in 0..120_u8 {
        let size = [0, 10, 1_000, 4_096, 4_097, 30_000][usize::from(number) % 6];
        put(&store, format!("key-{number}"), &vec![number; size]).await.unwrap();
    }
    for number in (0..120_u8).step_by(5) {
        put(&store, format!("key-{number}"), &vec![number; 6_000]).await.unwrap();
        delete(&store, format!("key-{}", number + 1)).await.unwrap();
    }
    store
}

/// Copies a folder as it is, while it may be open: what a crash leaves.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// How many records sled holds, by kind (the first byte of the key). The store must be closed.
pub(super) fn records(path: &Path) -> BTreeMap<u8, usize> {
    let db = sled::Config::new().path(path.join("data")).segment_size(8 << 20).open().unwrap();
    let mut records = BTreeMap::new();
    for item in db.iter() {
        *records.entry(item.unwrap().0[0]).or_default() += 1;
    }
    records
}
