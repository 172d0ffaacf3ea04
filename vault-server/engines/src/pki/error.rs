//! What goes wrong with certificates.

use std::borrow::Cow;

use coffer_barrier::{BarrierError, encoding::EncodingError};
use coffer_crypto::x509::X509Error;

/// Why a request failed. Says nothing of keys.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// There is none of this name.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// There is one already.
    #[error("there is an {0} of this name already")]
    Exists(&'static str),
    /// It is not in the state that the change was meant for.
    #[error("it is not in the state that the change was meant for")]
    Etag,
    /// What is asked for is not what the role allows, or makes no sense.
    #[error("{0}")]
    Refused(Cow<'static, str>),
    /// A limit is exceeded.
    #[error("{0}")]
    Limit(String),
    /// Something of X.509 cannot be used.
    #[error("{what} cannot be used: {error}")]
    X509 {
        /// What.
        what: &'static str,
        /// Why.
        error: X509Error,
    },
    /// The barrier's error. [`BarrierError::Conflict`] says that something was written meanwhile: try again.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
}

impl PkiError {
    pub(super) fn damaged(what: &str) -> Self {
        BarrierError::Corrupt(what.to_owned()).into()
    }

    pub(super) const fn refused(why: &'static str) -> Self {
        Self::Refused(Cow::Borrowed(why))
    }

    pub(super) const fn told(why: String) -> Self {
        Self::Refused(Cow::Owned(why))
    }

    /// Something that was handed in.
    pub(super) fn given(what: &'static str) -> impl FnOnce(X509Error) -> Self {
        move |error| match error {
            X509Error::Unsigned => BarrierError::Internal("no random numbers").into(),
            error => Self::X509 { what, error },
        }
    }

    /// Something that the vault made itself.
    pub(super) fn own(error: X509Error) -> Self {
        match error {
            X509Error::Unsigned => BarrierError::Internal("no random numbers").into(),
            _ => Self::damaged("a key or a certificate of the pki engine"),
        }
    }
}

impl From<EncodingError> for PkiError {
    fn from(_: EncodingError) -> Self {
        BarrierError::Internal("a record that cannot be encoded").into()
    }
}
