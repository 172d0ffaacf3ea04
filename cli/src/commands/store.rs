//! `coffer store`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use coffer_audit::verify::{Report, verify};
use coffer_store::sled::{Inspection, OpenError, SledOptions, inspect};
use serde::Serialize;

use crate::{
    app::App,
    exit::Exit,
    failure::{Failure, Result},
    output::{one_line, pairs},
};

/// Findings that are shown to a person; `-o json` has more.
const SHOWN_FINDINGS_MAX: usize = 20;
/// The key of the store's one plain record, whose value has the vault's id in it as it is.
const HEADER: &[u8] = b"coffer/header";

/// Look into the store of a server that is stopped
#[derive(Subcommand)]
pub(crate) enum Store {
    Check(Check),
}

impl Store {
    pub(crate) fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Check(command) => command.run(app),
        }
    }
}

/// Look for damage in the store and the audit log of a server that is stopped
///
/// Needs no vault and no key, and changes nothing: the store is copied, and the copy is opened and removed. Every value is
/// compared with its checksum, the log with its signatures, and the two with one another. Without the keys it is not seen
/// whether values are the vault's own: the server sees that when it reads them. The exit status is 7 where something is
/// wrong, and 6 while a server has the store open.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer store check --store /var/lib/coffer/store --audit /var/lib/coffer/audit
  coffer store check --store backup/store --scratch /var/tmp -o json")]
pub(crate) struct Check {
    /// The folder of the store, of kind sled
    #[arg(long, value_name = "DIR", default_value = "/var/lib/coffer/store")]
    store: PathBuf,
    /// The folder of the audit log; without it the store is checked alone
    #[arg(long, value_name = "DIR")]
    audit: Option<PathBuf>,
    /// A folder with room for a copy of the store
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    scratch: PathBuf,
}

impl Check {
    fn run(self, app: &App) -> Result<Exit> {
        let scratch = tempfile::Builder::new().prefix("coffer-check-").tempdir_in(&self.scratch);
        let scratch = scratch.map_err(|error| Failure::file("make a folder in", &self.scratch, &error))?;
        let store = inspect(&self.store, scratch.path(), &SledOptions::default(), HEADER);
        let store = store.map_err(|error| unusable(&self.store, error))?;
        let mut findings: Vec<Found> =
            store.findings.iter().map(|finding| Found { place: finding.place.clone(), what: finding.what.clone() }).collect();
        let mut count = store.findings_count;
        let mut add = |place: String, what: String| {
            findings.push(Found { place, what });
            count = count.saturating_add(1);
        };
        let mut log = None;
        if let Some(folder) = &self.audit {
            match verify(folder, None) {
                Ok(report) => {
                    if let Some(why) = contradiction(&store, &report) {
                        add(self.store.display().to_string(), why);
                    }
                    log = Some(report);
                }
                Err(error) => add("audit log".to_owned(), error.to_string()),
            }
        }
        let json = json(&store, log.as_ref(), &findings, count);
        app.out.result(&json, |_| render(&store, log.as_ref(), &findings, count))?;
        if count == 0 {
            return Ok(Exit::Done);
        }
        let what = if count == 1 { "1 thing is wrong".to_owned() } else { format!("{count} things are wrong") };
        Err(Failure::new(Exit::CheckFailed, what)
            .next("keep both folders as they are, and see docs/server.md, \"When the store or the log is damaged\""))
    }
}

fn unusable(store: &Path, error: OpenError) -> Box<Failure> {
    match error {
        OpenError::InUse => Failure::new(Exit::Conflict, format!("a server has {} open", store.display()))
            .next("stop the server, or check a copy that was made while it was stopped"),
        OpenError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Failure::usage(format!("there is no store in {}", store.display()))
                .next("name the folder that the server's configuration calls path in [store]")
        }
        OpenError::Io(error) => Failure::file("check", store, &error).next("--scratch names a folder with room for a copy"),
        other @ (OpenError::Newer { .. } | OpenError::Corrupt(_)) => Failure::usage(other.to_string()),
    }
}

/// Why store and log are not of the same vault or moment, as far as it is seen without keys.
fn contradiction(store: &Inspection, log: &Report) -> Option<String> {
    let vault = log.epochs.last()?.origin.vault();
    if let Some(header) = &store.wanted
        && !header.windows(vault.as_bytes().len()).any(|part| part == vault.as_bytes())
    {
        return Some(format!("the audit log is that of the vault {vault}, and the store is another vault's"));
    }
    let revision = store.revision?.0;
    let known = log.epochs.last()?.last_checkpoint.as_ref()?.store_revision;
    (known > revision)
        .then(|| format!("the store is at revision {revision}, and the audit log has seen it at {known}: it is an older copy"))
}

struct Found {
    place: String,
    what: String,
}

#[derive(Serialize)]
struct Json<'a> {
    holds: bool,
    revision: Option<u64>,
    mark: Option<u64>,
    values: u64,
    value_bytes: u64,
    pieces: u64,
    pieces_unused: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogJson>,
    findings_count: u64,
    findings: Vec<FindingJson<'a>>,
}

#[derive(Serialize)]
struct LogJson {
    entries: u64,
    checkpoints: u64,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    place: &'a str,
    what: &'a str,
}

fn json<'a>(store: &Inspection, log: Option<&Report>, findings: &'a [Found], count: u64) -> Json<'a> {
    Json {
        holds: count == 0,
        revision: store.revision.map(|revision| revision.0),
        mark: store.mark.map(|mark| mark.0),
        values: store.values,
        value_bytes: store.value_bytes,
        pieces: store.pieces,
        pieces_unused: store.pieces_unused,
        log: log.map(|log| LogJson {
            entries: log.entries,
            checkpoints: log.checkpoints,
            warnings: log.warnings.iter().map(ToString::to_string).collect(),
        }),
        findings_count: count,
        findings: findings.iter().map(|found| FindingJson { place: &found.place, what: &found.what }).collect(),
    }
}

fn render(store: &Inspection, log: Option<&Report>, findings: &[Found], count: u64) -> String {
    let revision = store.revision.map_or_else(|| "unknown".to_owned(), |revision| revision.0.to_string());
    let mut lines = vec![
        (if count == 0 { "The store holds" } else { "The store does not hold" }, format!("revision {revision}")),
        ("Values", format!("{}, {} bytes", store.values, store.value_bytes)),
        ("Pieces", format!("{}, {} unused", store.pieces, store.pieces_unused)),
    ];
    if let Some(log) = log {
        lines.push(("Audit log", format!("{} entries, {} checkpoints", log.entries, log.checkpoints)));
    }
    for found in findings.iter().take(SHOWN_FINDINGS_MAX) {
        lines.push(("Wrong", one_line(&format!("{}: {}", found.place, found.what))));
    }
    let more = count.saturating_sub(SHOWN_FINDINGS_MAX as u64);
    if more > 0 {
        lines.push(("Wrong", format!("{more} more; -o json has up to {}", coffer_store::sled::FINDINGS_MAX)));
    }
    pairs(&lines)
}
