//! What an agent costs: from its start to the file, its memory while it follows changes, its size.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

use crate::vault::{Pod, Vault};

/// How long to wait for a file.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked for.
const LOOK: Duration = Duration::from_micros(200);
/// How long an agent follows changes before its memory is looked at.
const SETTLED: Duration = Duration::from_secs(2);

/// Measures it for this program, which is started that often.
pub(crate) async fn run(agent: &Path, starts: usize) -> Result<()> {
    let mut vault = Vault::start().await?;
    vault.rotate().await?;
    let mut took = Vec::new();
    for _ in 0..starts {
        took.push(start(&vault, agent, "init").await?);
    }
    took.sort();
    let at = |share: usize| took.get((took.len() * share).div_ceil(100).saturating_sub(1)).map_or(0.0, |t| t.as_secs_f64());
    println!("from the start to the file, {starts} times: p50 {:.1} ms, p90 {:.1} ms", at(50) * 1e3, at(90) * 1e3);

    let pod = Pod::new(&vault)?;
    let running = pod.start(agent, "sidecar")?;
    written(&pod, Instant::now()).await?;
    sleep(SETTLED).await;
    println!("memory of a sidecar (PSS): {} KiB", pss_kib(running.id())?);
    println!("the program: {} bytes", fs::metadata(agent)?.len());
    Ok(())
}

async fn start(vault: &Vault, agent: &Path, mode: &str) -> Result<Duration> {
    let pod = Pod::new(vault)?;
    let begun = Instant::now();
    let _running = pod.start(agent, mode)?;
    written(&pod, begun).await
}

async fn written(pod: &Pod, since: Instant) -> Result<Duration> {
    while !pod.file.exists() {
        ensure!(since.elapsed() < PATIENCE, "the agent has written no file");
        sleep(LOOK).await;
    }
    Ok(since.elapsed())
}

/// Memory that a process has for itself, and its share of what it has with others.
fn pss_kib(process: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("there is no PSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
