//! The rules of the vault, apart from everything they are applied to: paths, principals, policy, sessions, limits.
//!
//! Nothing here does I/O, waits, or knows the time: the caller brings what is needed. Start with [`path`] (what is
//! asked for), [`principal`] (who asks), [`session`] (how they are known) and [`policy`] (whether they may).

#[macro_use]
mod text;

pub mod action;
pub mod clock;
pub mod digest;
pub mod id;
pub mod limits;
pub mod measure;
pub mod path;
pub mod policy;
pub mod principal;
pub mod reason;
pub mod recent;
pub mod session;
