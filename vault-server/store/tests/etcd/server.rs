//! A store of its own on the server that the tests were given.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use coffer_store::{
    Change, Feed, Revision, Store, StoreError, Transaction, Write,
    etcd::{EtcdOptions, EtcdStore},
};
use tokio::sync::RwLock;
use tokio_stream::StreamExt;

/// Held to write by who makes etcd forget, and to read by who needs its history: the server is one for all tests.
pub(super) static HISTORY: RwLock<()> = RwLock::const_new(());

#[expect(clippy::disallowed_methods, reason = "who runs the tests says where etcd is")]
pub(super) fn endpoint() -> String {
    std::env::var("COFFER_TEST_ETCD").expect("COFFER_TEST_ETCD is the URL of an etcd")
}

pub(super) fn prefix() -> String {
    format!("{:016x}/", RandomState::new().hash_one(0))
}

pub(super) async fn connect(endpoints: &[&str], prefix: &str) -> EtcdStore {
    let endpoints = endpoints.iter().copied().map(String::from).collect();
    let options = EtcdOptions { endpoints, prefix: prefix.into(), ca_pem: None, certificate_pem: None, key_pem: None };
    EtcdStore::connect(options).await.unwrap()
}

pub(super) async fn put(store: &EtcdStore, key: &str) -> Result<Revision, StoreError> {
    let writes = vec![Write::Put(key.into(), b"value".to_vec())];
    store.commit(Transaction { conditions: vec![], writes }).await
}

pub(super) async fn next(feed: &mut Feed) -> Option<Result<Change, StoreError>> {
    tokio::time::timeout(Duration::from_secs(30), feed.next()).await.expect("within the deadline")
}

/// Makes etcd forget what was before a revision.
pub(super) async fn forget(before: Revision) {
    #[derive(Clone, PartialEq, prost::Message)]
    struct CompactionRequest {
        #[prost(int64, tag = "1")]
        revision: i64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct CompactionResponse {}
    let channel = tonic::transport::Endpoint::from_shared(endpoint()).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let request = tonic::Request::new(CompactionRequest { revision: before.0.try_into().unwrap() });
    let codec = tonic_prost::ProstCodec::<CompactionRequest, CompactionResponse>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/etcdserverpb.KV/Compact");
    client.unary(request, path, codec).await.unwrap();
}
