//! `grpc.health.v1.Health`: whether the vault answers requests, for load balancers and probes. Asked without a session.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::interval,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health as HealthService,
};

use super::Api;
use crate::rpc;

/// Health watches at once: they need no session. More are told to come later.
pub(crate) const HEALTH_WATCHES_MAX: usize = 64;
/// How often a health watch looks.
const LOOK: Duration = Duration::from_secs(1);

/// Whether the vault answers requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Whether it is initialised.
    pub initialised: bool,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Whether the server is about to stop.
    pub draining: bool,
}

impl Health {
    /// Whether requests are answered, now and presumably in a moment.
    #[must_use]
    pub const fn ready(self) -> bool {
        self.initialised && !self.sealed && !self.draining
    }
}

type Answer = Result<HealthCheckResponse, Status>;

#[tonic::async_trait]
impl HealthService for Api {
    type WatchStream = ReceiverStream<Answer>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match self.serving(&request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("there is no such service; empty asks about all")),
            status => Ok(Response::new(answer(status))),
        }
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let busy = |_| Status::resource_exhausted("there are many health watches already: try again later, or use Check");
        let place = Arc::clone(self.health_watches()).try_acquire_owned().map_err(busy)?;
        let (answers, receiver) = mpsc::channel(1);
        self.tasks().spawn(follow(self.clone(), request.into_inner().service, answers, place));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl Api {
    fn serving(&self, service: &str) -> ServingStatus {
        let known = |rpc: &rpc::Rpc| rpc.full_name().split_once('/').is_some_and(|(name, _)| name == service);
        if !service.is_empty() && !rpc::ALL.iter().any(known) {
            return ServingStatus::ServiceUnknown;
        }
        if self.health().ready() { ServingStatus::Serving } else { ServingStatus::NotServing }
    }
}

/// Tells the state, and each other that is seen. Ends when the server drains, once that is told.
async fn follow(api: Api, service: String, answers: mpsc::Sender<Answer>, _place: OwnedSemaphorePermit) {
    let (mut look, mut told) = (interval(LOOK), None);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = answers.closed() => return,
        }
        let (draining, now) = (api.health().draining, api.serving(&service));
        if told != Some(now) && answers.send(Ok(answer(now))).await.is_err() || draining {
            return;
        }
        told = Some(now);
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
