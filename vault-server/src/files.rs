//! Small files with something in them that opens something.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use anyhow::{Context, bail};
use coffer_crypto::key::Key;
use coffer_secret::{SecretArray, SecretString};

/// Bytes in such a file.
const FILE_BYTES_MAX: u64 = 4_096;

/// A token: the file's text without white space at its ends.
pub(crate) fn read_token(path: &Path) -> anyhow::Result<SecretString> {
    let text = read(path)?;
    Ok(SecretString::from(text.expose().trim().to_owned()))
}

/// A key: 64 hexadecimal digits.
pub(crate) fn read_key(path: &Path) -> anyhow::Result<Key> {
    let text = read_token(path)?;
    let key = SecretArray::try_zeroed_with(|bytes| hex::decode_to_slice(text.expose(), bytes));
    key.map(Key::from_array).map_err(|_| anyhow::anyhow!("{} does not hold a key: 64 hexadecimal digits", path.display()))
}

fn read(path: &Path) -> anyhow::Result<SecretString> {
    let metadata = fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
    if metadata.len() > FILE_BYTES_MAX {
        bail!("{} is too long to hold a key or a token", path.display());
    }
    if metadata.permissions().mode() & 0o007 != 0 {
        bail!("{} can be read by everybody: take the rights of others away (chmod o= {0})", path.display());
    }
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(SecretString::from(text))
}

/// Writes a file anew, whole or not at all, for its owner alone where `mode` says so.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let write = || {
        drop(fs::remove_file(&new));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        // Whatever the umask says.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}
