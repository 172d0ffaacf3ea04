//! Accepting connections: over TLS from anywhere, and over a local socket.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::Server;

use crate::{
    Api,
    metrics::Metrics,
    observe::Observe,
    peer::{Connection, Local, Open, Peer, Tls},
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
    let accepting = Accepting {
        listener,
        acceptor: TlsAcceptor::from(Arc::new(tls)),
        sender,
        tasks: tasks.clone(),
        metrics: Arc::clone(api.metrics()),
    };
    tasks.spawn(accepting.run(stop.clone()));
    serve(api, receiver, stop).await
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
    serve(api, receiver, stop).await
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    api: &Api,
    connections: mpsc::Receiver<io::Result<Connection<S>>>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .tcp_nodelay(true)
        .layer(Observe(Arc::clone(api.metrics())));
    let connections = ReceiverStream::new(connections);
    api.add_to(server).serve_with_incoming_shutdown(connections, stop.cancelled_owned()).await
}

/// Accepts connections over TLS.
struct Accepting {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<io::Result<Tls>>,
    tasks: TaskTracker,
    metrics: Arc<Metrics>,
}

impl Accepting {
    async fn run(self, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let accept = async {
                let place = Arc::clone(&places).acquire_owned().await.ok()?;
                let handshake = Arc::clone(&handshakes).acquire_owned().await.ok()?;
                Some((place, handshake, self.listener.accept().await))
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = accept => accepted,
            };
            let Some((place, handshake, accepted)) = accepted else { return };
            match accepted {
                Ok((stream, address)) => {
                    let (acceptor, sender, metrics) = (self.acceptor.clone(), self.sender.clone(), Arc::clone(&self.metrics));
                    self.tasks.spawn(async move {
                        let connection = shake_hands(acceptor, stream, (address, place), &metrics).await;
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
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    (address, place): (SocketAddr, OwnedSemaphorePermit),
    metrics: &Arc<Metrics>,
) -> Option<Tls> {
    stream.set_nodelay(true).ok()?;
    match timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let peer = Peer::of_tls(&stream, address);
            Some(Connection { stream, peer, _place: Some(place), _open: Some(Open::new(metrics)) })
        }
        Ok(Err(error)) => {
            metrics.handshakes_failed.add_one();
            tracing::debug!(%address, %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            metrics.handshakes_timed_out.add_one();
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
                if sender.send(Ok(Connection { stream, peer: Peer::LOCAL, _place: None, _open: None })).await.is_err() {
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
