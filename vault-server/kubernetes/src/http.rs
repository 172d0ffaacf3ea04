//! Requests with a bound on the time and the size of their answers.

use std::{error::Error, time::Duration};

use ::http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube::{Client, Config, client::Body};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

/// How long a call may take, its whole answer included.
pub const CALL_SECS_MAX: u64 = 10;
/// Bytes of a set of keys.
pub const JWKS_BYTES_MAX: usize = 64 << 10;
/// How long a server may take to be reached.
const CONNECT_SECS_MAX: u64 = 5;
/// Bytes of an answer that says why something is refused.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Characters that are kept of what a server says.
const TOLD_CHARS_MAX: usize = 512;
/// Bytes of one event of a watch: a pod is at most 1.5 MiB in etcd, and JSON makes it longer.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// Why a server was not asked, or its answer not taken.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The configuration contradicts itself.
    #[error("the API server's configuration is wrong: {0}")]
    Config(&'static str),
    /// The configuration cannot be used: a certificate is none, or this is no pod.
    #[error("the API server's configuration cannot be used")]
    Setup(#[source] Box<dyn Error + Send + Sync>),
    /// A request breaks a limit of ours.
    #[error("the request breaks a limit: {0}")]
    Limit(&'static str),
    /// The server cannot be reached, or the connection broke.
    #[error("the server cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// The server took longer than allowed.
    #[error("the server took too long")]
    TimedOut,
    /// The server answered with another HTTP status than success.
    #[error("the server refuses, with status {0}")]
    Refused(u16),
    /// The same, with what the server says about it.
    #[error("the server refuses, with status {0}: {1}")]
    Told(u16, String),
    /// The answer is larger than allowed.
    #[error("the answer is too large")]
    TooLarge,
    /// The answer is not what was asked for.
    #[error("the answer cannot be read")]
    Unreadable(#[source] Box<dyn Error + Send + Sync>),
}

/// An answer that says why something is refused.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    message: String,
}

/// A server, and how it is spoken to.
#[derive(Clone)]
pub(crate) struct Server(Client);

impl Server {
    /// Needs a running tokio.
    pub(crate) fn new(mut config: Config) -> Result<Self, ApiError> {
        config.connect_timeout = Some(Duration::from_secs(CONNECT_SECS_MAX));
        config.default_retry = false;
        Ok(Self(Client::try_from(config).map_err(|error| ApiError::Setup(Box::new(error)))?))
    }

    pub(crate) async fn get(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
        self.call(request(Method::GET, path, Body::empty())?, bytes_max).await
    }

    pub(crate) async fn post(&self, path: &str, body: Vec<u8>, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
        self.call(request(Method::POST, path, Body::from(body))?, bytes_max).await
    }

    /// Has an object made; where that is refused, the error says what the server said.
    pub(crate) async fn tell(&self, path: &str, body: &Value, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
        let body = serde_json::to_vec(body).map_err(|error| ApiError::Unreadable(Box::new(error)))?;
        self.listen(request(Method::POST, path, Body::from(body))?, bytes_max).await
    }

    /// Has an object replaced; where that is refused, the error says what the server said.
    pub(crate) async fn replace(&self, path: &str, body: &Value, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
        let body = serde_json::to_vec(body).map_err(|error| ApiError::Unreadable(Box::new(error)))?;
        self.listen(request(Method::PUT, path, Body::from(body))?, bytes_max).await
    }

    /// Has an object deleted; where that is refused, the error says what the server said.
    pub(crate) async fn delete(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
        self.listen(request(Method::DELETE, path, Body::empty())?, bytes_max).await
    }

    async fn listen(&self, request: Request<Body>, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
        let call = async {
            let response = self.0.send(request).await.map_err(|error| ApiError::Unreachable(Box::new(error)))?;
            let status = response.status();
            if status.is_success() {
                return collect(response.into_body(), bytes_max).await;
            }
            let said = collect(response.into_body(), REFUSAL_BYTES_MAX).await.unwrap_or_default();
            Err(ApiError::Told(status.as_u16(), told(&said)))
        };
        timeout(Duration::from_secs(CALL_SECS_MAX), call).await.map_err(|_| ApiError::TimedOut)?
    }

    async fn call(&self, request: Request<Body>, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
        let call = async { collect(self.send(request).await?, bytes_max).await };
        timeout(Duration::from_secs(CALL_SECS_MAX), call).await.map_err(|_| ApiError::TimedOut)?
    }

    /// Begins a watch: an answer that goes on, one event a line.
    pub(crate) async fn events(&self, path: &str) -> Result<Events, ApiError> {
        let request = request(Method::GET, path, Body::empty())?;
        let body = timeout(Duration::from_secs(CALL_SECS_MAX), self.send(request)).await.map_err(|_| ApiError::TimedOut)??;
        Ok(Events { body, buffer: Vec::new(), scanned: 0 })
    }

    async fn send(&self, request: Request<Body>) -> Result<Body, ApiError> {
        let response = self.0.send(request).await.map_err(|error| ApiError::Unreachable(Box::new(error)))?;
        if response.status().is_success() { Ok(response.into_body()) } else { Err(ApiError::Refused(response.status().as_u16())) }
    }
}

/// The events of a watch.
pub(crate) struct Events {
    body: Body,
    buffer: Vec<u8>,
    /// How much of the buffer has no end of a line.
    scanned: usize,
}

impl Events {
    /// The next event's line; `None` where the server ended the watch.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        loop {
            let fresh = self.buffer.get(self.scanned..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(self.scanned.saturating_add(end).saturating_add(1));
                self.scanned = 0;
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            self.scanned = self.buffer.len();
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(ApiError::Unreachable(Box::new(error))),
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    if self.buffer.len().saturating_add(data.len()) > EVENT_BYTES_MAX {
                        return Err(ApiError::TooLarge);
                    }
                    self.buffer.extend_from_slice(&data);
                }
            }
        }
    }
}

