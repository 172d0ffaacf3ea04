//! The limits of requests, each at its value and one past it, as a caller meets them.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client, Error,
    proto::{
        ClusterSettings, CreateClusterRequest, CreateOperatorRequest, GetSecretRequest, KeySource, ListSecretsRequest, PodCheck,
        SaveSnapshotRequest, TailAuditRequest, key_source::Source,
    },
};
use coffer_core::limits::{
    AUDIT_LAST_MAX, CERTIFICATE_PINS_MAX, FAILURES_PER_ADDRESS_MAX, IDEMPOTENCY_KEY_BYTES_MAX, JWKS_BYTES_MAX,
    OPERATOR_SESSION_LIFETIME, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN, REQUEST_ID_CHARS_MAX,
    SNAPSHOT_RECIPIENTS_MAX, VERSIONS_KEPT_DEFAULT,
};
use coffer_secret::SecretString;
use coffer_tests::issuer::now_secs;
use tonic::{Request, Status};

use crate::vault::{ADMIN, AUDITOR, CLUSTER, PASSWORD, Vault, secret};

/// At the limit it is done, one past it refused, with a reason that says so.
fn held<T, U>(what: &str, at: Result<T, Status>, past: Result<U, Status>) -> Result<()> {
    at.map_err(Error::from).with_context(|| format!("{what}: refused at the limit"))?;
    let error = Error::from(past.err().with_context(|| format!("{what}: taken past the limit"))?);
    ensure!(matches!(error.reason(), "LIMIT_EXCEEDED" | "INVALID_ARGUMENT"), "{what}: {error:?}");
    ensure!(!error.detail().message.is_empty(), "{what}: {error:?}");
    Ok(())
}

async fn operators(admin: &Client) -> Result<()> {
    let mut names = 0;
    let mut create = async |password: String, pins: usize| {
        names += 1;
        let request = CreateOperatorRequest {
            name: format!("limit-{names}"),
            password,
            certificate_pins: (0..pins).map(|pin| format!("{pin:064x}")).collect(),
            ..CreateOperatorRequest::default()
        };
        admin.operators().create_operator(request).await
    };
    let good = || "x".repeat(PASSWORD_BYTES_MIN);
    held("the shortest password", create(good(), 0).await, create("x".repeat(PASSWORD_BYTES_MIN - 1), 0).await)?;
    let longest = create("x".repeat(PASSWORD_BYTES_MAX), 0).await;
    held("the longest password", longest, create("x".repeat(PASSWORD_BYTES_MAX + 1), 0).await)?;
    held("pins", create(good(), CERTIFICATE_PINS_MAX).await, create(good(), CERTIFICATE_PINS_MAX + 1).await)
}

async fn clusters(vault: &Vault, admin: &Client) -> Result<()> {
    let create = async |name: &str, bytes: usize| {
        let mut keys = vault.issuer.jwks().to_string();
        keys.push_str(&" ".repeat(bytes - keys.len()));
        let settings = ClusterSettings {
            issuer: format!("https://{name}.test"),
            keys: Some(KeySource { source: Some(Source::Jwks(keys)) }),
            pod_check: PodCheck::None.into(),
            ..ClusterSettings::default()
        };
        let request = CreateClusterRequest { name: name.to_owned(), settings: Some(settings), idempotency_key: String::new() };
        admin.clusters().create_cluster(request).await
    };
    held("keys", create("at", JWKS_BYTES_MAX).await, create("past", JWKS_BYTES_MAX + 1).await)
}

async fn lists(vault: &Vault, admin: &Client) -> Result<()> {
    let list = async |page_size| {
        let request = ListSecretsRequest { path: "kv/many".to_owned(), page_size, page_token: String::new() };
        admin.kv().list_secrets(request).await
    };
    for number in 0..=PAGE_SIZE_DEFAULT {
        admin.kv().put_secret(secret(&format!("kv/many/{number:04}"), "field", "value")).await?;
    }
    held("entries on a page", list(PAGE_SIZE_MAX).await, list(PAGE_SIZE_MAX + 1).await)?;
    let page = list(0).await?.into_inner();
    ensure!(page.entries.len() == usize::try_from(PAGE_SIZE_DEFAULT)?, "{} entries", page.entries.len());
    ensure!(!page.next_page_token.is_empty(), "there is one more");
    let auditor = vault.operator(AUDITOR).await?;
    let tail = async |last| auditor.audit().tail_audit(TailAuditRequest { last, from: 0, follow: false }).await;
    held("entries of the audit log", tail(AUDIT_LAST_MAX).await, tail(AUDIT_LAST_MAX + 1).await)
}

