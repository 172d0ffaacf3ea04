//! What goes around every request: it is counted and timed, and its outcome logged where the log is to have it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tonic::{
    Code, Status,
    body::Body,
    codegen::http::{HeaderMap, Request, Response},
};
use tower::{Layer, Service};
use tracing::{Level, Span, field::Empty};

use crate::{metrics::Metrics, pipeline::REQUEST_ID, status};

/// Puts [`Observed`] around the services.
#[derive(Clone)]
pub(crate) struct Observe(pub(crate) Arc<Metrics>);

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, metrics: Arc::clone(&self.0) }
    }
}

/// Services whose requests are observed.
#[derive(Clone)]
pub(crate) struct Observed<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let place = self.metrics.place(request.uri().path());
        // Made where the log is to have every request, and nowhere else: it costs more than all counting.
        let span = if tracing::enabled!(Level::DEBUG) {
            tracing::debug_span!("request", rpc = Metrics::name(place), caller = Empty)
        } else {
            Span::none()
        };
        let observed = UnderWay::begin(Arc::clone(&self.metrics), place, span);
        let entered = observed.span.clone();
        let answer = entered.in_scope(|| self.inner.call(request));
        Answering { answer, observed }
    }
}

/// An answer that is waited for.
pub(crate) struct Answering<F> {
    answer: F,
    observed: UnderWay,
}

impl<F, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<Body>, E>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let answer = &mut this.answer;
        let answered = ready!(this.observed.span.in_scope(|| Pin::new(answer).poll(context)));
        if let Ok(response) = &answered {
            this.observed.answered(response.headers());
        }
        Poll::Ready(answered)
    }
}

/// A request that is not answered yet.
struct UnderWay {
    metrics: Arc<Metrics>,
    place: usize,
    began: Instant,
    span: Span,
    answered: bool,
}

impl UnderWay {
    fn begin(metrics: Arc<Metrics>, place: usize, span: Span) -> Self {
        metrics.requests_in_flight.add_one();
        Self { metrics, place, began: Instant::now(), span, answered: false }
    }

    /// Notes the answer. One without a status in its head is well so far: the handler has done its work.
    fn answered(&mut self, headers: &HeaderMap) {
        let took = self.began.elapsed();
        self.answered = true;
        let status = if headers.contains_key(Status::GRPC_STATUS) { Status::from_header_map(headers) } else { None };
        let code = status.as_ref().map_or(Code::Ok, Status::code);
        self.metrics.answered(self.place, code, took);
        if self.span.is_disabled() && !is_own_fault(code) {
            return;
        }
        let reason = status.as_ref().and_then(status::reason).unwrap_or_default();
        let id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        self.span.in_scope(|| self.log(code, &reason, id, took));
    }

    fn log(&self, code: Code, reason: &str, request_id: &str, took: Duration) {
        let code = crate::metrics::code_name(code);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // A request that finds the vault sealed fails by no fault: whoever sealed it knows.
        if matches!(reason, "INTERNAL" | "CORRUPT" | "UNAVAILABLE" | "DISK_FULL") || reason.is_empty() && code == "INTERNAL" {
            let rpc = Metrics::name(self.place);
            tracing::error!(
                rpc,
                code,
                reason,
                request_id,
                duration_us = micros,
                "a request failed for a fault of the server's own"
            );
        } else {
            tracing::debug!(code, reason, request_id, duration_us = micros, "answered");
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.metrics.requests_in_flight.take_one();
        if !self.answered {
            // The caller has gone.
            self.metrics.answered(self.place, Code::Cancelled, self.began.elapsed());
        }
    }
}

const fn is_own_fault(code: Code) -> bool {
    matches!(code, Code::Internal | Code::DataLoss | Code::Unavailable | Code::Unknown)
}
