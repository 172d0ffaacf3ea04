//! Private folders in memory, for what must not reach a disk: on tmpfs, for their owner alone, gone afterwards.
//!
//! Each has a lock, held by the process that made it. What a killed process left is found by its lock being free, and is
//! removed by the next one that makes such a folder.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::{
    app::App,
    exit::Exit,
    failure::{Failure, Result},
};

/// Where Linux has memory to put files in, where the user has no folder of their own.
const SHARED_MEMORY: &str = "/dev/shm";
/// What `statfs` says of a tmpfs, and of a ramfs (linux/magic.h).
const MEMORY_MAGIC: [i64; 2] = [0x0102_1994, 0x8584_58f6];
/// The lock's name in a folder.
const LOCK: &str = ".lock";
/// Folders of one kind that are looked at to find what a killed process left.
const LEFT_MAX: usize = 1_024;

/// A private folder in memory. Its files are wiped and removed when it is dropped.
#[derive(Debug)]
pub(crate) struct MemoryFolder {
    path: PathBuf,
    _lock: File,
}

impl MemoryFolder {
    /// Makes a folder for one purpose, such as `run`, and removes what killed processes left of that kind.
    ///
    /// # Errors
    /// Where this machine has no memory that files can be put in.
    pub(crate) fn new(app: &App, kind: &str) -> Result<Self> {
        let parent = home(app)?.join(kind);
        private(&parent)?;
        remove_left(&parent);
        let random = coffer_client::random_bytes().unwrap_or_default();
        let name = format!("{}-{:016x}", std::process::id(), u64::from_be_bytes(random));
        Self::at(parent.join(name))
    }

    /// Makes the folder of this path, which has a private parent in memory.
    ///
    /// # Errors
    /// Where the folder is there already, or cannot be made.
    pub(crate) fn at(path: PathBuf) -> Result<Self> {
        let failed = |error: io::Error| Failure::file("make", &path, &error);
        DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::open(path.join(LOCK), flags, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| failed(error.into()))?;
        let folder = Self { path, _lock: lock.into() };
        is_memory(&folder.path)?;
        Ok(folder)
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, with a mode.
    ///
    /// # Errors
    /// Where there is one already, or no room.
    pub(crate) fn write(&self, name: &str, bytes: &[u8], mode: Mode) -> Result<PathBuf> {
        let path = self.path.join(name);
        let failed = |error: io::Error| Failure::file("write", &path, &error);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, mode).map_err(|error| failed(error.into()))?;
        File::from(file).write_all(bytes).map_err(failed)?;
        Ok(path)
    }

