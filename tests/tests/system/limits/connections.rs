//! Connections and handshakes.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use coffer_core::limits::{HANDSHAKE_TIME_MAX, KEEPALIVE_TIME_MAX, REQUEST_TIME_MAX};
use coffer_tests::{issuer::Pod, wait};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{io::AsyncWriteExt as _, task::JoinSet, time::timeout};

use super::{
    LOGIN, PATH, Reader, STATUS, address, ends, figure,
    raw::{self, DATA, HEADERS, RST_STREAM, frame, head},
    until, vault, way,
};
use crate::{long, serve};

#[tokio::test(flavor = "multi_thread")]
async fn connections_past_the_limit_are_closed_before_their_handshake() -> Result<()> {
    let server = serve::server()?.with("limits", "connections", 40).with("limits", "connections_per_address", 25);
    let (vault, reader) = vault(server).await?;
    let way = way(&vault)?;
    // Those of the vault's making have their places, or leave them in a moment.
    until("others to leave", async || {
        Ok(if figure(&vault, "coffer_connections")? == 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .await?;
    let mut open = Vec::new();
    for _ in 0..25 {
        open.push(way.tls(address(1)).await.context("one of 25")?);
    }
    ensure!(way.tls(address(1)).await.is_err(), "a twenty-sixth from one address");
    for _ in 0..14 {
        open.push(way.tls(address(2)).await.context("one of 40")?);
    }
    ensure!(way.tls(address(3)).await.is_err(), "a forty-first");
    ensure!(figure(&vault, "coffer_connections")? == 40);
    ensure!(figure(&vault, "coffer_connections_refused_total{cause=\"address\"}")? >= 1);
    ensure!(figure(&vault, "coffer_connections_refused_total{cause=\"all\"}")? >= 1);
    ensure!(vault.server.log()?.contains("connections are refused"), "the log does not say it");
    reader.kv_get(PATH, 0).await.context("who has a connection keeps it")?;
    open.clear();
    until("a place", async || {
        Ok(if way.tls(address(3)).await.is_ok() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_connects_no_faster_than_it_may_and_others_are_not_held_up() -> Result<()> {
    let (vault, reader) = vault(serve::server()?.with("limits", "new_connections_per_address", 1)).await?;
    let way = way(&vault)?;
    let mut taken = 0;
    while way.tls(address(4)).await.is_ok() {
        taken += 1;
        ensure!(taken < 100, "nothing stops it");
    }
    ensure!(taken >= 8, "only {taken} at once");
    way.tls(address(5)).await.context("another address")?;
    reader.kv_get(PATH, 0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_dribble_are_let_go_and_others_are_answered() -> Result<()> {
    let (vault, reader) = vault(serve::server()?).await?;
    let (reader, way) = (Reader::start(reader), way(&vault)?);
    let mut slow = JoinSet::new();
    for number in 0..8 {
        let (way, from) = (way.clone(), address(10 + number));
        // Some do nothing, some send half of a hello.
        let way_of_one = way.clone();
        slow.spawn(async move {
            let mut stream = way_of_one.plain(from).await?;
            let hello = way_of_one.client_hello()?;
            stream.write_all(&hello[..usize::from(number) * hello.len() / 10]).await?;
            ends("half a handshake", HANDSHAKE_TIME_MAX, async {
                while matches!(tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 64]).await, Ok(1..)) {}
            })
            .await
        });
        // Some do not go on after TLS, or stop amid the first words.
        slow.spawn(async move {
            let mut raw = way.tls(from).await?;
            raw.send(&raw::PREFACE[..usize::from(number) * raw::PREFACE.len() / 10]).await?;
            ends("no HTTP/2", HANDSHAKE_TIME_MAX, raw.silent_until_end()).await
        });
    }
    // Requests that never come whole, from a client that is well otherwise.
    for bytes in [0, 50_000] {
        let way = way.clone();
        slow.spawn(async move {
            let mut raw = way.http2(address(20), &[]).await?;
            raw.send(&head(1, LOGIN, &[])).await?;
            for _ in 0..bytes / 10_000 {
                raw.send(&frame(DATA, 0, 1, &[&[0, 0, 15, 0, 0], [0; 10_000].as_slice()].concat())).await?;
            }
            let answered = raw.until(|frame| (frame.stream == 1 && matches!(frame.kind, HEADERS | RST_STREAM)).then_some(()));
            timeout(REQUEST_TIME_MAX + wait::PATIENCE, answered).await.context("half a request waits for ever")?
        });
    }
    while let Some(done) = slow.join_next().await {
        done??;
    }
    reader.goes_on(10).await?;
    reader.end().await?;
    ensure!(figure(&vault, "coffer_tls_handshakes_failed_total{cause=\"timeout\"}")? >= 8);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_peer_is_gone_is_closed() -> Result<()> {
    let (vault, reader) = vault(serve::server()?.with("limits", "keepalive_secs", 1)).await?;
    let reader = Reader::start(reader);
    let way = way(&vault)?;
    let mut gone = JoinSet::new();
    // One that says nothing after the first words, and one that is gone amid a request.
    for more in [Vec::new(), head(1, STATUS, &[]), head(1, STATUS, &[]).split_off(5)] {
        let mut raw = way.http2(address(30), &[]).await?;
        raw.send(&more).await?;
        gone.spawn(async move { ends("gone", Duration::from_secs(1) + KEEPALIVE_TIME_MAX, raw.silent_until_end()).await });
    }
    while let Some(done) = gone.join_next().await {
        done??;
    }
    // Who answers stays.
    reader.goes_on(10).await?;
    reader.end().await
}

/// Gives this process the descriptors for both ends of tests' connections; answers how many there may be.
fn descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
    .unwrap_or(1 << 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_hold_up_nobody() -> Result<()> {
    let wanted = if long() { 10_000 } else { 2_000 };
    let number = wanted.min(descriptors().saturating_sub(1_000));
    let (vault, reader) = vault(serve::server()?).await?;
    let (reader, way) = (Reader::start(reader), way(&vault)?);
    let before = (figure(&vault, "process_resident_memory_bytes")?, figure(&vault, "process_open_fds")?);
    let mut open = JoinSet::new();
    for part in 0..20 {
        let way = way.clone();
        open.spawn(async move {
            // They say that they live when they are asked, and nothing else.
            let mut idle = JoinSet::new();
            for _ in 0..number / 20 {
                let mut raw = way.http2_begun(address(100 + part)).await?;
                idle.spawn(async move { raw.until_end().await });
            }
            anyhow::Ok(idle)
        });
    }
    let mut idle = Vec::new();
    while let Some(opened) = open.join_next().await {
        idle.push(opened??);
    }
    let connections = figure(&vault, "coffer_connections")?;
    ensure!(connections >= number, "{connections} of {number} are open");
    reader.goes_on(10).await?;
    let (memory, files) = (figure(&vault, "process_resident_memory_bytes")?, figure(&vault, "process_open_fds")?);
    let each = memory.saturating_sub(before.0) / number;
    println!("{number} idle connections: {each} bytes of memory each, {} descriptors", files - before.1);
    ensure!(each < 128 << 10, "an idle connection costs {each} bytes");
    ensure!(files - before.1 <= number + 100, "{} descriptors for {number} connections", files - before.1);
    vault.workload(&Pod::new("shop", "reader")?).await?.kv_get(PATH, 0).await.context("a new client")?;
    drop(idle);
    until("the descriptors to be free", async || {
        let open = figure(&vault, "process_open_fds")?;
        Ok(if open < before.1 + 100 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .await?;
    reader.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_without_end_hold_up_neither_reads_nor_new_clients() -> Result<()> {
    let (vault, reader) = vault(serve::server()?).await?;
    let (reader, way) = (Reader::start(reader), way(&vault)?);
    let before = (figure(&vault, "process_resident_memory_bytes")?, figure(&vault, "process_open_fds")?);
    let (hello, stop) = (Arc::new(way.client_hello()?), Arc::<AtomicBool>::default());
    let begun = Arc::<AtomicU64>::default();
    let mut flood = JoinSet::new();
    for number in 0..32 {
        let (way, hello, stop, begun) = (way.clone(), Arc::clone(&hello), Arc::clone(&stop), Arc::clone(&begun));
        flood.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // All from one address, or each from one of its own; some are left open.
                let from = if number % 4 != 0 { address(200) } else { address(201 + number) };
                let mut open = Vec::new();
                for _ in 0..16 {
                    if let Ok(mut stream) = way.plain(from).await {
                        begun.fetch_add(stream.write_all(&hello).await.is_ok().into(), Ordering::Relaxed);
                        open.push(stream);
                    }
                }
                tokio::task::yield_now().await;
            }
        });
    }
    // A flood it is when an address was held to its rate.
    let begin = Instant::now();
    let refused = || figure(&vault, "coffer_connections_refused_total{cause=\"address\"}");
    while begun.load(Ordering::Relaxed) < 1_000 || refused()? == 0 {
        ensure!(
            begin.elapsed() < wait::PATIENCE,
            "{} handshakes begun, {} refused: no flood",
            begun.load(Ordering::Relaxed),
            refused()?
        );
        reader.goes_on(50).await?;
    }
    reader.goes_on(200).await?;
    for _ in 0..3 {
        let client = vault.workload(&Pod::new("shop", "reader")?).await.context("a new client")?;
        client.kv_get(PATH, 0).await?;
    }
    let (memory, files) = (figure(&vault, "process_resident_memory_bytes")?, figure(&vault, "process_open_fds")?);
    stop.store(true, Ordering::Relaxed);
    flood.join_all().await;
    let begun = begun.load(Ordering::Relaxed);
    println!("{begun} handshakes begun; the server has grown by {} KiB", memory.saturating_sub(before.0) >> 10);
    ensure!(memory.saturating_sub(before.0) < 256 << 20, "the server has {memory} bytes");
    ensure!(files < 18_000, "the server has {files} descriptors");
    reader.end().await
}
