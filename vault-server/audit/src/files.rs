//! The few things that a log does to files, so that tests can stall them, fail them, and cut the power.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// How often it is looked whether the stall is over.
const STALL_POLL: Duration = Duration::from_millis(5);
/// Mode of files: the vault's user alone.
const FILE_MODE: u32 = 0o600;
/// Mode of folders.
const DIR_MODE: u32 = 0o700;

/// Where a log keeps its files.
pub trait Files: Send + 'static {
    /// Makes a folder, and those above it, where there is none.
    ///
    /// # Errors
    /// Those of the file system.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes an empty file to append to, in the place of one that may be there.
    ///
    /// # Errors
    /// Those of the file system.
    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>>;

    /// Opens a file to append to, after cutting it to `length` bytes.
    ///
    /// # Errors
    /// Those of the file system.
    fn open(&self, path: &Path, length: u64) -> io::Result<Box<dyn AppendFile>>;

    /// Gives a file another name in the same folder.
    ///
    /// # Errors
    /// Those of the file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file that grows at its end.
pub trait AppendFile: Send {
    /// Writes all the bytes at the end.
    ///
    /// # Errors
    /// Those of the file system; what was written of the bytes is not known then.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written durable: a loss of power after this loses none of it.
    ///
    /// # Errors
    /// Those of the file system; what is durable is not known then, and trying again proves nothing.
    fn sync(&mut self) -> io::Result<()>;
}

/// Files of the operating system.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// For tests only: while there is a file of this name, syncs wait.
    pub stall_file: Option<PathBuf>,
}

struct DiskFile {
    file: File,
    stall_file: Option<PathBuf>,
}

impl Disk {
    fn wrap(&self, file: File) -> Box<dyn AppendFile> {
        Box::new(DiskFile { file, stall_file: self.stall_file.clone() })
    }
}

impl Files for Disk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        // Appending, so that what comes behind another writer's bytes cannot overwrite them.
        let file = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(path)?;
        file.set_len(0)?;
        Ok(self.wrap(file))
    }

    fn open(&self, path: &Path, length: u64) -> io::Result<Box<dyn AppendFile>> {
        let file = OpenOptions::new().append(true).open(path)?;
        if file.metadata()?.len() != length {
            file.set_len(length)?;
        }
        Ok(self.wrap(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl AppendFile for DiskFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        while self.stall_file.as_deref().is_some_and(Path::exists) {
            std::thread::park_timeout(STALL_POLL);
        }
        self.file.sync_data()
    }
}
