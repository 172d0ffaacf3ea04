//! Why the engine refuses.

use coffer_barrier::BarrierError;
use coffer_core::limits::{TRANSIT_KEYS_MAX, TRANSIT_VERSIONS_MAX};

use super::KeyKind;

/// Why a key is not made, shown or changed.
#[derive(Debug, thiserror::Error)]
pub enum TransitError {
    /// A name that is not one.
    #[error("the name is not one")]
    Name,
    /// There is no key of this name.
    #[error("there is no key of this name in this mount")]
    NotFound,
    /// There is one already.
    #[error("there is a key of this name already")]
    Exists,
    /// It cannot be as it is wanted.
    #[error("{0}")]
    Setting(&'static str),
    /// The material is none of this type.
    #[error("this is not a key of the type {0}")]
    Material(KeyKind),
    /// The wrapped material cannot be unwrapped.
    #[error("the material is not an age file for this mount's wrapping key")]
    Wrapping,
    /// There are too many keys.
    #[error("there are {TRANSIT_KEYS_MAX} keys already")]
    TooMany,
    /// The key has too many versions.
    #[error("the key has {TRANSIT_VERSIONS_MAX} versions already: raise its minimum for decryption, then trim it")]
    TooManyVersions,
    /// The key may not be deleted.
    #[error("the key may not be deleted unless that is allowed first: what it encrypted would be lost")]
    Kept,
    /// A record cannot be read or written.
    #[error("a record cannot be read")]
    Record,
    /// No random numbers.
    #[error("no random numbers")]
    Random,
    /// The barrier failed.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
}

/// Why a key does not do what it is asked for one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UseError {
    /// Keys of this type do something else.
    #[error("a key of the type {0} does not do that")]
    Kind(KeyKind),
    /// The text is none of the vault's.
    #[error("this is not coffer:vN:BASE64")]
    Form,
    /// The version is not there.
    #[error("the key has no such version")]
    Version,
    /// The version is below the key's minimum.
    #[error("this version of the key is below the minimum that is set for it")]
    TooOld,
    /// It does not open.
    #[error("the ciphertext does not open: of another key, with other associated data, or damaged")]
    Open,
    /// A fault of the vault's own.
    #[error("the key cannot be used")]
    Fault,
}
