//! How fast a store is here: `cargo run --release -p coffer-store --example throughput -- FOLDER` (a new one).
#![expect(clippy::print_stdout, reason = "it is what this program is for")]

use std::{
    error::Error,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use coffer_store::{
    Store, Transaction, Write,
    memory::MemoryStore,
    sled::{SledOptions, SledStore},
};
use tokio::task::JoinSet;

const TASKS: u32 = 64;
const COMMITS: u32 = 500;
const READS: u32 = 5_000;
const VALUE_BYTES: usize = 1_024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("which folder?")?;
    measure(Arc::new(MemoryStore::new())).await?;
    measure(Arc::new(SledStore::open(Path::new(&folder), SledOptions::default())?)).await?;
    Ok(())
}

async fn measure(store: Arc<dyn Store>) -> Result<(), Box<dyn Error>> {
    for tasks in [1, TASKS] {
        report(&store, "commits", tasks, COMMITS, |store, task, number| async move {
            let key = format!("{task:04}/{number:06}").into_bytes();
            let transaction = Transaction { conditions: Vec::new(), writes: vec![Write::Put(key, vec![7; VALUE_BYTES])] };
            store.commit(transaction).await.is_ok()
        })
        .await?;
        report(&store, "reads", tasks, READS, |store, task, number| async move {
            let key = format!("{task:04}/{:06}", number % COMMITS).into_bytes();
            store.get(&key).await.is_ok_and(|entry| entry.is_some())
        })
        .await?;
        report(&store, "pages of 100", tasks, 100, |store, task, _| async move {
            let start = format!("{task:04}/").into_bytes();
            store.range(&start, b"", 100).await.is_ok_and(|page| page.len() == 100)
        })
        .await?;
    }
    Ok(())
}

async fn report<F: Future<Output = bool> + Send>(
    store: &Arc<dyn Store>,
    what: &str,
    tasks: u32,
    each: u32,
    act: impl Fn(Arc<dyn Store>, u32, u32) -> F + Copy + Send + 'static,
) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let store = Arc::clone(store);
        running.spawn(async move {
            let mut times = Vec::new();
            for number in 0..each {
                let start = Instant::now();
                assert!(act(Arc::clone(&store), task, number).await, "it failed");
                times.push(start.elapsed());
            }
            times
        });
    }
    let mut times: Vec<Duration> = Vec::new();
    while let Some(done) = running.join_next().await {
        times.extend(done?);
    }
    let all = start.elapsed();
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    let rate = f64::from(tasks * each) / all.as_secs_f64();
    let kind = store.kind();
    println!("{kind:<8} {what:<14} {tasks:>3} tasks {rate:>10.0} /s   half within {:?}, 99 of 100 within {:?}", at(50), at(99));
    Ok(())
}
