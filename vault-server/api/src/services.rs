//! The services of `coffer.v1`, a file each: what is particular to each RPC, and nothing else.

mod advisory;
mod audit;
mod auth;
mod cluster;
mod convert;
mod database;
mod gate;
mod grant;
mod health;
mod keys;
mod kubernetes;
mod kv;
mod lease;
mod mount;
mod operator;
mod pki;
mod place;
mod policy;
mod posture;
mod preview;
mod session;
mod snapshot;
mod system;
mod transit;
mod watch;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwapOption;
use coffer_core::limits::{ANSWER_BYTES_MAX, REQUEST_BYTES_MAX};
use coffer_proto::v1::{
    advisory_service_server::AdvisoryServiceServer, audit_service_server::AuditServiceServer,
    auth_service_server::AuthServiceServer, cluster_service_server::ClusterServiceServer,
    database_service_server::DatabaseServiceServer, gate_service_server::GateServiceServer,
    grant_service_server::GrantServiceServer, key_service_server::KeyServiceServer,
    kubernetes_service_server::KubernetesServiceServer, kv_service_server::KvServiceServer,
    lease_service_server::LeaseServiceServer, mount_service_server::MountServiceServer,
    operator_service_server::OperatorServiceServer, pki_service_server::PkiServiceServer,
    policy_service_server::PolicyServiceServer, posture_service_server::PostureServiceServer,
    preview_service_server::PreviewServiceServer, session_service_server::SessionServiceServer,
    snapshot_service_server::SnapshotServiceServer, system_service_server::SystemServiceServer,
    transit_service_server::TransitServiceServer, watch_service_server::WatchServiceServer,
};
use coffer_secret::SecretString;
use coffer_vault::Vault;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tonic::transport::{Server, server::Router};
use tonic_health::pb::health_server::HealthServer;

pub use self::health::Health;
use crate::{metrics::Metrics, strangers::Strangers};

/// What can be chosen about the API.
#[derive(Default)]
pub struct ApiConfig {
    /// The token that lets Init come from elsewhere than the local socket; none lets it not.
    pub setup_token: Option<SecretString>,
}

/// The API of a vault.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    vault: Arc<Vault>,
    setup_token: ArcSwapOption<SecretString>,
    strangers: Strangers,
    metrics: Arc<Metrics>,
    draining: AtomicBool,
    health_watches: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Api {
    /// The API of this vault.
    #[must_use]
    pub fn new(vault: Arc<Vault>, config: ApiConfig) -> Self {
        Self(Arc::new(Inner {
            vault,
            setup_token: ArcSwapOption::new(config.setup_token.map(Arc::new)),
            strangers: Strangers::default(),
            metrics: Arc::default(),
            draining: AtomicBool::new(false),
            health_watches: Arc::new(Semaphore::new(health::HEALTH_WATCHES_MAX)),
            tasks: TaskTracker::new(),
        }))
    }

    /// What is counted of requests, connections and logins.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Replaces the token that lets Init come from elsewhere than the local socket.
    pub fn set_setup_token(&self, token: Option<SecretString>) {
        self.0.setup_token.store(token.map(Arc::new));
    }

    /// Whether requests are answered.
    #[must_use]
    pub fn health(&self) -> Health {
        let vault = self.vault();
        let (initialised, sealed) = (vault.initialised(), vault.unsealed().is_err());
        Health { initialised, sealed, draining: self.0.draining.load(Ordering::Relaxed) }
    }

    /// Says to whoever asks about health that the server is about to stop. Requests go on being answered.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn vault(&self) -> &Arc<Vault> {
        &self.0.vault
    }

    pub(crate) fn is_setup_token(&self, given: &SecretString) -> bool {
        self.0.setup_token.load().as_ref().is_some_and(|token| token.same(given))
    }

    pub(crate) fn health_watches(&self) -> &Arc<Semaphore> {
        &self.0.health_watches
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    pub(crate) fn strangers(&self) -> &Strangers {
        &self.0.strangers
    }

    pub(crate) fn add_to<L: Clone>(&self, mut server: Server<L>) -> Router<L> {
        macro_rules! limited {
            ($service:ident) => {
                $service::new(self.clone())
                    .max_decoding_message_size(REQUEST_BYTES_MAX)
                    .max_encoding_message_size(ANSWER_BYTES_MAX)
            };
        }
        server
            .add_service(limited!(SystemServiceServer))
            .add_service(limited!(KeyServiceServer))
            .add_service(limited!(SnapshotServiceServer))
            .add_service(limited!(AuthServiceServer))
            .add_service(limited!(OperatorServiceServer))
            .add_service(limited!(SessionServiceServer))
            .add_service(limited!(ClusterServiceServer))
            .add_service(limited!(GrantServiceServer))
            .add_service(limited!(GateServiceServer))
            .add_service(limited!(AdvisoryServiceServer))
            .add_service(limited!(PreviewServiceServer))
            .add_service(limited!(PolicyServiceServer))
            .add_service(limited!(PostureServiceServer))
            .add_service(limited!(KvServiceServer))
            .add_service(limited!(MountServiceServer))
            .add_service(limited!(LeaseServiceServer))
            .add_service(limited!(DatabaseServiceServer))
            .add_service(limited!(KubernetesServiceServer))
            .add_service(limited!(PkiServiceServer))
            .add_service(limited!(TransitServiceServer))
            .add_service(limited!(WatchServiceServer))
            .add_service(limited!(AuditServiceServer))
            .add_service(limited!(HealthServer))
    }
}

/// The methods of a service whose RPCs are operations.
macro_rules! service {
    ($service:ident: $($method:ident($request:ident) -> $response:ident = $operation:ty;)*) => {
        #[tonic::async_trait]
        impl $service for $crate::services::Api {
            $(async fn $method(
                &self,
                request: tonic::Request<coffer_proto::v1::$request>,
            ) -> Result<tonic::Response<coffer_proto::v1::$response>, tonic::Status> {
                self.serve::<$operation>(request).await
            })*
        }
    };
}
pub(crate) use service;
