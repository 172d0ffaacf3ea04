//! The server killed while it opens a large store: what was acknowledged is there, however often that happens.
//!
//! Each round ends a server in the middle of writes, so that its journal is full, and then kills the next ones while they
//! read sled's log, take over what the journal has, are unsealed, and merge the first writes of their own.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{Client, Error, proto::PutSecretRequest};
use coffer_tests::issuer::Pod;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    crash::verify_log,
    power::{disk::Coins, seed},
    vault::{ADMIN, CLUSTER, Vault},
};

/// Bytes of each value: near to what a secret may have, so that each is in hundreds of pieces.
const VALUE_BYTES: usize = 900_000;
/// Secrets that are written again, beside those that only have to be there.
const CHANGING: usize = 8;
/// Requests at once.
const AT_ONCE: usize = 4;
/// Servers killed one after the other before one may open in peace.
const KILLS_IN_A_ROW: usize = 2;
/// How long a server that is open goes on before it is killed at the latest: its first merge comes within a second.
const AFTER_OPENING: Duration = Duration::from_millis(1_200);

/// How much is done.
struct Size {
    secrets: usize,
    kills: usize,
    /// Of the secrets that never change, the part that is read after each round. All are read at the end.
    read_each_round: usize,
}

impl Size {
    fn of_this_run() -> Self {
        if crate::long() {
            Self { secrets: 330, kills: 60, read_each_round: 20 }
        } else {
            Self { secrets: 10, kills: 4, read_each_round: 2 }
        }
    }
}

fn path(secret: usize) -> String {
    format!("kv/large/{secret:03}")
}

/// What a version of a secret holds: no two have a page in common.
fn value(secret: usize, version: u64) -> Vec<u8> {
    let mut coins = Coins(version << 32 | secret as u64);
    let mut value = Vec::with_capacity(VALUE_BYTES);
    while value.len() < VALUE_BYTES {
        value.extend(coins.next().to_le_bytes());
    }
    value
}

fn write(secret: usize, version: u64) -> PutSecretRequest {
    let fields = HashMap::from([("value".to_owned(), value(secret, version))]);
    PutSecretRequest { path: path(secret), fields, ..PutSecretRequest::default() }
}

/// Does something for each of these secrets, a few at once.
async fn each<F>(secrets: impl IntoIterator<Item = usize>, mut act: impl FnMut(usize) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut under_way = JoinSet::new();
    for secret in secrets {
        if under_way.len() >= AT_ONCE {
            under_way.join_next().await.context("one is under way")???;
        }
        under_way.spawn(act(secret));
    }
    under_way.join_all().await.into_iter().collect()
}

/// Writes each of these secrets for the first time.
async fn fill(vault: &Vault, secrets: usize) -> Result<()> {
    let admin = vault.operator(ADMIN).await?;
    each(0..secrets, |secret| {
        let admin = admin.clone();
        async move {
            admin.kv().put_secret(write(secret, 1)).await?;
            Ok(())
        }
    })
    .await
}

/// Writes the secrets that change, version after version, until the server is gone.
async fn change_until_it_fails(admin: Client, secret: usize, acknowledged: Arc<Vec<AtomicU64>>) -> Result<()> {
    loop {
        let next = acknowledged[secret].load(SeqCst) + 1;
        match admin.kv().put_secret(write(secret, next)).await {
            Ok(answer) => {
                let version = answer.into_inner().version.context("it is shown")?.version;
                ensure!(version == next, "version {version} rather than {next}");
                acknowledged[secret].store(version, SeqCst);
            }
            Err(status) => {
                let error = Error::from(status);
                ensure!(error.detail().retryable, "the server refused rather than ended: {error}");
                return Ok(());
            }
        }
    }
}

/// Writes for a while, and kills the server in the middle of it.
async fn killed_at_work(vault: &mut Vault, acknowledged: &Arc<Vec<AtomicU64>>, coins: &mut Coins) -> Result<()> {
    let sum = || acknowledged.iter().map(|version| version.load(SeqCst)).sum::<u64>();
    let admin = vault.operator(ADMIN).await?;
    let mut writers = JoinSet::new();
    for secret in 0..CHANGING {
        writers.spawn(change_until_it_fails(admin.clone(), secret, Arc::clone(acknowledged)));
    }
    let (begin, enough) = (Instant::now(), sum() + 3 + u64::try_from(coins.below(8))?);
    while sum() < enough {
        ensure!(begin.elapsed() < coffer_tests::wait::PATIENCE, "the writers do not get on");
        sleep(Duration::from_millis(1)).await;
    }
    vault.server.kill()?;
    writers.join_all().await.into_iter().collect()
}

