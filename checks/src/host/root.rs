//! The folder that a host's files are read below.

use std::{
    fs::File as Opened,
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::facts::{Fact, File, FileKind};

/// Names in a folder that are read, at most.
pub const FOLDER_NAMES_MAX: usize = 65_536;
/// How often a file is opened anew that was moved while it was looked for.
const OPEN_TRIES_MAX: usize = 8;

/// The folder that a host's files are read below: `/`, or where another host's root is mounted, or a recorded one.
///
/// The kernel follows links as if the folder were the root (`openat2` with `RESOLVE_IN_ROOT`), so that a link of another host leads to that
/// host's file, and none leads out. Kernels before 5.6 cannot: there nothing but `/` can be read.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
    path: PathBuf,
    /// What of the host is there; none where all of it is.
    seen: Option<Seen>,
}

/// What of a host is there.
#[derive(Debug)]
struct Seen {
    folders: Vec<String>,
    /// What is not, in those.
    hidden: Vec<String>,
}

impl Root {
    /// Opens the folder.
    ///
    /// # Errors
    /// Where it is none, or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let folder = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { folder, path: path.to_owned(), seen: None })
    }

    /// The same where only these folders of the host are mounted below it, without what is hidden in them: something else is mounted there on the
    /// host. What is not there is unknown, and not absent.
    #[must_use]
    pub fn with_only(mut self, folders: impl IntoIterator<Item = String>, hidden: impl IntoIterator<Item = String>) -> Self {
        let folder = |path: String| path.trim_end_matches('/').to_owned();
        self.seen =
            Some(Seen { folders: folders.into_iter().map(folder).collect(), hidden: hidden.into_iter().map(folder).collect() });
        self
    }

    fn sees(&self, path: &str) -> bool {
        let holds =
            |folder: &String| path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.seen.as_ref().is_none_or(|seen| seen.folders.iter().any(holds) && !seen.hidden.iter().any(holds))
    }

    /// Whether a link on the way to something leads to where nothing is mounted.
    fn leads_out(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]).filter(|end| *end > 0);
        let is_link = |part: &str| {
            let link = self.open_once(part, OFlags::PATH | OFlags::NOFOLLOW).and_then(rustix::fs::fstat);
            link.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
        };
        let mut parts = ends.filter_map(|end| path.get(..end));
        self.seen.is_some() && parts.any(|part| is_link(part) && self.open_once(part, OFlags::PATH).is_err())
    }

    fn opened(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        // There are empty folders where others are mounted in.
        if self.sees(path) { self.open_once(path, flags) } else { Err(Errno::NOENT) }
    }

    fn open_once(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        for _ in 0..OPEN_TRIES_MAX {
            match rustix::fs::openat2(&self.folder, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
                // Something on the way was moved meanwhile.
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS) if self.path == Path::new("/") => return rustix::fs::open(path, flags, Mode::empty()),
                done => return done,
            }
        }
        Err(Errno::AGAIN)
    }

    /// What a file holds: it is a regular one, and has at most so many bytes. Wiped when it is given back, for some have secrets in them.
    pub(super) fn bytes(&self, path: &str, max: usize) -> Fact<Zeroizing<Vec<u8>>> {
        // Without O_NONBLOCK, a pipe in the place of a file would hold up everything.
        let file = match self.opened(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(file) => file,
            Err(error) => return self.not_opened(path, error),
        };
        match rustix::fs::fstat(&file) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                return Fact::unknown(format!("{path} is no file"));
            }
            Ok(_) => {}
            Err(error) => return self.not_opened(path, error),
        }
        let mut bytes = Zeroizing::new(Vec::new());
        match Opened::from(file).take(u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() > max => Fact::unknown(format!("{path} has more than {max} bytes")),
            Ok(_) => Fact::Known(bytes),
            // A process that has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Fact::Absent,
            Err(error) => Fact::unknown(format!("{path} cannot be read: {}", word(error.kind()))),
        }
    }

    /// What a file holds, as text.
    pub(super) fn text(&self, path: &str, max: usize) -> Fact<Zeroizing<String>> {
        self.bytes(path, max).and_then(|bytes| match std::str::from_utf8(&bytes) {
            Ok(text) => Fact::Known(Zeroizing::new(text.to_owned())),
            Err(_) => Fact::unknown(format!("{path} is no text")),
        })
    }

    /// The names in a folder, in order.
    pub(super) fn names(&self, path: &str) -> Fact<Vec<String>> {
        let folder = match self.opened(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(folder) => folder,
            Err(error) => return self.not_opened(path, error),
        };
        let mut buffer = Vec::with_capacity(32 << 10);
        let mut entries = RawDir::new(&folder, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let Ok(entry) = entry else { return Fact::unknown(format!("{path} cannot be read")) };
            if names.len() == FOLDER_NAMES_MAX {
                return Fact::unknown(format!("{path} has more than {FOLDER_NAMES_MAX} names"));
            }
            // What is no text is nothing that is looked for.
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        names.sort_unstable();
        Fact::Known(names)
    }

    /// A file's owner and mode; a link's is that of what it leads to.
    pub(super) fn file(&self, path: &str) -> Fact<File> {
        let stat = match self.opened(path, OFlags::PATH).and_then(rustix::fs::fstat) {
            Ok(stat) => stat,
            Err(error) => return self.not_opened(path, error),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FileKind::Regular,
            FileType::Directory => FileKind::Folder,
            FileType::Socket => FileKind::Socket,
            _ => FileKind::Other,
        };
        Fact::Known(File { kind, mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid })
    }

    /// Where a link says that it leads to: for the links of `/proc`, which cannot be followed below another root.
    pub(super) fn link(&self, path: &str) -> Fact<String> {
        let read =
            self.opened(path, OFlags::PATH | OFlags::NOFOLLOW).and_then(|link| rustix::fs::readlinkat(&link, c"", Vec::new()));
        match read {
            Ok(target) => match target.into_string() {
                Ok(target) => Fact::Known(target),
                Err(_) => Fact::unknown(format!("{path} leads to what is no text")),
            },
            Err(error) => self.not_opened(path, error),
        }
    }

    fn not_opened<T>(&self, path: &str, error: Errno) -> Fact<T> {
        match error {
            _ if !self.sees(path) => Fact::unknown(format!("{path} is not seen: it is not mounted here")),
            Errno::NOENT | Errno::NOTDIR | Errno::SRCH if self.leads_out(path) => {
                Fact::unknown(format!("{path} is not seen: a link leads to what is not mounted here"))
            }
            Errno::NOENT | Errno::NOTDIR | Errno::SRCH => Fact::Absent,
            Errno::ACCESS | Errno::PERM => Fact::unknown(format!("{path} cannot be read: it is for root")),
            Errno::NOSYS => Fact::unknown(format!("{path} cannot be read: below another root it takes Linux 5.6")),
            error => Fact::unknown(format!("{path} cannot be read: {}", word(error.kind()))),
        }
    }

    /// Whether there is something of this name, a link that leads nowhere included.
    pub(super) fn has(&self, path: &str) -> bool {
        self.opened(path, OFlags::PATH | OFlags::NOFOLLOW)
            .is_ok_and(|file| rustix::fs::statat(&file, c"", AtFlags::EMPTY_PATH).is_ok())
    }
}

