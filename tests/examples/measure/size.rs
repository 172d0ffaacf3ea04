//! What many secrets cost: memory, disk, and the time until a server that was stopped answers again.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use coffer_client::{Client, proto::PutSecretRequest};
use tokio::task::JoinSet;

use crate::vault::Vault;

/// Those who write and read.
const CLIENTS: usize = 16;
const VALUE_BYTES: usize = 1_024;

/// Measures it with so many secrets.
pub(crate) async fn run(secrets: usize) -> Result<()> {
    let mut vault = Vault::start().await?;
    println!("{:<44} {:>6} MiB anonymous", "empty", memory(&mut vault)?);
    let began = Instant::now();
    each(&vault, secrets, async |client, number| {
        let fields = HashMap::from([("value".to_owned(), format!("{number:0VALUE_BYTES$}").into_bytes())]);
        client.kv().put_secret(PutSecretRequest { path: path(number), fields, ..PutSecretRequest::default() }).await?;
        Ok(())
    })
    .await?;
    println!("{:<44} {:>6} MiB anonymous, {:.0} s", "written", memory(&mut vault)?, began.elapsed().as_secs_f64());
    let began = Instant::now();
    vault.server.terminate()?;
    println!("{:<44} {:>6.0} ms", "stopped", began.elapsed().as_secs_f64() * 1e3);
    for (what, folder) in [("store", vault.server.store()), ("audit log", vault.server.audit())] {
        println!("{what:<44} {:>6} MiB on disk", on_disk(&folder)? >> 20);
    }
    for _ in 0..5 {
        println!("{:<44} {:>6.0} ms", "started until it reads a secret", ready(&mut vault).await?.as_secs_f64() * 1e3);
        vault.server.terminate()?;
    }
    ready(&mut vault).await?;
    println!("{:<44} {:>6} MiB anonymous", "started", memory(&mut vault)?);
    each(&vault, secrets, async |client, number| {
        client.kv_get(&path(number), 0).await?;
        Ok(())
    })
    .await?;
    println!("{:<44} {:>6} MiB anonymous", "all read", memory(&mut vault)?);
    Ok(())
}

fn path(number: usize) -> String {
    format!("kv/measure/{}/{number}", number % 100)
}

/// Starts, unseals, and reads and reads something.
async fn ready(vault: &mut Vault) -> Result<Duration> {
    let began = Instant::now();
    vault.server.start()?;
    vault.unseal().await?;
    vault.reader().await?.kv_get(&path(0), 0).await?;
    Ok(began.elapsed())
}

/// Does something for each number, several at once.
async fn each(vault: &Vault, count: usize, act: impl AsyncFn(&Client, usize) -> Result<()> + Copy + 'static) -> Result<()> {
    let mut tasks = JoinSet::new();
    for first in 0..CLIENTS {
        let client = vault.reader().await?;
        tasks.spawn_local(async move {
            for number in (first..count).step_by(CLIENTS) {
                act(&client, number).await.with_context(|| path(number))?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Memory that is backed by no file, in MiB.
pub(crate) fn memory(vault: &mut Vault) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", vault.server.process()?.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("there is no RssAnon")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? >> 10)
}

pub(crate) fn on_disk(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { on_disk(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
