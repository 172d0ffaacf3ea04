//! What many live leases cost: memory, disk, and the time until a server that was stopped is ready again.
//!
//! Each is made as any other: a user in a Redis, for a pod that has logged in.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client, Error,
    proto::{GetLeaseRequest, Lease},
};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    databases::{CREDENTIALS, issue, redis, use_redis},
    size::{memory, on_disk},
    vault::{PATH, Vault},
};

/// Those who ask for credentials, one pod after the other.
const CLIENTS: usize = 16;
/// Credentials of a pod.
const OF_POD: usize = 2;
/// Service accounts of the pods: none has more leases than a principal may.
const ACCOUNTS: usize = 64;
/// How many leases are due at the same time at the end, and how long after they were made.
const SHORT: usize = 100;
const SHORT_SECS: u64 = 5;
const STARTS: usize = 5;
/// How long a server settles before its memory is looked at.
const SETTLED: Duration = Duration::from_secs(5);

/// Measures it with so many leases.
pub(crate) async fn run(leases: usize) -> Result<()> {
    let mut vault = Vault::start().await?;
    let redis = redis()?;
    use_redis(&vault, &redis).await?;
    vault.rotate().await?;
    for account in 0..ACCOUNTS {
        vault.grant(&format!("app-{account}"), &["read"], CREDENTIALS).await?;
    }
    println!("{:<44} {:>6} MiB anonymous", "empty", memory(&mut vault)?);
    let began = Instant::now();
    make(&vault, leases).await?;
    println!("{:<44} {:>6} MiB anonymous, {:.0} s", "made", memory(&mut vault)?, began.elapsed().as_secs_f64());
    let began = Instant::now();
    vault.server.terminate()?;
    println!("{:<44} {:>6.0} ms", "stopped", began.elapsed().as_secs_f64() * 1e3);
    for (what, folder) in [("store", vault.server.store()), ("audit log", vault.server.audit())] {
        println!("{what:<44} {:>6} MiB on disk", on_disk(&folder)? >> 20);
    }
    for start in 1..=STARTS {
        let began = Instant::now();
        vault.server.start()?;
        let sealed = began.elapsed();
        vault.unseal().await?;
        let unsealed = began.elapsed();
        vault.reader().await?.kv_get(PATH, 0).await?;
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "{:<44} {:>6.0} ms sealed, {:.0} ms unsealed, {:.0} ms until it reads a secret; {} MiB anonymous",
            "started",
            millis(sealed),
            millis(unsealed),
            millis(began.elapsed()),
            memory(&mut vault)?
        );
        if start < STARTS {
            vault.server.terminate()?;
        }
    }
    sleep(SETTLED).await;
    println!("{:<44} {:>6} MiB anonymous", format!("{} s later", SETTLED.as_secs()), memory(&mut vault)?);
    let late = ends(&vault).await?;
    println!("{:<44} {:>6.0} ms after it", format!("{SHORT} that were due at once have ended"), late.as_secs_f64() * 1e3);
    println!("{:<44} {:>6} MiB anonymous", "then", memory(&mut vault)?);
    Ok(())
}

async fn make(vault: &Vault, leases: usize) -> Result<()> {
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    for first in 0..CLIENTS {
        let (client, pods) = (vault.stranger()?, vault.pods());
        tasks.spawn_local(async move {
            for pod in (first..leases.div_ceil(OF_POD)).step_by(CLIENTS) {
                pods.log_in(&client, &format!("app-{}", pod % ACCOUNTS)).await?;
                for _ in 0..OF_POD.min(leases - pod * OF_POD) {
                    issue(&client, 0).await.with_context(|| format!("of pod {pod}"))?;
                }
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// How long after their time the last of some leases has ended.
async fn ends(vault: &Vault) -> Result<Duration> {
    let client = vault.stranger()?;
    vault.log_in(&client, "app-0").await?;
    let mut short = Vec::new();
    for _ in 0..SHORT {
        short.push(issue(&client, SHORT_SECS).await?.2);
    }
    let seconds = |lease: &Lease| lease.expires.as_ref().and_then(|time| u64::try_from(time.seconds).ok()).unwrap_or_default();
    let due = short.iter().map(seconds).max().context("there are some")?;
    for lease in short {
        while is_there(vault.admin(), &lease.id).await? {
            sleep(Duration::from_millis(5)).await;
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let late = now.checked_sub(Duration::from_secs(due));
    ensure!(late.is_some(), "they ended before their time");
    Ok(late.unwrap_or_default())
}

async fn is_there(admin: &Client, id: &str) -> Result<bool> {
    match admin.leases().get_lease(GetLeaseRequest { id: id.to_owned() }).await {
        Ok(_) => Ok(true),
        Err(status) => {
            let error = Error::from(status);
            ensure!(error.reason() == "NOT_FOUND", "{error:?}");
            Ok(false)
        }
    }
}
