//! Folders in memory.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// Where Linux has memory to put files in: a tmpfs on every distribution, and in containers.
const MEMORY: &str = "/dev/shm";
/// What `statfs` says of a tmpfs (linux/magic.h).
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// A new folder on tmpfs, removed when it is dropped.
///
/// # Errors
/// Where this machine has no tmpfs at `/dev/shm`.
pub fn folder() -> Result<TempDir> {
    ensure!(is_tmpfs(Path::new(MEMORY))?, "{MEMORY} is not a tmpfs");
    tempfile::Builder::new().prefix("coffer-").tempdir_in(MEMORY).context("no folder can be made in memory")
}

/// Whether a path lies on tmpfs.
///
/// # Errors
/// Where there is no such path.
pub fn is_tmpfs(path: &Path) -> Result<bool> {
    let filesystem = rustix::fs::statfs(path).with_context(|| format!("{} cannot be looked at", path.display()))?;
    Ok(filesystem.f_type == TMPFS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_memory_is_on_tmpfs_and_goes_when_dropped() {
        let folder = folder().unwrap();
        let path = folder.path().to_owned();
        assert!(is_tmpfs(&path).unwrap());
        assert!(!is_tmpfs(Path::new("/proc")).unwrap());
        drop(folder);
        assert!(!path.exists());
    }
}
