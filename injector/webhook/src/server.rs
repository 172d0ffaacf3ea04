//! The webhook's server: HTTPS, for the API server, probes and metrics.

use std::{
    convert::Infallible,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission::{REVIEW_BYTES_MAX, Review, Verdict},
    injection::Settings,
    keeper::Keeper,
    metrics::Metrics,
    pinner::{self, Pinner},
};

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// How long a handshake, a request's head, or its whole body may take.
const RECEIVE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a connection lasts: the API server makes another.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10 * 60);
/// How long requests under way have when the server stops.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// The certificate that is shown.
#[derive(Default)]
pub struct Shown(RwLock<Option<(String, TlsAcceptor)>>);

impl Shown {
    /// Shows another from now on.
    ///
    /// # Errors
    /// Where it cannot be read, or the key is another's.
    pub fn show(&self, certificate: &str, key: &str) -> Result<(), String> {
        if self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|(shown, _)| shown == certificate) {
            return Ok(());
        }
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
        let chain = chain.map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| "the key cannot be read".to_owned())?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key));
        let mut config = config.map_err(|error| format!("the certificate cannot be used: {error}"))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some((certificate.to_owned(), acceptor));
        tracing::info!("another certificate is shown");
        Ok(())
    }

    fn acceptor(&self) -> Option<TlsAcceptor> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, acceptor)| acceptor.clone())
    }
}

/// What answers.
pub struct Webhook {
    /// What holds for all pods.
    pub settings: Settings,
    /// The certificate.
    pub shown: Arc<Shown>,
    /// What gives namespaces the vault's CA certificates; none where certificates and those are somebody else's business.
    pub keeper: Option<Arc<Keeper>>,
    /// What asks registries for the digests of images.
    pub pinner: Arc<Pinner>,
    /// What is counted.
    pub metrics: Metrics,
}

type Answer = Response<Full<Bytes>>;

/// Answers until `end`, then finishes what is under way.
pub async fn serve(listener: TcpListener, webhook: Arc<Webhook>, end: CancellationToken) {
    let (places, tasks) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), TaskTracker::new());
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let accepted = tokio::select! {
            () = end.cancelled() => break,
            accepted = accept => accepted,
        };
        let Some((place, accepted)) = accepted else { break };
        match accepted {
            Ok((stream, _)) => {
                let (webhook, end) = (Arc::clone(&webhook), end.clone());
                tasks.spawn(async move {
                    connection(stream, &webhook, &end).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    tasks.close();
    drop(timeout(DRAIN_TIME_MAX, tasks.wait()).await);
}

async fn connection(stream: TcpStream, webhook: &Arc<Webhook>, end: &CancellationToken) {
    let Some(acceptor) = webhook.shown.acceptor() else { return };
    let stream = match timeout(RECEIVE_TIME_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a handshake failed"),
        Err(_) => return,
    };
    let answer = service_fn(|request| {
        let webhook = Arc::clone(webhook);
        async move { Ok::<_, Infallible>(webhook.answer(request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(RECEIVE_TIME_MAX);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(30)));
    let served = builder.serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(served);
    let stopped = async {
        tokio::select! {
            () = end.cancelled() => {}
            () = tokio::time::sleep(CONNECTION_TIME_MAX) => {}
        }
    };
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = stopped => {
            served.as_mut().graceful_shutdown();
            timeout(DRAIN_TIME_MAX, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

impl Webhook {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/inject") => self.inject(request).await,
            (&Method::GET, "/health/ready") if self.keeper.as_ref().is_some_and(|keeper| !keeper.has_authorities()) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "the vault has not told its CA certificates yet\n")
            }
            (&Method::GET, "/health/live" | "/health/ready") => text(StatusCode::OK, "ok\n"),
            (&Method::GET, "/metrics") => match self.metrics.text() {
                Ok(metrics) => with_type(StatusCode::OK, Metrics::CONTENT_TYPE, metrics.into()),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n"),
            },
            _ => text(StatusCode::NOT_FOUND, "there are POST /inject, and GET /health/live, /health/ready and /metrics\n"),
        }
    }

    async fn inject(&self, request: Request<Incoming>) -> Answer {
        let begin = Instant::now();
        let waits = pinner::waits(request.uri().query());
        let body = match timeout(RECEIVE_TIME_MAX, Limited::new(request.into_body(), REVIEW_BYTES_MAX).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return text(StatusCode::PAYLOAD_TOO_LARGE, "the question is too large\n");
            }
            Ok(Err(_)) => return text(StatusCode::BAD_REQUEST, "the question broke off\n"),
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the question took too long\n"),
        };
        let review = match Review::read(&body) {
            Ok(review) => review,
            Err(why) => return text(StatusCode::BAD_REQUEST, why + "\n"),
        };
        let pins = self.pinner.look_up(review.unpinned(&self.settings), waits).await;
        let decided = review.decide(&self.settings, &pins);
        if let (Ok(patch), Some(keeper)) = (&decided, &self.keeper)
            && !(patch.is_empty() || review.is_tried || review.brings_authorities())
            && let Err(error) = keeper.give_authorities(&review.namespace).await
        {
            // The pod would wait for them without end.
            tracing::warn!(namespace = review.namespace, %error, "the namespace has not got the vault's CA certificates");
            return text(StatusCode::INTERNAL_SERVER_ERROR, format!("the vault's CA certificates: {error}\n"));
        }
        let (verdict, answer) = review.answer(&decided);
        match &decided {
            Err(refusal) => tracing::info!(namespace = review.namespace, %refusal, "a pod is refused"),
            Ok(_) if verdict == Verdict::Injected => tracing::info!(namespace = review.namespace, "a pod gets the agent"),
            Ok(_) => {}
        }
        self.metrics.note(verdict, begin.elapsed());
        with_type(StatusCode::OK, "application/json", answer)
    }
}

fn text(status: StatusCode, text: impl Into<String>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", text.into().into_bytes())
}

fn with_type(status: StatusCode, content_type: &'static str, content: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(content)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
