//! The folder with the files: on tmpfs or not at all, and swapped as one, the way the kubelet does it.
//!
//! ```text
//! password          -> ..data/password
//! ..data            -> ..2026_11_23_22_09_33_123456789
//! ..2026_11_23_22_09_33_123456789/password
//! ```
//!
//! A change writes all files into a new folder and renames a link over `..data`: a reader sees all old files or all
//! new ones. Everything is done relative to one descriptor, opened without following a link, whose file system was
//! asked for: what is planted under the names afterwards leads nowhere.

mod folder;

use std::{collections::BTreeSet, io, os::fd::OwnedFd, path::PathBuf, time::SystemTime};

use coffer_secret::SecretBytes;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, open, readlinkat, renameat, statat, symlinkat, unlinkat},
    io::Errno,
};

use crate::{config::Output, render::FILE_BYTES_MAX};
use folder::{Folder, entries, open_folder, require_tmpfs};

/// The link to the folder that holds.
const DATA: &str = "..data";
/// The same, before it is renamed.
const DATA_NEW: &str = "..data_tmp";
/// A file's link, before it is renamed.
const LINK_NEW: &str = "..link_tmp";

/// A file to have.
pub(crate) struct OutFile {
    pub(crate) name: String,
    pub(crate) mode: u32,
    pub(crate) content: Content,
}

/// What is in it.
pub(crate) enum Content {
    /// This.
    New(SecretBytes),
    /// What is in it now.
    Keep,
}

/// What a write did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The files hold something else now.
    Changed,
    /// All was so already: nothing was touched.
    Same,
}

/// Why files cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    #[error(
        "{directory} is on {found}, not on tmpfs: secrets are never written where they could reach a disk. Mount a \
         memory-backed volume there: emptyDir: {{medium: Memory, sizeLimit: 1Mi}}"
    )]
    NotTmpfs { directory: String, found: String },
    #[error(
        "{directory} cannot be opened: {why}. Mount a memory-backed volume there: emptyDir: {{medium: Memory, sizeLimit: 1Mi}}"
    )]
    Open { directory: String, why: io::Error },
    #[error(
        "{directory}/{name} is in the way: it is no link of the agent's, and the agent does not replace what it did not \
         make. Remove it, or choose another name"
    )]
    InTheWay { directory: String, name: String },
    #[error("{directory} is full: raise sizeLimit of the memory-backed volume, or the memory limit of the pod")]
    Full { directory: String },
    #[error(
        "{name} cannot be given to uid {uid:?} and gid {gid:?}: {why}. Run the agent as that user (securityContext.\
         runAsUser, runAsGroup), or leave uid and gid out"
    )]
    Owner { name: String, uid: Option<u32>, gid: Option<u32>, why: io::Error },
    #[error("{name} is to be kept as it is, and cannot be read: {why}")]
    Keep { name: String, why: io::Error },
    #[error("{directory}: {what}: {why}")]
    Other { directory: String, what: &'static str, why: io::Error },
}

/// The folder with the files.
pub(crate) struct OutputDir {
    base: OwnedFd,
    path: PathBuf,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl OutputDir {
    /// Opens the folder, which must be there, no link, and on tmpfs.
    pub(crate) fn open(output: &Output) -> Result<Self, OutputError> {
        let directory = output.directory.display().to_string();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let base = open(&output.directory, flags, Mode::empty())
            .map_err(|why| OutputError::Open { directory: directory.clone(), why: why.into() })?;
        require_tmpfs(&base, &directory)?;
        Ok(Self { base, path: output.directory.clone(), uid: output.uid, gid: output.gid })
    }

    /// Makes the folder hold exactly these files. On an error it holds what it held.
    pub(crate) fn write(&self, files: &[OutFile]) -> Result<Written, OutputError> {
        self.check_names(files)?;
        let current = self.current();
        let kept = self.kept(files, current.as_ref())?;
        let contents = || {
            files.iter().zip(&kept).filter_map(|(file, kept)| match (&file.content, kept) {
                (Content::New(content), _) | (Content::Keep, Some(content)) => Some((file, content)),
                (Content::Keep, None) => None,
            })
        };
        if let Some(folder) = &current
            && folder.holds(contents(), self.uid, self.gid)
        {
            self.link(files)?;
            return Ok(Written::Same);
        }
        let name = self.make_folder()?;
        if let Err(error) = self.fill(&name, contents()).and_then(|()| self.replace_link(DATA_NEW, DATA, &name)) {
            self.remove_folder(&name);
            return Err(error);
        }
        self.link(files)?;
        self.clean(&name, files);
        Ok(Written::Changed)
    }

    /// The names, among these, that have no file. May be asked by a process that cannot read the files.
    pub(crate) fn missing<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let current = self.current();
        let has = |name: &str| {
            let stat = current.as_ref().and_then(|folder| statat(&folder.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok());
            stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) && self.is_own_link(name)
        };
        names.filter(|name| !has(name)).collect()
    }

    /// The folder that `..data` names: one of ours, here, and no link.
    fn current(&self) -> Option<Folder> {
        let name = readlinkat(&self.base, DATA, Vec::new()).ok()?.into_string().ok()?;
        if !is_folder_name(&name) {
            return None;
        }
        let fd = open_folder(&self.base, &name).ok()?;
        Some(Folder { fd })
    }

