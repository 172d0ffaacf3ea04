//! The server killed at any moment: what was acknowledged is there, and store and audit log agree.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{Client, Error};
use coffer_tests::{command::Coffer, issuer::Pod, programs::Programs, wait};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    rpcs::{named, recorded},
    vault::{ADMIN, AUDITOR, CLUSTER, Vault, secret},
};

const PATH: &str = "kv/crash/secret";
/// What the server logs when its store does what the plan says.
const FAULT: &str = "a planned fault";
/// Commits of one server's life that are tried, at most: opening, unsealing, two logins and a write are fewer.
const COMMITS_MAX: u64 = 60;

/// Verifies the log on disk as an auditor does, without the server.
pub(crate) async fn verify_log(vault: &Vault) -> Result<()> {
    let auditor = vault.operator(AUDITOR).await?;
    let request = coffer_client::proto::GetCheckpointRequest {};
    let key = auditor.audit().get_checkpoint(request).await?.into_inner().verifier_key;
    let folder = vault.server.audit();
    Coffer::new(Programs::built()?)?.ok(["audit", "verify", folder.to_str().context("a plain path")?, "--key", &key]).map(drop)
}

/// A write under way when its server stopped: waits for what comes first, its end or the stop.
enum Ended {
    Acknowledged(u64),
    Refused,
    Stopped,
}

