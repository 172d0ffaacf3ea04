//! Who is at the other end of a connection, before any credential.

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use coffer_core::limits::HANDSHAKE_TIME_MAX;
use coffer_crypto::hash;
use tokio::{
    net::{TcpStream, UnixStream},
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{callers::Place, metrics::Metrics};

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// SHA-256 of the public key (SubjectPublicKeyInfo, DER) of the client's certificate, which it has proved to hold.
    pub(crate) key: Option<[u8; 32]>,
    /// The address, for TCP.
    pub(crate) address: Option<IpAddr>,
    /// Whether it came over the local socket.
    pub(crate) local: bool,
}

impl Peer {
    pub(crate) fn of_tls(stream: &TlsStream<TcpStream>, address: SocketAddr) -> Self {
        let (_, connection) = stream.get_ref();
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        let key = certificate.and_then(|der| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            Some(hash::sha256(certificate.tbs_certificate.subject_pki.raw))
        });
        Self { key, address: Some(address.ip()), local: false }
    }

    pub(crate) const LOCAL: Self = Self { key: None, address: None, local: true };
}

/// Who sent a request, and its connection's place among the callers; none on the local socket.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    pub(crate) place: Option<Arc<Place>>,
}

/// A connection with its caller, for tonic to hand to every request on it.
pub(crate) struct Connection<S> {
    pub(crate) stream: S,
    pub(crate) caller: Caller,
    /// What ends it where its caller stands still; none on the local socket.
    guard: Option<Guard>,
    /// Counts it for as long as it is open.
    _open: Option<Open>,
}

impl Connection<UnixStream> {
    /// A connection over the local socket.
    pub(crate) const fn local(stream: UnixStream) -> Self {
        Self { stream, caller: Caller { peer: Peer::LOCAL, place: None }, guard: None, _open: None }
    }
}

impl Connection<TlsStream<TcpStream>> {
    /// A connection whose hands are shaken.
    pub(crate) fn new(stream: TlsStream<TcpStream>, address: SocketAddr, place: Arc<Place>, metrics: &Arc<Metrics>) -> Self {
        let (peer, guard) = (Peer::of_tls(&stream, address), Some(Guard::new(&place)));
        Self { stream, caller: Caller { peer, place: Some(place) }, guard, _open: Some(Open::new(metrics)) }
    }
}

/// Bytes that an HTTP/2 client begins with.
const PREFACE_BYTES: usize = 24;

/// Ends a connection whose caller does not begin to speak HTTP/2, or takes nothing of its answers. Whether one lives that
/// says nothing later on is asked by HTTP/2 itself.
struct Guard {
    place: Arc<Place>,
    look: Pin<Box<Sleep>>,
    read: usize,
}

impl Guard {
    fn new(place: &Arc<Place>) -> Self {
        Self { place: Arc::clone(place), look: Box::pin(sleep(HANDSHAKE_TIME_MAX)), read: 0 }
    }

    /// Ready where the connection is to end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.look.as_mut().poll(context).is_ready() {
            if self.read < PREFACE_BYTES || self.place.is_stuck(Instant::now()) {
                return Poll::Ready(());
            }
            self.look.as_mut().reset(tokio::time::Instant::now() + HANDSHAKE_TIME_MAX);
        }
        Poll::Pending
    }
}

/// A connection that is open, for the metrics.
struct Open(Arc<Metrics>);

impl Open {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.connections.add_one();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.take_one();
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

pub(crate) type Tls = Connection<TlsStream<TcpStream>>;
pub(crate) type Local = Connection<UnixStream>;

mod io {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Connection;

    impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
        fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let this = &mut *self;
            if this.guard.as_mut().is_some_and(|guard| guard.poll(context).is_ready()) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let before = buffer.filled().len();
            let read = Pin::new(&mut this.stream).poll_read(context, buffer);
            if let Some(guard) = &mut this.guard {
                guard.read = guard.read.saturating_add(buffer.filled().len() - before);
            }
            read
        }
    }

    impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(context, buffer)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(context)
        }

        fn is_write_vectored(&self) -> bool {
            self.stream.is_write_vectored()
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffers: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
        }
    }
}
