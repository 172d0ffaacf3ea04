//! Accepting connections: over TLS from anywhere, and over a local socket.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use coffer_core::limits::{
    CONNECTION_WINDOW_BYTES, FAULTY_STREAMS_MAX, FRAME_BYTES_MAX, HANDSHAKE_TIME_MAX, HEADER_BYTES_MAX, KEEPALIVE_INTERVAL,
    KEEPALIVE_TIME_MAX, RESET_STREAMS_MAX, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    runtime::{self, Handle},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::Server;

use crate::{
    Api, ConnectionLimits,
    callers::{Callers, Place, Refusal},
    handshakes::{Handshake, Handshakes},
    intake::Intake,
    metrics::Metrics,
    observe::Observe,
    peer::{Connection, Local, Tls},
};

/// Accepted connections that wait for the server to take them.
const ACCEPTED_MAX: usize = 64;
/// How often the log says that connections are refused.
const REFUSALS_SAID_EVERY: Duration = Duration::from_secs(60);

/// Serves the API over TLS until `stop`, and then until the requests under way are answered. Connections are accepted, and
/// hands shaken, by a thread of its own: however many there are, requests have the other threads for themselves.
///
/// # Errors
/// Fails where the server cannot go on.
pub async fn serve_tls(
    api: &Api,
    listener: TcpListener,
    (tls, limits): (ServerConfig, ConnectionLimits),
    stop: CancellationToken,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(ACCEPTED_MAX);
    let entrance = runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _entrance = entrance.enter();
        TcpListener::from_std(listener.into_std()?)?
    };
    let accepting = Accepting {
        listener,
        acceptor: TlsAcceptor::from(Arc::new(tls)),
        sender,
        tasks: TaskTracker::new(),
        requests: Handle::current(),
        metrics: Arc::clone(api.metrics()),
        callers: Callers::new(limits),
        handshakes: Handshakes::default(),
    };
    let until = stop.clone();
    // It ends with `stop`, and leaves nothing that anybody would have to wait for.
    thread::Builder::new().name("entrance".into()).spawn(move || entrance.block_on(accepting.run(until)))?;
    serve(api, receiver, limits.keepalive, stop).await
}

/// Serves the API over a local socket until `stop`, and then until the requests under way are answered.
///
/// # Errors
/// Fails where the server cannot go on.
pub async fn serve_local(api: &Api, listener: UnixListener, tasks: &TaskTracker, stop: CancellationToken) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(ACCEPTED_MAX);
    tasks.spawn(accept_local(listener, sender, stop.clone()));
    serve(api, receiver, KEEPALIVE_INTERVAL, stop).await
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    api: &Api,
    connections: mpsc::Receiver<io::Result<Connection<S>>>,
    keepalive: Duration,
    stop: CancellationToken,
) -> io::Result<()> {
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
        .http2_max_local_error_reset_streams(Some(FAULTY_STREAMS_MAX))
        .http2_keepalive_interval(Some(keepalive))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIME_MAX))
        .layer(Observe(Arc::clone(api.metrics())))
        .layer(Intake::new(api));
    let connections = ReceiverStream::new(connections);
    api.add_to(server).serve_with_incoming_shutdown(connections, stop.cancelled_owned()).await.map_err(io::Error::other)
}

/// Accepts connections over TLS.
struct Accepting {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<io::Result<Tls>>,
    tasks: TaskTracker,
    /// Where the connections go when hands are shaken.
    requests: Handle,
    metrics: Arc<Metrics>,
    callers: Arc<Callers>,
    handshakes: Handshakes,
}

impl Accepting {
    async fn run(self, stop: CancellationToken) {
        let mut refusals = Refusals::default();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => match self.callers.admit(address.ip(), Instant::now()) {
                    Ok(place) => self.begin(stream, address, place),
                    Err(refusal) => {
                        // Without a farewell, which would have to be kept until it is taken.
                        drop(stream.set_zero_linger());
                        drop(stream);
                        refusals.add(refusal, address, &self.metrics);
                    }
                },
                Err(error) => {
                    // Out of descriptors, most likely: taking a breath lets some be closed.
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Shakes hands, and hands the connection on.
    fn begin(&self, stream: TcpStream, address: SocketAddr, place: Arc<Place>) {
        let (acceptor, sender, metrics) = (self.acceptor.clone(), self.sender.clone(), Arc::clone(&self.metrics));
        let (handshake, requests) = (self.handshakes.begin(address.ip()), self.requests.clone());
        self.tasks.spawn(async move {
            // The threads that deal with its requests are to hear of it, and not this one.
            let moved = stream.into_std().and_then(|stream| {
                let _requests = requests.enter();
                TcpStream::from_std(stream)
            });
            let Ok(stream) = moved else { return };
            if let Some(stream) = shake_hands(acceptor, stream, handshake, address, &metrics).await {
                let connection = {
                    let _requests = requests.enter();
                    Connection::new(stream, address, place, &metrics)
                };
                // A server that takes no more connections is ending: this one ends with it.
                drop(sender.send(Ok(connection)).await);
            }
        });
    }
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    handshake: Handshake,
    address: SocketAddr,
    metrics: &Metrics,
) -> Option<TlsStream<TcpStream>> {
    stream.set_nodelay(true).ok()?;
    match timeout(HANDSHAKE_TIME_MAX, handshake.run(acceptor.accept(stream))).await {
        Ok(Some(Ok(stream))) => Some(stream),
        Ok(Some(Err(error))) => {
            metrics.handshakes_failed.add_one();
            tracing::debug!(%address, %error, "a TLS handshake failed");
            None
        }
        Ok(None) => {
            metrics.handshakes_displaced.add_one();
            tracing::debug!(%address, "a TLS handshake was ended for a newer one");
            None
        }
        Err(_) => {
            metrics.handshakes_timed_out.add_one();
            tracing::debug!(%address, "a TLS handshake took too long");
            None
        }
    }
}

/// Refused connections, as the log is told of them: now and then, however many there are.
#[derive(Default)]
struct Refusals {
    said: Option<Instant>,
    since: u64,
}

impl Refusals {
    fn add(&mut self, refusal: Refusal, address: SocketAddr, metrics: &Metrics) {
        let why = match refusal {
            Refusal::All => {
                metrics.connections_refused.add_one();
                "there are as many as limits.connections allows"
            }
            Refusal::Address => {
                metrics.connections_refused_by_address.add_one();
                "there are as many from the address as limits.connections_per_address allows"
            }
            Refusal::Rate => {
                metrics.connections_refused_by_address.add_one();
                "more come from the address than limits.new_connections_per_address allows"
            }
        };
        self.since += 1;
        if self.said.is_none_or(|said| said.elapsed() >= REFUSALS_SAID_EVERY) {
            tracing::warn!(%address, why, refused = self.since, "connections are refused");
            (self.said, self.since) = (Some(Instant::now()), 0);
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
                if sender.send(Ok(Connection::local(stream))).await.is_err() {
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