    /// What files to be kept hold now.
    fn kept(&self, files: &[OutFile], current: Option<&Folder>) -> Result<Vec<Option<SecretBytes>>, OutputError> {
        let read = |file: &OutFile| match file.content {
            Content::New(_) => Ok(None),
            Content::Keep => {
                let folder = current.ok_or_else(|| io::ErrorKind::NotFound.into());
                folder
                    .and_then(|folder| folder.read(&file.name, FILE_BYTES_MAX))
                    .map(Some)
                    .map_err(|why| OutputError::Keep { name: file.name.clone(), why })
            }
        };
        files.iter().map(read).collect()
    }

    fn check_names(&self, files: &[OutFile]) -> Result<(), OutputError> {
        for file in files {
            match statat(&self.base, file.name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {}
                Ok(_) => return Err(self.in_the_way(&file.name)),
                Err(why) => return Err(self.other("a name cannot be looked at", why)),
            }
        }
        match statat(&self.base, DATA, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink => Err(self.in_the_way(DATA)),
            _ => Ok(()),
        }
    }

    fn make_folder(&self) -> Result<String, OutputError> {
        let mut attempts = 0;
        loop {
            let name = folder_name(wall_clock());
            match rustix::fs::mkdirat(&self.base, name.as_str(), Mode::RWXU) {
                Ok(()) => return Ok(name),
                Err(Errno::EXIST) if attempts < 1_000 => attempts += 1,
                Err(why) => return Err(self.other("a folder cannot be made", why)),
            }
        }
    }

    fn fill<'a>(&self, name: &str, contents: impl Iterator<Item = (&'a OutFile, &'a SecretBytes)>) -> Result<(), OutputError> {
        let fd = open_folder(&self.base, name).map_err(|why| self.other("the new folder cannot be opened", why))?;
        // Asked of the very descriptor that is written through.
        require_tmpfs(&fd, &self.path.display().to_string())?;
        let folder = Folder { fd };
        for (file, content) in contents {
            let fd = folder.create(&file.name, content).map_err(|why| self.other("a file cannot be written", why))?;
            folder::give(&fd, self.uid, self.gid).map_err(|why| OutputError::Owner {
                name: file.name.clone(),
                uid: self.uid,
                gid: self.gid,
                why: why.into(),
            })?;
            // After the owner: a change of owner may take bits away.
            let mode = Mode::from_raw_mode(file.mode);
            rustix::fs::fchmod(&fd, mode).map_err(|why| self.other("a file's mode cannot be set", why))?;
        }
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::fchmod(&folder.fd, mode).map_err(|why| self.other("the folder's mode cannot be set", why))
    }

    /// Makes `link` lead to `target`, in one step.
    fn replace_link(&self, new: &str, link: &str, target: &str) -> Result<(), OutputError> {
        match unlinkat(&self.base, new, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(_) => return Err(self.in_the_way(new)),
        }
        symlinkat(target, &self.base, new).map_err(|why| self.other("a link cannot be made", why))?;
        renameat(&self.base, new, &self.base, link).map_err(|why| self.other("a link cannot be put in place", why))
    }

    /// Gives every file its name. A link of somebody else's is replaced, never followed.
    fn link(&self, files: &[OutFile]) -> Result<(), OutputError> {
        for file in files {
            if self.is_own_link(&file.name) {
                continue;
            }
            self.replace_link(LINK_NEW, &file.name, &format!("{DATA}/{}", file.name))?;
        }
        Ok(())
    }

    fn is_own_link(&self, name: &str) -> bool {
        let target = readlinkat(&self.base, name, Vec::new());
        target.is_ok_and(|target| target.as_bytes() == format!("{DATA}/{name}").as_bytes())
    }

    /// Removes what older writes left: folders that hold no longer, and links to files that are no longer there. What
    /// cannot be removed stays for the next time.
    fn clean(&self, current: &str, files: &[OutFile]) {
        let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
        for name in entries(&self.base) {
            if is_folder_name(&name) && name != current {
                self.remove_folder(&name);
            } else if !names.contains(name.as_str())
                && self.is_own_link(&name)
                && unlinkat(&self.base, name.as_str(), AtFlags::empty()).is_err()
            {
                tracing::warn!(file = name, "an old link cannot be removed");
            }
        }
    }

    /// Removes a folder of ours. Its memory goes back to the kernel, which clears it before anyone gets it again.
    fn remove_folder(&self, name: &str) {
        let Ok(fd) = open_folder(&self.base, name) else { return };
        for file in entries(&fd) {
            if unlinkat(&fd, file.as_str(), AtFlags::empty()).is_err() {
                tracing::warn!(folder = name, "an old file cannot be removed");
            }
        }
        if unlinkat(&self.base, name, AtFlags::REMOVEDIR).is_err() {
            tracing::warn!(folder = name, "an old folder cannot be removed");
        }
    }

    fn in_the_way(&self, name: &str) -> OutputError {
        OutputError::InTheWay { directory: self.path.display().to_string(), name: name.to_owned() }
    }

    fn other(&self, what: &'static str, why: Errno) -> OutputError {
        let directory = self.path.display().to_string();
        match why {
            Errno::NOSPC | Errno::DQUOT => OutputError::Full { directory },
            why => OutputError::Other { directory, what, why: why.into() },
        }
    }
}

/// A name for a folder: the time, in UTC.
fn folder_name(now: SystemTime) -> String {
    let time = humantime::format_rfc3339_nanos(now).to_string();
    format!("..{}", time.trim_end_matches('Z').replace(['-', ':', 'T', '.'], "_"))
}

/// Whether a folder of this name would be ours: two dots, then the year.
fn is_folder_name(name: &str) -> bool {
    let rest = name.strip_prefix("..").unwrap_or_default();
    rest.starts_with(|first: char| first.is_ascii_digit()) && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
}

#[expect(clippy::disallowed_methods, reason = "the time only makes a name, for people to read")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests;
