//! Every condition at once: what asks for all of them is given while all hold. What that costs the server beside a grant without any is printed.

use std::{fs, time::Duration};

use anyhow::Result;
use coffer_client::Client;
use coffer_secret::SecretString;
use coffer_tests::issuer::Pod;
use tokio::task::JoinSet;

use super::{API, Gate, PATH, clean_scan, image, spec};
use crate::{
    api_server::WATCHED,
    posture::{Reporter, allow_agent, good, pod_on, swapping},
    vault::TOKEN_LIFETIME,
};

/// What is given without conditions.
const FREE: &str = "kv/free/secret";
/// Who reads at once, how often each, and turns that the kinds take.
const READERS: u32 = 16;
const READS: u32 = 25;
const TURNS: u32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_for_every_condition_is_given_while_all_of_them_hold() -> Result<()> {
    let mut gate = Gate::new().await?;
    let vault = gate.vault();
    allow_agent(vault, WATCHED).await?;
    let node = pod_on("node-1")?;
    gate.watched.fake.create(&node);
    let mut reporter = Reporter::with_token(vault, WATCHED, &vault.token(&node, TOKEN_LIFETIME)?).await?;
    let mut pod = Pod::new("shop", "api")?;
    pod.node = "node-1".to_owned();
    gate.watched.fake.create(&pod);
    gate.watched.fake.merge(&pod, &spec(&image(10), &image(10)));
    let client = vault.stranger()?;
    client.login_workload("", WATCHED, &SecretString::from(vault.token(&pod, TOKEN_LIFETIME)?)).await?;
    vault.put(FREE, "value", "free-value").await?;
    vault.grant_read(FREE, API).await?;
    gate.grant(PATH, &["image=pass", "signed-by=release", "max-age=1h", "host=pass", "swap=off", "workload=restricted"]).await?;

    let (_folder, good) = good()?;
    gate.reads(&client, "CONDITION_UNMET").await?;
    gate.attest(clean_scan(10)).await?;
    reporter.report(&good).await?;
    gate.reads(&client, "OK").await?;
    reporter.report(&swapping()?).await?;
    gate.reads(&client, "CONDITION_UNMET").await?;
    reporter.report(&good).await?;
    gate.reads(&client, "OK").await?;

    let process = gate.watched.vault.server.process()?.id();
    let (mut free, mut bound) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..TURNS {
        free += cost(process, &client, FREE).await?;
        bound += cost(process, &client, PATH).await?;
    }
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / f64::from(READERS * READS * TURNS);
    println!(
        "{:.1} us of processor time a read without conditions, {:.1} us with every one: {:.2} times as much",
        each(free),
        each(bound),
        bound.as_secs_f64() / free.as_secs_f64()
    );
    Ok(())
}

/// Processor time of the server for [`READS`] of a path by each of [`READERS`].
async fn cost(process: u32, client: &Client, path: &'static str) -> Result<Duration> {
    let (before, mut readers) = (processor_time(process)?, JoinSet::new());
    for _ in 0..READERS {
        let client = client.clone();
        readers.spawn(async move {
            for _ in 0..READS {
                client.kv_get(path, 0).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = readers.join_next().await {
        done??;
    }
    Ok(processor_time(process)?.saturating_sub(before))
}

/// What all threads of a process have run for: the kernel counts it in nanoseconds.
fn processor_time(process: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let counted = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += Duration::from_nanos(counted.split(' ').next().unwrap_or_default().parse()?);
    }
    Ok(sum)
}
