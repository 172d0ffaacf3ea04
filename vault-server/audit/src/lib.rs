//! The audit log: append-only Merkle tree with signed checkpoints, and its verifier.
//!
//! One log belongs to one node of one vault. Entries are lines of JSON and the leaves of an RFC 6962 tree; checkpoints
//! are C2SP signed notes that also hold the store's revision. docs/audit.md describes the files.
//!
//! - The server writes: [`log::Log`]. [`append`](log::Log::append) returns when the record is durable and not before;
//!   after any failure the log records nothing more, so that nothing more can be answered.
//! - Anybody verifies, offline: [`verify`](mod@verify) a folder, or one [`receipt`] apart from it. These parts need
//!   plain files and nothing of the server: no runtime, no store.
//! - [`record`] is what an entry says, [`merkle`], [`note`] and [`checkpoint`] are what it stands on.
//!
//! What it does not do: keep values of secrets in any form but hashes under a tenant's key, delete or thin out old
//! entries, or notice by itself that its newest entries and checkpoints were all taken away together: for that the
//! store keeps the newest checkpoint ([`log::Log::compare`]), and so can anybody else ([`verify::Trust`]).

pub mod checkpoint;
pub mod fault;
pub mod files;
pub mod format;
pub mod log;
pub mod merkle;
pub mod note;
pub mod receipt;
pub mod record;
mod scan;
pub mod verify;

pub use scan::{Torn, notes::Signed};
