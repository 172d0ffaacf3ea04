//! `coffer advisories`: what is known of packages, in one file.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use coffer_packages::{ADVISORIES_MAX, ADVISORY_BYTES_MAX, Advisories as Known, FILE_BYTES_MAX, Importer};
use serde::Serialize;

use super::scan::report::today;
use crate::{
    app::App,
    exit::Exit,
    failure::{Failure, Result},
    output::{Progress, pairs},
};

/// Folders within folders that advisories are looked for in, at most.
const FOLDERS_DEPTH_MAX: usize = 16;
/// Files that are looked at for advisories, at most.
const IMPORT_FILES_MAX: usize = 4 * ADVISORIES_MAX;

/// Known vulnerabilities of packages, for `coffer scan image --advisories`
#[derive(Subcommand)]
pub(crate) enum Advisories {
    Import(Import),
}

/// Put advisories into one file
///
/// Takes advisories in OSV's format (folders, or zip archives as osv.dev has them) for Debian, Ubuntu, Alpine, Go and Rust, and the database of
/// RustSec as it is. What was withdrawn, or is about packages of other ecosystems, is left out. An advisory that cannot be read ends the
/// import: to leave it out would be to say that there is none.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer advisories import advisory-db --to advisories.coffer
  coffer advisories import debian.zip go.zip advisory-db --to advisories.coffer
  coffer scan image app.tar --advisories advisories.coffer")]
pub(crate) struct Import {
    /// Folders, or zip archives
    #[arg(value_name = "FOLDER|ZIP", required = true)]
    from: Vec<PathBuf>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Serialize)]
struct Shown {
    made: String,
    /// The day on which the newest was changed.
    newest: Option<String>,
    advisories: usize,
    /// Packages that they are about, by ecosystem.
    packages: std::collections::BTreeMap<String, usize>,
    withdrawn: usize,
    informational: usize,
    others: usize,
    bytes: u64,
}

impl Advisories {
    pub(crate) fn run(&self, app: &App) -> Result<Exit> {
        match self {
            Self::Import(command) => command.run(app),
        }
    }
}

impl Import {
    fn run(&self, app: &App) -> Result<Exit> {
        let mut reading = Reading {
            importer: Importer::new(today(app)),
            files: 0,
            files_max: IMPORT_FILES_MAX,
            progress: Progress::new(&app.out),
        };
        for path in &self.from {
            if path.is_dir() { reading.folder(path, 0)? } else { reading.zip(path)? }
        }
        let (known, imported) = reading.importer.finish();
        if known.is_empty() {
            return Err(Failure::usage("there is no advisory about Debian, Ubuntu, Alpine, Go or Rust in what was named"));
        }
        let bytes = self.write(&known).map_err(|error| Failure::file("write", &self.to, &error))?;
        let shown = Shown {
            made: known.made.to_string(),
            newest: known.newest.map(|day| day.to_string()),
            advisories: imported.advisories,
            packages: known.packages().map(|(scope, count)| (scope.to_owned(), count)).collect(),
            withdrawn: imported.withdrawn,
            informational: imported.informational,
            others: imported.others,
            bytes,
        };
        app.out.result(&shown, |_| {
            let packages: Vec<_> = shown.packages.iter().map(|(scope, count)| format!("{scope} {count}")).collect();
            pairs(&[
                ("Advisories", format!("{}, the newest of {}", shown.advisories, shown.newest.as_deref().unwrap_or("no day"))),
                ("Packages", packages.join(", ")),
                (
                    "Left out",
                    format!("{} withdrawn, {} informational, {} others", shown.withdrawn, shown.informational, shown.others),
                ),
                ("File", format!("{}, {} bytes", self.to.display(), shown.bytes)),
            ])
        })?;
        Ok(Exit::Done)
    }

    /// Writes beside the file, and takes its place: whoever scans meanwhile has the one or the other.
    fn write(&self, known: &Known) -> io::Result<u64> {
        let folder = self.to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let file = tempfile::Builder::new().permissions(permissions()).tempfile_in(folder)?;
        known.write(BufWriter::new(file.as_file()))?;
        let bytes = file.as_file().metadata()?.len();
        file.persist(&self.to).map_err(|error| error.error)?;
        Ok(bytes)
    }
}

/// Those of any file: it has no secret.
fn permissions() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

/// Reads a file that `import` made.
///
/// # Errors
/// Where it cannot be read, or is no such file.
pub(crate) fn open(path: &Path) -> Result<Known> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure::file("read", path, &error))?;
    Known::read(&bytes).map_err(|error| {
        let failure = Failure::usage(format!("{} cannot be used", path.display())).why(error.to_string());
        failure.next(format!("coffer advisories import FOLDER --to {}", path.display()))
    })
}

