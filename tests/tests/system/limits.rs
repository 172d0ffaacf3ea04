//! Callers that take more than their part, slowly or all at once: they are refused or let go, and others are answered.

mod connections;
mod raw;
mod requests;
mod rules;

use std::{
    net::Ipv4Addr,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::Client;
use coffer_tests::{issuer::Pod, server::Server, wait};
use tokio::time::timeout;

use self::raw::Way;
use crate::{serve, vault::Vault};

const PATH: &str = "kv/limits/secret";
const READER: &str = "k8s:test/shop/reader";
const LOGIN: &str = "/coffer.v1.AuthService/LoginPassword";
const GET_SECRET: &str = "/coffer.v1.KvService/GetSecret";
const STATUS: &str = "/coffer.v1.SystemService/GetSealStatus";

/// Somewhere on this machine that no other client of a test comes from.
fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 200, 0, number)
}

/// A vault with a secret, and a pod that may read it.
async fn vault(server: Server) -> Result<(Vault, Client)> {
    let vault = Vault::on(server).await?;
    vault.put(PATH, "field", "value").await?;
    vault.grant_read(PATH, READER).await?;
    let reader = vault.workload(&Pod::new("shop", "reader")?).await?;
    reader.kv_get(PATH, 0).await?;
    Ok((vault, reader))
}

fn way(vault: &Vault) -> Result<Way> {
    Way::new(vault.server.address()?, &vault.server.ca(), None)
}

/// A figure of the server's metrics.
fn figure(vault: &Vault, name: &str) -> Result<u64> {
    let (status, text) = serve::get(serve::web(&vault.server)?, "/metrics")?;
    ensure!(status == 200, "{status}");
    let (samples, _) = serve::parse(&text)?;
    let value = samples.get(name).with_context(|| format!("{name} is missing"))?;
    format!("{value:.0}").parse().context("figures are whole numbers")
}

/// Somebody who reads all the while, and is not to notice anything.
struct Reader {
    reads: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Reader {
    fn start(client: Client) -> Self {
        let (reads, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counted, stopped) = (Arc::clone(&reads), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                client.kv_get(PATH, 0).await?;
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        Self { reads, stop, task }
    }

    /// Waits for so many more reads.
    async fn goes_on(&self, reads: u64) -> Result<()> {
        let (deadline, from) = (Instant::now() + wait::PATIENCE, self.reads.load(Ordering::Relaxed));
        while self.reads.load(Ordering::Relaxed) < from + reads {
            ensure!(!self.task.is_finished() && Instant::now() < deadline, "the reader is not answered any more");
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// None of its reads failed.
    async fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?.context("a read failed")
    }
}

/// Waits until it says to stop.
async fn until(what: &str, mut done: impl AsyncFnMut() -> Result<ControlFlow<()>>) -> Result<()> {
    let deadline = Instant::now() + wait::PATIENCE;
    while done().await?.is_continue() {
        ensure!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Waits for the end of a connection that the server is to end itself, within a time.
async fn ends(what: &str, limit: Duration, end: impl Future<Output = ()>) -> Result<()> {
    timeout(limit + wait::PATIENCE, end).await.with_context(|| format!("{what}: still open after {limit:?}"))
}
