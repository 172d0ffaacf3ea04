//! Watches: resumed by token, bounded, and never longer than the session.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use coffer_client::{Client, Error, WATCH_PATHS_MAX, proto::*};
use coffer_secret::SecretString;
use coffer_tests::{issuer::Pod, wait::PATIENCE};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::vault::{ADMIN, CLUSTER, OFFICER, Vault, secret};

/// Well before the next keepalive, which would end what has to end, too.
const PROMPTLY: Duration = Duration::from_secs(8);

/// A watch as it comes over the wire.
struct Watch {
    stream: Streaming<WatchResponse>,
    token: String,
}

impl Watch {
    async fn begin(client: &Client, paths: &[&str], token: &str) -> Result<Self, Status> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let request = WatchRequest { paths, resume_token: token.to_owned() };
        Ok(Self { stream: client.watches().watch(request).await?.into_inner(), token: String::new() })
    }

    /// The next event: what, where, which version.
    async fn next(&mut self) -> Result<(WatchEvent, String, u64)> {
        let event = timeout(PATIENCE, self.stream.message()).await.context("no event")??.context("the stream ended")?;
        ensure!(event.resume_token.len() <= 8_192, "a token of {} characters", event.resume_token.len());
        if !event.resume_token.is_empty() {
            self.token.clone_from(&event.resume_token);
        }
        Ok((event.event(), event.path, event.version))
    }

    /// The events up to the next that carries a token: what came together.
    async fn together(&mut self) -> Result<Vec<(WatchEvent, String, u64)>> {
        self.token.clear();
        let mut events = Vec::new();
        while self.token.is_empty() {
            events.push(self.next().await?);
        }
        Ok(events)
    }
}

fn changed(path: &str, version: u64) -> (WatchEvent, String, u64) {
    (WatchEvent::Changed, path.to_owned(), version)
}

fn unavailable(path: &str) -> (WatchEvent, String, u64) {
    (WatchEvent::Unavailable, path.to_owned(), 0)
}

fn bare(event: WatchEvent) -> (WatchEvent, String, u64) {
    (event, String::new(), 0)
}

const FIRST: &str = "kv/watch/first";
const SECOND: &str = "kv/watch/second";

