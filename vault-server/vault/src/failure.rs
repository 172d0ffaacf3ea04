//! Why a request failed, in words that may reach the caller.

use std::borrow::Cow;

use coffer_barrier::BarrierError;
use coffer_core::{path::PathError, principal::PrincipalError, reason::Reason};

/// Why a request failed: a stable code, and a sentence that holds no secret, no text from outside and nothing that
/// the caller may not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The code.
    pub reason: Reason,
    /// The sentence.
    pub message: Cow<'static, str>,
}

impl Failure {
    /// A failure with a fixed sentence.
    #[must_use]
    pub const fn new(reason: Reason, message: &'static str) -> Self {
        Self { reason, message: Cow::Borrowed(message) }
    }

    /// A failure with a sentence made of the caller's own input or of limits.
    #[must_use]
    pub const fn told(reason: Reason, message: String) -> Self {
        Self { reason, message: Cow::Owned(message) }
    }

    /// The request is malformed.
    #[must_use]
    pub const fn invalid(message: &'static str) -> Self {
        Self::new(Reason::InvalidArgument, message)
    }

    /// Not permitted, or not there. One value, so that the two cannot be told apart.
    #[must_use]
    pub const fn not_found_or_denied() -> Self {
        Self::new(Reason::NotFoundOrDenied, "not permitted, or not there")
    }

    /// A grant gives it on conditions that do not hold.
    #[must_use]
    pub fn condition_unmet(conditions: &str) -> Self {
        let message =
            format!("a grant gives this where {conditions} holds, which does not for this pod: coffer why tells the reason");
        Self::told(Reason::ConditionUnmet, message)
    }

    /// The vault has not heard yet what a grant's conditions are about.
    #[must_use]
    pub const fn not_heard_yet() -> Self {
        Self::new(
            Reason::Unavailable,
            "the vault has not heard of this pod or its node yet, which a grant's conditions are about; try again",
        )
    }

    /// A fault of the vault's own; what it was goes to the server's log.
    #[must_use]
    pub fn internal(what: &'static str) -> Self {
        tracing::error!(what, "internal fault");
        Self::new(Reason::Internal, "the vault made a mistake; its log says more")
    }

    /// The vault is sealed.
    #[must_use]
    pub const fn sealed() -> Self {
        Self::new(Reason::Sealed, "the vault is sealed")
    }

    /// The session does not hold.
    #[must_use]
    pub const fn session() -> Self {
        Self::new(Reason::SessionInvalid, "no valid session: log in")
    }

    /// The login failed. One value, so that nothing can be learned from it.
    #[must_use]
    pub const fn login() -> Self {
        Self::new(Reason::LoginRefused, "the login was refused")
    }

    /// The state is another than the one that the change was meant for.
    #[must_use]
    pub const fn conflict() -> Self {
        Self::new(Reason::Conflict, "it has changed meanwhile: read it again, then repeat the change")
    }

    /// Something the vault needs does not answer.
    #[must_use]
    pub const fn unavailable() -> Self {
        Self::new(Reason::Unavailable, "the vault cannot reach what it needs to answer; try again")
    }

    /// There is no room to record anything.
    #[must_use]
    pub const fn disk_full() -> Self {
        Self::new(
            Reason::DiskFull,
            "the disk of the vault's store or audit log is full, so nothing is answered: make room there, then restart the server",
        )
    }
}

impl From<BarrierError> for Failure {
    fn from(error: BarrierError) -> Self {
        match error {
            BarrierError::Conflict => Self::conflict(),
            BarrierError::Limit(_) => Self::new(Reason::LimitExceeded, "the request is too large for one transaction"),
            error @ (BarrierError::Corrupt(_) | BarrierError::Newer { .. }) => {
                tracing::error!(%error, "stored data do not open");
                Self::new(Reason::Corrupt, "stored data do not open; the server's log says which")
            }
            error if error.is_disk_full() => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store's disk is full");
                Self::disk_full()
            }
            error => {
                tracing::warn!(%error, "the store failed");
                Self::unavailable()
            }
        }
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        Self::told(Reason::PathInvalid, error.to_string())
    }
}

impl From<PrincipalError> for Failure {
    fn from(error: PrincipalError) -> Self {
        Self::told(Reason::InvalidArgument, error.to_string())
    }
}