async fn write_or_stop(vault: &mut Vault, from: usize, id: &str, value: &str) -> Result<Ended> {
    let log = |vault: &Vault| vault.server.log().is_ok_and(|log| log.get(from..).is_some_and(|log| log.contains(FAULT)));
    let attempt = async {
        vault.unseal().await?;
        let admin = vault.operator(ADMIN).await?;
        anyhow::Ok(admin.kv().put_secret(named(secret(PATH, "value", value), id)).await)
    };
    tokio::pin!(attempt);
    loop {
        tokio::select! {
            done = &mut attempt => return Ok(match done? {
                Ok(answer) => Ended::Acknowledged(answer.into_inner().version.context("it is shown")?.version),
                Err(_) => Ended::Refused,
            }),
            () = sleep(Duration::from_millis(10)) => {
                if log(vault) {
                    return Ok(Ended::Stopped);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_between_any_two_steps_of_a_write_has_what_it_acknowledged() -> Result<()> {
    let mut vault = Vault::quiet().await?;
    vault.grant_read(PATH, &format!("k8s:{CLUSTER}/shop/api")).await?;
    let mut version = vault.put(PATH, "value", "first").await?;
    let mut value = "first".to_owned();
    let mut stops = 0;
    'effects: for effect in ["pause-before", "pause-after"] {
        for commit in 1..=COMMITS_MAX {
            let (id, wanted) = (format!("{effect}-{commit}"), format!("{effect} {commit}"));
            vault.server.kill()?;
            let from = vault.server.log()?.len();
            vault.server.set("store", "faults", format!("commit:{commit}:{effect}"));
            let listening = vault.server.start_until(|log| log.contains(FAULT))?;
            let ended = if listening { write_or_stop(&mut vault, from, &id, &wanted).await? } else { Ended::Stopped };
            vault.server.kill()?;
            vault.server.unset("store", "faults");
            vault.restart().await.with_context(|| format!("after {id}"))?;

            let (found, read) = vault.newest(PATH).await.with_context(|| format!("after {id}"))?;
            let written = found == version + 1 && read == wanted;
            ensure!(written || (found == version && read == value), "after {id}: version {found} is {read:?}");
            let on_record = recorded(&vault.operator(AUDITOR).await?, &id).await?;
            ensure!(written == on_record, "after {id}: written: {written}, on record: {on_record}");
            verify_log(&vault).await.with_context(|| format!("after {id}"))?;
            (version, value) = (found, read);
            match ended {
                Ended::Stopped => stops += 1,
                Ended::Acknowledged(acknowledged) => {
                    ensure!(found == acknowledged, "after {id}: version {acknowledged} was acknowledged, and is lost");
                    // The fault lies behind the write: all before it were tried.
                    continue 'effects;
                }
                Ended::Refused => anyhow::bail!("{id}: a pause refused the write"),
            }
        }
        anyhow::bail!("a write takes more than {COMMITS_MAX} commits");
    }
    ensure!(stops >= 4, "the server was stopped {stops} times only: the plan was not followed");
    Ok(())
}

/// A write whose record is durable in the store, and not yet in the log: it is acknowledged, and after a kill the log has
/// the record, since store and log are never allowed to disagree.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_before_its_log_is_durable_completes_the_log() -> Result<()> {
    let server = coffer_tests::server::Server::new(Programs::built()?)?;
    let stall = server.folder().join("stall");
    let mut vault = Vault::on(server.with("audit", "stall_file", stall.display().to_string())).await?;
    vault.grant_read(PATH, &format!("k8s:{CLUSTER}/shop/api")).await?;
    vault.put(PATH, "value", "old").await?;
    let admin = vault.operator(ADMIN).await?;
    std::fs::write(&stall, "")?;
    let mut kv = admin.kv();
    let write = kv.put_secret(named(secret(PATH, "value", "new"), "stalled"));
    timeout(Duration::from_secs(10), write).await.context("a log that stalls for a moment holds a write up")??;
    vault.server.kill()?;
    std::fs::remove_file(&stall)?;
    vault.restart().await?;
    let (_, read) = vault.newest(PATH).await?;
    let on_record = recorded(&vault.operator(AUDITOR).await?, "stalled").await?;
    ensure!(read == "new" && on_record, "the secret is {read:?}, on record: {on_record}");
    verify_log(&vault).await
}

/// Four writers, and kills at moments that nobody chose.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_under_load_loses_nothing_that_it_acknowledged() -> Result<()> {
    let rounds = if crate::long() { 200 } else { 8 };
    let mut vault = Vault::quiet().await?;
    vault.grant_read("kv/load/**", &format!("k8s:{CLUSTER}/shop/api")).await?;
    let acknowledged: Arc<Mutex<[u64; 4]>> = Arc::default();
    for round in 0..rounds {
        let mut writers = JoinSet::new();
        let admin = vault.operator(ADMIN).await?;
        for writer in 0..4_usize {
            writers.spawn(write_until_it_fails(admin.clone(), writer, Arc::clone(&acknowledged)));
        }
        let begin = Instant::now();
        let before: u64 = acknowledged.lock().await.iter().sum();
        // Not for a time, but until some writes are through; which one the kill meets differs from round to round.
        while acknowledged.lock().await.iter().sum::<u64>() < before + 5 + 7 * (round % 8) {
            ensure!(begin.elapsed() < wait::PATIENCE, "the writers do not get on");
            sleep(Duration::from_millis(1)).await;
        }
        vault.server.kill()?;
        for ended in writers.join_all().await {
            ended?;
        }
        vault.restart().await.with_context(|| format!("round {round}"))?;
        let reader = vault.workload(&Pod::new("shop", "api")?).await?;
        for writer in 0..4_usize {
            let secret = reader.kv_get(&format!("kv/load/{writer}"), 0).await?;
            let least = acknowledged.lock().await[writer];
            ensure!((least..=least + 1).contains(&secret.version), "writer {writer}: {} of {least}", secret.version);
            let value = secret.field("value").context("it has the field")?.expose();
            ensure!(value == secret.version.to_string().as_bytes(), "version {} holds another's value", secret.version);
            // What was written and not acknowledged counts from now on.
            acknowledged.lock().await[writer] = secret.version;
        }
        verify_log(&vault).await.with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

/// Writes version after version, each holding its own number, until the server is gone.
async fn write_until_it_fails(client: Client, writer: usize, acknowledged: Arc<Mutex<[u64; 4]>>) -> Result<()> {
    let path = format!("kv/load/{writer}");
    loop {
        let next = acknowledged.lock().await[writer] + 1;
        match client.kv().put_secret(secret(&path, "value", &next.to_string())).await {
            Ok(answer) => {
                let version = answer.into_inner().version.context("it is shown")?.version;
                ensure!(version == next, "version {version} rather than {next}");
                acknowledged.lock().await[writer] = version;
            }
            Err(status) => {
                let error = Error::from(status);
                ensure!(error.detail().retryable, "the server refused rather than ended: {error}");
                return Ok(());
            }
        }
    }
}
