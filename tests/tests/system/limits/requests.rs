//! Requests, answers and logins.

use std::{net::Ipv4Addr, ops::ControlFlow};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{Client, Identity, Options};
use coffer_core::limits::{
    ANSWER_TIME_MAX, BYTES_HELD_PER_ADDRESS_MAX, FRAME_BYTES_MAX, HANDSHAKE_TIME_MAX, HEADER_BYTES_MAX, REQUEST_BYTES_MAX,
    SECRET_BYTES_MAX, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use coffer_secret::SecretString;
use coffer_tests::{issuer::Pod, wait};
use tokio::{task::JoinSet, time::timeout};

use super::{
    GET_SECRET, LOGIN, PATH, Reader, STATUS, address, ends, figure,
    raw::{
        DATA, HEADERS, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE, RST_STREAM, Raw,
        SETTINGS, WINDOW_UPDATE, Way, frame, head, message, settings,
    },
    until, vault, way,
};
use crate::{
    serve,
    vault::{ADMIN, CLUSTER, PASSWORD, TOKEN_LIFETIME, Vault, secret},
};

/// A connection of a logged-in operator, and the head of a request with the session.
async fn logged_in(vault: &Vault, from: Ipv4Addr, values: &[(u16, u32)]) -> Result<(Raw, String)> {
    let identity = Identity::generate()?;
    let mut options = Options::new(vault.server.url()?, identity.clone());
    options.ca = Some(vault.server.ca());
    let client = Client::connect(options)?;
    let token = SecretString::from(vault.token(&Pod::new("shop", "reader")?, TOKEN_LIFETIME)?);
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
                            (WINDOW_UPDATE, 1) => frame.payload.first_chunk().map(|more| Some(u32::from_be_bytes(*more))),
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
