//! What went wrong in comparable vaults does not go wrong here: docs/peer-bugs.md says which test holds which fault.

mod files;
mod identity;
mod panic;
mod restart;
mod sizes;
mod strangers;
mod texts;

use anyhow::{Context as _, Result};
use coffer_client::Error;
use tonic::{Response, Status};

/// The reason of a refusal.
fn refusal<T>(answer: Result<Response<T>, Status>) -> Result<String> {
    let status = answer.err().context("it was not refused")?;
    Ok(Error::from(status).reason().to_owned())
}
