//! What callers who take too much cost those who do not: reads of one client, alone and meanwhile.

#[path = "../../tests/system/limits/raw.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod raw;

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use coffer_client::Client;
use tokio::{io::AsyncWriteExt as _, runtime::Runtime, task::JoinSet};

use self::raw::Way;
use crate::vault::{PATH, Vault};

/// Those who read.
pub(crate) const READERS: usize = 4;
/// Time between two reads of one of them: they are to be slowed down by others, not by each other.
const PAUSE: Duration = Duration::from_millis(5);

/// Measures it for so many seconds each, once with so many idle connections.
pub(crate) fn run(seconds: u64, idle: usize) -> Result<()> {
    // Whoever takes too much has threads of its own, so that its work does not hold up what is measured.
    let (readers, others) = (Runtime::new()?, Runtime::new()?);
    let pressed = readers.block_on(Pressed::start())?;
    let window = Duration::from_secs(seconds);
    println!("{READERS} readers, {seconds} s each");
    println!("{:<44} {:>7} {:>9} {:>9} {:>9} {:>9}", "meanwhile", "reads", "p50", "p90", "p99", "max");
    let measure = |what: &str| readers.block_on(pressed.measure(what, window));
    measure("nothing")?;
    {
        let held = others.block_on(pressed.idle(idle))?;
        measure(&format!("{idle} idle connections"))?;
        drop(held);
    }
    for (what, kind) in [
        ("connections without end from one address", Flood { hello: false, addresses: 1 }),
        ("handshakes without end from one address", Flood { hello: true, addresses: 1 }),
        ("handshakes without end from 200 addresses", Flood { hello: true, addresses: 200 }),
    ] {
        let (stop, begun) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let flood = others.spawn(kind.run(pressed.way.clone(), Arc::clone(&stop), Arc::clone(&begun)));
        measure(what)?;
        stop.store(true, Ordering::Relaxed);
        others.block_on(flood)??;
        println!("{:<44} {} a second", "", begun.load(Ordering::Relaxed) / seconds.max(1));
    }
    measure("nothing, once more")
}

/// Callers who begin again and again.
struct Flood {
    /// Whether they say hello, or only connect.
    hello: bool,
    addresses: u8,
}

impl Flood {
    async fn run(self, way: Way, stop: Arc<AtomicBool>, begun: Arc<AtomicU64>) -> Result<()> {
        let hello = Arc::new(way.client_hello()?);
        let mut tasks = JoinSet::new();
        for task in 0..16_u8 {
            let (way, hello, stop, begun) = (way.clone(), Arc::clone(&hello), Arc::clone(&stop), Arc::clone(&begun));
            tasks.spawn(async move {
                let mut number = task;
                while !stop.load(Ordering::Relaxed) {
                    number = number.wrapping_add(16);
                    if let Ok(mut stream) = way.plain(Ipv4Addr::new(127, 210, 0, 1 + number % self.addresses)).await {
                        if self.hello {
                            drop(stream.write_all(&hello).await);
                        }
                        begun.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        tasks.join_all().await;
        Ok(())
    }
}

/// A vault, and those who read its secret.
struct Pressed {
    vault: Vault,
    way: Way,
    readers: Vec<Client>,
}

impl Pressed {
    async fn start() -> Result<Self> {
        let vault = Vault::start().await?;
        vault.put(vec![b'x'; 1_024]).await?;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            readers.push(vault.reader().await?);
        }
        let way = Way::new(vault.server.address()?, &vault.server.ca(), None)?;
        Ok(Self { vault, way, readers })
    }

    /// Connections that say nothing more.
    async fn idle(&self, number: usize) -> Result<Vec<raw::Raw>> {
        let mut idle = Vec::new();
        while idle.len() < number {
            let from = Ipv4Addr::new(127, 211, 0, 1 + u8::try_from(idle.len() % 200)?);
            if let Ok(raw) = self.way.http2(from, &[]).await {
                idle.push(raw);
            }
        }
        Ok(idle)
    }

    /// Reads for a while, and prints how long that took.
    async fn measure(&self, what: &str, window: Duration) -> Result<()> {
        let end = Instant::now() + window;
        let took = read(&self.readers, Arc::new(move || Instant::now() >= end)).await;
        tell(what, &took.with_context(|| self.vault.server.log().unwrap_or_default())?);
        Ok(())
    }
}

/// Has these read again and again; gives how long that took each time, the shortest first.
pub(crate) async fn read(readers: &[Client], is_enough: Arc<dyn Fn() -> bool + Send + Sync>) -> Result<Vec<Duration>> {
    let mut tasks = JoinSet::new();
    for client in readers {
        let (client, is_enough) = (client.clone(), Arc::clone(&is_enough));
        tasks.spawn(async move {
            let mut took = Vec::new();
            while !is_enough() {
                let began = Instant::now();
                client.kv_get(PATH, 0).await?;
                took.push(began.elapsed());
                tokio::time::sleep(PAUSE).await;
            }
            anyhow::Ok(took)
        });
    }
    let mut took = Vec::new();
    for done in tasks.join_all().await {
        took.extend(done?);
    }
    took.sort();
    Ok(took)
}

/// Prints what reads took.
pub(crate) fn tell(what: &str, took: &[Duration]) {
    let at = |share: usize| took[(took.len() * share).div_ceil(100).saturating_sub(1)].as_secs_f64() * 1_000.0;
    let reads = took.len();
    println!("{what:<44} {reads:>7} {:>7.2}ms {:>7.2}ms {:>7.2}ms {:>7.2}ms", at(50), at(90), at(99), at(100));
}
