//! An OCI layout.

use std::{
    fs::File,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use super::Blobs;

pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Folder {
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        let name = Path::new(name);
        if !name.components().all(|component| matches!(component, Component::Normal(_))) {
            return Err(wrong("a name that leads elsewhere"));
        }
        let path = self.0.join(name);
        // A layout from elsewhere must not have this machine's files read.
        if path.symlink_metadata()?.is_file() { Ok(path) } else { Err(wrong("no file of the layout's own")) }
    }
}

impl Blobs for Folder {
    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(File::open(self.path(name)?)?))
    }

    fn size(&mut self, name: &str) -> io::Result<u64> {
        Ok(self.path(name)?.metadata()?.len())
    }
}