async fn keys_and_ids(admin: &Client) -> Result<()> {
    let put = async |bytes: usize| {
        let mut request = secret("kv/limits/keyed", "field", "value");
        request.idempotency_key = "k".repeat(bytes);
        admin.kv().put_secret(request).await
    };
    held("an idempotency key", put(IDEMPOTENCY_KEY_BYTES_MAX).await, put(IDEMPOTENCY_KEY_BYTES_MAX + 1).await)?;
    // A request id past the limit is not the caller's own any more.
    for (chars, own) in [(REQUEST_ID_CHARS_MAX, true), (REQUEST_ID_CHARS_MAX + 1, false)] {
        let id = "r".repeat(chars);
        let request = GetSecretRequest { path: "kv/limits/none".to_owned(), version: 0 };
        let mut request = Request::new(request);
        request.metadata_mut().insert("coffer-request-id", id.parse()?);
        let error = Error::from(admin.kv().get_secret(request).await.err().context("it is not there")?);
        ensure!((error.request_id() == Some(id.as_str())) == own, "{chars} characters: {:?}", error.request_id());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_taken_at_each_limit_and_refused_past_it() -> Result<()> {
    let vault = Vault::new().await?;
    let admin = vault.operator(ADMIN).await?;
    operators(&admin).await?;
    clusters(&vault, &admin).await?;
    lists(&vault, &admin).await?;
    keys_and_ids(&admin).await?;
    let recipient = age::x25519::Identity::generate().to_public().to_string();
    let save = async |recipients: usize| {
        let recipients = vec![recipient.clone(); recipients];
        let mut pieces = admin.snapshots().save_snapshot(SaveSnapshotRequest { recipients }).await?.into_inner();
        while pieces.message().await?.is_some() {}
        Ok(())
    };
    held("recipients", save(SNAPSHOT_RECIPIENTS_MAX).await, save(SNAPSHOT_RECIPIENTS_MAX + 1).await)?;
    held("at least one recipient", save(1).await, save(0).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_sessions_last_as_long_as_documented() -> Result<()> {
    let vault = Vault::new().await?;
    let (path, reader) = ("kv/limits/versions", "k8s:test/shop/reader");
    vault.grant_read(path, reader).await?;
    for version in 0..=VERSIONS_KEPT_DEFAULT {
        vault.put(path, "field", &version.to_string()).await?;
    }
    let reader = vault.workload(&coffer_tests::issuer::Pod::new("shop", "reader")?).await?;
    reader.kv_get(path, 2).await.context("the oldest that is kept")?;
    ensure!(reader.kv_get(path, 1).await.is_err(), "one more is kept than should be");
    let session = vault.stranger()?.login_password("", ADMIN, &SecretString::copied_from(PASSWORD)).await?;
    let left = session.expires.duration_since(UNIX_EPOCH)?.saturating_sub(Duration::from_secs(now_secs()));
    ensure!(left.abs_diff(OPERATOR_SESSION_LIFETIME) <= Duration::from_secs(5), "{left:?} are left");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_its_failures_in_a_minute_and_no_more() -> Result<()> {
    let vault = Vault::new().await?;
    let (noisy, token) = (vault.stranger()?, SecretString::copied_from("no token"));
    let mut refused = 0;
    let last = loop {
        let error = noisy.login_workload("", CLUSTER, &token).await.err().context("it was let in")?;
        match error.reason() {
            "LOGIN_REFUSED" => refused += 1,
            _ => break error,
        }
        ensure!(refused <= FAILURES_PER_ADDRESS_MAX, "nothing stops it");
    };
    ensure!(refused == FAILURES_PER_ADDRESS_MAX && last.retryable(), "{refused} failures, then {last:?}");
    Ok(())
}
