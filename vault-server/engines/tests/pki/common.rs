//! A vault with a mount, and short names for what is done to it.

use std::{sync::Arc, time::Duration};

use coffer_barrier::{
    Barrier, Batch, Store,
    seal::{Initialisation, SealChoice},
};
use coffer_core::{
    clock::Timestamp,
    id::{MountId, TenantId, VaultId},
    principal::{Name, Principal},
};
use coffer_crypto::{
    key::Key,
    x509::{self, ReadCertificate},
};
use coffer_engines::{
    Planned,
    pki::{Asker, CaSubject, IssueRequest, Issued, Issuer, KeyKind, NewRoot, Pki, PkiError, Ready, Role, RoleState},
};
use coffer_store::memory::MemoryStore;

pub(crate) const TENANT: TenantId = TenantId::from_bytes([2; 16]);
pub(crate) const PKI: Pki = Pki::new(TENANT, MountId::from_bytes([3; 16]));
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
pub(crate) const DAY: u64 = 24 * 60 * 60;

thread_local! {
    /// What is kept ready: by all that a test does, for each has a thread of its own.
    static READY: Arc<Ready> = Arc::default();
}

pub(crate) fn ready() -> Arc<Ready> {
    READY.with(Arc::clone)
}

pub(crate) async fn vault() -> (Arc<dyn Store>, Barrier) {
    ready().clear();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let choice = SealChoice::StaticKey(Key::from_bytes([7; 32]));
    let init = Initialisation::new(VaultId::from_bytes([1; 16]), choice, &[TENANT], NOW).unwrap();
    let barrier = init.commit(Arc::clone(&store), Batch::new()).await.unwrap().barrier;
    (store, barrier)
}

/// A vault with the root CA `root`, of a year.
pub(crate) async fn with_root() -> Barrier {
    let (_, barrier) = vault().await;
    create_root(&barrier, "root", new_root(KeyKind::P256)).await.unwrap();
    barrier
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn later(secs: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(secs))
}

pub(crate) fn called(common_name: &str) -> CaSubject {
    CaSubject { common_name: common_name.into(), organisation: "Shop".into(), country: "DE".into() }
}

pub(crate) fn new_root(key_kind: KeyKind) -> NewRoot {
    NewRoot { subject: called("Shop Root"), key_kind, ttl_secs: 365 * DAY, path_length: None }
}

pub(crate) fn role(hosts: &[&str]) -> Role {
    Role { hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), ..Role::default() }
}

pub(crate) fn asking(names: &[&str]) -> IssueRequest {
    IssueRequest { names: names.iter().map(|name| (*name).to_owned()).collect(), ..IssueRequest::default() }
}

pub(crate) async fn commit<T>(barrier: &Barrier, planned: Result<Planned<T>, PkiError>) -> Result<T, PkiError> {
    let Planned { batch, outcome } = planned?;
    if !batch.is_empty() {
        barrier.commit(batch).await?;
    }
    Ok(outcome)
}

pub(crate) async fn create_root(barrier: &Barrier, at: &str, root: NewRoot) -> Result<Issuer, PkiError> {
    commit(barrier, PKI.create_root(barrier, &name(at), &root, NOW).await).await
}

pub(crate) async fn put_role(barrier: &Barrier, at: &str, role: Role) -> Result<RoleState, PkiError> {
    commit(barrier, PKI.put_role(barrier, &name(at), role, "", NOW).await).await
}

pub(crate) fn alice() -> Principal {
    "operator:alice".parse().unwrap()
}

pub(crate) fn api() -> Principal {
    "k8s:prod/shop/api".parse().unwrap()
}

pub(crate) async fn issue_to(
    barrier: &Barrier,
    at: &str,
    request: IssueRequest,
    principal: &Principal,
) -> Result<Issued, PkiError> {
    let asker = Asker { principal, pod: None };
    commit(barrier, PKI.issue(barrier, &ready(), &name(at), &request, asker, NOW).await).await
}

pub(crate) async fn issue(barrier: &Barrier, at: &str, request: IssueRequest) -> Result<Issued, PkiError> {
    issue_to(barrier, at, request, &alice()).await
}

/// The first certificate of a PEM text.
pub(crate) fn read(pem: &str) -> ReadCertificate {
    ReadCertificate::read(x509::blocks(pem, 8).unwrap()[0].content.expose()).unwrap()
}

pub(crate) fn shown(issued: &Issued) -> Vec<String> {
    read(&issued.certificate).names.iter().map(ToString::to_string).collect()
}

pub(crate) fn is_refused<T>(result: &Result<T, PkiError>) -> bool {
    matches!(result, Err(PkiError::Refused(_)))
}

pub(crate) fn is_limit<T>(result: &Result<T, PkiError>) -> bool {
    matches!(result, Err(PkiError::Limit(_)))
}
