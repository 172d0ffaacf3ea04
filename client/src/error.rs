//! Why a call failed, by who can do something about it.

use std::{error::Error as _, fmt};

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The domain of the vault's reasons in `google.rpc.ErrorInfo`.
const DOMAIN: &str = "coffer.dev";
/// Characters of a server's message that are kept.
const MESSAGE_CHARS_MAX: usize = 2_048;
/// Characters of a server's reason or request id that are kept.
const WORD_CHARS_MAX: usize = 64;

/// A failed call. `Display` is one sentence for a person; nothing in it is secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller's own settings or files: an address, a CA bundle, a token file. Nothing was sent.
    #[error("{0}")]
    Config(Box<Detail>),
    /// The vault's certificate is not from a CA in the bundle, or not for the name asked for. Nothing was sent.
    #[error("{0}")]
    Untrusted(Box<Detail>),
    /// The vault cannot be reached, did not answer in time, or is too busy.
    #[error("{0}")]
    Unavailable(Box<Detail>),
    /// The vault is sealed, or not initialised.
    #[error("{0}")]
    Sealed(Box<Detail>),
    /// No session, one that does not hold, or a refused login.
    #[error("{0}")]
    Unauthenticated(Box<Detail>),
    /// Not permitted; for what may be hidden also: not there.
    #[error("{0}")]
    Denied(Box<Detail>),
    /// What the caller may see is not there.
    #[error("{0}")]
    NotFound(Box<Detail>),
    /// The request is wrong, or past a limit.
    #[error("{0}")]
    Invalid(Box<Detail>),
    /// The state is another than the request was meant for.
    #[error("{0}")]
    Conflict(Box<Detail>),
    /// The vault's fault: stored data that do not open, or a bug.
    #[error("{0}")]
    Server(Box<Detail>),
}

/// Who can do something about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Blame {
    /// [`Error::Config`].
    Config,
    /// [`Error::Untrusted`].
    Untrusted,
    /// [`Error::Unavailable`].
    Unavailable,
    /// [`Error::Sealed`].
    Sealed,
    /// [`Error::Unauthenticated`].
    Unauthenticated,
    /// [`Error::Denied`].
    Denied,
    /// [`Error::NotFound`].
    NotFound,
    /// [`Error::Invalid`].
    Invalid,
    /// [`Error::Conflict`].
    Conflict,
    /// [`Error::Server`].
    Server,
}

/// What is known about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// The stable code: one of the vault's (docs/errors.md), or the client's own `CONFIG_INVALID`, `SERVER_UNTRUSTED`,
    /// `UNREACHABLE`, `DEADLINE_EXCEEDED`, `UNKNOWN`.
    pub reason: String,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// The request's id, to be found in the vault's audit log; none where nothing was answered.
    pub request_id: Option<String>,
    /// One sentence for a person.
    pub message: String,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error {
    /// Who can do something about it.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Config(_) => Blame::Config,
            Self::Untrusted(_) => Blame::Untrusted,
            Self::Unavailable(_) => Blame::Unavailable,
            Self::Sealed(_) => Blame::Sealed,
            Self::Unauthenticated(_) => Blame::Unauthenticated,
            Self::Denied(_) => Blame::Denied,
            Self::NotFound(_) => Blame::NotFound,
            Self::Invalid(_) => Blame::Invalid,
            Self::Conflict(_) => Blame::Conflict,
            Self::Server(_) => Blame::Server,
        }
    }

    /// What is known about it.
    #[must_use]
    pub const fn detail(&self) -> &Detail {
        match self {
            Self::Config(detail)
            | Self::Untrusted(detail)
            | Self::Unavailable(detail)
            | Self::Sealed(detail)
            | Self::Unauthenticated(detail)
            | Self::Denied(detail)
            | Self::NotFound(detail)
            | Self::Invalid(detail)
            | Self::Conflict(detail)
            | Self::Server(detail) => detail,
        }
    }

    /// The stable code, as in [`Detail`].
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.detail().reason
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        self.detail().retryable
    }

    /// The request's id, as in [`Detail`].
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.detail().request_id.as_deref()
    }

    /// Whether the session is the trouble, so that a new login may help.
    #[must_use]
    pub fn session_invalid(&self) -> bool {
        self.reason() == "SESSION_INVALID"
    }

    /// A fault in the caller's settings or files.
    #[must_use]
    pub fn config(message: impl Into<String>) -> Self {
        Self::Config(Detail::local("CONFIG_INVALID", false, message))
    }

    pub(crate) fn untrusted(message: impl Into<String>) -> Self {
        Self::Untrusted(Detail::local("SERVER_UNTRUSTED", false, message))
    }

    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::Unavailable(Detail::local("UNREACHABLE", true, message))
    }

    pub(crate) fn deadline() -> Self {
        Self::Unavailable(Detail::local("DEADLINE_EXCEEDED", true, "the vault did not answer in time"))
    }

    /// An answer that breaks the protocol.
    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::Server(Detail::local("UNKNOWN", false, message))
    }

    /// The same error under the same blame, for one more reader.
    pub(crate) fn duplicate(&self) -> Self {
        let detail = Box::new(self.detail().clone());
        match self {
            Self::Config(_) => Self::Config(detail),
            Self::Untrusted(_) => Self::Untrusted(detail),
            Self::Unavailable(_) => Self::Unavailable(detail),
            Self::Sealed(_) => Self::Sealed(detail),
            Self::Unauthenticated(_) => Self::Unauthenticated(detail),
            Self::Denied(_) => Self::Denied(detail),
            Self::NotFound(_) => Self::NotFound(detail),
            Self::Invalid(_) => Self::Invalid(detail),
            Self::Conflict(_) => Self::Conflict(detail),
            Self::Server(_) => Self::Server(detail),
        }
    }
}

