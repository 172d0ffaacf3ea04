//! What the vault asks a Kubernetes API server: keys, token reviews, which pods live, tokens of service accounts.
//!
//! Start with [`ApiServer`]. `kube` brings the connection (TLS, service-account tokens that are renewed); requests and
//! answers are our own, so that every answer is bounded and no token is logged. What is made of the answers is in
//! `index`, apart from all that: it decides which pods are alive and which are gone, and takes no single answer for
//! mass death.
//!
//! The service account needs: `get`, `list` and `watch` on pods everywhere; `get` on the namespace `kube-system`;
//! `create` on `tokenreviews`; `get` on `/openid/v1/jwks`. What tokens need is in docs/kubernetes-tokens.md.

mod api;
mod cache;
mod http;
mod index;
mod object;
mod objects;
mod token;
mod watcher;
mod workload;

pub use self::api::{AUDIENCE_BYTES_MAX, ApiServer, ApiServerConfig, Review, ReviewedPod, TOKEN_BYTES_MAX};
pub use self::cache::{CacheStatus, GONE_EVENTS_KEPT, Known, PodCache, PodState, PodWorkload, STALE_SECS_MAX};
pub use self::http::{ApiError, CALL_SECS_MAX, JWKS_BYTES_MAX, fetch_jwks};
pub use self::index::{GONE_PODS_KEPT, LOSS_PODS_MIN, LOSS_SHARE, PODS_MAX};
pub use self::objects::OBJECT_BYTES_MAX;
pub use self::token::{Account, Made, MadeToken, Rule, TOKEN_ACT_SECS_MAX, TOKEN_SECS_MIN, TokenPlan};
pub use self::workload::{Container, Workload};
/// A level of Pod Security.
pub use coffer_checks::workload::Level;
