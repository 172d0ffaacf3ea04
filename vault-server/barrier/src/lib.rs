//! Everything that enters the store is encrypted here, names included; the seal guards its root key.
//!
//! A [`Barrier`] exists only while the vault is unsealed and owns the keys: dropping it is sealing. Above it, records
//! are named by [`RecordKey`]s and written in [`Batch`]es; below it, the store sees opaque keys and values, and one plain
//! [`seal::Header`] that says how to unseal. A record that is moved, swapped with another, put back or changed in the
//! store does not open. What is not noticed here: a whole store put back, or one record put back beneath the store
//! together with its version number; the audit log's checkpoints notice the first.
//!
//! Start with [`Barrier`] and [`seal`].

mod barrier;
mod batch;
mod directories;
pub mod encoding;
mod envelope;
mod erase;
mod error;
mod feed;
mod key;
mod keyring;
mod keyrings;
mod listing;
mod listings;
mod plan;
mod rewrap;
mod root;
pub mod seal;
pub mod snapshot;

pub use barrier::Barrier;
pub use batch::{BATCH_SCOPES_MAX, BATCH_STEPS_MAX, Batch, Expect, Record};
pub use coffer_crypto::derive::Label;
pub use coffer_store::{Revision, Store};
pub use error::BarrierError;
pub use feed::{Change, Changes};
pub use key::{KeyError, PhysicalKey, RecordKey, SEGMENT_BYTES_MAX, SEGMENTS_MAX, Scope};
pub use keyring::{TERMS_MAX, Term};
pub use keyrings::KEYRINGS_MAX;
pub use listing::{CHILDREN_BYTES_MAX, CHILDREN_MAX, Child};
pub use rewrap::{REWRAP_ENTRIES, Rewrapped, Survey};