impl Detail {
    fn local(reason: &str, retryable: bool, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { reason: reason.to_owned(), retryable, request_id: None, message: message.into() })
    }
}

impl From<Status> for Error {
    /// Reads the vault's answer, or what kept it from coming.
    fn from(status: Status) -> Self {
        if let Some(own) = own_error(&status) {
            return own;
        }
        let Some(info) = status.get_details_error_info().filter(|info| info.domain == DOMAIN) else {
            return without_reason(&status);
        };
        let detail = Box::new(Detail {
            retryable: info.metadata.get("retryable").is_some_and(|value| value == "true"),
            request_id: info.metadata.get("request_id").map(|id| word(id)),
            message: printable(status.message(), MESSAGE_CHARS_MAX),
            reason: word(&info.reason),
        });
        match info.reason.as_str() {
            "SEALED" | "NOT_INITIALISED" => Self::Sealed(detail),
            "SESSION_INVALID" | "LOGIN_REFUSED" => Self::Unauthenticated(detail),
            "NOT_FOUND_OR_DENIED" | "CONDITION_UNMET" | "SELF_GRANT" | "ROLE_NOT_HELD" | "LOCAL_ONLY" => Self::Denied(detail),
            "NOT_FOUND" => Self::NotFound(detail),
            "CONFLICT" | "ALREADY_EXISTS" | "ALREADY_INITIALISED" | "IDEMPOTENCY_MISMATCH" | "NONCE_MISMATCH" | "LAST_ADMIN" => {
                Self::Conflict(detail)
            }
            "UNAVAILABLE" | "DISK_FULL" | "BUSY" | "LOGIN_BUSY" | "KEYS_UNREACHABLE" | "TARGET_UNAVAILABLE" => {
                Self::Unavailable(detail)
            }
            "CORRUPT" | "INTERNAL" | "TARGET_REFUSED" => Self::Server(detail),
            _ => by_code(status.code(), detail),
        }
    }
}

/// The error that the connector or the deadline put into the status, if it was one of them.
fn own_error(status: &Status) -> Option<Error> {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(own) = error.downcast_ref::<Error>() {
            return Some(own.duplicate());
        }
        source = error.source();
    }
    None
}

/// An answer without the vault's reason: from HTTP/2, a proxy, or something that is no vault.
fn without_reason(status: &Status) -> Error {
    let text = printable(status.message(), MESSAGE_CHARS_MAX);
    match status.code() {
        Code::DeadlineExceeded => Error::deadline(),
        // tonic's own timer ends a call with CANCELLED.
        Code::Cancelled => Error::deadline(),
        Code::Unavailable => Error::unreachable(format!("the vault cannot be reached: {text}")),
        Code::Unknown | Code::Internal if status.source().is_some() => {
            Error::unreachable(format!("the connection to the vault broke: {text}"))
        }
        code => by_code(code, Detail::local("UNKNOWN", false, format!("the vault answered {code:?}: {text}"))),
    }
}

fn by_code(code: Code, detail: Box<Detail>) -> Error {
    match code {
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition | Code::Unimplemented => Error::Invalid(detail),
        Code::Unauthenticated => Error::Unauthenticated(detail),
        Code::PermissionDenied => Error::Denied(detail),
        Code::NotFound => Error::NotFound(detail),
        Code::AlreadyExists | Code::Aborted => Error::Conflict(detail),
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled => Error::Unavailable(detail),
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Error::Server(detail),
    }
}

/// At most `max` characters of a server's text, without what could steer a terminal or break a log line.
fn printable(text: &str, max: usize) -> String {
    text.chars().take(max).map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

/// A code or an id of a server: what does not look like one is dropped.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).take(WORD_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
