//! What goes wrong with records.

use coffer_store::StoreError;

use crate::key::KeyError;

/// The first and so far only version of the formats of this crate.
pub(crate) const FORMAT: u8 = 1;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why the barrier did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BarrierError {
    /// What was expected of a record does not hold; nothing was written.
    #[error("a record is not in the state that the change was meant for")]
    Conflict,
    /// The request breaks a limit; nothing was written.
    #[error("the request breaks a limit of the barrier: {0}")]
    Limit(&'static str),
    /// There is no such scope: its keyring was never made, or was deleted.
    #[error("there is no such scope")]
    NoScope,
    /// Changes since then are no longer kept: begin anew from what is stored now.
    #[error("changes since then are no longer kept")]
    Compacted,
    /// The store cannot be reached or written to; nothing was written.
    #[error("the store is unavailable")]
    Unavailable(#[source] Source),
    /// Whether the batch was written is not known.
    #[error("whether the batch was written is not known")]
    Unknown(#[source] Source),
    /// What is stored does not open: moved, changed, put back or damaged.
    #[error("what is stored does not open: {0}")]
    Corrupt(String),
    /// What is stored was written by a newer version of this program.
    #[error("what is stored has format version {found}; this program knows versions up to {FORMAT}")]
    Newer {
        /// The format version found.
        found: u8,
    },
    /// The caller's or the barrier's own fault.
    #[error("a fault of the vault's own: {0}")]
    Internal(&'static str),
}

impl BarrierError {
    /// Whether the cause is a disk without room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Unavailable(cause) | Self::Unknown(cause) if coffer_store::is_disk_full(&**cause))
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt(what.into())
    }
}

impl From<KeyError> for BarrierError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Segment => Self::Limit("bytes in a segment of a key"),
            KeyError::TooMany => Self::Limit("segments in a key"),
        }
    }
}

impl From<StoreError> for BarrierError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Conflict,
            StoreError::Limit(what) => Self::Limit(what),
            StoreError::Compacted => Self::Compacted,
            StoreError::Unknown(source) => Self::Unknown(source),
            StoreError::Unavailable(source) => Self::Unavailable(source),
            StoreError::Corrupt(what) => Self::Corrupt(what),
        }
    }
}
