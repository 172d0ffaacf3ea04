//! Opening and opening again.

use std::fs;

use coffer_store::{FEED_HISTORY_CHANGES_MAX, Revision, Store, StoreError, sled::OpenError};

use super::folder::{content, copy, delete, filled, open, put, records, temporary};

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let (_folder, path) = temporary();
    let store = filled(&path).await;
    let before = content(&store).await.unwrap();
    drop(store);
    for _ in 0..3 {
        let store = open(&path).unwrap();
        assert!(content(&store).await.unwrap() == before);
    }
    let store = open(&path).unwrap();
    let next = put(&store, "key-0", b"next").await.unwrap();
    assert_eq!(next, Revision(before.1.0 + 1), "revisions go on");
    let versions = before.0[b"key-0".as_slice()].version;
    assert_eq!(store.get(b"key-0").await.unwrap().unwrap().version, versions + 1, "versions go on");
}

#[tokio::test]
async fn a_feed_from_before_a_restart_is_told_to_begin_anew() {
    let (_folder, path) = temporary();
    let store = open(&path).unwrap();
    let before = put(&store, "a", b"1").await.unwrap();
    let last = put(&store, "a", b"2").await.unwrap();
    drop(store);
    let store = open(&path).unwrap();
    assert!(matches!(store.changes(before).await, Err(StoreError::Compacted)));
    assert!(store.changes(last).await.is_ok(), "nothing was missed since then");
    const { assert!(FEED_HISTORY_CHANGES_MAX > 2, "otherwise this would show nothing") };
}

#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_is_gone() {
    let (_folder, path) = temporary();
    let store = open(&path).unwrap();
    assert!(matches!(open(&path), Err(OpenError::InUse)));
    put(&store, "k", b"x").await.unwrap();
    drop(store);
    assert!(open(&path).unwrap().get(b"k").await.unwrap().is_some());
}

#[tokio::test]
async fn a_snapshot_that_was_cut_short_does_not_keep_the_store_shut() {
    let (folder, path) = temporary();
    let store = filled(&path).await;
    let before = content(&store).await.unwrap();
    // The store is open: what is copied is what a kill leaves.
    let killed = folder.path().join("killed");
    copy(&path, &killed);
    fs::write(killed.join("data/snap.00000000FFFFFFFF.generating"), b"half a snapshot").unwrap();
    let bare = folder.path().join("bare");
    copy(&killed, &bare);
    let refused = sled::Config::new().path(bare.join("data")).segment_size(8 << 20).open();
    assert!(matches!(refused, Err(sled::Error::Corruption { .. })), "sled alone does not open it: {refused:?}");
    let reopened = open(&killed).unwrap();
    assert!(content(&reopened).await.unwrap() == before);
}

#[tokio::test]
async fn a_store_that_was_half_made_is_made_anew() {
    let (_folder, path) = temporary();
    fs::create_dir_all(path.join("data.new/blobs")).unwrap();
    fs::write(path.join("data.new/conf"), b"half").unwrap();
    let store = open(&path).unwrap();
    put(&store, "k", b"x").await.unwrap();
    assert!(!path.join("data.new").exists());
}

#[tokio::test]
async fn the_folder_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = temporary();
    let _store = open(&path).unwrap();
    for closed in [path.clone(), path.join("data")] {
        assert_eq!(fs::metadata(closed).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[tokio::test]
async fn replaced_and_deleted_values_leave_no_pieces() {
    let (folder, path) = temporary();
    let mut store = open(&path).unwrap();
    for round in 0..6_u8 {
        for key in ["a", "b", "c"] {
            put(&store, key, &[round; 20_000]).await.unwrap();
        }
        // Every other round's values come into sled.
        if round % 2 == 0 {
            drop(store);
            store = open(&path).unwrap();
        }
    }
    delete(&store, "b").await.unwrap();
    put(&store, "c", b"small").await.unwrap();
    // As a kill leaves it: cleaning up may not have become durable.
    let killed = folder.path().join("killed");
    copy(&path, &killed);
    drop(store);
    drop(open(&killed).unwrap());
    for path in [path, killed] {
        let records = records(&path);
        assert_eq!(records.into_iter().collect::<Vec<_>>(), [(0, 1), (1, 2), (2, 5)], "one value of five pieces is left");
    }
}

#[tokio::test]
async fn sled_keeps_nothing_outside_its_log() {
    let (_folder, path) = temporary();
    let store = open(&path).unwrap();
    // The worst for the size of sled's pages: the longest keys, alike as far as can be, with full pieces.
    for number in 0..2_000_u32 {
        let mut key = vec![b'k'; coffer_store::KEY_BYTES_MAX - 4];
        key.extend_from_slice(&number.to_be_bytes());
        put(&store, key, &[7; 4_096]).await.unwrap();
    }
    put(&store, "large", &vec![7; 1 << 20]).await.unwrap();
    assert_eq!(fs::read_dir(path.join("data/blobs")).unwrap().count(), 0);
}
