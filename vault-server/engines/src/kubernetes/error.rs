//! Why the engine refuses.

use coffer_barrier::BarrierError;
use coffer_core::limits::KUBERNETES_ROLES_MAX;

/// Why the engine refuses.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesEngineError {
    /// A part of a role cannot be.
    #[error("{0}")]
    Setting(&'static str),
    /// A limit is exceeded.
    #[error("{0}")]
    Limit(String),
    /// There is none of this name.
    #[error("there is no role of this name in the mount")]
    NotFound,
    /// There are too many.
    #[error("there are {KUBERNETES_ROLES_MAX} roles already")]
    TooMany,
    /// A record cannot be read or written.
    #[error("a record cannot be read")]
    Record,
    /// The barrier failed.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
}
