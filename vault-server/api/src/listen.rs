//! Accepting connections: over TLS from anywhere, and over a local socket.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::{Server, server::Router};

use crate::{
    Api,
    peer::{Connection, Local, Peer, Tls},
};

/// Connections over TLS at once; more wait to be accepted.
pub const CONNECTIONS_MAX: usize = 16_384;
/// TLS handshakes at once.
pub const HANDSHAKES_MAX: usize = 256;
/// How long a TLS handshake may take.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Requests at once on a connection.
pub const STREAMS_MAX: u32 = 128;
/// Bytes of a request's headers.
pub const HEADER_BYTES_MAX: u32 = 16 << 10;
/// How often a silent connection is asked whether it lives.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long the answer to that may take.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Accepted connections that wait for the server to take them.
const ACCEPTED_MAX: usize = 64;

/// Serves the API over TLS until `stop`, and then until the requests under way are answered.
///
/// # Errors
/// Fails where the server cannot go on.
pub async fn serve_tls(
    api: &Api,
    listener: TcpListener,
    tls: ServerConfig,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let (sender, receiver) = mpsc::channel(ACCEPTED_MAX);
    tasks.spawn(accept_tls(listener, TlsAcceptor::from(Arc::new(tls)), sender, tasks.clone(), stop.clone()));
    let connections = ReceiverStream::new(receiver);
    router(api).serve_with_incoming_shutdown(connections, stop.cancelled_owned()).await
}

/// Serves the API over a local socket until `stop`, and then until the requests under way are answered.
///
/// # Errors
/// Fails where the server cannot go on.
pub async fn serve_local(
    api: &Api,
    listener: UnixListener,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let (sender, receiver) = mpsc::channel(ACCEPTED_MAX);
    tasks.spawn(accept_local(listener, sender, stop.clone()));
    let connections = ReceiverStream::new(receiver);
    router(api).serve_with_incoming_shutdown(connections, stop.cancelled_owned()).await
}

fn router(api: &Api) -> Router {
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .tcp_nodelay(true);
    api.add_to(server)
}

async fn accept_tls(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<io::Result<Tls>>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            let handshake = Arc::clone(&handshakes).acquire_owned().await.ok()?;
            Some((place, handshake, listener.accept().await))
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept => accepted,
        };
        let Some((place, handshake, accepted)) = accepted else { return };
        match accepted {
            Ok((stream, address)) => {
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tasks.spawn(async move {
                    let connection = shake_hands(acceptor, stream, address, place).await;
                    drop(handshake);
                    if let Some(connection) = connection {
                        // A server that takes no more connections is ending: this one ends with it.
                        drop(sender.send(Ok(connection)).await);
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: taking a breath lets some be closed.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn shake_hands(acceptor: TlsAcceptor, stream: TcpStream, address: SocketAddr, place: OwnedSemaphorePermit) -> Option<Tls> {
    stream.set_nodelay(true).ok()?;
    match timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let peer = Peer::of_tls(&stream, address);
            Some(Connection { stream, peer, _place: Some(place) })
        }
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(%address, "a TLS handshake took too long");
            None
        }
    }
}

async fn accept_local(listener: UnixListener, sender: mpsc::Sender<io::Result<Local>>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                if sender.send(Ok(Connection { stream, peer: Peer::LOCAL, _place: None })).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a local connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
