//! Answers HTTP probes: `/live` with 200, anything else with 200 while the vault knows the node, else 503.

use std::{cell::Cell, future::pending, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

use crate::{Failure, report::COUNTS_FOR};

/// How long one probe may take. Probes are answered one after the other.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a request that are read: nothing in it but its first line is looked at.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// How long to wait after a connection that could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Opens the port.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let fail = |why| Failure::Config(format!("probes cannot be answered on {address}: {why} (--probe-listen)"));
    TcpListener::bind(address).await.map_err(fail)
}

/// Answers for ever; without a port, nobody. `heard` says when the vault took a report last.
pub(crate) async fn serve(listener: Option<TcpListener>, heard: &Cell<Option<Instant>>) {
    let Some(listener) = listener else { return pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match timeout(PROBE_TIMEOUT, answer(stream, heard)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("a probe broke off: {error}"),
                Err(_) => tracing::debug!("a probe took too long"),
            },
            Err(error) => {
                tracing::warn!("a probe cannot be accepted: {error}");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, heard: &Cell<Option<Instant>>) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= REQUEST_BYTES_MAX || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        head.truncate(REQUEST_BYTES_MAX);
    }
    let is_known = || heard.get().is_some_and(|at| at.elapsed() < COUNTS_FOR);
    let status = if head.starts_with(b"GET /live ") || is_known() { "200 OK" } else { "503 Service Unavailable" };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn probes_hear_whether_the_vault_knows_the_node() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Cell::new(None);
        let asking = async {
            assert_eq!(ask(address, "/live").await, "HTTP/1.1 200 OK");
            assert_eq!(ask(address, "/ready").await, "HTTP/1.1 503 Service Unavailable");
            heard.set(Some(Instant::now()));
            assert_eq!(ask(address, "/ready").await, "HTTP/1.1 200 OK");
            heard.set(Instant::now().checked_sub(COUNTS_FOR));
            assert_eq!(ask(address, "/ready").await, "HTTP/1.1 503 Service Unavailable");
        };
        tokio::select! {
            () = asking => {}
            () = serve(Some(listener), &heard) => {}
        }
    }

    #[tokio::test]
    async fn a_request_that_is_too_long_gets_no_answer_and_the_next_one_does() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Cell::new(Some(Instant::now()));
        let asking = async {
            for (length, answered) in [(REQUEST_BYTES_MAX, true), (REQUEST_BYTES_MAX + 1, false)] {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let frame = "GET /ready HTTP/1.1\r\nx: \r\n\r\n".len();
                let request = format!("GET /ready HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(length - frame));
                // One that is not read to its end may be reset while it is written, or read from.
                drop(stream.write_all(request.as_bytes()).await);
                let mut answer = Vec::new();
                drop(stream.read_to_end(&mut answer).await);
                assert_eq!(answer.starts_with(b"HTTP/1.1 200"), answered, "{length}");
            }
            assert_eq!(ask(address, "/ready").await, "HTTP/1.1 200 OK");
        };
        tokio::select! {
            () = asking => {}
            () = serve(Some(listener), &heard) => {}
        }
    }
}
