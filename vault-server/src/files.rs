//! Small files with something in them that opens something.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use anyhow::{Context, bail};
use coffer_crypto::key::Key;
use coffer_secret::{SecretArray, SecretString};

/// Bytes in such a file.
const FILE_BYTES_MAX: u64 = 4_096;
/// Bytes in a file of certificates, or of a key, PEM.
pub(crate) const PEM_BYTES_MAX: u64 = 1 << 20;

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
    if metadata.permissions().mode() & 0o007 != 0 {
        bail!("{} can be read by everybody: take the rights of others away (chmod o= {0})", path.display());
    }
    read_at_most(FILE_BYTES_MAX, path).map(SecretString::from)
}

/// Reads a file's text. What counts is what is read: a device says that it has no bytes, and gives them without end.
pub(crate) fn read_at_most(bytes_max: u64, path: &Path) -> anyhow::Result<String> {
    // With room for all of it: a text that grew would leave copies behind.
    let room = usize::try_from(bytes_max.min(FILE_BYTES_MAX)).unwrap_or_default().saturating_add(1);
    let mut text = String::with_capacity(room);
    let read = File::open(path).and_then(|file| file.take(bytes_max.saturating_add(1)).read_to_string(&mut text));
    let read = read.with_context(|| format!("{} cannot be read", path.display()))?;
    if u64::try_from(read).map_or(true, |read| read > bytes_max) {
        bail!("{} is larger than {bytes_max} bytes", path.display());
    }
    Ok(text)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit_and_refused_past_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (bytes, good) in [(100, true), (101, false)] {
            fs::write(file.path(), "x".repeat(bytes)).unwrap();
            assert_eq!(read_at_most(100, file.path()).is_ok(), good, "{bytes}");
        }
        let error = read_at_most(PEM_BYTES_MAX, Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(error, "/dev/zero is larger than 1048576 bytes");
    }
}
