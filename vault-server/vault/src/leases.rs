//! Credentials that are made for whoever asks, and their leases: how long they last, and how they end.
//!
//! What is done outside is *intended*, *done* and *confirmed*: the lease is stored, with all that is needed to end the
//! credential, before the outside is touched; then the credential is made; then the lease is live, in one transaction with the
//! record of its release. A lease whose credential was not confirmed is ended as any other is, and ended once more some time
//! later, for an act whose answer was lost may still be under way. To end what is not there is no error, so that everything
//! can be done again after a stop at any moment.
//!
//! The store has leases by what they are of (`at`), by when something is to be done about them (`due`, a directory a second),
//! and by owner. Nothing of this is read at the start, and no more than what is due is in memory.

mod counts;
mod ending;
mod index;
mod issue;
mod owners;
mod record;
mod targets;
mod view;

pub use issue::Renewed;
pub use record::{LeaseName, LeaseState};
pub use view::{LeaseInfo, Which};

pub(crate) use counts::Changes;
pub(crate) use ending::{Endings, Why};
pub(crate) use issue::{Leased, NewLease, whole_second};
pub(crate) use record::{CREDENTIALS, LeaseRecord, Owner, Target};
pub(crate) use targets::{told, untold};

/// How often a write is tried again where others wrote meanwhile.
const ATTEMPTS_MAX: usize = 16;
