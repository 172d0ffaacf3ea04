//! A clock that is set while the server runs, and between two starts. docs/faults.md says what must follow.

use std::{
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{Client, Error, proto::GetSecretMetadataRequest};
use coffer_secret::SecretString;
use coffer_tests::{
    issuer::{Pod, now_secs},
    server::Server,
};

use crate::{
    crash::verify_log,
    power::{check::segments, shim::Library},
    serve::{get, parse, web},
    vault::{ADMIN, CLUSTER, PASSWORD, TOKEN_LIFETIME, Vault, secret},
};

const HOUR_SECS: i64 = 3_600;
const PATH: &str = "kv/clock/secret";
const SHORT: &str = "kv/clock/short";
/// Lives for half an hour: an hour's step takes it away.
const SHORT_SECS: u64 = 1_800;
/// How long a pod's session lasts where nothing tells whether its pod lives.
const SESSION_SECS: i64 = 600;
/// What a busy machine may take between two steps of a test. Far below all that is measured here.
const SLACK_SECS: i64 = 120;

/// The clock of a vault's server.
pub(crate) struct TimeOfDay(PathBuf);

impl TimeOfDay {
    /// Has the server, which is not started yet, go by this clock.
    pub(crate) fn of(server: &mut Server) -> Result<Self> {
        static LIBRARY: Library = Library::new();
        let file = server.folder().join("clock-ahead");
        let environment = [("LD_PRELOAD", LIBRARY.compiled("clock/shim.c")?), ("COFFER_CLOCK_FILE", file.clone())];
        server.set_environment(environment.map(|(name, value)| (name.to_owned(), value.into())).into());
        let clock = Self(file);
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it so many seconds ahead of the true time. The rename makes that one moment.
    pub(crate) fn set(&self, ahead_secs: i64) -> Result<()> {
        let new = self.0.with_extension("new");
        fs::write(&new, ahead_secs.to_string())?;
        Ok(fs::rename(new, &self.0)?)
    }
}

async fn vault() -> Result<(Vault, TimeOfDay)> {
    let mut server = crate::serve::server()?;
    let clock = TimeOfDay::of(&mut server)?;
    let vault = Vault::on(server).await?;
    vault.grant_read("kv/clock/**", &format!("k8s:{CLUSTER}/shop/api")).await?;
    Ok((vault, clock))
}

/// Logs a pod in with a token of a cluster whose clock is so far ahead; gives how far from now its session ends.
async fn log_in(vault: &Vault, cluster_ahead: i64) -> Result<(Client, i64), Error> {
    log_in_for(vault, cluster_ahead, TOKEN_LIFETIME.as_secs()).await
}

async fn log_in_for(vault: &Vault, cluster_ahead: i64, lifetime_secs: u64) -> Result<(Client, i64), Error> {
    let token = || -> Result<SecretString> {
        let pod = Pod::new("shop", "api")?;
        let mut claims = vault.issuer.claims(&pod, std::time::Duration::from_secs(lifetime_secs))?;
        for claim in ["iat", "nbf", "exp"] {
            claims[claim] = (claims[claim].as_i64().context("it is a number")? + cluster_ahead).into();
        }
        Ok(vault.issuer.sign(&vault.issuer.header(), &claims)?.into())
    };
    let (client, token) = (vault.stranger().expect("a client"), token().expect("a token"));
    let session = client.login_workload("", CLUSTER, &token).await?;
    let ends = session.expires.duration_since(UNIX_EPOCH).expect("it ends after 1970").as_secs();
    Ok((client, i64::try_from(ends).expect("seconds") - i64::try_from(now_secs()).expect("seconds")))
}

async fn operator(vault: &Vault) -> Result<Client, Error> {
    let client = vault.stranger().expect("a client");
    client.login_password("", ADMIN, &SecretString::copied_from(PASSWORD)).await?;
    Ok(client)
}

async fn write(client: &Client, value: &str) -> Result<u64> {
    Ok(client.kv().put_secret(secret(PATH, "value", value)).await?.into_inner().version.context("it is shown")?.version)
}

async fn read(client: &Client) -> Result<(u64, String)> {
    let secret = client.kv_get(PATH, 0).await?;
    Ok((secret.version, String::from_utf8(secret.field("value").context("it has the field")?.expose().to_vec())?))
}

/// Why a session or a login does not hold.
fn reason<T>(answer: Result<T, Error>) -> String {
    answer.err().map_or_else(|| "it holds".to_owned(), |error| error.reason().to_owned())
}

fn log_says(server: &Server, from: usize, text: &str) -> Result<()> {
    let log = server.log()?;
    ensure!(log.get(from..).unwrap_or_default().contains(text), "the server's log does not say {text:?}:\n{log}");
    Ok(())
}

fn audit_says(folder: &Path, text: &str) -> Result<bool> {
    Ok(segments(folder)?.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>()?.iter().any(|all| all.contains(text)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_while_the_server_runs_changes_nothing_for_it() -> Result<()> {
    let (mut vault, clock) = vault().await?;
    let (before, _) = log_in(&vault, 0).await?;
    let admin = operator(&vault).await?;
    let short = coffer_client::proto::PutSecretRequest { ttl_seconds: SHORT_SECS, ..secret(SHORT, "value", "short") };
    admin.kv().put_secret(short).await?;
    for (version, ahead) in (1..).zip([HOUR_SECS, -HOUR_SECS, 0]) {
        clock.set(ahead)?;
        let value = format!("{ahead} ahead");
        ensure!(write(&admin, &value).await? == version, "a version is lost");
        ensure!(read(&before).await? == (version, value), "{ahead}: something else is read");
        before.kv_get(SHORT, 0).await.with_context(|| format!("{ahead}: it has not expired"))?;
        // Tokens of a cluster whose clock is right, which is what the server's was when it was started.
        let (new, left) = log_in(&vault, 0).await.with_context(|| format!("{ahead}: a login"))?;
        ensure!((left - SESSION_SECS).abs() < SLACK_SECS, "{ahead}: a session of {left} s");
        read(&new).await?;
        operator(&vault).await.with_context(|| format!("{ahead}: an operator's login"))?;
        verify_log(&vault).await.with_context(|| format!("{ahead}"))?;
    }
    ensure!(vault.server.terminate()?.success(), "the server did not end well");
    vault.restart().await?;
    let (pod, _) = log_in(&vault, 0).await?;
    ensure!(read(&pod).await?.0 == 3, "a version is lost");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_at_a_start_ends_early_what_it_ends_and_one_that_is_behind_issues_nothing() -> Result<()> {
    let (mut vault, clock) = vault().await?;
    let (true_time, _) = log_in(&vault, 0).await?;
    let admin = operator(&vault).await?;
    write(&admin, "one").await?;
    let short = coffer_client::proto::PutSecretRequest { ttl_seconds: SHORT_SECS, ..secret(SHORT, "value", "short") };
    admin.kv().put_secret(short).await?;

    // An hour ahead: what lasts less is over, and tokens that are good for less are refused.
    ensure!(vault.server.terminate()?.success(), "the server did not end well");
    clock.set(HOUR_SECS)?;
    vault.restart().await?;
    ensure!(reason(true_time.kv_get(PATH, 0).await) == "SESSION_INVALID", "a session lives longer than it may");
    let refused = reason(log_in_for(&vault, 0, 1_800).await);
    ensure!(refused == "LOGIN_REFUSED", "a token that has expired by this clock: {refused}");
    ensure!(audit_says(&vault.server.audit(), "the token has expired")?, "the audit log does not say why");
    let (ahead, _) = log_in(&vault, HOUR_SECS).await?;
    ensure!(read(&ahead).await? == (1, "one".to_owned()), "something else is read");
    ensure!(reason(ahead.kv_get(SHORT, 0).await) != "it holds", "a version is there that has expired by this clock");
    ensure!(write(&admin, "two").await? == 2, "an operator's session of eight hours ended after one");
    verify_log(&vault).await?;

    // Right again, which is an hour before what the vault has seen. Twice: the second start knows no less.
    for (round, version) in [(1, 3), (2, 4)] {
        ensure!(vault.server.terminate()?.success(), "the server did not end well");
        clock.set(0)?;
        let from = vault.server.log()?.len();
        vault.restart().await?;
        log_says(&vault.server, from, "the clock stands before a time that the vault has seen")?;
        for error in [log_in(&vault, 0).await.err(), log_in(&vault, HOUR_SECS).await.err(), operator(&vault).await.err()] {
            let error = error.with_context(|| format!("start {round}: something is issued"))?;
            let detail = error.detail();
            ensure!(detail.reason == "UNAVAILABLE" && detail.retryable, "start {round}: {error:?}");
            ensure!(detail.message.contains("clock has gone back"), "start {round}: {error:?}");
        }
        let behind = parse(&get(web(&vault.server)?, "/metrics")?.1)?.0["coffer_clock_behind_seconds"];
        ensure!((3_000.0..=3_600.0).contains(&behind), "start {round}: {behind} s behind");
        // Nothing that was acknowledged is lost or hidden, and nothing that was over is back.
        ensure!(write(&admin, "more").await? == version, "start {round}: a version is lost");
        ensure!(read(&ahead).await? == (version, "more".to_owned()), "start {round}: something else is read");
        ensure!(reason(ahead.kv_get(SHORT, 0).await) != "it holds", "start {round}: what had expired is back");
        let metadata = GetSecretMetadataRequest { path: PATH.to_owned() };
        admin.kv().get_secret_metadata(metadata).await.with_context(|| format!("start {round}"))?;
        ensure!(reason(true_time.kv_get(PATH, 0).await) == "SESSION_INVALID", "start {round}: a session is alive again");
    }

    // Who knows that the clock is right now says so, once.
    ensure!(vault.server.terminate()?.success(), "the server did not end well");
    vault.server.set("audit", "accept_divergence", true);
    vault.restart().await?;
    log_in(&vault, 0).await.context("accepted, and nothing is issued")?;
    ensure!(vault.server.terminate()?.success(), "the server did not end well");
    vault.server.unset("audit", "accept_divergence");
    vault.restart().await?;
    let (pod, left) = log_in(&vault, 0).await.context("it was accepted, and is not any more")?;
    ensure!((left - SESSION_SECS).abs() < SLACK_SECS, "a session of {left} s");
    ensure!(read(&pod).await? == (4, "more".to_owned()), "something else is read");
    verify_log(&vault).await
}

/// A session's end is a time of day: a clock that goes back must not put it off.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_over_stays_over_when_the_clock_goes_back() -> Result<()> {
    let (mut vault, clock) = vault().await?;
    write(&operator(&vault).await?, "one").await?;
    let (session, left) = log_in(&vault, 0).await?;
    read(&session).await?;
    ensure!(vault.server.terminate()?.success(), "the server did not end well");
    // The vault works on until after its end, and is stopped.
    clock.set(left + SLACK_SECS)?;
    vault.restart().await?;
    operator(&vault).await?;
    ensure!(reason(session.kv_get(PATH, 0).await) == "SESSION_INVALID", "it outlives its end");
    ensure!(vault.server.terminate()?.success(), "the server did not end well");
    clock.set(0)?;
    vault.restart().await?;
    ensure!(reason(session.kv_get(PATH, 0).await) == "SESSION_INVALID", "it lives again");
    Ok(())
}
