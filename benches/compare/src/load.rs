//! The load: the same for both servers. HTTP/2 over TLS 1.3, connections that stay, one request at a time on each.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::TlsConnector;

/// How to reach a server.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    tls: TlsConnector,
}

/// Makes the request of a number; all numbers are different within one run.
pub(crate) type Requests = Arc<dyn Fn(u64) -> Request<Full<Bytes>> + Send + Sync>;

/// Makes the request that follows an answer.
pub(crate) type Then = Arc<dyn Fn(&[u8]) -> Result<Request<Full<Bytes>>> + Send + Sync>;

/// What keeps connections busy.
#[derive(Clone)]
pub(crate) struct Load {
    /// The requests.
    pub(crate) requests: Requests,
    /// What follows each of them, and counts as one with it.
    pub(crate) then: Option<Then>,
    /// How many of them do the work once.
    pub(crate) each: u64,
}

impl From<Requests> for Load {
    fn from(requests: Requests) -> Self {
        Self { requests, then: None, each: 1 }
    }
}

/// What a run of load found.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Requests answered.
    pub(crate) requests: u64,
    /// How long it took.
    pub(crate) time: Duration,
    /// How long each took, in microseconds, sorted.
    latencies: Vec<u32>,
}

impl Figures {
    /// Requests in a second.
    pub(crate) fn rate(&self) -> f64 {
        count(self.requests) / self.time.as_secs_f64()
    }

    /// The latency in milliseconds that this part of the requests, in thousandths, stays below.
    pub(crate) fn latency_ms(&self, thousandths: usize) -> f64 {
        let at = self.latencies.len() * thousandths / 1_000;
        self.latencies.get(at.min(self.latencies.len().saturating_sub(1))).map_or(0.0, |us| f64::from(*us) / 1_000.0)
    }
}

/// A number of requests as a float: there are never so many that it matters.
pub(crate) fn count(requests: u64) -> f64 {
    u32::try_from(requests).map_or(f64::INFINITY, f64::from)
}

impl Target {
    /// A server whose certificate leads to this CA, with a client's certificate and key in one PEM text where it wants one.
    pub(crate) fn new(address: SocketAddr, ca_pem: &[u8], identity_pem: Option<&[u8]>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem) {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut config = match identity_pem {
            None => config.with_no_client_auth(),
            Some(pem) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
                config.with_client_auth_cert(chain?, PrivateKeyDer::from_pem_slice(pem)?)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { address, tls: TlsConnector::from(Arc::new(config)) })
    }

    async fn connect(&self) -> Result<http2::SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::try_from("localhost")?, stream).await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        #[expect(clippy::disallowed_methods, reason = "it ends with its connection, and the runtime with the run")]
        drop(tokio::spawn(connection));
        Ok(sender)
    }

    /// Sends requests `0..count`, spread over connections.
    pub(crate) async fn fill(&self, connections: u64, count: u64, requests: &Requests) -> Result<()> {
        let mut tasks = JoinSet::new();
        for connection in 0..connections {
            let (mut sender, requests) = (self.connect().await?, Arc::clone(requests));
            tasks.spawn(async move {
                for number in (connection..count).step_by(usize::try_from(connections)?) {
                    answer(&mut sender, requests(number)).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    /// Keeps connections busy for a time. A request that fails ends the run.
    pub(crate) async fn run(&self, connections: u64, time: Duration, load: &Load) -> Result<Figures> {
        let mut senders = Vec::new();
        for _ in 0..connections {
            senders.push(self.connect().await?);
        }
        let (begin, mut tasks) = (Instant::now(), JoinSet::new());
        for (mut number, mut sender) in (0..).zip(senders) {
            let load = load.clone();
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                let mut now = Instant::now();
                while now.duration_since(begin) < time {
                    let answered = answer(&mut sender, (load.requests)(number)).await?;
                    if let Some(then) = &load.then {
                        answer(&mut sender, then(&answered)?).await?;
                    }
                    number += connections;
                    let then = Instant::now();
                    latencies.push(u32::try_from(then.duration_since(now).as_micros())?);
                    now = then;
                }
                anyhow::Ok(latencies)
            });
        }
        let mut figures = Figures::default();
        while let Some(done) = tasks.join_next().await {
            figures.latencies.extend(done??);
        }
        figures.time = begin.elapsed();
        figures.requests = u64::try_from(figures.latencies.len())?;
        figures.latencies.sort_unstable();
        Ok(figures)
    }
}

/// Sends a request and reads the whole answer: HTTP 200 or 204, and for gRPC a status of 0 as well.
async fn answer(sender: &mut http2::SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Result<Bytes> {
    sender.ready().await?;
    let response = sender.send_request(request).await.context("no answer")?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let of_grpc = |headers: &http::HeaderMap| headers.get("grpc-status").map(|status| status == "0");
    let grpc = body.trailers().and_then(of_grpc).or_else(|| of_grpc(&head.headers));
    let bytes = body.to_bytes();
    ensure!(
        matches!(head.status, StatusCode::OK | StatusCode::NO_CONTENT) && grpc != Some(false),
        "refused: {} {:?} {}",
        head.status,
        head.headers.get("grpc-message"),
        String::from_utf8_lossy(&bytes)
    );
    Ok(bytes)
}
