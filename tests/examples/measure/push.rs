//! How long a rotation takes to reach the files of running agents: from the acknowledgement of the write to the new bytes
//! read from the file.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use coffer_tests::{process::Process, programs::Programs};
use tokio::time::sleep;

use crate::vault::{Pod, Vault};

/// How long to wait for what should take a moment.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often files are looked at.
const LOOK: Duration = Duration::from_micros(500);
/// Agents started at once: each has a login to make.
const STARTED_AT_ONCE: usize = 10;

/// Measures it with this many agents, that many times.
pub(crate) async fn run(agents: usize, rotations: usize) -> Result<()> {
    let mut vault = Vault::start().await?;
    let programs = Programs::built()?;
    let mut pods = Vec::new();
    vault.rotate().await?;
    for started in 0..agents {
        let pod = Pod::new(&vault)?;
        let agent = pod.start(&programs.agent(), "sidecar")?;
        pods.push(Running { pod, _agent: agent });
        if started % STARTED_AT_ONCE == STARTED_AT_ONCE - 1 {
            reached(&pods, &vault.value(), Instant::now()).await?;
        }
    }
    reached(&pods, &vault.value(), Instant::now()).await?;
    println!("{agents} agents, {rotations} rotations of the secret that all of them follow");
    println!("{:<24} {:>8} {:>8} {:>8} {:>8}   each file, and the last file of each rotation", "", "p50", "p90", "p99", "max");
    measure("connected", &mut vault, &pods, rotations).await?;
    let stopped = Instant::now();
    vault.restart().await?;
    vault.rotate().await?;
    reached(&pods, &vault.value(), Instant::now()).await?;
    println!("all agents had the next value {:.1} s after the server was told to stop", stopped.elapsed().as_secs_f64());
    measure("after a restart", &mut vault, &pods, rotations).await
}

/// A pod whose agent runs, as a process of its own.
struct Running {
    pod: Pod,
    _agent: Process,
}

/// Rotates, and prints how long the new values took to the files.
async fn measure(name: &str, vault: &mut Vault, pods: &[Running], rotations: usize) -> Result<()> {
    let (mut each, mut last) = (Vec::new(), Vec::new());
    for _ in 0..rotations {
        let acknowledged = vault.rotate().await?;
        let took = reached(pods, &vault.value(), acknowledged).await?;
        last.extend(took.iter().max());
        each.extend(took);
    }
    for (what, mut took) in [("each", each), ("last", last)] {
        took.sort();
        let at = |share: usize| took.get((took.len() * share).div_ceil(100).saturating_sub(1)).map_or(0.0, millis);
        println!("{:<24} {:>6.1}ms {:>6.1}ms {:>6.1}ms {:>6.1}ms", format!("{name}: {what}"), at(50), at(90), at(99), at(100));
    }
    Ok(())
}

fn millis(duration: &Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Waits until every file has the value; gives how long each took since then.
async fn reached(pods: &[Running], value: &str, since: Instant) -> Result<Vec<Duration>> {
    let (mut waiting, mut took): (Vec<_>, _) = (pods.iter().collect(), Vec::new());
    while !waiting.is_empty() {
        waiting.retain(|pod| {
            let there = fs::read_to_string(&pod.pod.file).is_ok_and(|content| content == value);
            if there {
                took.push(since.elapsed());
            }
            !there
        });
        ensure!(since.elapsed() < PATIENCE, "{} files do not have the value", waiting.len());
        sleep(LOOK).await;
    }
    Ok(took)
}
