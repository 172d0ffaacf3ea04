//! What goes wrong with secrets.

use coffer_barrier::{BarrierError, encoding::EncodingError};

use super::VersionState;

/// Why a request failed. Says nothing of values.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// The path names a mount, not a secret in it.
    #[error("the path names no secret: it is a mount's, or too long")]
    Path,
    /// There is no such secret, or no such version of it.
    #[error("there is no such secret or version")]
    NotFound,
    /// The version is not live.
    #[error("version {version} cannot be read: it is {state}")]
    Gone {
        /// The version.
        version: u64,
        /// What it is.
        state: VersionState,
    },
    /// The newest version is not the expected one.
    #[error("the newest version is {newest}, which is not the expected one")]
    Version {
        /// The newest version; 0 for none.
        newest: u64,
    },
    /// The secret is not in the state that the change was meant for.
    #[error("the secret is not in the state that the change was meant for")]
    Etag,
    /// Writes of this secret must say which version they expect.
    #[error("writes of this secret must say which version they expect")]
    CasRequired,
    /// A limit is exceeded, or something is missing.
    #[error("the request breaks a limit: {0}")]
    Limit(&'static str),
    /// The barrier's error. [`BarrierError::Conflict`] says that something was written meanwhile: try again.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
}

impl KvError {
    pub(super) fn damaged(what: &str) -> Self {
        BarrierError::Corrupt(what.to_owned()).into()
    }
}

impl From<EncodingError> for KvError {
    fn from(_: EncodingError) -> Self {
        BarrierError::Internal("a record that cannot be encoded").into()
    }
}
