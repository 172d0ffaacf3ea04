//! Random bytes.

use crate::{
    exit::Exit,
    failure::{Failure, Result},
};

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    coffer_client::random_bytes().ok_or_else(|| Failure::new(Exit::Failed, "the system gives no random numbers"))
}
