//! Files that only their owner may read: written atomically, refused where others could read or change them.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use crate::failure::{Failure, Result};

/// Bytes in a file of the command's own, at most.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// What others than the owner must not be able to do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Read or change it: it holds a credential.
    ToReaders,
    /// Change it: it says where credentials are sent.
    ToWriters,
}

impl Closed {
    const fn forbidden_bits(self) -> u32 {
        match self {
            Self::ToReaders => 0o077,
            Self::ToWriters => 0o022,
        }
    }

    const fn verb(self) -> &'static str {
        match self {
            Self::ToReaders => "read",
            Self::ToWriters => "change",
        }
    }
}

/// Reads a file of the user's own; none where there is no such file.
///
/// # Errors
/// A link, a file of somebody else's, one that others may open, or one over [`FILE_BYTES_MAX`] is refused.
pub fn read(path: &Path, closed: Closed) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let file = match rustix::fs::open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
    {
        Ok(descriptor) => File::from(descriptor),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => return Err(Failure::usage(format!("{} is a symbolic link", path.display()))),
        Err(error) => return Err(Failure::file("read", path, &error.into())),
    };
    let metadata = file.metadata().map_err(|error| Failure::file("read", path, &error))?;
    if !metadata.is_file() {
        return Err(Failure::usage(format!("{} is not a file", path.display())));
    }
    check(path, &metadata, closed)?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(Failure::usage(format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display())));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| Failure::file("read", path, &error))?;
    Ok(Some(bytes))
}

/// Writes a file with mode 0600 in one step: another process sees the old content or the new, and so does whoever
/// comes after a power cut. Makes the folder (0700) where it is missing.
///
/// # Errors
/// A folder that is somebody else's, or that others can write to, is refused.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error: io::Error| Failure::file("write", path, &error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| Failure::file("make", folder, &error))?;
    let metadata = fs::metadata(folder).map_err(|error| Failure::file("read", folder, &error))?;
    check(folder, &metadata, Closed::ToWriters)?;

    let temporary = temporary_name(path);
    drop(fs::remove_file(&temporary));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file =
        File::from(rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?);
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        drop(fs::remove_file(&temporary));
        return Err(failed(error));
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Removes a file; tells whether there was one.
///
/// # Errors
/// Where the file is there and cannot be removed.
pub fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::file("remove", path, &error)),
    }
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    name.into()
}

fn check(path: &Path, metadata: &fs::Metadata, closed: Closed) -> Result<()> {
    let path = path.display();
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Failure::usage(format!("{path} belongs to another user")));
    }
    if metadata.mode() & closed.forbidden_bits() != 0 {
        return Err(Failure::usage(format!(
            "others than you can {} {path}: its mode is {:04o}",
            closed.verb(),
            metadata.mode() & 0o7777
        ))
        .next(format!("chmod go= {path}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_read_back_with_mode_0600_in_a_folder_0700() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("coffer/session");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path, Closed::ToReaders).unwrap().unwrap().as_slice(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a temporary file was left");
        assert!(remove(&path).unwrap());
        assert!(!remove(&path).unwrap());
        assert!(read(&path, Closed::ToReaders).unwrap().is_none());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_command_that_closes_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("session");
        write(&path, b"x").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let failure = read(&path, Closed::ToReaders).unwrap_err();
            assert!(failure.next.as_deref().unwrap().starts_with("chmod go= "), "{mode:o}: {failure:?}");
            assert_eq!(read(&path, Closed::ToWriters).is_ok(), mode & 0o022 == 0, "{mode:o}");
        }
    }

    #[test]
    fn links_folders_and_oversized_files_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let (target, link) = (home.path().join("target"), home.path().join("link"));
        write(&target, b"x").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(read(&link, Closed::ToReaders).is_err());
        assert!(read(home.path(), Closed::ToReaders).is_err());
        write(&target, &vec![b'x'; usize::try_from(FILE_BYTES_MAX).unwrap()]).unwrap();
        assert!(read(&target, Closed::ToReaders).is_ok());
        write(&target, &vec![b'x'; usize::try_from(FILE_BYTES_MAX).unwrap() + 1]).unwrap();
        assert!(read(&target, Closed::ToReaders).is_err());
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_not_written_to() {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(write(&home.path().join("session"), b"x").is_err());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
