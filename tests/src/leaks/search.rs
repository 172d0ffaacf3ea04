//! Looking for secrets where they must not be.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use aho_corasick::AhoCorasick;
use anyhow::{Context as _, Result, ensure};

use super::forms::forms;
use crate::issuer::uuid;

/// The name of the file that a search plants in a folder, to see that it finds it.
const CONTROL: &str = "control-of-a-search";

/// A secret that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    /// What it is: never the secret itself, since failures are printed.
    pub secret: String,
    /// Where it is.
    pub place: String,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is in {}", self.secret, self.place)
    }
}

/// A search for secrets, and what it has found so far.
#[derive(Debug)]
pub struct Search {
    automaton: AhoCorasick,
    /// Whose form each pattern is.
    owners: Vec<usize>,
    names: Vec<String>,
    control: String,
    leaks: Vec<Leak>,
    bytes: u64,
}

impl Search {
    pub(super) fn new(secrets: &[(String, Vec<u8>)]) -> Result<Self> {
        let control = uuid()?;
        let mut names: Vec<_> = secrets.iter().map(|(name, _)| name.clone()).collect();
        names.push(CONTROL.to_owned());
        let all = secrets.iter().map(|(_, secret)| secret.as_slice()).chain([control.as_bytes()]);
        let (mut patterns, mut owners) = (Vec::new(), Vec::new());
        for (owner, secret) in all.enumerate() {
            for form in forms(secret) {
                patterns.push(form);
                owners.push(owner);
            }
        }
        let automaton = AhoCorasick::new(patterns).context("the secrets cannot be searched for")?;
        Ok(Self { automaton, owners, names, control, leaks: Vec::new(), bytes: 0 })
    }

    /// The search's own control: planted where a search has no folder, it must be among what [`Search::take_control`] finds.
    #[must_use]
    pub fn control(&self) -> &str {
        &self.control
    }

    /// Searches whatever can be read, to its end.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn reader(&mut self, place: &str, reader: impl Read) -> Result<()> {
        let mut counted = Counted { inner: reader, bytes: 0 };
        let mut found = Vec::new();
        for hit in self.automaton.try_stream_find_iter(&mut counted)? {
            let hit = hit.with_context(|| format!("{place} cannot be read"))?;
            let owner = self.owners.get(hit.pattern().as_usize()).and_then(|owner| self.names.get(*owner));
            found.push(Leak { secret: owner.context("every pattern is a secret's")?.clone(), place: place.to_owned() });
        }
        found.sort();
        found.dedup();
        self.leaks.append(&mut found);
        self.bytes += counted.bytes;
        Ok(())
    }

    /// Searches a text.
    ///
    /// # Errors
    /// None: text in memory can be read.
    pub fn text(&mut self, place: &str, text: impl AsRef<[u8]>) -> Result<()> {
        self.reader(place, text.as_ref())
    }

    /// Searches a file. One that is gone meanwhile has nothing in it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn file(&mut self, path: &Path) -> Result<()> {
        match File::open(path) {
            Ok(file) => self.reader(&path.display().to_string(), file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Searches every file in a folder and the folders below on the same filesystem, names included, and links for where they
    /// lead.
    ///
    /// # Errors
    /// Where something cannot be read, or the control that is planted in the folder is not found.
    pub fn folder(&mut self, folder: &Path) -> Result<()> {
        self.folder_without(folder, None)
    }

    /// As [`Search::folder`], without a file that is searched otherwise.
    ///
    /// # Errors
    /// As [`Search::folder`].
    pub fn folder_without(&mut self, folder: &Path, other: Option<&Path>) -> Result<()> {
        let planted = folder.join(CONTROL);
        fs::write(&planted, format!("before {} behind", self.control)).with_context(|| planted.display().to_string())?;
        let searched = self.below(folder, rustix::fs::stat(folder)?.st_dev, other);
        fs::remove_file(&planted)?;
        searched?;
        self.take_control(&planted.display().to_string())
    }

    fn below(&mut self, folder: &Path, device: u64, other: Option<&Path>) -> Result<()> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| folder.display().to_string()),
        };
        for entry in entries {
            let (path, kind) = match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| folder.display().to_string()),
            };
            let name = path.display().to_string();
            self.text(&format!("the name {name}"), name.as_bytes())?;
            if kind.is_dir() {
                // What is mounted below is another place: memory, likely, where secrets belong.
                if rustix::fs::stat(&path).is_ok_and(|found| found.st_dev == device) {
                    self.below(&path, device, other)?;
                }
            } else if other == Some(path.as_path()) {
                // Somebody else's.
            } else if kind.is_file() {
                self.file(&path)?;
            } else if kind.is_symlink()
                && let Ok(target) = fs::read_link(&path)
            {
                self.text(&format!("the link {name}"), target.display().to_string())?;
            }
        }
        Ok(())
    }

    /// Searches what everybody can see of a process, and what its user can: arguments and environment. The environment of a
    /// process that cannot be dumped is for root to see.
    ///
    /// # Errors
    /// Where it cannot be read; a process that is gone has neither.
    pub fn process(&mut self, id: u32) -> Result<()> {
        let proc = Path::new("/proc").join(id.to_string());
        for name in ["cmdline", "environ"] {
            match self.file(&proc.join(name)) {
                Err(error) if name == "environ" && is_denied(&error) && !rustix::process::geteuid().is_root() => {}
                // It was there when the file was opened.
                Err(error) if is_gone(&error) => {}
                searched => searched?,
            }
        }
        Ok(())
    }

    /// Takes the control out of what was found at a place, where it must be.
    ///
    /// # Errors
    /// Where it was not found there: the search does not see what is there.
    pub fn take_control(&mut self, place: &str) -> Result<()> {
        let before = self.leaks.len();
        self.leaks.retain(|leak| !(leak.secret == CONTROL && leak.place.contains(place)));
        ensure!(self.leaks.len() < before, "the search does not find what was planted for it in {place}");
        Ok(())
    }

    /// What was found.
    #[must_use]
    pub fn leaks(&self) -> &[Leak] {
        &self.leaks
    }

    /// Ends the search; gives how many bytes it has seen.
    ///
    /// # Errors
    /// Where a secret was found: the message says which and where.
    pub fn end(self) -> Result<u64> {
        let lines: Vec<_> = self.leaks.iter().map(Leak::to_string).collect();
        ensure!(lines.is_empty(), "secrets are where they must not be:\n{}", lines.join("\n"));
        Ok(self.bytes)
    }
}