/// Reads documents wherever they are.
struct Reading {
    importer: Importer,
    files: usize,
    files_max: usize,
    progress: Progress,
}

impl Reading {
    fn folder(&mut self, path: &Path, depth: usize) -> Result<()> {
        if depth > FOLDERS_DEPTH_MAX {
            return Err(Failure::usage(format!("{} is deeper than {FOLDERS_DEPTH_MAX} folders", path.display())));
        }
        let wrong = |error: &io::Error| Failure::file("read", path, error);
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| wrong(&error))? {
            let entry = entry.map_err(|error| wrong(&error))?;
            entries.push((entry.path(), entry.file_type().map_err(|error| wrong(&error))?));
        }
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        for (path, kind) in entries {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // What belongs to git and to code hosts; a link could lead anywhere.
            if name.starts_with('.') {
                continue;
            }
            if kind.is_dir() {
                self.folder(&path, depth + 1)?;
            } else if kind.is_file() && Importer::wants(&name) {
                let file = File::open(&path).map_err(|error| Failure::file("read", &path, &error))?;
                self.document(&path.display().to_string(), file)?;
            }
        }
        Ok(())
    }

    fn zip(&mut self, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
        let wrong = |error: zip::result::ZipError| {
            Failure::usage(format!("cannot read {}: it is neither a folder nor a zip archive", path.display()))
                .why(error.to_string())
        };
        let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(wrong)?;
        for number in 0..archive.len() {
            let entry = archive.by_index(number).map_err(wrong)?;
            let name = entry.name().map_err(wrong)?.into_owned();
            if entry.is_file() && Importer::wants(&name) {
                self.document(&name, entry)?;
            }
        }
        Ok(())
    }

    fn document(&mut self, name: &str, reader: impl Read) -> Result<()> {
        self.files += 1;
        if self.files > self.files_max {
            return Err(Failure::usage(format!("there are more than {} files", self.files_max)));
        }
        let files = self.files;
        self.progress.say(|| format!("{files} files"));
        let mut bytes = Vec::new();
        let read = reader.take(ADVISORY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| Failure::usage(format!("cannot read {name}")).why(error.to_string()))?;
        self.importer.add(name, &bytes).map_err(|error| Failure::usage(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, Output};

    fn reading() -> Reading {
        let out = Output::new(Format::Json, jiff::Timestamp::UNIX_EPOCH);
        Reading {
            importer: Importer::new("2026-11-29".parse().unwrap()),
            files: 0,
            files_max: IMPORT_FILES_MAX,
            progress: Progress::new(&out),
        }
    }

    const DOCUMENT: &str =
        r#"{"id":"X-1","modified":"2026-01-01","affected":[{"package":{"ecosystem":"Go","name":"x"},"versions":["1"]}]}"#;

    #[test]
    fn folders_are_looked_through_as_deep_as_the_limit_and_no_deeper() {
        let nested = |depth: usize| {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join("a/".repeat(depth));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("x.json"), DOCUMENT).unwrap();
            let mut reading = reading();
            reading.folder(root.path(), 0).map(|()| reading.importer.finish().0.len())
        };
        assert_eq!(nested(FOLDERS_DEPTH_MAX).ok(), Some(1));
        assert!(nested(FOLDERS_DEPTH_MAX + 1).is_err());
    }

    #[test]
    fn files_are_looked_at_up_to_their_limit() {
        let of = |count: usize| {
            let mut reading = Reading { files_max: 2, ..reading() };
            (0..count).try_for_each(|number| reading.document(&format!("{number}.json"), DOCUMENT.as_bytes()))
        };
        assert!(of(2).is_ok());
        assert!(of(3).is_err());
    }

    #[test]
    fn an_archive_is_read_like_a_folder_and_nothing_else_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut archive = zip::ZipWriter::new(file.as_file());
        for (name, text) in [("X-1.json", DOCUMENT), ("a/notes.txt", "{"), ("a/again.json", DOCUMENT)] {
            archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            io::Write::write_all(&mut archive, text.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
        let mut read = reading();
        read.zip(file.path()).unwrap();
        assert_eq!((read.files, read.importer.finish().0.len()), (2, 1));
        fs::write(file.path(), "nothing").unwrap();
        assert!(reading().zip(file.path()).is_err());
    }

    #[test]
    fn hidden_files_links_and_other_files_are_let_be() {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in [("a.json", DOCUMENT), (".hidden.json", "{"), ("notes.txt", "{")] {
            fs::write(root.path().join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("/dev/zero", root.path().join("link.json")).unwrap();
        let mut reading = reading();
        reading.folder(root.path(), 0).unwrap();
        assert_eq!(reading.files, 1);
    }
}
