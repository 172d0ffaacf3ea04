//! Makes the connections of a channel: TLS 1.3 over TCP, or a local socket.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, client::Resumption, crypto::ring, version::TLS13};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::Service;

use crate::{Backoff, Identity, endpoint::Endpoint, error::Error};

/// The first wait after a connection that failed; it doubles.
const RECONNECT_FIRST: Duration = Duration::from_millis(50);
/// The longest wait before a connection is tried again.
const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// Bytes in a CA bundle.
const CA_BUNDLE_BYTES_MAX: u64 = 1 << 20;

/// A connection's two directions.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Makes connections to one vault.
#[derive(Clone)]
pub(crate) struct Connector {
    target: Arc<Target>,
    pace: Arc<Mutex<Pace>>,
}

/// Where to connect, and whom to believe there.
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) server_name: Option<String>,
    pub(crate) identity: Identity,
    pub(crate) connect_timeout: Duration,
}

/// Keeps a vault that is down from being asked without pause.
struct Pace {
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl Connector {
    pub(crate) fn new(target: Target) -> Self {
        let pace = Pace { backoff: Backoff::new(RECONNECT_FIRST, RECONNECT_MAX), not_before: None };
        Self { target: Arc::new(target), pace: Arc::new(Mutex::new(pace)) }
    }

    async fn connect(self) -> Result<TokioIo<Box<dyn Io>>, Error> {
        let wait = self.pace.lock().unwrap_or_else(PoisonError::into_inner).not_before;
        if let Some(instant) = wait {
            sleep_until(instant).await;
        }
        let attempt = timeout(self.target.connect_timeout, self.target.connect()).await;
        let result = attempt.unwrap_or_else(|_| {
            let limit = self.target.connect_timeout.as_secs_f32();
            Err(Error::unreachable(format!("no connection to {} within {limit} s", self.target.endpoint)))
        });
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if result.is_ok() {
            pace.backoff.reset();
            pace.not_before = None;
        } else {
            pace.not_before = Some(Instant::now() + pace.backoff.wait());
        }
        result.map(TokioIo::new)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

impl Target {
    async fn connect(&self) -> Result<Box<dyn Io>, Error> {
        let unreachable = |error: io::Error| Error::unreachable(format!("{} cannot be reached: {error}", self.endpoint));
        match &self.endpoint {
            Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(unreachable)?)),
            Endpoint::Tls { host, port } => Ok(Box::new(self.handshake(host, *port).await?)),
        }
    }

    /// A TLS connection over TCP, to a server whose certificate is believed.
    pub(crate) async fn handshake(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, Error> {
        let unreachable = |error: io::Error| Error::unreachable(format!("{} cannot be reached: {error}", self.endpoint));
        let name = self.server_name()?;
        let config = Arc::new(self.tls_config()?);
        let stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        stream.map_err(|error| self.handshake_error(&error))
    }

    /// The name that the server's certificate must be for.
    pub(crate) fn server_name(&self) -> Result<ServerName<'static>, Error> {
        let host = match (&self.server_name, &self.endpoint) {
            (Some(name), _) => name.as_str(),
            (None, Endpoint::Tls { host, .. }) => host,
            (None, Endpoint::Unix(_)) => "localhost",
        };
        ServerName::try_from(host.to_owned())
            .map_err(|_| Error::config(format!("{host:?} is neither a DNS name nor an IP address")))
    }

    /// A configuration of its own for every connection: it holds the CA bundle as it is now.
    fn tls_config(&self) -> Result<ClientConfig, Error> {
        let Some(path) = &self.ca else {
            return Err(Error::config("no CA bundle is given: name the PEM file with the vault's CA certificate"));
        };
        let roots = read_bundle(path)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| Error::config(format!("TLS 1.3 is not available: {error}")))?
            .with_root_certificates(roots)
            .with_client_cert_resolver(self.identity.resolver());
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed handshake would not show the client's certificate anew.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn handshake_error(&self, error: &io::Error) -> Error {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(why)) => {
                let bundle = self.ca.as_deref().unwrap_or_else(|| Path::new("")).display();
                Error::untrusted(format!(
                    "the certificate of {} is not trusted: {why:?} (CA bundle: {bundle}{})",
                    self.endpoint,
                    self.server_name.as_ref().map(|name| format!(", expected name: {name}")).unwrap_or_default(),
                ))
            }
            _ => Error::unreachable(format!("no TLS connection to {}: {error}", self.endpoint)),
        }
    }
}

/// Reads the certificates of a bundle. One that cannot be read does not hide the others' fault: all must be good.
fn read_bundle(path: &Path) -> Result<RootCertStore, Error> {
    let refuse = |why: String| Error::config(format!("the CA bundle {} {why}", path.display()));
    let mut bytes = Vec::new();
    let open = fs::File::open(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    // What counts is what is read: a device says that it has no bytes, and gives them without end.
    let read = open.take(CA_BUNDLE_BYTES_MAX + 1).read_to_end(&mut bytes);
    if read.map_err(|error| refuse(format!("cannot be read: {error}")))? as u64 > CA_BUNDLE_BYTES_MAX {
        return Err(refuse(format!("is larger than {CA_BUNDLE_BYTES_MAX} bytes")));
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|_| refuse("is not PEM".to_owned()))?;
        roots.add(certificate).map_err(|error| refuse(format!("has a certificate that cannot be used: {error}")))?;
    }
    match roots.is_empty() {
        true => Err(refuse("has no certificate in it (BEGIN CERTIFICATE)".to_owned())),
        false => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_read_up_to_its_limit_and_refused_past_it() {
        let limit = usize::try_from(CA_BUNDLE_BYTES_MAX).unwrap();
        let pem = Identity::generate()
            .unwrap()
            .to_pem()
            .expose()
            .split_inclusive("-----END CERTIFICATE-----\n")
            .next()
            .unwrap()
            .to_owned();
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |bytes: usize| {
            fs::write(file.path(), pem.clone() + &"\n".repeat(bytes - pem.len())).unwrap();
            read_bundle(file.path()).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(read(limit), Ok(()));
        assert!(read(limit + 1).unwrap_err().contains("is larger than 1048576 bytes"));
        assert!(read_bundle(Path::new("/dev/zero")).unwrap_err().to_string().contains("is larger than"));
    }
}