/// Starts the server, and kills it after this time, wherever it is then. Says where that was.
async fn killed_while_opening(vault: &mut Vault, after: Duration) -> Result<&'static str> {
    let begin = Instant::now();
    let listening = vault.server.start_until(|_| begin.elapsed() >= after)?;
    let mut place = "opening its store";
    if listening {
        let unsealed = timeout(after.saturating_sub(begin.elapsed()), vault.unseal()).await;
        place = match unsealed {
            Err(_) => "being unsealed",
            Ok(unsealed) => {
                unsealed?;
                sleep(after.saturating_sub(begin.elapsed())).await;
                "at work"
            }
        };
    }
    vault.server.kill()?;
    Ok(place)
}

/// Reads these secrets: each has what was acknowledged; one that changes may have one version more, which counts from now on.
async fn read(vault: &Vault, secrets: impl IntoIterator<Item = usize>, acknowledged: &Arc<Vec<AtomicU64>>) -> Result<()> {
    let reader = vault.workload(&Pod::new("shop", "api")?).await?;
    each(secrets, |secret| {
        let (reader, acknowledged) = (reader.clone(), Arc::clone(acknowledged));
        async move {
            let least = acknowledged.get(secret).map_or(1, |version| version.load(SeqCst));
            let most = if secret < CHANGING { least + 1 } else { least };
            let found = reader.kv_get(&path(secret), 0).await.with_context(|| path(secret))?;
            ensure!((least..=most).contains(&found.version), "{}: version {} of {least}", path(secret), found.version);
            let same = found.field("value").context("it has the field")?.expose() == value(secret, found.version);
            ensure!(same, "{}: version {} is another's", path(secret), found.version);
            if let Some(version) = acknowledged.get(secret) {
                version.store(found.version, SeqCst);
            }
            Ok(())
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_while_it_opens_a_large_store_loses_nothing() -> Result<()> {
    let size = Size::of_this_run();
    let mut coins = Coins(seed()?);
    let mut vault = Vault::quiet().await?;
    vault.grant_read("kv/large/**", &format!("k8s:{CLUSTER}/shop/api")).await?;
    let begin = Instant::now();
    fill(&vault, size.secrets).await?;
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..CHANGING).map(|_| AtomicU64::new(1)).collect());
    println!("{} MB written in {:?}", size.secrets * VALUE_BYTES / 1_000_000, begin.elapsed());

    let (mut kills, mut places) = (0, HashMap::new());
    // What the last server took to open is a measure of what the next one will.
    let mut opening = Duration::from_secs(1);
    while kills < size.kills {
        killed_at_work(&mut vault, &acknowledged, &mut coins).await?;
        for kill in 0..KILLS_IN_A_ROW.min(size.kills - kills) {
            // Half of them before it is open, half until its first merge is done.
            let until = if kill % 2 == 0 { opening } else { opening + AFTER_OPENING };
            let place = killed_while_opening(&mut vault, until * u32::try_from(coins.below(1_000))? / 1_000).await?;
            *places.entry(place).or_insert(0) += 1;
            kills += 1;
        }
        let begin = Instant::now();
        vault.restart().await.with_context(|| format!("after {kills} kills"))?;
        opening = begin.elapsed();
        let some: Vec<_> = (0..size.read_each_round).map(|_| CHANGING + coins.below(size.secrets - CHANGING)).collect();
        let checked = read(&vault, (0..CHANGING).chain(some), &acknowledged).await;
        checked.with_context(|| format!("after {kills} kills"))?;
        verify_log(&vault).await.with_context(|| format!("after {kills} kills"))?;
        println!("{kills} kills; the last opening took {opening:?}");
    }
    read(&vault, 0..size.secrets, &acknowledged).await?;
    println!("killed while {places:?}");
    ensure!(places.len() > 1 || size.kills < 10, "all kills met the server at the same thing: {places:?}");
    Ok(())
}