    /// Writes files, with a mode, in place of those that are there: whoever opens one finds all of the old or all of the
    /// new. Where one cannot be written, none is replaced.
    ///
    /// # Errors
    /// Where there is no room.
    pub(crate) fn replace<'a>(&self, files: impl Iterator<Item = (&'a str, &'a [u8])>, mode: Mode) -> Result<()> {
        let (mut written, mut failed) = (Vec::new(), None);
        for (number, (name, bytes)) in files.enumerate() {
            // No file that is asked for begins with a dot.
            let new = format!(".new-{number}");
            let made = self.write(&new, bytes, mode);
            written.push((self.path.join(new), self.path.join(name)));
            if let Err(failure) = made {
                failed = Some(failure);
                break;
            }
        }
        for (new, old) in written {
            let done = if failed.is_some() { fs::remove_file(&new) } else { fs::rename(&new, &old) };
            if let (Err(error), None) = (done, &failed) {
                failed = Some(Failure::file("write", &old, &error));
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

impl Drop for MemoryFolder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// The folder in which this user's private folders are.
///
/// # Errors
/// Where this machine has no memory that files can be put in.
pub(crate) fn home(app: &App) -> Result<PathBuf> {
    let runtime = app.environment.runtime.as_deref().filter(|runtime| is_memory(runtime).is_ok());
    let home = match runtime {
        Some(runtime) => runtime.join("coffer"),
        None => {
            is_memory(Path::new(SHARED_MEMORY))?;
            Path::new(SHARED_MEMORY).join(format!("coffer-{}", rustix::process::geteuid().as_raw()))
        }
    };
    private(&home)?;
    Ok(home)
}

/// Makes a folder for its owner alone, or finds it to be one.
///
/// # Errors
/// Where it is another's, a link, or open to others.
pub(crate) fn private(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(|error| Failure::file("make", path, &error))?,
    }
    let found = fs::symlink_metadata(path).map_err(|error| Failure::file("read", path, &error))?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o077 != 0 {
        return Err(Failure::usage(format!("{} is not a folder of yours alone", path.display()))
            .why("somebody else made it, or it is open to others: its mode must be 0700")
            .next(format!("look at it, and remove it or close it: chmod 700 {}", path.display())));
    }
    Ok(())
}

/// Finds a path to be in memory.
///
/// # Errors
/// Where it is on a disk, or not there.
pub(crate) fn is_memory(path: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = rustix::fs::open(path, flags, Mode::empty()).and_then(rustix::fs::fstatfs);
    match found {
        Ok(found) if MEMORY_MAGIC.contains(&found.f_type) => Ok(()),
        Ok(_) => Err(not_memory(format!("{} is on a disk, not in memory", path.display()))),
        Err(error) => Err(not_memory(format!("{} cannot be used: {}", path.display(), crate::failure::plain(&error.into())))),
    }
}

fn not_memory(what: String) -> Box<Failure> {
    Failure::new(Exit::Failed, what)
        .why("values are put into files on tmpfs only, which are gone with the machine's power")
        .next("log in so that XDG_RUNTIME_DIR is set, or mount a tmpfs at /dev/shm")
}

/// Whether a process holds the folder's lock.
pub(crate) fn is_held(folder: &Path) -> bool {
    let Ok(lock) = rustix::fs::open(folder.join(LOCK), OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) else {
        return false;
    };
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// Removes what killed processes left. One that is being made has no lock yet for a moment: it is left alone while its
/// process lives.
fn remove_left(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.take(LEFT_MAX).flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.split_once('-')).map_or("", |(process, _)| process).to_owned();
        let lives = !process.is_empty() && Path::new("/proc").join(process).exists();
        let locked = entry.path().join(LOCK).exists();
        if !is_held(&entry.path()) && (locked || !lives) {
            remove(&entry.path());
        }
    }
}

/// Wipes the files of a folder and removes it. There is nobody to tell where that fails.
pub(crate) fn remove(folder: &Path) {
    wipe(folder, 0);
    drop(fs::remove_dir_all(folder));
}

/// Overwrites files: on tmpfs that reaches the very pages.
fn wipe(folder: &Path, depth: usize) {
    const DEPTH_MAX: usize = 8;
    const ZEROES: [u8; 4_096] = [0; 4_096];
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < DEPTH_MAX {
            wipe(&entry.path(), depth + 1);
        } else if kind.is_file() {
            // A file of mode 0400 is its owner's to open for writing, once it may be written.
            let path = entry.path();
            if rustix::fs::chmod(&path, Mode::RUSR | Mode::WUSR).is_err() {
                continue;
            }
            let Ok(mut file) = File::options().write(true).open(&path) else { continue };
            let mut left = file.metadata().map_or(0, |metadata| metadata.len());
            while left > 0 {
                let length = usize::try_from(left).unwrap_or(ZEROES.len()).min(ZEROES.len());
                if file.write_all(ZEROES.get(..length).unwrap_or_default()).is_err() {
                    break;
                }
                left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent() -> tempfile::TempDir {
        tempfile::Builder::new().prefix("coffer-").tempdir_in(SHARED_MEMORY).unwrap()
    }

    #[test]
    fn a_folder_is_for_its_owner_alone_and_gone_when_dropped() {
        let parent = parent();
        let folder = MemoryFolder::at(parent.path().join("1-a")).unwrap();
        let file = folder.write("value", b"canary", Mode::RUSR).unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o400);
        assert!(folder.write("value", b"again", Mode::RUSR).is_err());
        // What held the file open sees that it was wiped.
        let mut open = File::open(&file).unwrap();
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
        assert_eq!(io::read_to_string(&mut open).unwrap(), "\0".repeat(6));
    }

    #[test]
    fn files_are_replaced_together_or_not_at_all() {
        let parent = parent();
        let folder = MemoryFolder::at(parent.path().join("1-a")).unwrap();
        let long = "n".repeat(255);
        let replace = |files: &[(&str, &str)]| {
            let files = files.iter().map(|(name, text)| (*name, text.as_bytes()));
            folder.replace(files, Mode::RUSR)
        };
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        replace(&[("a", "one"), (&long, "two")]).unwrap();
        let mut open = File::open(folder.path().join("a")).unwrap();
        replace(&[("a", "three")]).unwrap();
        assert_eq!((read("a").as_str(), read(&long).as_str()), ("three", "two"));
        assert_eq!(io::read_to_string(&mut open).unwrap(), "one", "who has it open reads on");
        assert_eq!(fs::metadata(folder.path().join("a")).unwrap().mode() & 0o777, 0o400);
        // What is in the way of the second's making keeps the first as it was.
        fs::create_dir(folder.path().join(".new-1")).unwrap();
        assert!(replace(&[("a", "four"), (&long, "five")]).is_err());
        assert_eq!((read("a").as_str(), read(&long).as_str()), ("three", "two"));
        assert!(!folder.path().join(".new-0").exists());
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_is_not() {
        let parent = parent();
        let held = MemoryFolder::at(parent.path().join("1-held")).unwrap();
        let made = parent.path().join("1-being-made");
        fs::create_dir(&made).unwrap();
        let left = parent.path().join("1-left");
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        let dead = parent.path().join("999999999-dead");
        fs::create_dir(&dead).unwrap();
        remove_left(parent.path());
        assert!(held.path().exists() && made.exists());
        assert!(!left.exists() && !dead.exists());
    }

    #[test]
    fn a_folder_of_others_or_on_a_disk_is_refused() {
        let parent = parent();
        let open = parent.path().join("open");
        DirBuilder::new().mode(0o755).create(&open).unwrap();
        assert!(private(&open).unwrap_err().next.unwrap().contains("chmod 700"));
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(parent.path(), &link).unwrap();
        assert!(private(&link).is_err());
        assert!(is_memory(Path::new("/proc")).unwrap_err().what.contains("on a disk"));
        assert!(is_memory(parent.path()).is_ok());
    }
}
