//! Secret engines: kv, database, kubernetes, pki, transit.
//!
//! An engine turns requests into records of the barrier. It keys everything by immutable ids, so that what is destroyed
//! and made again under the same name inherits nothing. A write is planned, not done: the caller adds what else must be
//! written with it (its audit record, for one) to the [`Planned`] batch, and commits that.

pub mod database;
pub mod kubernetes;
pub mod kv;
pub mod pki;
mod prepared;
pub mod transit;

use coffer_barrier::Batch;

pub use prepared::PREPARED_MAX;

/// A write that is ready to be committed.
///
/// Where [`coffer_barrier::BarrierError::Conflict`] is the answer, something was written meanwhile: plan again.
#[derive(Debug)]
pub struct Planned<T> {
    /// What is to be written. The caller may append to it.
    pub batch: Batch,
    /// The answer, once it is written.
    pub outcome: T,
}
