//! A vault that is gone while agents run: files stay, and have the newest values soon after it is back.
//!
//! Gone until every agent has tried three times; with COFFER_TEST_LONG for ten minutes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{issuer::Pod, memory, process::Process, programs::Programs, wait};
use tempfile::TempDir;
use tokio::{net::TcpSocket, time::sleep};

use crate::vault::{CLUSTER, TOKEN_LIFETIME, Vault};

const PATH: &str = "kv/outage/secret";
const AGENTS: usize = 3;
/// Attempts of each agent that a short outage lasts for.
const ATTEMPTS: usize = 3;
/// The first and the longest wait of an agent between attempts, of which it takes at least half.
const RETRY_FIRST_MS: u64 = 500;
const RETRY_MAX_MS: u64 = 30_000;
/// A long outage.
const GONE: Duration = Duration::from_secs(600);

/// An agent, and the pod around it.
struct Agent {
    process: Process,
    pod: TempDir,
}

impl Agent {
    fn start(vault: &Vault, number: usize) -> Result<Self> {
        let pod = memory::folder()?;
        let token = vault.token(&Pod::new("shop", "api")?, TOKEN_LIFETIME)?;
        fs::write(pod.path().join("token"), token)?;
        fs::create_dir(pod.path().join("secrets"))?;
        let mut command = Command::new(Programs::built()?.agent());
        command.env_clear().arg("sidecar").args(["--secret", &format!("value={PATH}#value")]);
        command.args(["--address", &vault.server.url()?, "--ca-file"]).arg(vault.server.ca());
        command.arg("--directory").arg(pod.path().join("secrets")).arg("--token-file").arg(pod.path().join("token"));
        let process = Process::start(&mut command, &vault.server.folder().join(format!("agent-{number}.log")))?;
        Ok(Self { process, pod })
    }

    fn has(&self, value: &str) -> bool {
        fs::read_to_string(self.pod.path().join("secrets/value")).is_ok_and(|found| found == value)
    }

    /// What the files are at the moment.
    fn data(&self) -> Result<PathBuf> {
        Ok(fs::read_link(self.pod.path().join("secrets").join(Path::new("..data")))?)
    }

    /// How long it has waited between its attempts to follow changes, in milliseconds.
    fn waits(&self) -> Result<Vec<u64>> {
        let log = self.process.log()?;
        let number = |text: &str| {
            let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
            digits.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse().context("a number")
        };
        log.lines()
            .filter_map(|line| line.contains("not followed").then(|| line.split("retry_ms").nth(1)).flatten())
            .map(number)
            .collect()
    }
}

fn all_have(agents: &[Agent], value: &str, limit: Duration) -> Result<()> {
    wait::until(limit, "every agent's file", || Ok(agents.iter().all(|agent| agent.has(value)).then_some(())))
        .with_context(|| agents.iter().filter_map(|agent| agent.process.log().ok()).collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_keep_their_files_while_the_vault_is_gone_and_follow_when_it_is_back() -> Result<()> {
    let mut vault = Vault::new().await?;
    vault.grant_read(PATH, &format!("k8s:{CLUSTER}/shop/api")).await?;
    vault.put(PATH, "value", "before the outage").await?;
    let agents = (0..AGENTS).map(|number| Agent::start(&vault, number)).collect::<Result<Vec<_>>>()?;
    all_have(&agents, "before the outage", wait::PATIENCE)?;
    let files = agents.iter().map(Agent::data).collect::<Result<Vec<_>>>()?;

    vault.server.kill()?;
    // Bound and not listened at: whoever comes is refused, and nobody else on this machine is given the port meanwhile.
    let kept = TcpSocket::new_v4()?;
    kept.set_reuseaddr(true)?;
    kept.bind(vault.server.address()?)?;
    if crate::long() {
        sleep(GONE).await;
    }
    wait::until(wait::PATIENCE, "every agent to try three times", || {
        let waits = agents.iter().map(Agent::waits).collect::<Result<Vec<_>>>()?;
        Ok(waits.iter().all(|waits| waits.len() >= ATTEMPTS).then_some(()))
    })?;
    ensure!(agents.iter().all(|agent| agent.has("before the outage")), "a file is lost");
    ensure!(agents.iter().map(Agent::data).collect::<Result<Vec<_>>>()? == files, "a file was written");

    drop(kept);
    vault.restart().await?;
    vault.put(PATH, "value", "after the outage").await?;
    // The longest wait, and what an attempt takes.
    all_have(&agents, "after the outage", Duration::from_millis(RETRY_MAX_MS) + wait::PATIENCE)?;
    let waits = agents.iter().map(Agent::waits).collect::<Result<Vec<_>>>()?;
    println!("waits in milliseconds: {waits:?}");
    for waits in &waits {
        for (waited, doubled) in waits.iter().zip(0..) {
            let most = RETRY_FIRST_MS.saturating_mul(1 << doubled.min(20)).min(RETRY_MAX_MS);
            ensure!((most / 2..=most).contains(waited), "{waited} ms, where {most} are the most: {waits:?}");
        }
    }
    ensure!(waits.windows(2).all(|pair| pair[0] != pair[1]), "agents come back all at once: {waits:?}");
    Ok(())
}
