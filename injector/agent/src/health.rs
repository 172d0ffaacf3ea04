//! Answers HTTP probes: 200 when all files are written, else 503; nothing more, whatever is asked.

use std::{cell::Cell, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::failure::Failure;

/// How long one probe may take. Probes are answered one after the other.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a request that are read: its head is not looked at.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// How long to wait after a connection that could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Opens the port.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let fail = |why| Failure::Config(format!("probes cannot be answered on {address}: {why} (probe_listen)"));
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!("answering probes on {address}");
    }
    Ok(listener)
}

/// Answers for ever.
pub(crate) async fn serve(listener: TcpListener, ready: &Cell<bool>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match timeout(PROBE_TIMEOUT, answer(stream, ready.get())).await {
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

async fn answer(mut stream: TcpStream, ready: bool) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == REQUEST_BYTES_MAX || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        head.truncate(REQUEST_BYTES_MAX);
    }
    let status = if ready { "200 OK" } else { "503 Service Unavailable" };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        // A connection that is reset while it is written to has no answer either.
        match stream.read_to_string(&mut answer).await {
            Ok(_) => answer,
            Err(_) => String::new(),
        }
    }

    #[tokio::test]
    async fn probes_hear_whether_the_files_are_there() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let ready = Cell::new(false);
        let asking = async {
            assert!(ask(address, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.starts_with("HTTP/1.1 503 "));
            ready.set(true);
            assert!(ask(address, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
            // What is no request, or never ends, gets no answer and blocks nobody for long.
            assert_eq!(ask(address, &vec![b'x'; REQUEST_BYTES_MAX + 1]).await, "");
            let silent = TcpStream::connect(address).await.unwrap();
            assert!(ask(address, b"GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
            drop(silent);
        };
        tokio::select! {
            () = asking => {}
            () = serve(listener, &ready) => {}
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let message = listen(listener.local_addr().unwrap()).await.unwrap_err().to_string();
        assert!(message.contains("probe_listen"), "{message}");
    }
}
