//! What is refused is not repeated: neither to the caller nor in the log or the audit log.

use anyhow::{Context as _, Result, bail, ensure};
use coffer_client::{
    Client,
    proto::{
        ClusterSettings, CreateClusterRequest, CreateGrantRequest, CreateOperatorRequest, GetSecretRequest, JwksUrl, KeySource,
        ListOperatorsRequest, LoginBootstrapRequest, LoginPasswordRequest, LoginWorkloadRequest, PutSecretRequest,
        RecoverRequest, RevokeSessionRequest, SaveSnapshotRequest, WatchRequest, key_source::Source,
    },
};
use coffer_tests::{issuer::encode, programs::Programs, server::Server};
use serde_json::json;
use tonic::{Request, Status};

use crate::vault::{ADMIN, OFFICER, PASSWORD, Vault, secret};

/// Refusals, by what was wrong in the request.
async fn refusals(vault: &Vault, canary: &str) -> Result<Vec<(&'static str, Status)>> {
    let (admin, officer, stranger) = (vault.operator(ADMIN).await?, vault.operator(OFFICER).await?, vault.stranger()?);
    let text = |start: &str| format!("{start}{canary}");
    let mut found = Vec::new();
    macro_rules! refused {
        ($($name:literal: $answer:expr;)*) => { $(found.push(($name, $answer.await.err().context($name)?));)* };
    }
    let fields = |name: String| [(name, canary.as_bytes().to_vec())].into();
    refused! {
        "a path": admin.kv().put_secret(secret(&text("kv/../"), "field", canary));
        "a path without a mount": admin.kv().put_secret(secret("nomount/x", "field", canary));
        "a path with a control character": admin.kv().put_secret(secret(&text("kv/\u{7}"), "field", canary));
        "a path that is no path": admin.kv().get_secret(GetSecretRequest { path: text("/kv/"), version: 0 });
        "a field's name": admin.kv().put_secret(PutSecretRequest {
            path: "kv/peers/texts".to_owned(), fields: fields(text(&"x".repeat(250))), ..Default::default() });
        "a request that repeats none": admin.kv().put_secret(PutSecretRequest {
            idempotency_key: text(&"x".repeat(64)), ..secret("kv/peers/texts", "field", canary) });
        "an operator's name": admin.operators().create_operator(CreateOperatorRequest { name: text("No Name "), ..Default::default() });
        "a role": admin.operators().create_operator(CreateOperatorRequest {
            name: "somebody".to_owned(), roles: vec![canary.to_owned()], ..Default::default() });
        "a pin": admin.operators().create_operator(CreateOperatorRequest {
            name: "somebody".to_owned(), certificate_pins: vec![canary.to_owned()], ..Default::default() });
        "a password that is too long": admin.operators().create_operator(CreateOperatorRequest {
            name: "somebody".to_owned(), password: canary.repeat(40), ..Default::default() });
        "a page token": admin.operators().list_operators(ListOperatorsRequest { page_token: canary.to_owned(), ..Default::default() });
        "a session's id": admin.sessions().revoke_session(RevokeSessionRequest { id: canary.to_owned() });
        "a principal": officer.grants().create_grant(CreateGrantRequest {
            actions: vec!["read".to_owned()], path: "kv/**".to_owned(), principal: text("k8s:test/shop/ "), ..Default::default() });
        "an action": officer.grants().create_grant(CreateGrantRequest {
            actions: vec![canary.to_owned()], path: "kv/**".to_owned(), principal: "k8s:test/shop/api".to_owned(), ..Default::default() });
        "a recipient": admin.snapshots().save_snapshot(SaveSnapshotRequest { recipients: vec![text("AGE-SECRET-KEY-1")] });
        "a watched path": admin.watches().watch(WatchRequest { paths: vec![text("kv//")], ..Default::default() });
        "a share": stranger.system().recover(RecoverRequest { share: text("coffer-share-1-"), ..Default::default() });
        "a bootstrap credential": stranger.auth().login_bootstrap(LoginBootstrapRequest { credential: text("coffer-bootstrap-") });
        "a password where the name goes": stranger.auth().login_password(LoginPasswordRequest {
            operator: text("0 "), password: PASSWORD.to_owned(), ..Default::default() });
        "a tenant": stranger.auth().login_password(LoginPasswordRequest {
            tenant: canary.to_owned(), operator: ADMIN.to_owned(), password: PASSWORD.to_owned() });
        "a token's issuer": stranger.auth().login_workload(LoginWorkloadRequest { token: foreign(canary), ..Default::default() });
        "a token that is none": stranger.auth().login_workload(LoginWorkloadRequest {
            token: text("not.a."), cluster: text("No Cluster "), ..Default::default() });
    }
    for (name, keys) in keys(canary) {
        found.push((name, register(&admin, keys).await?));
    }
    Ok(found)
}

/// A token of a cluster that nobody knows.
fn foreign(canary: &str) -> String {
    let part = |value: serde_json::Value| encode(value.to_string().as_bytes());
    let claims = json!({"iss": format!("https://{canary}.test"), "aud": [canary], "sub": canary});
    format!("{}.{}.{}", part(json!({"alg": "ES256", "kid": canary})), part(claims), encode(canary.as_bytes()))
}

