//! One question to one place: a connection, and the head of its answer.

use std::{
    collections::BTreeSet,
    sync::Arc,
    task::{Context, Poll},
};

use coffer_secret::SecretString;
use http_body_util::Empty;
use hyper::{
    Method, Request,
    body::{Bytes, Frame, Incoming},
    client::conn::http1,
    header::{ACCEPT, AUTHORIZATION, HOST, HeaderMap, HeaderValue, LOCATION, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use crate::{
    Error, SettingsError,
    origin::{Origin, Target},
};

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How often one question may be sent elsewhere.
const REDIRECTS_MAX: usize = 5;

/// What connections are made with.
pub(crate) struct Transport {
    tls: TlsConnector,
    /// Registries that are spoken to without TLS.
    plain: BTreeSet<String>,
}

/// The head of an answer, and the body to come.
pub(crate) struct Head {
    /// Who answered.
    pub(crate) origin: Origin,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    /// What the body comes over: it ends when this is dropped.
    pub(crate) connection: JoinSet<()>,
}

impl Transport {
    pub(crate) fn new(authorities: Option<&[u8]>, plain: BTreeSet<String>) -> Result<Self, SettingsError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for certificate in authorities.into_iter().flat_map(CertificateDer::pem_slice_iter) {
            let added = certificate.map_err(|error| error.to_string());
            let added = added.and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
            added.map_err(|why| SettingsError(format!("the CA certificates of registries: {why}")))?;
        }
        if authorities.is_some() && roots.len() == webpki_roots::TLS_SERVER_ROOTS.len() {
            return Err(SettingsError("the CA certificates of registries: there is none in PEM".to_owned()));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| SettingsError(error.to_string()))?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), plain })
    }

    /// How a registry is spoken to.
    pub(crate) fn origin(&self, authority: &str) -> Origin {
        Origin { is_plain: self.plain.contains(authority), authority: authority.to_owned() }
    }

    /// Whether a place may be asked: without TLS only those that may, for somebody on the way would answer.
    pub(crate) fn check(&self, asked: &Origin, by: &str) -> Result<(), Error> {
        match asked.is_plain && !self.plain.contains(&asked.authority) {
            true => Err(Error::wrong(by, format!("it sends to {} without TLS", asked.authority))),
            false => Ok(()),
        }
    }

    /// Asks, and asks where it is sent. Elsewhere nobody is told the authorisation.
    pub(crate) async fn ask(
        &self,
        method: &Method,
        target: &Target,
        accepted: &'static str,
        authorization: Option<&SecretString>,
    ) -> Result<Head, Error> {
        let mut at = target.clone();
        for _ in 0..=REDIRECTS_MAX {
            let known = authorization.filter(|_| at.origin.is(&target.origin));
            let head = self.ask_once(method, &at, accepted, known).await?;
            if !matches!(head.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(head);
            }
            let host = &at.origin.authority;
            let next = head.headers.get(LOCATION).and_then(|location| location.to_str().ok());
            let next = next.and_then(|location| Target::read(location, Some(&at.origin)));
            let next = next.ok_or_else(|| Error::wrong(host, "it sends elsewhere, and not to an address"))?;
            self.check(&next.origin, host)?;
            at = next;
        }
        Err(Error::wrong(&target.origin.authority, format!("it sends elsewhere more than {REDIRECTS_MAX} times")))
    }

    async fn ask_once(
        &self,
        method: &Method,
        target: &Target,
        accepted: &'static str,
        authorization: Option<&SecretString>,
    ) -> Result<Head, Error> {
        let origin = &target.origin;
        let unreachable = |why: &dyn ToString| Error::unreachable(&origin.authority, why.to_string());
        let stream = TcpStream::connect((origin.host(), origin.port())).await.map_err(|error| unreachable(&error))?;
        stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method.clone();
        *request.uri_mut() = target.path.parse().map_err(|_| Error::wrong(&origin.authority, "it is no address"))?;
        let headers = request.headers_mut();
        let host = HeaderValue::from_str(&origin.authority).map_err(|error| unreachable(&error))?;
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("coffer/", env!("CARGO_PKG_VERSION"))));
        headers.insert(ACCEPT, HeaderValue::from_static(accepted));
        if let Some(authorization) = authorization {
            let why = "what it is to be told has characters that no header can have";
            let value = HeaderValue::from_str(authorization.expose());
            let mut value = value.map_err(|_| Error::Withheld { host: origin.authority.clone(), why })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if origin.is_plain {
            return send(origin, stream, request).await;
        }
        let name = ServerName::try_from(origin.host().to_owned()).map_err(|error| unreachable(&error))?;
        send(origin, self.tls.connect(name, stream).await.map_err(|error| unreachable(&error))?, request).await
    }
}

async fn send<S>(origin: &Origin, stream: S, request: Request<Empty<Bytes>>) -> Result<Head, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: hyper::Error| match error.is_parse() {
        true => Error::wrong(&origin.authority, "its answer is no HTTP that can be read"),
        false => Error::unreachable(&origin.authority, error),
    };
    let shaken = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(broken)?;
    let mut tasks = JoinSet::new();
    // What breaks it, the one who waits for the answer is told.
    tasks.spawn(async move { drop(connection.await) });
    let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
    let (status, headers) = (head.status.as_u16(), head.headers);
    Ok(Head { origin: origin.clone(), status, headers, body, connection: tasks })
}

/// The next part of a body.
pub(crate) fn next(body: &mut Incoming, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, hyper::Error>>> {
    use hyper::body::Body as _;
    loop {
        let frame = std::pin::Pin::new(&mut *body).poll_frame(context);
        match std::task::ready!(frame).map(|frame| frame.map(Frame::into_data)) {
            None => return Poll::Ready(None),
            Some(Ok(Ok(data))) => return Poll::Ready(Some(Ok(data))),
            // Trailers say nothing here.
            Some(Ok(Err(_))) => {}
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
        }
    }
}