/// A vault with two secrets, and pods that may read both.
async fn vault(names: &[&str]) -> Result<Vault> {
    let vault = Vault::new().await?;
    for path in [FIRST, SECOND] {
        vault.put(path, "field", "value").await?;
    }
    for name in names {
        vault.grant_read("kv/watch/**", &format!("k8s:test/shop/{name}")).await?;
    }
    Ok(vault)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_watch_is_told_only_what_differs_also_by_a_restarted_server() -> Result<()> {
    let mut vault = vault(&["reader"]).await?;
    let pod = Pod::new("shop", "reader")?;
    let client = vault.workload(&pod).await?;
    let mut watch = Watch::begin(&client, &[SECOND, FIRST], "").await?;
    assert_eq!(watch.together().await?, [changed(FIRST, 1), changed(SECOND, 1)]);
    let token = watch.token.clone();
    drop(watch);

    // Another session, another order: nothing differs, and it is said at once that nothing does.
    let client = vault.workload(&pod).await?;
    let mut watch = Watch::begin(&client, &[FIRST, SECOND], &token).await?;
    assert_eq!(watch.together().await?, [bare(WatchEvent::Keepalive)]);
    vault.put(SECOND, "field", "newer").await?;
    assert_eq!(watch.together().await?, [changed(SECOND, 2)]);
    let newer = watch.token.clone();

    vault.server.kill()?;
    vault.restart().await?;
    vault.put(FIRST, "field", "newer").await?;
    let client = vault.workload(&pod).await?;
    assert_eq!(Watch::begin(&client, &[FIRST, SECOND], &newer).await?.together().await?, [changed(FIRST, 2)]);
    // The older token knows less.
    let mut watch = Watch::begin(&client, &[FIRST, SECOND], &token).await?;
    assert_eq!(watch.together().await?, [changed(FIRST, 2), changed(SECOND, 2)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_the_callers_own_for_these_paths_resyncs_whatever_is_wrong_with_it() -> Result<()> {
    let vault = vault(&["reader", "other"]).await?;
    let client = vault.workload(&Pod::new("shop", "reader")?).await?;
    let mut watch = Watch::begin(&client, &[FIRST, SECOND], "").await?;
    watch.together().await?;
    let own = watch.token.clone();

    let mut cut = own.clone();
    cut.pop();
    let mut flipped = own.clone().into_bytes();
    let middle = flipped.len() - 12;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let mut tokens = vec!["x".to_owned(), "x".repeat(100_000), format!("{own}A"), cut, String::from_utf8(flipped)?];
    let mut one_path = Watch::begin(&client, &[FIRST], "").await?;
    one_path.together().await?;
    tokens.push(one_path.token);
    let other = vault.workload(&Pod::new("shop", "other")?).await?;
    let mut others = Watch::begin(&other, &[FIRST, SECOND], "").await?;
    others.together().await?;
    tokens.push(others.token);
    let elsewhere = self::vault(&["reader"]).await?;
    let there = elsewhere.workload(&Pod::new("shop", "reader")?).await?;
    let mut foreign = Watch::begin(&there, &[FIRST, SECOND], "").await?;
    foreign.together().await?;
    tokens.push(foreign.token);

    for token in tokens {
        let mut watch = Watch::begin(&client, &[FIRST, SECOND], &token).await?;
        let expected = [bare(WatchEvent::Resync), changed(FIRST, 1), changed(SECOND, 1)];
        assert_eq!(watch.together().await?, expected, "{:.40} ({} characters)", token, token.len());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_resumed_watch_may_no_longer_see_is_unavailable() -> Result<()> {
    let vault = vault(&[]).await?;
    let grant = vault.grant_read(FIRST, "k8s:test/shop/reader").await?;
    vault.grant_read(SECOND, "k8s:test/shop/reader").await?;
    let client = vault.workload(&Pod::new("shop", "reader")?).await?;
    let mut watch = Watch::begin(&client, &[FIRST, SECOND], "").await?;
    watch.together().await?;
    let token = watch.token.clone();
    vault.operator(OFFICER).await?.grants().delete_grant(DeleteGrantRequest { id: grant.id }).await?;
    assert_eq!(watch.together().await?, [unavailable(FIRST)]);
    vault.put(FIRST, "field", "newer").await?;
    let mut resumed = Watch::begin(&client, &[FIRST, SECOND], &token).await?;
    assert_eq!(resumed.together().await?, [unavailable(FIRST)]);
    // And once it may be seen again, the watch says so by itself.
    vault.grant_read(FIRST, "k8s:test/shop/reader").await?;
    assert_eq!(resumed.together().await?, [changed(FIRST, 2)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_made_anew_is_not_taken_for_the_one_before() -> Result<()> {
    let vault = vault(&["reader"]).await?;
    let client = vault.workload(&Pod::new("shop", "reader")?).await?;
    let mut watch = Watch::begin(&client, &[FIRST], "").await?;
    assert_eq!(watch.together().await?, [changed(FIRST, 1)]);
    let token = watch.token.clone();
    drop(watch);
    let admin = vault.operator(ADMIN).await?;
    admin.kv().destroy_secret(DestroySecretRequest { path: FIRST.to_owned(), etag: String::new() }).await?;
    assert_eq!(vault.put(FIRST, "field", "other").await?, 1);
    let mut watch = Watch::begin(&client, &[FIRST], &token).await?;
    assert_eq!(watch.together().await?, [unavailable(FIRST), changed(FIRST, 1)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_expires_is_told_to_be_gone_when_it_does() -> Result<()> {
    let vault = vault(&["reader"]).await?;
    let client = vault.workload(&Pod::new("shop", "reader")?).await?;
    let mut watch = Watch::begin(&client, &[FIRST, SECOND], "").await?;
    watch.together().await?;
    let short = PutSecretRequest { ttl_seconds: 1, ..secret(FIRST, "field", "short") };
    vault.operator(ADMIN).await?.kv().put_secret(short).await?;
    assert_eq!(watch.together().await?, [changed(FIRST, 2)]);
    let gone = timeout(PROMPTLY, watch.together()).await.context("an expired version was not told in time")??;
    assert_eq!(gone, [unavailable(FIRST)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_reading_is_told_the_newest_state_and_no_backlog() -> Result<()> {
    const CHANGES: usize = 60;
    let vault = vault(&[]).await?;
    let (admin, officer) = (vault.operator(ADMIN).await?, vault.operator(OFFICER).await?);
    // Long names make long events: the reader's own end of the connection takes 2 MiB before it is full.
    let filler = vec!["x".repeat(240); 4].join("/");
    let paths: Vec<_> = (0..WATCH_PATHS_MAX).map(|number| format!("kv/stalled/{filler}{number:03}")).collect();
    for path in &paths {
        admin.kv().put_secret(secret(path, "field", "value")).await?;
    }
    let grant = CreateGrantRequest {
        actions: vec!["read".to_owned()],
        path: "kv/stalled/**".to_owned(),
        principal: "k8s:test/shop/reader".to_owned(),
        ..CreateGrantRequest::default()
    };
    let mut granted = officer.grants().create_grant(grant.clone()).await?.into_inner().grant.context("a grant")?;
    let client = vault.workload(&Pod::new("shop", "reader")?).await?;
    let names: Vec<_> = paths.iter().map(String::as_str).collect();
    let mut watch = Watch::begin(&client, &names, "").await?;
    watch.together().await?;
    // Each of these takes every path away, or gives it back.
    for _ in 0..CHANGES {
        officer.grants().delete_grant(DeleteGrantRequest { id: granted.id }).await?;
        granted = officer.grants().create_grant(grant.clone()).await?.into_inner().grant.context("a grant")?;
    }
    for path in &paths {
        admin.kv().put_secret(secret(path, "field", "newest")).await?;
    }
    let (mut events, mut told) = (0, HashMap::new());
    while told.len() < paths.len() || told.values().any(|version| *version < 2) {
        let (event, path, version) = watch.next().await?;
        if event != WatchEvent::Keepalive {
            told.insert(path, version);
            events += 1;
        }
    }
    // Two changes of every path in each round, and the end: what was told is what the connection held, and the end.
    ensure!(events < CHANGES * paths.len(), "{events} events waited for the reader");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_sixteen_watches_and_the_next_is_told_to_come_later() -> Result<()> {
    let vault = vault(&["reader"]).await?;
    let client = vault.workload(&Pod::new("shop", "reader")?).await?;
    let mut watches = Vec::new();
    for _ in 0..16 {
        watches.push(Watch::begin(&client, &[FIRST], "").await?);
    }
    let refused = Watch::begin(&client, &[FIRST], "").await.err().context("a seventeenth watch")?;
    let error = Error::from(refused);
    assert_eq!((error.reason(), error.retryable()), ("BUSY", true), "{error}");
    // Another session of the same principal has its own.
    Watch::begin(&vault.workload(&Pod::new("shop", "reader")?).await?, &[FIRST], "").await?;
    watches.pop();
    let deadline = Instant::now() + PATIENCE;
    while Watch::begin(&client, &[FIRST], "").await.is_err() {
        ensure!(Instant::now() < deadline, "the place of a watch that ended is not given to another");
    }
    Ok(())
}

/// Waits for the last event of a watch that nothing else happens to; gives how long that took.
async fn end_of(mut watch: Watch) -> Result<Duration> {
    let began = Instant::now();
    loop {
        match watch.next().await?.0 {
            WatchEvent::SessionEnd => break,
            WatchEvent::Keepalive => {}
            other => bail!("{other:?} before the end"),
        }
    }
    ensure!(watch.stream.message().await?.is_none(), "events after the last");
    Ok(began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_when_the_session_expires_and_not_at_the_next_event() -> Result<()> {
    let vault = vault(&["reader"]).await?;
    let client = vault.stranger()?;
    let token = vault.token(&Pod::new("shop", "reader")?, Duration::from_secs(5))?;
    client.login_workload("", CLUSTER, &SecretString::from(token)).await?;
    let mut watch = Watch::begin(&client, &[FIRST], "").await?;
    watch.together().await?;
    let took = end_of(watch).await?;
    ensure!(took < PROMPTLY, "{took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_when_its_principal_is_revoked_or_its_session_logged_out() -> Result<()> {
    let vault = vault(&["reader", "other"]).await?;
    let admin = vault.operator(ADMIN).await?;
    let (reader, other) =
        (vault.workload(&Pod::new("shop", "reader")?).await?, vault.workload(&Pod::new("shop", "other")?).await?);
    let mut watches = Vec::new();
    for client in [&reader, &other] {
        let mut watch = Watch::begin(client, &[FIRST], "").await?;
        watch.together().await?;
        watches.push(watch);
    }
    let principal = "k8s:test/shop/reader".to_owned();
    admin.sessions().revoke_principal(RevokePrincipalRequest { principal }).await?;
    other.auth().logout(LogoutRequest {}).await?;
    for watch in watches {
        let took = end_of(watch).await?;
        ensure!(took < PROMPTLY, "{took:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_a_status_to_try_again_when_the_vault_is_sealed() -> Result<()> {
    let vault = vault(&["reader"]).await?;
    let client = vault.workload(&Pod::new("shop", "reader")?).await?;
    let mut watch = Watch::begin(&client, &[FIRST], "").await?;
    watch.together().await?;
    vault.operator(ADMIN).await?.system().seal(SealRequest {}).await?;
    let status = timeout(PATIENCE, watch.stream.message()).await?.err().context("a stream that ended well")?;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(Error::from(status).retryable());
    Ok(())
}
