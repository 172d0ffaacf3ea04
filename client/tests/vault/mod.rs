//! A vault that misbehaves as told: gRPC over TLS, with the answers of a script. For what a real one cannot be made to
//! do; the ways that work are tested with a real one.

pub(crate) mod script;

use std::{
    convert::Infallible,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme, SupportedProtocolVersion,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::Status;

/// The name in every certificate.
pub(crate) const NAME: &str = "vault.test";

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// `SERVICE/METHOD`, without the package.
    pub(crate) method: String,
    pub(crate) message: Vec<u8>,
    pub(crate) headers: HeaderMap,
    /// The client's certificate, DER.
    pub(crate) certificate: Option<Vec<u8>>,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What comes of it.
pub(crate) enum Answer {
    Message(Vec<u8>),
    Refusal(Status),
    Stream(mpsc::Receiver<Vec<u8>>),
    /// Nothing, ever.
    Silence,
    /// Headers, and then nothing.
    HeadersOnly,
}

pub(crate) trait Script: Fn(Call) -> Answer + Send + Sync + 'static {}
impl<T: Fn(Call) -> Answer + Send + Sync + 'static> Script for T {}

/// A CA, and a file that clients may find it in.
pub(crate) struct Authority {
    key: KeyPair,
    params: CertificateParams,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { key, params, pem }
    }

    fn server_config(&self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![NAME.to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(Arc::new(AnyCertificate(provider)))
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

/// A running vault; dropping it breaks every connection, in a while.
pub(crate) struct Vault {
    pub(crate) address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Vault {
    pub(crate) async fn start(authority: &Authority, script: impl Script) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), authority, &[&TLS13], script).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        authority: &Authority,
        versions: &[&'static SupportedProtocolVersion],
        script: impl Script,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(authority.server_config(versions)));
        let script = Arc::new(script);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, script) = (acceptor.clone(), Arc::clone(&script));
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    let certificate = certificate.map(|der| der.to_vec());
                    serve(stream, certificate, script).await;
                });
            }
        });
        Self { address, tasks }
    }

    /// Breaks every connection and frees the address.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// A running local socket.
pub(crate) fn start_unix(path: &Path, script: impl Script) -> JoinSet<()> {
    let listener = UnixListener::bind(path).unwrap();
    let script = Arc::new(script);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(serve(stream, None, Arc::clone(&script)));
        }
    });
    tasks
}

/// Writes a CA bundle into a folder.
pub(crate) fn bundle(folder: &Path, authorities: &[&Authority]) -> PathBuf {
    let path = folder.join("ca.pem");
    fs::write(&path, authorities.iter().map(|authority| authority.pem.as_str()).collect::<String>()).unwrap();
    path
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    certificate: Option<Vec<u8>>,
    script: Arc<impl Script>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (script, certificate) = (Arc::clone(&script), certificate.clone());
        async move {
            let (head, body) = request.into_parts();
            let Ok(body) = body.collect().await else { return Ok(Response::new(Body::default())) };
            let message = body.to_bytes().get(5..).unwrap_or_default().to_vec();
            let method = head.uri.path().trim_start_matches("/coffer.v1.").to_owned();
            respond(script(Call { method, message, headers: head.headers, certificate })).await
        }
    });
    let end =
        http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
    drop(end);
}

async fn respond(answer: Answer) -> Result<Response<Body>, Infallible> {
    let body = match answer {
        Answer::Refusal(status) => return Ok(status.into_http()),
        Answer::Silence => std::future::pending().await,
        Answer::HeadersOnly => StreamBody::new(tokio_stream::pending()).boxed_unsync(),
        Answer::Message(message) => StreamBody::new(tokio_stream::iter([Ok(frame(&message)), Ok(end())])).boxed_unsync(),
        Answer::Stream(messages) => {
            let frames = ReceiverStream::new(messages).map(|message| Ok(frame(&message)));
            StreamBody::new(frames.chain(tokio_stream::iter([Ok(end())]))).boxed_unsync()
        }
    };
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

fn frame(message: &[u8]) -> Frame<Bytes> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(message);
    Frame::data(bytes.into())
}

fn end() -> Frame<Bytes> {
    Frame::trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]))
}

/// Takes any client certificate, as a vault does; one there must be.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 has no place here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