/// Keys of clusters that cannot be read. Credentials in a URL are secrets, wherever they do not belong.
fn keys(canary: &str) -> Vec<(&'static str, Source)> {
    let private = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "x": "AA", "y": "AA", "d": canary}]}).to_string();
    let url = |url: String| Source::Url(JwksUrl { url, ca_pem: String::new() });
    vec![
        ("a private key", Source::Jwks(private)),
        ("a symmetric key", Source::Jwks(json!({"keys": [{"kty": "oct", "kid": "a", "k": canary}]}).to_string())),
        ("keys that are no JSON", Source::Jwks(format!("{{{canary}"))),
        ("a URL with credentials", url(format!("https://user:{canary}@127.0.0.1:1/keys"))),
        ("a URL that is not https", url(format!("http://127.0.0.1:1/keys?token={canary}"))),
    ]
}

async fn register(admin: &Client, source: Source) -> Result<Status> {
    let keys = Some(KeySource { source: Some(source) });
    let settings = Some(ClusterSettings { issuer: "https://texts.test".to_owned(), keys, ..Default::default() });
    let request = CreateClusterRequest { name: "texts".to_owned(), settings, idempotency_key: String::new() };
    admin.clusters().create_cluster(request).await.err().context("it was registered")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_repeats_nothing_of_the_request() -> Result<()> {
    let vault = Vault::new().await?;
    let canary = vault.server.canaries().fresh("what was refused")?;
    let mut told = Vec::new();
    for (name, status) in refusals(&vault, &canary).await? {
        ensure!(!status.message().is_empty(), "{name} is refused without a word");
        let mut search = vault.server.canaries().search()?;
        search.text(name, format!("{} {:?}", status.message(), status.metadata()))?;
        search.text(name, status.details())?;
        if search.end().is_err() {
            told.push(name);
        }
    }
    ensure!(told.is_empty(), "repeated to the caller: {told:?}");
    // What the caller sends as the request's own name is a name, and is on record, unless it cannot be one.
    let mut request = Request::new(ListOperatorsRequest::default());
    request.metadata_mut().insert("coffer-request-id", format!("no id: {canary}").parse()?);
    let answer = vault.operator(ADMIN).await?.operators().list_operators(request).await?;
    let id = answer.metadata().get("coffer-request-id").context("an answer names its request")?;
    ensure!(!id.to_str()?.contains(&canary), "a request's id is repeated though it is none");
    // The log, at its most talkative, and the audit log: as with every server of the tests, when it is dropped.
    vault.server.search().map(drop)
}

/// Failures of what the server depends on are told to callers in words that name no place of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_servers_own_names_no_place_of_it() -> Result<()> {
    let mut vault = Vault::new().await?;
    let unreachable = Source::Url(JwksUrl { url: "https://127.0.0.1:1/keys".to_owned(), ca_pem: String::new() });
    let mut failures = vec![register(&vault.operator(ADMIN).await?, unreachable).await?];
    vault.put("kv/peers/texts", "field", "value").await?;
    vault.server.kill()?;
    vault.server.set("store", "faults", (20..=60).map(|commit| format!("commit:{commit}:before")).collect::<Vec<_>>().join(","));
    vault.restart().await?;
    let admin = vault.operator(ADMIN).await?;
    for _ in 0..40 {
        failures.extend(admin.kv().put_secret(secret("kv/peers/texts", "field", "value")).await.err());
    }
    ensure!(failures.len() > 2, "nothing has failed");
    let folder = vault.server.folder().display().to_string();
    for status in failures {
        for place in ["127.0.0.1", "::1", folder.as_str(), "sled", "os error", "planned"] {
            if status.message().contains(place) {
                bail!("a caller is told of {place}: {}", status.message());
            }
        }
    }
    Ok(())
}

/// A server that cannot start says why, without the secrets of its configuration.
#[tokio::test]
async fn a_server_that_cannot_start_shows_no_secret_of_its_configuration() -> Result<()> {
    let mut server = Server::new(Programs::built()?)?.with("store", "kind", "etcd").with("log", "level", "debug");
    let canary = coffer_tests::issuer::uuid()?;
    server.unset("store", "path");
    server.set("store", "endpoints", vec![format!("http://user:{canary}@127.0.0.1:1")]);
    let (status, log) = server.start_in_vain()?;
    ensure!(!status.success() && !log.is_empty());
    ensure!(!log.contains(&canary), "the credentials of an endpoint are in the log");

    let key = tempfile::tempdir()?;
    let file = key.path().join("key");
    std::fs::write(&file, format!("{canary} is no key"))?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let mut server = Server::new(Programs::built()?)?.with("seal", "kind", "static-key");
    server.set("seal", "key_file", file.display().to_string());
    let (status, log) = server.start_in_vain()?;
    ensure!(!status.success() && log.contains(&file.display().to_string()), "{log}");
    ensure!(!log.contains(&canary), "a key file's content is in the log");
    Ok(())
}
