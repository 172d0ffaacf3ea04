//! The gRPC face of the vault: parse, authenticate, authorise, audit, call, answer.
//!
//! `pipeline` owns the order of these steps for every RPC, so that no handler can forget one; [`rpc`] lists every RPC
//! with what it needs; the files of `services` hold only what is particular to each. [`listen`] and [`tls`] accept
//! connections.

mod callers;
mod handshakes;
mod intake;
pub mod listen;
pub mod metrics;
mod observe;
mod page;
mod peer;
mod pipeline;
pub mod rpc;
mod services;
mod status;
mod strangers;
pub mod tls;

pub use callers::ConnectionLimits;
pub use services::{Api, ApiConfig, Health};
