//! What every request carries: the session, a request id, a deadline.

use std::{
    error::Error as StdError,
    fmt, mem,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::Duration,
};

use coffer_secret::SecretString;
use http::{HeaderName, HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::{body::Body, transport::Channel};
use tower::Service;

use crate::{error::Error, random};

/// Names a request in the vault's audit log.
const REQUEST_ID: HeaderName = HeaderName::from_static("coffer-request-id");
/// The deadline of a call, as gRPC sends it.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Calls that go on until one side ends them, and so have no deadline.
const STREAMS: [&str; 5] = [
    "/coffer.v1.AuditService/TailAudit",
    "/coffer.v1.SnapshotService/RestoreSnapshot",
    "/coffer.v1.SnapshotService/SaveSnapshot",
    "/coffer.v1.WatchService/Watch",
    "/grpc.health.v1.Health/Watch",
];
/// Logins make a session: one that is there already has no part in them.
const LOGINS: &str = "/coffer.v1.AuthService/Login";

type BoxError = Box<dyn StdError + Send + Sync>;

/// The session's token, shared by all clones of a client.
pub(crate) type SharedToken = Arc<RwLock<Option<SecretString>>>;

/// The service under the generated clients: one HTTP/2 connection, made when it is needed and made again when it
/// broke. Adds session, request id and deadline to every request that has none.
#[derive(Clone)]
pub struct Connection {
    channel: Channel,
    token: SharedToken,
    call_timeout: Duration,
}

impl Connection {
    pub(crate) const fn new(channel: Channel, token: SharedToken, call_timeout: Duration) -> Self {
        Self { channel, token, call_timeout }
    }

    /// Adds what is missing to the request; gives the time it has.
    fn prepare(&self, request: &mut Request<Body>) -> Result<Option<Duration>, BoxError> {
        let path = request.uri().path();
        let stream = STREAMS.contains(&path);
        let login = path.starts_with(LOGINS);
        let headers = request.headers_mut();
        if !login && !headers.contains_key(AUTHORIZATION) {
            let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(token) = token.as_ref() {
                headers.insert(AUTHORIZATION, bearer(token)?);
            }
        }
        if !headers.contains_key(REQUEST_ID) {
            headers.insert(REQUEST_ID, HeaderValue::try_from(hex::encode(random::bytes::<16>()))?);
        }
        if stream {
            return Ok(None);
        }
        let limit = match headers.get(GRPC_TIMEOUT) {
            Some(own) => parse_timeout(own).unwrap_or(self.call_timeout),
            None => {
                headers.insert(GRPC_TIMEOUT, HeaderValue::try_from(format!("{}m", self.call_timeout.as_millis()))?);
                self.call_timeout
            }
        };
        Ok(Some(limit))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.channel.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let limit = self.prepare(&mut request);
        // The channel that was polled ready is the one to call.
        let fresh = self.channel.clone();
        let mut channel = mem::replace(&mut self.channel, fresh);
        Box::pin(async move {
            let Some(limit) = limit? else {
                return Ok(channel.call(request).await?);
            };
            let deadline = Instant::now() + limit;
            let answer = timeout_at(deadline, channel.call(request)).await.map_err(|_| Error::deadline())?;
            Ok(answer?.map(|body| Body::new(Timed { body, deadline: Box::pin(sleep_until(deadline)) })))
        })
    }
}

/// The header that shows the session. Marked sensitive: HTTP/2 keeps it out of its compression tables.
fn bearer(token: &SecretString) -> Result<HeaderValue, BoxError> {
    let mut text = Vec::with_capacity(7 + token.expose().len());
    text.extend_from_slice(b"Bearer ");
    text.extend_from_slice(token.expose().as_bytes());
    let mut value = HeaderValue::from_maybe_shared(tonic::codegen::Bytes::from(text))
        .map_err(|_| Error::config("the session's token has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a `grpc-timeout` header: digits and a unit.
fn parse_timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.checked_mul(3_600)?)),
        "M" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// An answer's body that ends with the call's deadline: headers that came in time are not yet an answer.
struct Timed {
    body: Body,
    deadline: Pin<Box<Sleep>>,
}

impl http_body::Body for Timed {
    type Data = <Body as http_body::Body>::Data;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, tonic::Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(tonic::Status::deadline_exceeded("the answer did not end in time")))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn exactly_the_streaming_calls_have_no_deadline() {
        let set = prost_types::FileDescriptorSet::decode(coffer_proto::DESCRIPTORS).unwrap();
        let mut streams = Vec::new();
        for file in set.file.iter().filter(|file| file.package() == "coffer.v1") {
            for service in &file.service {
                for method in service.method.iter().filter(|method| method.server_streaming() || method.client_streaming()) {
                    streams.push(format!("/coffer.v1.{}/{}", service.name(), method.name()));
                }
            }
        }
        streams.sort();
        streams.push("/grpc.health.v1.Health/Watch".to_owned());
        assert_eq!(streams, STREAMS);
    }

    #[test]
    fn timeouts_are_read_in_every_unit() {
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7_200))),
            ("3M", Some(Duration::from_secs(180))),
            ("4S", Some(Duration::from_secs(4))),
            ("5m", Some(Duration::from_millis(5))),
            ("6u", Some(Duration::from_micros(6))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("S", None),
            ("9", None),
            ("9x", None),
        ] {
            assert_eq!(parse_timeout(&HeaderValue::from_static(text)), expected, "{text}");
        }
    }

    #[test]
    fn the_session_header_is_sensitive() {
        let value = bearer(&SecretString::from("token".to_owned())).unwrap();
        assert!(value.is_sensitive());
        assert!(!format!("{value:?}").contains("token"));
        assert!(bearer(&SecretString::from("line\nbreak".to_owned())).is_err());
    }
}