/// Fetches a set of keys (RFC 7517) from any `https` address, which must not redirect. Without `ca_pem` the authorities
/// that the system trusts are trusted. Needs a running tokio.
///
/// # Errors
///
/// See [`ApiError`]; the answer has [`JWKS_BYTES_MAX`] bytes at most and takes [`CALL_SECS_MAX`].
pub async fn fetch_jwks(url: &str, ca_pem: Option<&str>) -> Result<String, ApiError> {
    let mut parts = https(url)?.into_parts();
    let path = parts.path_and_query.take().map_or_else(|| "/".into(), |path| path.to_string());
    parts.path_and_query = Some(::http::uri::PathAndQuery::from_static("/"));
    let base = Uri::from_parts(parts).map_err(|error| ApiError::Setup(Box::new(error)))?;
    let mut config = Config::new(base);
    config.root_cert = ca_pem.map(authorities).transpose()?;
    text(Server::new(config)?.get(&path, JWKS_BYTES_MAX).await?)
}

pub(crate) fn https(url: &str) -> Result<Uri, ApiError> {
    let url: Uri = url.parse().map_err(|error: ::http::uri::InvalidUri| ApiError::Setup(Box::new(error)))?;
    if url.scheme_str() != Some("https") || url.host().is_none_or(str::is_empty) {
        return Err(ApiError::Config("the address is not an https URL"));
    }
    // Nobody would look at them, and the URL is shown and logged.
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(ApiError::Config("the address has a user or password in it: take them out"));
    }
    Ok(url)
}

/// The certificates of a PEM text, one at least.
pub(crate) fn authorities(pem: &str) -> Result<Vec<Vec<u8>>, ApiError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = certificates.map_err(|error| ApiError::Setup(Box::new(error)))?;
    if certificates.is_empty() {
        return Err(ApiError::Config("no certificate is among the authorities"));
    }
    Ok(certificates.into_iter().map(|certificate| certificate.to_vec()).collect())
}

pub(crate) fn text(bytes: Vec<u8>) -> Result<String, ApiError> {
    String::from_utf8(bytes).map_err(|_| ApiError::Unreadable("it is not UTF-8".into()))
}

/// What a `Status` says, on one line.
fn told(status: &[u8]) -> String {
    let status: Status = serde_json::from_slice(status).unwrap_or_default();
    let said: String = status.message.chars().filter(|c| !c.is_control()).take(TOLD_CHARS_MAX).collect();
    if said.is_empty() { "it does not say why".to_owned() } else { said }
}