fn word(kind: io::ErrorKind) -> String {
    kind.to_string()
}

/// The folder and the name joined.
pub(super) fn joined(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn links_lead_no_further_than_the_root() {
        let (folder, root) = root();
        fs::create_dir(folder.path().join("etc")).unwrap();
        fs::write(folder.path().join("etc/inside"), "inside").unwrap();
        symlink("/etc/inside", folder.path().join("absolute")).unwrap();
        symlink("../../../../etc/inside", folder.path().join("etc/relative")).unwrap();
        symlink("/etc/passwd", folder.path().join("etc/out")).unwrap();
        symlink("/etc", folder.path().join("folder")).unwrap();
        for path in ["/absolute", "/etc/relative", "/folder/inside", "absolute"] {
            assert_eq!(root.text(path, 10).known().map(|text| text.as_str()), Some("inside"), "{path}");
        }
        assert_eq!(root.text("/etc/out", 1 << 20), Fact::Absent);
        assert_eq!(root.file("/etc/out"), Fact::Absent);
        assert_eq!(root.link("/etc/out"), Fact::Known("/etc/passwd".into()));
        assert!(root.has("/etc/out") && !root.has("/etc/nothing"));
    }

    #[test]
    fn what_is_not_mounted_is_unknown_and_never_absent() {
        let (folder, root) = root();
        for path in ["etc/hidden", "var/lib", "usr"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        fs::write(folder.path().join("etc/inside"), "inside").unwrap();
        fs::write(folder.path().join("usr/file"), "not the host's").unwrap();
        symlink("/nix/store/out", folder.path().join("etc/out")).unwrap();
        symlink("/nix/store", folder.path().join("etc/folder")).unwrap();
        symlink("inside", folder.path().join("etc/link")).unwrap();
        let root = root.with_only(["/etc".into(), "/proc/".into()], ["/etc/hidden".into()]);
        assert!(matches!(root.text("/etc/link", 10), Fact::Known(text) if text.as_str() == "inside"));
        assert_eq!((root.file("/etc/none"), root.file("/proc/none")), (Fact::Absent, Fact::Absent));
        let unknown = |fact: Fact<File>, why: &str| {
            assert!(matches!(&fact, Fact::Unknown(said) if said.as_str().contains(why)), "{fact:?}")
        };
        for path in ["/usr/file", "/var/lib", "/etcetera", "/", "/run/docker.sock", "/etc/hidden", "/etc/hidden/file"] {
            unknown(root.file(path), "not mounted here");
            assert!(
                !root.has(path)
                    && matches!(root.names(path), Fact::Unknown(_))
                    && matches!(root.text(path, 10), Fact::Unknown(_))
            );
        }
        unknown(root.file("/etc/out"), "a link leads to");
        unknown(root.file("/etc/folder/config.toml"), "a link leads to");
    }

    #[test]
    fn what_is_too_long_or_no_file_is_unknown() {
        let (folder, root) = root();
        fs::write(folder.path().join("a"), "12345").unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, folder.path().join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(matches!(root.bytes("/a", 5), Fact::Known(_)));
        assert!(matches!(root.bytes("/a", 4), Fact::Unknown(why) if why.as_str().contains("more than 4 bytes")));
        assert!(matches!(root.bytes("/pipe", 5), Fact::Unknown(_)));
        assert!(matches!(root.bytes("/folder", 5), Fact::Unknown(_)));
        assert_eq!(root.bytes("/none", 5), Fact::Absent);
        assert_eq!(root.bytes("/a/none", 5), Fact::Absent);
        fs::write(folder.path().join("binary"), b"\xff").unwrap();
        assert!(matches!(root.text("/binary", 5), Fact::Unknown(_)));
    }

    #[test]
    fn owner_mode_and_names_are_seen() {
        let (folder, root) = root();
        fs::write(folder.path().join("b"), "").unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        fs::set_permissions(folder.path().join("a"), fs::Permissions::from_mode(0o4640)).unwrap();
        let file = root.file("/a");
        assert!(matches!(file, Fact::Known(File { kind: FileKind::Regular, mode: 0o4640, .. })), "{file:?}");
        assert_eq!(root.names("/"), Fact::Known(vec!["a".into(), "b".into()]));
        assert_eq!(root.names("/none"), Fact::Absent);
    }

    #[test]
    fn a_folder_of_too_many_names_is_unknown() {
        // In memory, for it is many.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let root = Root::open(folder.path()).unwrap();
        for name in 0..FOLDER_NAMES_MAX {
            rustix::fs::mknodat(rustix::fs::CWD, folder.path().join(name.to_string()), FileType::Fifo, Mode::RUSR, 0).unwrap();
        }
        assert!(matches!(root.names("/"), Fact::Known(names) if names.len() == FOLDER_NAMES_MAX));
        fs::write(folder.path().join("more"), "").unwrap();
        assert!(matches!(root.names("/"), Fact::Unknown(_)));
    }
}
