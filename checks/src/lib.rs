//! Checks of hosts, images and workloads, on which it depends whether a secret is released.
//!
//! Facts are gathered apart: a [`Check`] is looked at by a pure function from facts to a [`Judgement`], so that it can be tested on
//! recorded facts, and so that the vault can judge what somebody else has gathered. What could not be found out is
//! [`Status::Unknown`], which never counts as passed.

pub mod access;
mod check;
mod exception;
mod finding;
pub mod host;
mod name;
pub mod workload;

pub use check::{Check, Severity, Tier};
pub use exception::{
    Day, EXCEPTION_TEXT_BYTES_MAX, EXCEPTIONS_MAX, Exception, ExceptionError, Exceptions, PACKAGES_CHECK, is_about,
};
pub use finding::{Finding, Judgement, Report, Status};
pub use name::is_secret_name;
