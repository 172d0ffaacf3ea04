//! `coffer advisories`: what is known of packages, in one file.

mod reading;
mod vault;

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use coffer_client::proto::ListAdvisoryImportsRequest;
use coffer_packages::{Advisories as Known, FILE_BYTES_MAX, Imported};
use serde::Serialize;

use self::reading::read;
use crate::{
    app::{App, Vault, answer},
    dry_run::DryRun,
    exit::Exit,
    failure::{Failure, Result},
    output::{Table, pairs, rfc3339, since},
};

/// Known vulnerabilities of packages: for `coffer scan image --advisories`, and for images that are attested already
#[derive(Subcommand)]
pub(crate) enum Advisories {
    Import(Import),
    #[command(visible_alias = "ls")]
    List(List),
}

/// Put advisories into one file, or tell the vault which of them are about attested images
///
/// Takes advisories in OSV's format (folders, or zip archives as osv.dev has them) for Debian, Ubuntu, Alpine, Go and Rust, and the database of
/// RustSec as it is. What was withdrawn, or is about packages of other ecosystems, is left out. An advisory that cannot be read ends the
/// import: to leave it out would be to say that there is none.
///
/// With --vault, the vault is asked for the packages of the images that have verdicts; those are compared here, and what was found is sent. A verdict
/// fails then for whatever its own scan would have failed for, and pods lose what needs it, at once. An import replaces what was known of
/// its ecosystems, and of no others: name all advisories of an ecosystem at once, and do it daily. It needs an officer.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer advisories import advisory-db --to advisories.coffer
  coffer advisories import debian.zip go.zip advisory-db --to advisories.coffer
  coffer scan image app.tar --advisories advisories.coffer
  coffer advisories import debian.zip go.zip advisory-db --vault --dry-run
  coffer advisories import debian.zip go.zip advisory-db --vault")]
pub(crate) struct Import {
    /// Folders, or zip archives
    #[arg(value_name = "FOLDER|ZIP", required = true)]
    from: Vec<PathBuf>,
    /// The file to write
    #[arg(long, value_name = "FILE", conflicts_with = "vault")]
    to: Option<PathBuf>,
    /// Tell the vault which of them are about images that have verdicts
    #[arg(long)]
    vault: bool,
    /// Go on where more than half of the running pods whose images pass would not pass any more
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    dry_run: DryRun,
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
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Import(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
        }
    }
}

impl Import {
    async fn run(self, app: &App) -> Result<Exit> {
        if !self.vault && self.to.is_none() {
            return Err(Failure::usage("it is not said where the advisories go").next("add --to FILE, or --vault"));
        }
        if !self.vault && (self.dry_run.asked() || self.force) {
            return Err(Failure::usage("--dry-run and --force are for --vault: writing a file changes nothing else"));
        }
        // Before anything is read: without a session it would be for nothing.
        let vault = if self.vault { Some(app.vault()?) } else { None };
        let (known, imported) = read(app, &self.from)?;
        match (&self.to, vault) {
            (_, Some(vault)) if self.dry_run.asked() => vault::plan(app, &vault, &known).await,
            (_, Some(vault)) => vault::import(app, &vault, &known, self.force).await,
            (Some(to), None) => Self::file(app, to, &known, imported),
            (None, None) => Ok(Exit::Done),
        }
    }

    fn file(app: &App, to: &Path, known: &Known, imported: Imported) -> Result<Exit> {
        let bytes = write(to, known).map_err(|error| Failure::file("write", to, &error))?;
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
                ("File", format!("{}, {} bytes", to.display(), shown.bytes)),
            ])
        })?;
        Ok(Exit::Done)
    }
}

/// Writes beside the file, and takes its place: whoever scans meanwhile has the one or the other.
fn write(to: &Path, known: &Known) -> io::Result<u64> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let file = tempfile::Builder::new().permissions(permissions()).tempfile_in(folder)?;
    known.write(BufWriter::new(file.as_file()))?;
    let bytes = file.as_file().metadata()?.len();
    file.persist(to).map_err(|error| error.error)?;
    Ok(bytes)
}

/// List the ecosystems that the vault was told advisories of, and when
#[derive(Args)]
pub(crate) struct List {}

#[derive(Serialize)]
struct ImportJson<'a> {
    ecosystem: &'a str,
    newest: &'a str,
    packages: u64,
    imported: Option<String>,
    imported_by: &'a str,
    matches: u32,
    images: u32,
}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let attempt = vault.attempt("list imports of advisories");
        let request = ListAdvisoryImportsRequest {};
        let imports = answer(&attempt, vault.client.advisories().list_advisory_imports(request).await)?.into_inner().imports;
        let json = imports.iter().filter_map(|import| {
            let scope = import.scope.as_ref()?;
            Some(ImportJson {
                ecosystem: &scope.scope,
                newest: &scope.newest,
                packages: scope.packages,
                imported: rfc3339(import.imported.as_ref()),
                imported_by: &import.imported_by,
                matches: import.matches,
                images: import.images,
            })
        });
        let json: Vec<_> = json.collect();
        app.out.long(&json, |view| {
            let mut table = Table::new(&["ECOSYSTEM", "NEWEST", "PACKAGES", "IMPORTED", "BY", "MATCHES", "IMAGES"]);
            for (import, shown) in imports.iter().zip(&json) {
                table.row([
                    shown.ecosystem.to_owned(),
                    shown.newest.to_owned(),
                    shown.packages.to_string(),
                    since(import.imported.as_ref(), view),
                    shown.imported_by.to_owned(),
                    shown.matches.to_string(),
                    shown.images.to_string(),
                ]);
            }
            table.render(view, "No advisories were imported into the vault.")
        })?;
        Ok(Exit::Done)
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

/// `coffer would import-advisories`.
pub(super) async fn would(app: &App, vault: &Vault, from: &[PathBuf]) -> Result<Exit> {
    let (known, _) = read(app, from)?;
    let request = vault::compared(app, vault, &known, false).await?;
    vault::preview(app, vault, request).await
}
