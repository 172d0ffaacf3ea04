//! The typed client of a Coffer vault: TLS, login, retry, watch. For applications, the agent and the `coffer` command.
//!
//! Begin with [`Client::connect`]; a workload then logs in through [`SessionKeeper`], which also logs in again in
//! time. [`Client::kv_get`] reads a secret and [`Client::watch`] follows changes. Every other RPC is reached through
//! the generated clients, with the session attached: [`Client::kv`], [`Client::grants`] and so on.
//!
//! A connection is TLS 1.3 and always shows the client's certificate ([`Identity`]): the vault binds a session to
//! its key. Only certificates that chain to the CA bundle given are believed; the bundle is read again for every new
//! connection, so that it may change, and hold two CAs meanwhile. There is no switch that turns this off.
//!
//! What wiping does not reach: rustls, ring and HTTP/2 keep session keys, the identity's key and message buffers in
//! memory of their own, which they do not promise to wipe.

mod backoff;
mod client;
mod connection;
mod connector;
mod credential;
mod endpoint;
mod error;
mod identity;
mod keeper;
mod probe;
mod random;
mod secret;
mod watch;

pub use backoff::Backoff;
pub use client::{Client, MESSAGE_BYTES_MAX, Options, Session};
pub use connection::Connection;
pub use credential::{Credential, Lease, is_shared_credential, renew_after};
pub use error::{Blame, Detail, Error};
pub use identity::{Identity, IdentityError};
pub use keeper::{SERVICE_ACCOUNT_TOKEN_BYTES_MAX, SessionKeeper, WorkloadLogin};
pub use probe::{Place, Probe, place, probe};
pub use random::random_bytes;
pub use secret::Secret;
pub use watch::{Event, ResumeToken, WATCH_PATHS_MAX, Watch};

/// The generated messages and clients of `coffer.v1`.
pub use coffer_proto::v1 as proto;
