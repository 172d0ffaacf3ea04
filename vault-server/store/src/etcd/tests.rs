use super::{ConnectError, ENDPOINTS_MAX, EtcdOptions, EtcdStore, PREFIX_BYTES_MAX, Zeroizing, successor};
use crate::{Revision, Store, StoreError, Transaction};

#[test]
fn the_successor_is_behind_every_key_with_the_prefix() {
    assert_eq!(successor(b"a/"), Some(b"a0".to_vec()));
    assert_eq!(successor(b"a\xff\xff"), Some(b"b".to_vec()));
    assert_eq!(successor(b"\xff"), None);
    assert_eq!(successor(b""), None);
}

fn options() -> EtcdOptions {
    EtcdOptions {
        endpoints: vec!["http://127.0.0.1:1".into()],
        prefix: "p/".into(),
        ca_pem: None,
        certificate_pem: None,
        key_pem: None,
    }
}

#[tokio::test]
async fn options_that_contradict_themselves_are_refused() {
    let https = || vec!["https://127.0.0.1:1".into()];
    for wrong in [
        EtcdOptions { endpoints: Vec::new(), ..options() },
        EtcdOptions { endpoints: vec!["http://127.0.0.1:1".into(); ENDPOINTS_MAX + 1], ..options() },
        EtcdOptions { prefix: String::new(), ..options() },
        EtcdOptions { prefix: "p".repeat(PREFIX_BYTES_MAX + 1), ..options() },
        EtcdOptions { endpoints: https(), ..options() },
        EtcdOptions { ca_pem: Some("x".into()), ..options() },
        EtcdOptions { key_pem: Some(Zeroizing::new("x".into())), ..options() },
        EtcdOptions { endpoints: https(), ca_pem: Some("x".into()), certificate_pem: Some("x".into()), ..options() },
        EtcdOptions { endpoints: vec!["ftp://127.0.0.1:1".into()], ..options() },
    ] {
        let shown = format!("{wrong:?}");
        let refused = EtcdStore::connect(wrong).await;
        assert!(matches!(refused, Err(ConnectError::Options(_))), "{shown}");
    }
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_unreachable() {
    assert!(matches!(EtcdStore::connect(options()).await, Err(ConnectError::Unreachable(_))));
}

/// A server that takes connections and says nothing.
async fn silent() -> (tokio::net::TcpListener, EtcdStore) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoints = vec![format!("http://{}", listener.local_addr().unwrap())];
    (listener, EtcdStore::new(&EtcdOptions { endpoints, ..options() }).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_not_answered_ends() {
    let (_listener, store) = silent().await;
    assert!(matches!(store.get(b"k").await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.changes(Revision(1)).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_not_answered_is_in_doubt() {
    let (_listener, store) = silent().await;
    assert!(matches!(store.commit(Transaction::default()).await, Err(StoreError::Unknown(_))));
}

#[tokio::test]
async fn a_commit_that_cannot_be_sent_is_not_in_doubt() {
    let store = EtcdStore::new(&options()).unwrap();
    assert!(matches!(store.commit(Transaction::default()).await, Err(StoreError::Unavailable(_))));
}

#[test]
fn the_key_is_not_in_the_debug_form() {
    let options = EtcdOptions { key_pem: Some(Zeroizing::new("canary".into())), ..options() };
    assert!(!format!("{options:?}").contains("canary"));
}