fn request(method: Method, path: &str, body: Body) -> Result<Request<Body>, ApiError> {
    Request::builder()
        .method(method)
        .uri(path)
        // The second is what API servers call a set of keys, and they insist.
        .header(header::ACCEPT, "application/json, application/jwk-set+json")
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|error| ApiError::Setup(Box::new(error)))
}

async fn collect(body: Body, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge),
        Err(error) => Err(ApiError::Unreachable(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        ApiError, Body, EVENT_BYTES_MAX, Events, REFUSAL_BYTES_MAX, TOLD_CHARS_MAX, authorities, collect, fetch_jwks, https, told,
    };

    fn events(body: Vec<u8>) -> Events {
        Events { body: Body::from(body), buffer: Vec::new(), scanned: 0 }
    }

    #[tokio::test]
    async fn an_answer_at_the_limit_is_taken_and_one_past_it_is_not() {
        assert_eq!(collect(Body::from(vec![7; 100]), 100).await.unwrap().len(), 100);
        assert!(matches!(collect(Body::from(vec![7; 101]), 100).await, Err(ApiError::TooLarge)));
    }

    #[tokio::test]
    async fn what_a_server_says_is_one_line_of_bounded_length() {
        let said =
            |message: &str| told(&serde_json::to_vec(&serde_json::json!({ "kind": "Status", "message": message })).unwrap());
        assert_eq!(said("secrets is forbidden:\n\u{7}no"), "secrets is forbidden:no");
        assert_eq!(said(&"x".repeat(TOLD_CHARS_MAX)).len(), TOLD_CHARS_MAX);
        assert_eq!(said(&"x".repeat(TOLD_CHARS_MAX + 1)).len(), TOLD_CHARS_MAX);
        for nothing in [&b"<html>"[..], b"{}", b"", br#"{"message":7}"#] {
            assert_eq!(told(nothing), "it does not say why");
        }
        assert!(collect(Body::from(vec![7; REFUSAL_BYTES_MAX]), REFUSAL_BYTES_MAX).await.is_ok());
        assert!(collect(Body::from(vec![7; REFUSAL_BYTES_MAX + 1]), REFUSAL_BYTES_MAX).await.is_err());
    }

    #[tokio::test]
    async fn a_watch_is_read_line_by_line() {
        let mut events = events(b"one\n\ntwo\nnot a line".to_vec());
        for line in ["one\n", "\n", "two\n"] {
            assert_eq!(events.next().await.unwrap().unwrap(), line.as_bytes());
        }
        assert!(events.next().await.unwrap().is_none(), "what has no end is no event");
    }

    #[tokio::test]
    async fn an_event_past_the_limit_ends_the_watch() {
        let mut line = vec![b'x'; EVENT_BYTES_MAX - 1];
        line.push(b'\n');
        assert_eq!(events(line.clone()).next().await.unwrap().unwrap().len(), EVENT_BYTES_MAX);
        line.insert(0, b'x');
        assert!(matches!(events(line).next().await, Err(ApiError::TooLarge)));
    }

    #[test]
    fn only_https_addresses_are_taken() {
        for wrong in [
            "http://127.0.0.1/",
            "127.0.0.1",
            "/keys",
            "ftp://host/",
            "https:///keys",
            "",
            "https://user:word@host/",
            "https://user@host",
        ] {
            assert!(https(wrong).is_err(), "{wrong}");
        }
        assert!(https("https://host:6443/keys?x=y").is_ok());
    }

    #[test]
    fn authorities_without_a_certificate_are_refused() {
        assert!(matches!(authorities(""), Err(ApiError::Config(_))));
        assert!(authorities("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n").is_err());
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/keys", listener.local_addr().unwrap());
        let ca = include_str!("../tests/data/ca.pem");
        let (accepted, fetched) = tokio::join!(listener.accept(), async {
            tokio::time::pause();
            fetch_jwks(&url, Some(ca)).await
        });
        assert!(accepted.is_ok());
        assert!(matches!(fetched, Err(ApiError::TimedOut | ApiError::Unreachable(_))), "{fetched:?}");
    }
}