fn is_denied(error: &anyhow::Error) -> bool {
    io_error(error).is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied)
}

/// What Linux says of a process that has ended and was waited for.
fn is_gone(error: &anyhow::Error) -> bool {
    io_error(error).is_some_and(|io| rustix::io::Errno::from_io_error(io) == Some(rustix::io::Errno::SRCH))
}

fn io_error(error: &anyhow::Error) -> Option<&io::Error> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes = self.bytes.saturating_add(read.try_into().unwrap_or(u64::MAX));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::{leaks::Canaries, process::Process, wait};

    #[test]
    fn every_form_is_found_in_files_names_and_links() {
        let (folder, canaries) = (tempfile::tempdir().unwrap(), Canaries::default());
        let secret = canaries.fresh("it").unwrap();
        for (number, form) in forms(secret.as_bytes()).into_iter().enumerate() {
            let below = folder.path().join(number.to_string());
            fs::create_dir(&below).unwrap();
            fs::write(below.join("file"), [b"something before ".to_vec(), form, b" and after".to_vec()].concat()).unwrap();
        }
        fs::create_dir(folder.path().join(format!("a {secret}"))).unwrap();
        std::os::unix::fs::symlink(&secret, folder.path().join("link")).unwrap();
        let mut search = canaries.search().unwrap();
        search.folder(folder.path()).unwrap();
        assert_eq!(search.leaks().len(), forms(secret.as_bytes()).len() + 2, "{:?}", search.leaks());
        let message = search.end().unwrap_err().to_string();
        assert!(message.contains("it is in") && message.contains("link"), "{message}");
    }

    #[test]
    fn a_secret_that_lies_across_two_reads_is_found() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.read(&mut buffer[..1])
            }
        }
        let canaries = Canaries::default();
        let secret = canaries.fresh("it").unwrap();
        let mut search = canaries.search().unwrap();
        search.reader("there", Slow(format!("x{secret}x").as_bytes())).unwrap();
        assert_eq!(search.leaks(), [Leak { secret: "it".to_owned(), place: "there".to_owned() }]);
    }

    #[test]
    fn a_folder_without_secrets_has_none_and_keeps_no_control() {
        let (folder, canaries) = (tempfile::tempdir().unwrap(), Canaries::default());
        canaries.fresh("it").unwrap();
        fs::write(folder.path().join("file"), "something else").unwrap();
        let mut search = canaries.search().unwrap();
        search.folder(folder.path()).unwrap();
        assert!(search.end().unwrap() > 50);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(canaries.search().unwrap().take_control("nowhere").is_err());
    }

    #[test]
    fn arguments_and_environment_of_a_process_are_searched() {
        let (folder, canaries) = (tempfile::tempdir().unwrap(), Canaries::default());
        let (argument, variable) = (canaries.fresh("an argument").unwrap(), canaries.fresh("a variable").unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000; true", &argument]).env("SECRET", variable);
        let process = Process::start(&mut command, &folder.path().join("log")).unwrap();
        // A process that has just begun has no arguments for a moment.
        let arguments = format!("/proc/{}/cmdline", process.id());
        wait::until(wait::PATIENCE, "arguments", || Ok((!fs::read(&arguments)?.is_empty()).then_some(()))).unwrap();
        let mut search = canaries.search().unwrap();
        search.process(process.id()).unwrap();
        let found: Vec<_> = search.leaks().iter().map(|leak| leak.secret.as_str()).collect();
        assert_eq!(found, ["an argument", "a variable"]);
    }

    #[test]
    fn a_process_that_is_gone_is_told_from_one_that_cannot_be_read() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let arguments = File::open(format!("/proc/{}/cmdline", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let mut search = Canaries::default().search().unwrap();
        let error = search.reader("its arguments", arguments).unwrap_err();
        assert!(is_gone(&error), "{error:?}");
        search.process(child.id()).unwrap();
        let error = search.file(Path::new("/proc")).unwrap_err();
        assert!(!is_gone(&error), "{error:?}");
    }

    #[test]
    fn what_may_be_anywhere_by_chance_is_no_canary() {
        let canaries = Canaries::default();
        canaries.add("short", "value");
        canaries.add("long enough", "twelve bytes");
        canaries.add("the same again", "twelve bytes");
        assert_eq!(canaries.count(), 1);
    }
}
