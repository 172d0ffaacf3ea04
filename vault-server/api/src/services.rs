//! The services of `coffer.v1`, a file each: what is particular to each RPC, and nothing else.

mod audit;
mod auth;
mod cluster;
mod convert;
mod grant;
mod keys;
mod kv;
mod operator;
mod policy;
mod session;
mod snapshot;
mod system;
mod watch;

use std::sync::Arc;

use coffer_proto::v1::{
    audit_service_server::AuditServiceServer, auth_service_server::AuthServiceServer,
    cluster_service_server::ClusterServiceServer, grant_service_server::GrantServiceServer, key_service_server::KeyServiceServer,
    kv_service_server::KvServiceServer, operator_service_server::OperatorServiceServer,
    policy_service_server::PolicyServiceServer, session_service_server::SessionServiceServer,
    snapshot_service_server::SnapshotServiceServer, system_service_server::SystemServiceServer,
    watch_service_server::WatchServiceServer,
};
use coffer_secret::SecretString;
use coffer_vault::Vault;
use tonic::transport::{Server, server::Router};

use crate::strangers::Strangers;

/// Bytes in a request: the largest secret, and room for names.
pub(crate) const REQUEST_BYTES_MAX: usize = 2 << 20;
/// Bytes in an answer: the largest page, or the largest secret.
pub(crate) const ANSWER_BYTES_MAX: usize = 4 << 20;

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
    config: ApiConfig,
    strangers: Strangers,
}

impl Api {
    /// The API of this vault.
    #[must_use]
    pub fn new(vault: Arc<Vault>, config: ApiConfig) -> Self {
        Self(Arc::new(Inner { vault, config, strangers: Strangers::default() }))
    }

    pub(crate) fn vault(&self) -> &Arc<Vault> {
        &self.0.vault
    }

    pub(crate) fn config(&self) -> &ApiConfig {
        &self.0.config
    }

    pub(crate) fn strangers(&self) -> &Strangers {
        &self.0.strangers
    }

    pub(crate) fn add_to(&self, mut server: Server) -> Router {
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
            .add_service(limited!(PolicyServiceServer))
            .add_service(limited!(KvServiceServer))
            .add_service(limited!(WatchServiceServer))
            .add_service(limited!(AuditServiceServer))
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
