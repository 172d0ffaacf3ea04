//! What is answered over plain HTTP: metrics and probes on one port, certificates of CAs and revocation lists on another.
//! Nothing secret is there, and nothing can be changed.

mod lists;

use std::{convert::Infallible, sync::Arc, time::Duration};

use coffer_api::{Api, Health};
use coffer_vault::Vault;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::metrics::{self, Metrics};

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// How long a request's head may take, and a connection be silent between requests.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection lasts.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8 << 10;

type Answer = Response<Full<Bytes>>;

/// Answers until `end`.
pub(crate) async fn serve(listener: TcpListener, page: Page, tasks: TaskTracker, end: CancellationToken) {
    let (places, page) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Arc::new(page));
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let accepted = tokio::select! {
            () = end.cancelled() => return,
            accepted = accept => accepted,
        };
        let Some((place, accepted)) = accepted else { return };
        match accepted {
            Ok((stream, _)) => {
                let (page, end) = (Arc::clone(&page), end.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = end.cancelled() => {}
                        () = connection(stream, &page) => {}
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection over plain HTTP cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, page: &Page) {
    let answer = service_fn(|request| async move { Ok::<_, Infallible>(page.answer(&request).await) });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    if let Ok(Err(error)) = timeout(CONNECTION_TIME_MAX, served).await {
        tracing::debug!(%error, "a connection over plain HTTP broke");
    }
}

/// What there is to ask for.
pub(crate) enum Page {
    /// Metrics and probes.
    Metrics(Box<(Api, Metrics)>),
    /// Certificates of CAs, and revocation lists.
    Lists(Arc<Vault>),
}

impl Page {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            answer.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match self {
            Self::Metrics(both) => of_metrics(&both.0, &both.1, request),
            Self::Lists(vault) => lists::answer(vault, request.uri().path()).await,
        }
    }
}

fn of_metrics(api: &Api, metrics: &Metrics, request: &Request<Incoming>) -> Answer {
    match request.uri().path() {
        "/metrics" => match metrics.text() {
            Ok(body) => with_type(StatusCode::OK, metrics::CONTENT_TYPE, body),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n"),
        },
        "/health/live" => health(StatusCode::OK, api.health()),
        "/health/ready" => {
            let health_now = api.health();
            match ready(health_now, request.uri().query().unwrap_or_default()) {
                Ok(status) => health(status, health_now),
                Err(why) => text(StatusCode::BAD_REQUEST, why),
            }
        }
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /health/live and /health/ready\n"),
    }
}

/// The status of a readiness probe. `sealedcode` and `uninitcode` choose another for a vault that is sealed or not
/// initialised; nothing does for a server that is about to stop.
fn ready(health: Health, query: &str) -> Result<StatusCode, &'static str> {
    let (mut sealed, mut uninitialised) = (StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let code = value.parse().ok().filter(|code| (200..=599).contains(code)).and_then(|code| StatusCode::from_u16(code).ok());
        let code = code.ok_or("a status is a number from 200 to 599\n");
        match name {
            "sealedcode" => sealed = code?,
            "uninitcode" => uninitialised = code?,
            _ => return Err("the parameters are sealedcode and uninitcode\n"),
        }
    }
    Ok(match health {
        Health { draining: true, .. } => StatusCode::SERVICE_UNAVAILABLE,
        Health { initialised: false, .. } => uninitialised,
        Health { sealed: true, .. } => sealed,
        _ => StatusCode::OK,
    })
}

fn health(status: StatusCode, health: Health) -> Answer {
    let Health { initialised, sealed, draining } = health;
    let body =
        format!("{{\"initialised\":{initialised},\"sealed\":{sealed},\"draining\":{draining},\"ready\":{}}}\n", health.ready());
    with_type(status, "application/json", body)
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    with_type(status, "text/plain; charset=utf-8", body)
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    // A status without a body, such as 204, is sent without one.
    let body = if status == StatusCode::NO_CONTENT { Bytes::new() } else { body.into() };
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_as_the_probe_wishes_it_but_for_a_server_that_stops() {
        let health = |initialised, sealed, draining| Health { initialised, sealed, draining };
        let (working, sealed, new, stopping) =
            (health(true, false, false), health(true, true, false), health(false, true, false), health(true, false, true));
        for (state, query, status) in [
            (working, "", 200),
            (sealed, "", 503),
            (new, "", 503),
            (stopping, "", 503),
            (sealed, "sealedcode=204", 204),
            (new, "sealedcode=204", 503),
            (new, "sealedcode=204&uninitcode=200", 200),
            (stopping, "sealedcode=200&uninitcode=200", 503),
            (working, "sealedcode=500", 200),
        ] {
            assert_eq!(ready(state, query).map(|status| status.as_u16()), Ok(status), "{state:?} {query}");
        }
        for query in ["sealedcode=199", "sealedcode=600", "sealedcode=", "sealedcode", "standbyok=true"] {
            assert!(ready(sealed, query).is_err(), "{query}");
        }
    }
}
