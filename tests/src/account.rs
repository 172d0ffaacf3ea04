//! Accounts of the system, for servers that refuse to be root.

use std::{fs, os::unix::fs::chown, path::Path};

use anyhow::{Context as _, Result};

/// The ids of an account and its group.
pub(crate) fn ids(account: &str) -> Result<(u32, u32)> {
    let accounts = fs::read_to_string("/etc/passwd")?;
    let fields = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.first() == Some(&account));
    let fields = fields.with_context(|| format!("there is no account {account}"))?;
    let id = |at: usize| anyhow::Ok(fields.get(at).context("an account without ids")?.parse()?);
    Ok((id(2)?, id(3)?))
}

/// Gives a file to an account.
pub(crate) fn own(path: &Path, (user, group): (u32, u32)) -> Result<()> {
    Ok(chown(path, Some(user), Some(group))?)
}
