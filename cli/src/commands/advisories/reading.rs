//! Advisories wherever they are: in folders and in zip archives.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use coffer_packages::{ADVISORIES_MAX, ADVISORY_BYTES_MAX, Advisories, Imported, Importer};

use crate::{
    app::App,
    commands::scan::report::today,
    failure::{Failure, Result},
    output::Progress,
};

/// Folders within folders that advisories are looked for in, at most.
const FOLDERS_DEPTH_MAX: usize = 16;
/// Files that are looked at for advisories, at most.
const IMPORT_FILES_MAX: usize = 4 * ADVISORIES_MAX;

/// Puts together what is in folders and archives.
///
/// # Errors
/// Where one cannot be read, or there is no advisory in any of them.
pub(super) fn read(app: &App, from: &[PathBuf]) -> Result<(Advisories, Imported)> {
    let progress = Progress::new(&app.out);
    let mut reading = Reading { importer: Importer::new(today(app)), files: 0, files_max: IMPORT_FILES_MAX, progress };
    for path in from {
        if path.is_dir() { reading.folder(path, 0)? } else { reading.zip(path)? }
    }
    let (known, imported) = reading.importer.finish();
    if known.is_empty() {
        return Err(Failure::usage("there is no advisory about Debian, Ubuntu, Alpine, Go or Rust in what was named"));
    }
    Ok((known, imported))
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
