//! Callers that take more than their part, slowly or all at once: they are refused or let go, and others are answered.

mod raw;
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
use coffer_client::{Client, Identity, Options};
use coffer_core::limits::{
    ANSWER_TIME_MAX, BYTES_HELD_PER_ADDRESS_MAX, FRAME_BYTES_MAX, HANDSHAKE_TIME_MAX, HEADER_BYTES_MAX, KEEPALIVE_TIME_MAX,
    REQUEST_BYTES_MAX, REQUEST_TIME_MAX, SECRET_BYTES_MAX, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use coffer_secret::SecretString;
use coffer_tests::{issuer::Pod, server::Server, wait};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{io::AsyncWriteExt as _, task::JoinSet, time::timeout};

use self::raw::{
    DATA, HEADERS, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE, RST_STREAM, Raw, SETTINGS,
    Way, frame, head, message, settings,
};
use crate::{
    long, serve,
    vault::{ADMIN, CLUSTER, PASSWORD, TOKEN_LIFETIME, Vault, secret},
};

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

/// Waits for the end of a connection that the server is to end itself, within a time.
async fn ends(what: &str, limit: Duration, end: impl Future<Output = ()>) -> Result<()> {
    timeout(limit + wait::PATIENCE, end).await.with_context(|| format!("{what}: still open after {limit:?}"))
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

/// A connection of a logged-in operator, and the head of a request with the session.
async fn logged_in(vault: &Vault, from: Ipv4Addr, values: &[(u16, u32)]) -> Result<(Raw, String)> {
    let identity = Identity::generate()?;
    let mut options = Options::new(vault.server.url()?, identity.clone());
    options.ca = Some(vault.server.ca());
    let client = Client::connect(options)?;
    let token = SecretString::from(vault.issuer.token(&Pod::new("shop", "reader")?, TOKEN_LIFETIME)?);
    client.login_workload("", CLUSTER, &token).await?;
    let session = client.session_token().context("a session")?;
    let way = Way::new(vault.server.address()?, &vault.server.ca(), Some(identity.to_pem().expose()))?;
    Ok((way.http2(from, values).await?, format!("Bearer {}", session.expose())))
}

/// `GetSecretRequest { path }`.
fn get_secret() -> Vec<u8> {
    [&[10, u8::try_from(PATH.len()).unwrap_or_default()], PATH.as_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_are_bounded_and_their_connection_is_closed() -> Result<()> {
    let (vault, reader) = vault(serve::server()?).await?;
    let large = "x".repeat(SECRET_BYTES_MAX - 100);
    vault.operator(ADMIN).await?.kv().put_secret(secret(PATH, "field", &large)).await?;
    let before = figure(&vault, "process_resident_memory_bytes")?;
    // Nothing of an answer may be sent, but its head.
    let (mut raw, session) = logged_in(&vault, address(40), &[(INITIAL_WINDOW_SIZE, 0)]).await?;
    let requests = u32::try_from(2 * BYTES_HELD_PER_ADDRESS_MAX / SECRET_BYTES_MAX)?.min(STREAMS_MAX);
    let (mut answered, mut refused) = (0, 0);
    for number in 0..requests {
        let (stream, body) = (2 * number + 1, get_secret());
        raw.send(&head(stream, GET_SECRET, &[("authorization", session.as_str())])).await?;
        raw.send(&message(stream, body.len(), &body, true)).await?;
        // The head of an answer ends the stream where it is a refusal.
        let ended = raw.until(|frame| (frame.kind == HEADERS && frame.stream == stream).then_some(frame.flags & 1 == 1)).await?;
        if ended { refused += 1 } else { answered += 1 }
    }
    println!("{answered} answers held, {refused} requests refused");
    let room = u32::try_from(BYTES_HELD_PER_ADDRESS_MAX / SECRET_BYTES_MAX)?;
    ensure!((room - 2..=room + 2).contains(&answered), "{answered} answers are held, where there is room for {room}");
    let grown = figure(&vault, "process_resident_memory_bytes")?.saturating_sub(before);
    println!("the server has grown by {} KiB", grown >> 10);
    ensure!(grown < 3 * u64::try_from(BYTES_HELD_PER_ADDRESS_MAX)?, "the server has grown by {grown} bytes");
    reader.kv_get(PATH, 0).await.context("another address has room")?;
    let end = async {
        raw.until_end().await;
    };
    ends("answers that nobody takes", ANSWER_TIME_MAX + 2 * HANDSHAKE_TIME_MAX, end).await?;
    reader.kv_get(PATH, 0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_requests_of_strangers_are_bounded_in_memory() -> Result<()> {
    let (vault, reader) = vault(serve::server()?).await?;
    let reader = Reader::start(reader);
    let way = way(&vault)?;
    let before = figure(&vault, "process_resident_memory_bytes")?;
    let mut senders = JoinSet::new();
    // Three times as much as an address has room for, in requests that lack their last byte.
    let (each, piece) = (REQUEST_BYTES_MAX - 6, vec![0; usize::try_from(FRAME_BYTES_MAX)?]);
    for _ in 0..3 * BYTES_HELD_PER_ADDRESS_MAX / REQUEST_BYTES_MAX {
        let (way, piece) = (way.clone(), piece.clone());
        senders.spawn(async move {
            let mut raw = way.http2_begun(address(50)).await?;
            raw.send(&head(1, LOGIN, &[])).await?;
            raw.send(&message(1, each, &[], false)).await?;
            let (mut sent, mut window) = (5_usize, usize::try_from(STREAM_WINDOW_BYTES)? - 5);
            while sent < each {
                if window < piece.len() {
                    // An answer before the end is a refusal; anything else makes room.
                    let answered = raw
                        .until(|frame| match (frame.kind, frame.stream) {
                            (HEADERS | RST_STREAM, 1) => Some(None),
                            (8, 1) => frame.payload.first_chunk().map(|more| Some(u32::from_be_bytes(*more))),
                            _ => None,
                        })
                        .await?;
                    let Some(more) = answered else { return Ok(None) };
                    window += usize::try_from(more)?;
                    continue;
                }
                raw.send(&frame(DATA, 0, 1, &piece)).await?;
                (sent, window) = (sent + piece.len(), window - piece.len());
            }
            anyhow::Ok(Some(raw))
        });
    }
    let (mut held, mut refused) = (Vec::new(), 0_usize);
    while let Some(done) = senders.join_next().await {
        match done?? {
            Some(raw) => held.push(raw),
            None => refused += 1,
        }
    }
    println!("{} requests held, {refused} refused", held.len());
    // Those that were refused without having seen it yet are not under way any more.
    let room = u64::try_from(BYTES_HELD_PER_ADDRESS_MAX / REQUEST_BYTES_MAX)?;
    until("what is refused to end", async || {
        let under_way = figure(&vault, "coffer_requests_in_flight")?;
        Ok(if under_way <= room + 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .await?;
    let grown = figure(&vault, "process_resident_memory_bytes")?.saturating_sub(before);
    println!("the server has grown by {} KiB", grown >> 10);
    // Buffers grow by doubling, and HTTP/2 has its own.
    ensure!(grown < 4 * u64::try_from(BYTES_HELD_PER_ADDRESS_MAX)?, "the server has grown by {grown} bytes");
    reader.goes_on(10).await?;
    reader.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_told_its_limits_and_held_to_them() -> Result<()> {
    let (vault, reader) = vault(serve::server()?).await?;
    let way = way(&vault)?;
    let mut raw = way.http2(address(60), &[]).await?;
    let told = raw.until(|frame| (frame.kind == SETTINGS && frame.flags == 0).then(|| frame.payload.clone())).await?;
    let told: Vec<(u16, u32)> = told
        .as_chunks::<6>()
        .0
        .iter()
        .map(|[a, b, c, d, e, f]| (u16::from_be_bytes([*a, *b]), u32::from_be_bytes([*c, *d, *e, *f])))
        .collect();
    for setting in
        [(MAX_CONCURRENT_STREAMS, STREAMS_MAX), (MAX_FRAME_SIZE, FRAME_BYTES_MAX), (MAX_HEADER_LIST_SIZE, HEADER_BYTES_MAX)]
    {
        ensure!(told.contains(&setting), "{setting:?} is not among {told:?}");
    }
    // As many requests as there may be wait for their end; one more is refused, and the others wait on.
    raw.send(&settings(&[])).await?;
    for number in 0..STREAMS_MAX {
        raw.send(&head(2 * number + 1, LOGIN, &[])).await?;
    }
    raw.send(&head(2 * STREAMS_MAX + 1, LOGIN, &[])).await?;
    let refused = raw.until(|frame| (frame.kind == RST_STREAM).then_some(frame.stream)).await?;
    ensure!(refused == 2 * STREAMS_MAX + 1, "stream {refused} was ended");

    // Headers at the limit, and past it.
    let mut raw = way.http2(address(60), &[]).await?;
    for (stream, length, good) in [(1, 8_000, true), (3, usize::try_from(HEADER_BYTES_MAX)?, false)] {
        let value = "x".repeat(length);
        let whole = head(stream, STATUS, &[("x-padding", &value)]);
        // A frame has as many bytes as headers may have: what goes on is sent on.
        let (first, rest) = whole[9..].split_at((whole.len() - 9).min(16_000));
        raw.send(&frame(HEADERS, if rest.is_empty() { 4 } else { 0 }, stream, first)).await?;
        if !rest.is_empty() {
            raw.send(&frame(9, 4, stream, rest)).await?;
        }
        raw.send(&message(stream, 0, &[], true)).await?;
        let answered = raw
            .until(|frame| match frame.kind {
                DATA if frame.stream == stream => Some(true),
                RST_STREAM | HEADERS if frame.stream == stream && (frame.kind == RST_STREAM || frame.flags & 1 == 1) => {
                    Some(false)
                }
                _ => None,
            })
            .await?;
        ensure!(answered == good, "headers of {length} bytes");
    }

    // A frame that is too large, and requests taken back as fast as they come, end the connection.
    let mut raw = way.http2(address(60), &[]).await?;
    raw.send(&head(1, LOGIN, &[])).await?;
    raw.send(&frame(DATA, 0, 1, &vec![0; usize::try_from(FRAME_BYTES_MAX)? + 1])).await?;
    let reason = timeout(wait::PATIENCE, raw.until_end()).await.context("a frame too large")?;
    ensure!(reason == Some(6), "a frame too large: {reason:?}");
    let mut raw = way.http2(address(60), &[]).await?;
    let storm: Vec<u8> = (0..10_000)
        .flat_map(|number| [head(2 * number + 1, STATUS, &[]), frame(RST_STREAM, 0, 2 * number + 1, &[0, 0, 0, 8])].concat())
        .collect();
    // It may end amid what is sent.
    drop(raw.send(&storm).await);
    let reason = timeout(wait::PATIENCE, raw.until_end()).await.context("requests taken back")?;
    ensure!(reason.is_none_or(|reason| reason == 11), "requests taken back: {reason:?}");
    reader.kv_get(PATH, 0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_taken_up_to_their_limit_and_refused_past_it() -> Result<()> {
    let (vault, reader) = vault(serve::server()?).await?;
    let client = vault.stranger()?;
    let login = async |length: usize| {
        let request = coffer_client::proto::LoginBootstrapRequest { credential: "x".repeat(length) };
        client.auth().login_bootstrap(request).await.err().context("it let somebody in")
    };
    // A tag, and a length of three bytes, come before the text.
    let within = login(REQUEST_BYTES_MAX - 4).await?;
    ensure!(within.code() == tonic::Code::Unauthenticated, "{within:?}");
    let beyond = login(REQUEST_BYTES_MAX - 3).await?;
    ensure!(beyond.code() == tonic::Code::OutOfRange, "{beyond:?}");
    reader.kv_get(PATH, 0).await?;
    Ok(())
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

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_checked_a_few_at_a_time_and_nobody_is_locked_out() -> Result<()> {
    let (vault, reader) = vault(serve::server()?).await?;
    let reader = Reader::start(reader);
    let mut attempts = JoinSet::new();
    for _ in 0..60 {
        let client = vault.stranger()?;
        attempts.spawn(async move {
            let error = client.login_password("", ADMIN, &SecretString::copied_from("a wrong password")).await.err();
            error.map(|error| error.reason().to_owned())
        });
    }
    let reasons = attempts.join_all().await;
    let count = |reason: &str| reasons.iter().filter(|seen| seen.as_deref() == Some(reason)).count();
    let (refused, busy) = (count("LOGIN_REFUSED"), count("LOGIN_BUSY"));
    println!("{refused} refused, {busy} told to come again");
    ensure!(refused + busy == reasons.len() && refused >= 18 && busy > 0, "{reasons:?}");
    // Sixty failures under her name, and she logs in.
    vault.stranger()?.login_password("", ADMIN, &SecretString::copied_from(PASSWORD)).await?;
    reader.goes_on(10).await?;
    reader.end().await
}
