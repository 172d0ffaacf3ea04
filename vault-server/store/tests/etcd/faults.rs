//! Behaviours.

use std::time::Duration;

use coffer_store::{Revision, Store, StoreError};

use super::{
    proxy::{self, Mode},
    server::{HISTORY, connect, endpoint, forget, next, prefix, put},
};

/// Nobody listens there.
const DEAD: &str = "http://127.0.0.1:1";

#[tokio::test]
#[ignore = "needs etcd: tests/run starts one"]
async fn two_prefixes_do_not_see_one_another() {
    let prefix = prefix();
    let one = connect(&[&endpoint()], &format!("{prefix}one/")).await;
    let two = connect(&[&endpoint()], &format!("{prefix}two/")).await;
    let mut feed = two.changes(two.revision().await.unwrap()).await.unwrap();
    put(&one, "k").await.unwrap();
    assert!(two.get(b"k").await.unwrap().is_none());
    assert!(two.range(b"", b"", 10).await.unwrap().is_empty());
    let revision = put(&two, "mine").await.unwrap();
    let change = next(&mut feed).await.unwrap().unwrap();
    assert_eq!((change.key, change.revision), (b"mine".to_vec(), revision));
    assert_eq!(one.range(b"", b"", 10).await.unwrap().len(), 1);
}

#[tokio::test]
#[ignore = "needs etcd: tests/run starts one"]
async fn a_reader_of_forgotten_changes_is_told() {
    let _forgetting = HISTORY.write().await;
    let store = connect(&[&endpoint()], &prefix()).await;
    let start = put(&store, "a").await.unwrap();
    put(&store, "b").await.unwrap();
    let end = put(&store, "c").await.unwrap();
    forget(end).await;
    let told = match store.changes(start).await {
        Err(error) => error,
        Ok(mut feed) => next(&mut feed).await.unwrap().unwrap_err(),
    };
    assert!(matches!(told, StoreError::Compacted), "{told:?}");
    let mut feed = store.changes(Revision(end.0 - 1)).await.unwrap();
    assert_eq!(next(&mut feed).await.unwrap().unwrap().key, b"c");
}

#[tokio::test]
#[ignore = "needs etcd: tests/run starts one"]
async fn an_endpoint_that_is_down_is_passed_over() {
    let _history = HISTORY.read().await;
    let store = connect(&[DEAD, &endpoint()], &prefix()).await;
    put(&store, "k").await.unwrap();
    assert!(store.get(b"k").await.unwrap().is_some());
    assert!(store.changes(store.revision().await.unwrap()).await.is_ok());

    let proxy = proxy::start(&endpoint()).await;
    let store = connect(&[&proxy.url, &endpoint()], &prefix()).await;
    put(&store, "k").await.unwrap();
    proxy.mode.send_replace(Mode::Cut);
    assert!(store.get(b"k").await.unwrap().is_some());
}

#[tokio::test]
#[ignore = "needs etcd: tests/run starts one"]
async fn a_commit_whose_answer_is_lost_is_in_doubt_and_is_not_repeated() {
    let proxy = proxy::start(&endpoint()).await;
    let prefix = prefix();
    let store = connect(&[&proxy.url, &endpoint()], &prefix).await;
    proxy.mode.send_replace(Mode::CutAnswers);
    let result = put(&store, "k").await;
    assert!(matches!(result, Err(StoreError::Unknown(_))), "{result:?}");
    // It was done, once.
    let observer = connect(&[&endpoint()], &prefix).await;
    let done = async {
        loop {
            if let Some(entry) = observer.get(b"k").await.unwrap() {
                return entry.version;
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), done).await.unwrap(), 1);
}

#[tokio::test]
#[ignore = "needs etcd: tests/run starts one"]
async fn a_feed_ends_with_an_error_when_its_connection_does_and_is_resumed() {
    let _history = HISTORY.read().await;
    let proxy = proxy::start(&endpoint()).await;
    let store = connect(&[&proxy.url], &prefix()).await;
    let mut feed = store.changes(store.revision().await.unwrap()).await.unwrap();
    put(&store, "a").await.unwrap();
    let seen = next(&mut feed).await.unwrap().unwrap();
    assert_eq!(seen.key, b"a");
    proxy.mode.send_replace(Mode::Cut);
    assert!(matches!(next(&mut feed).await, Some(Err(StoreError::Unavailable(_)))));
    assert!(next(&mut feed).await.is_none());
    assert!(matches!(store.get(b"a").await, Err(StoreError::Unavailable(_))));

    proxy.mode.send_replace(Mode::Pass);
    put(&store, "b").await.unwrap();
    let mut feed = store.changes(seen.revision).await.unwrap();
    assert_eq!(next(&mut feed).await.unwrap().unwrap().key, b"b");
}

#[tokio::test]
#[ignore = "needs etcd: tests/run starts one"]
async fn a_feed_ends_with_an_error_when_the_store_is_closed() {
    let store = connect(&[&endpoint()], &prefix()).await;
    let mut feed = store.changes(store.revision().await.unwrap()).await.unwrap();
    drop(store);
    assert!(matches!(next(&mut feed).await, Some(Err(StoreError::Unavailable(_)))));
}
