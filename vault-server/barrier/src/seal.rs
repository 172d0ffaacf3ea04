//! What protects the root key at rest.
//!
//! The root key is random and never changes with the seal: the seal's secret (a key put together from shares, or one in
//! a file) wraps it, so that changing the seal encrypts nothing anew. What is needed to unseal stands in one plain record,
//! the [`Header`]. [`Initialisation`] makes a vault; a [`Quorum`] collects shares, to [`unseal`] with or to
//! [prove](crate::Barrier::prove) a right; [`unseal_static`] unseals with a key; a [`Rekey`] changes the shares.

mod header;
mod init;
mod open;
mod quorum;
mod rekey;

pub(crate) use header::PLACE;
pub use header::{Header, SealKind};
pub use init::{InitError, Initialisation, Initialised, SealChoice};
pub use open::{UnsealError, unseal, unseal_static};
pub use quorum::{ATTEMPT_LIFETIME, Progress, Quorum, QuorumError, SealSecret, Taken};
pub use rekey::{NewShares, Rekey, RekeyError};
