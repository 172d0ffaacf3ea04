//! What goes around every request that comes over the network: it has a turn among those under way, its bytes and those of
//! its answer are counted while they are in memory, and it must arrive in time. All this comes before any credential is
//! looked at.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use coffer_core::{
    limits::{REQUEST_BYTES_MAX, REQUEST_TIME_MAX},
    reason::Reason,
};
use coffer_vault::Failure;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::{
    Status,
    body::Body,
    codegen::{
        Bytes,
        http::{Request, Response},
    },
};
use tower::{Layer, Service};

use crate::{callers::Turn, peer::Caller, rpc, services::Api, status::status};

/// Puts [`Limited`] around the services.
#[derive(Clone)]
pub(crate) struct Intake {
    api: Api,
    /// The one RPC whose request is a stream, and has a time for each of its messages.
    streamed: Arc<str>,
}

impl Intake {
    pub(crate) fn new(api: &Api) -> Self {
        Self { api: api.clone(), streamed: format!("/{}", rpc::RESTORE_SNAPSHOT.full_name()).into() }
    }
}

impl<S> Layer<S> for Intake {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, intake: self.clone() }
    }
}

/// Services whose requests are limited.
#[derive(Clone)]
pub(crate) struct Limited<S> {
    inner: S,
    intake: Intake,
}

impl<S> Service<Request<Body>> for Limited<S>
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
        // Whoever is on the local socket is the server's own user.
        let Some(place) = request.extensions().get::<Caller>().and_then(|caller| caller.place.as_ref()) else {
            return Answering::Waits { answer: self.inner.call(request), turn: None };
        };
        let Some(turn) = place.request().map(Arc::new) else {
            return Answering::Refused(Some(refusal(&self.intake.api, Reason::Busy, TOO_MANY)));
        };
        let in_time = request.uri().path() != &*self.intake.streamed;
        let arriving = |body| {
            let (turn, api) = (Arc::clone(&turn), self.intake.api.clone());
            Body::new(Arriving { body, turn, api, in_time, clock: None })
        };
        let request = request.map(arriving);
        Answering::Waits { answer: self.inner.call(request), turn: Some(turn) }
    }
}

const TOO_MANY: &str = "too many requests under way from this address, or in all: try again";
const TOO_MUCH: &str = "too much of requests and answers in memory, for this address or in all: try again";
const TOO_SLOW: &str = "the request did not arrive in time";

fn refusal(api: &Api, reason: Reason, message: &'static str) -> Status {
    status(&Failure::new(reason, message), &api.vault().new_request_id().to_string())
}

/// An answer that is waited for, or a refusal.
pub(crate) enum Answering<F> {
    Waits { answer: F, turn: Option<Arc<Turn>> },
    Refused(Option<Status>),
}

impl<F, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<Body>, E>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match &mut *self {
            Self::Waits { answer, turn } => {
                let answered = ready!(Pin::new(answer).poll(context));
                let turn = turn.take();
                Poll::Ready(answered.map(|answer| match turn {
                    Some(turn) => answer.map(|body| Body::new(Leaving { body, turn, rest: Bytes::new() })),
                    None => answer,
                }))
            }
            Self::Refused(status) => {
                let status = status.take().unwrap_or_else(|| Status::internal("answered already"));
                Poll::Ready(Ok(status.into_http()))
            }
        }
    }
}

/// A request as it arrives.
struct Arriving {
    body: Body,
    turn: Arc<Turn>,
    api: Api,
    /// Whether all of it must be there in time.
    in_time: bool,
    /// Runs from the first time that something is waited for: most requests are there at once.
    clock: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Pending if this.in_time => {
                let clock = this.clock.get_or_insert_with(|| Box::pin(sleep(REQUEST_TIME_MAX)));
                ready!(clock.as_mut().poll(context));
                return Poll::Ready(Some(Err(refusal(&this.api, Reason::InvalidArgument, TOO_SLOW))));
            }
            other => return other,
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if !this.turn.take(bytes, REQUEST_BYTES_MAX) {
            return Poll::Ready(Some(Err(refusal(&this.api, Reason::Busy, TOO_MUCH))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of a piece that HTTP/2 copies together with what comes after it: from 256 on it sends each by itself.
const PIECE_BYTES_MAX: usize = 255;
/// Bytes that are cut into such pieces. Then an answer and its end leave by one call of the system, which costs more than
/// the copying.
const CUT_BYTES_MAX: usize = 2_048;

/// An answer as it leaves: the request is under way until its end.
struct Leaving {
    body: Body,
    turn: Arc<Turn>,
    /// What is left of what is cut into pieces.
    rest: Bytes,
}

impl Leaving {
    fn next_piece(&mut self) -> Bytes {
        self.rest.split_to(self.rest.len().min(PIECE_BYTES_MAX))
    }
}

impl http_body::Body for Leaving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if !this.rest.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(this.next_piece()))));
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        let mut leave = |bytes| {
            let held = this.turn.place().hold_answer(bytes, Instant::now());
            if held.len() > CUT_BYTES_MAX {
                return held;
            }
            this.rest = held;
            this.next_piece()
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(&mut leave))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}
