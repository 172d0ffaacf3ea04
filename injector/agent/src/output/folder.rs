//! One folder of files, by its descriptor.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, OwnedFd},
};

use coffer_secret::SecretBytes;
use rustix::{
    fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid, fchown, fstat, fstatfs, openat, statat},
    io::Errno,
};

use super::{OutFile, OutputError};

/// f_type of tmpfs and ramfs: statfs(2).
const TMPFS_MAGIC: u32 = 0x0102_1994;
const RAMFS_MAGIC: u32 = 0x8584_58f6;
/// Names of other file systems that volumes are often on: statfs(2).
const NAMES: [(u32, &str); 6] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x794c_7630, "overlayfs"),
    (0x6969, "NFS"),
    (0x2fc1_2fc1, "zfs"),
];

pub(super) struct Folder {
    pub(super) fd: OwnedFd,
}

impl Folder {
    /// Makes a file, for its owner alone.
    pub(super) fn create(&self, name: &str, content: &SecretBytes) -> Result<File, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(content.expose()).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(file)
    }

    /// Reads a file of at most `max` bytes.
    pub(super) fn read(&self, name: &str, max: usize) -> io::Result<SecretBytes> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&self.fd, name, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        if !metadata.is_file() || length > max {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // One byte of room to spare: the buffer never grows, and so leaves no copy.
        let mut content = Vec::with_capacity(length + 1);
        let read = file.take(length as u64).read_to_end(&mut content);
        let content = SecretBytes::from(content);
        read.map(|_| content)
    }

    /// Whether the folder has these files and no others, with this content, mode and owner.
    pub(super) fn holds<'a>(
        &self,
        contents: impl Iterator<Item = (&'a OutFile, &'a SecretBytes)>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> bool {
        let mut count = 0;
        for (file, content) in contents {
            count += 1;
            let Ok(stat) = statat(&self.fd, file.name.as_str(), AtFlags::SYMLINK_NOFOLLOW) else { return false };
            let same = Mode::from_raw_mode(stat.st_mode) == Mode::from_raw_mode(file.mode)
                && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && uid.is_none_or(|uid| uid == stat.st_uid)
                && gid.is_none_or(|gid| gid == stat.st_gid)
                && self.read(&file.name, content.len()).is_ok_and(|held| held.same(content));
            if !same {
                return false;
            }
        }
        entries(&self.fd).len() == count
    }
}

/// Opens a folder in `base`, without following a link.
pub(super) fn open_folder(base: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    openat(base, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Gives a file to its owner. What is so already needs no permission.
pub(super) fn give(file: &File, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    let stat = fstat(file)?;
    let uid = uid.filter(|uid| *uid != stat.st_uid).map(Uid::from_raw);
    let gid = gid.filter(|gid| *gid != stat.st_gid).map(Gid::from_raw);
    match (uid, gid) {
        (None, None) => Ok(()),
        (uid, gid) => fchown(file, uid, gid),
    }
}

/// Fails unless the descriptor is on a file system that is memory. There is no setting that skips this.
pub(super) fn require_tmpfs(fd: impl AsFd, directory: &str) -> Result<(), OutputError> {
    let kind = fstatfs(fd)
        .map(|stat| u32::try_from(stat.f_type).unwrap_or_default())
        .map_err(|why| OutputError::Open { directory: directory.to_owned(), why: why.into() })?;
    if matches!(kind, TMPFS_MAGIC | RAMFS_MAGIC) {
        return Ok(());
    }
    let name = NAMES.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| (*name).to_owned());
    let found = name.unwrap_or_else(|| format!("a file system of type {kind:#x}"));
    Err(OutputError::NotTmpfs { directory: directory.to_owned(), found })
}

/// The names in a folder; none where it cannot be read.
pub(super) fn entries(folder: &OwnedFd) -> Vec<String> {
    let Ok(directory) = Dir::read_from(folder) else { return Vec::new() };
    directory
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
        .filter(|name| name != "." && name != "..")
        .collect()
}
