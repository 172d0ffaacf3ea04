//! `coffer audit verify`: checks a copy of the log, without the vault.

use std::path::PathBuf;

use clap::Args;
use coffer_audit::{
    fault::{Problem, VerifyError},
    note::VerifierKey,
    receipt::verify_receipt,
    verify::{Report, Trust, verify_with},
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    app::App,
    exit::Exit,
    failure::{Failure, Result},
    input::{Source, TEXT_BYTES_MAX},
    output::{one_line, pairs},
};

/// Check the log in a folder: every entry, every signature
///
/// Needs no vault. Without --key the log is only compared with itself: whoever can write the folder could have made all of
/// it. The exit status is 7 where the log does not hold.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer audit verify /var/lib/coffer/audit --key @coffer.key
  coffer audit verify copy/ --key @coffer.key --receipt 1042
  coffer audit verify copy/ --key @coffer.key --checkpoint @monday.note")]
pub(crate) struct Verify {
    /// The folder with the log
    folder: PathBuf,
    /// The key from `coffer audit key`: itself, or @FILE
    #[arg(long, value_name = "KEY|@FILE")]
    key: Option<String>,
    /// A checkpoint from `coffer audit checkpoint`, kept elsewhere: @FILE
    #[arg(long, value_name = "@FILE")]
    checkpoint: Option<String>,
    /// Show the entry at this position, and prove that the key has signed it
    #[arg(long, value_name = "INDEX", requires = "key")]
    receipt: Option<u64>,
}

impl Verify {
    pub(crate) fn run(self, app: &App) -> Result<Exit> {
        let file = |text: &str| {
            let text = app.input.text(&Source::of_file(text), TEXT_BYTES_MAX);
            text.map(coffer_secret::SecretString::into_exposed)
        };
        let key = match self.key.as_deref() {
            Some(text) if text == "-" || text.starts_with('@') => Some(file(text)?),
            other => other.map(str::to_owned),
        };
        let key = key.map(|key| key.trim().to_owned());
        let checkpoint = self.checkpoint.as_deref().map(file).transpose()?;
        let trust = Trust { verifier_key: key.as_deref(), checkpoint: checkpoint.as_deref() };
        let report = verify_with(&self.folder, &trust).map_err(|error| does_not_hold(&error))?;
        let receipt = match (self.receipt, &key) {
            (Some(index), Some(key)) => Some(self.receipt(key, index)?),
            _ => None,
        };
        let json = Json::new(&report, receipt.as_deref());
        app.out.result(&json, |_| render(&report, receipt.as_deref()))?;
        for warning in &report.warnings {
            app.out.note(&warning.to_string());
        }
        Ok(Exit::Done)
    }

    /// The line of the entry at a position, proven to be signed.
    fn receipt(&self, key: &str, index: u64) -> Result<String> {
        let key: VerifierKey = key.parse().map_err(|error| Failure::usage(format!("the key cannot be used: {error}")))?;
        verify_receipt(&self.folder, &key, index).map(|proof| proof.line).map_err(|error| does_not_hold(&error))
    }
}

fn does_not_hold(error: &VerifyError) -> Box<Failure> {
    match &error.problem {
        Problem::Read(why) => Failure::file("read", &error.file, why),
        Problem::NoLog => Failure::usage(error.to_string()).next("name the folder that the server's configuration calls audit"),
        Problem::KeyInvalid(_) | Problem::KeyForeign => {
            Failure::usage(error.to_string()).next("coffer audit key prints the key of the vault's log")
        }
        Problem::EntryUnsigned(_) => Failure::new(Exit::CheckFailed, error.to_string())
            .next("check the position; an entry of the last seconds is signed with the next checkpoint"),
        Problem::Newer(_) => Failure::usage(error.to_string()),
        _ => Failure::new(Exit::CheckFailed, format!("the audit log does not hold: {error}"))
            .next("keep the folder as it is, and compare it with another copy and with checkpoints kept elsewhere"),
    }
}

#[derive(Serialize)]
struct Json<'a> {
    holds: bool,
    entries: u64,
    checkpoints: u64,
    first: Option<String>,
    last: Option<String>,
    epochs: Vec<EpochJson>,
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct EpochJson {
    origin: String,
    entries: u64,
    signed: u64,
    root: String,
}

impl<'a> Json<'a> {
    fn new(report: &Report, receipt: Option<&'a str>) -> Self {
        let epochs = report.epochs.iter().map(|epoch| EpochJson {
            origin: epoch.origin.to_string(),
            entries: epoch.entries,
            signed: epoch.last_checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size),
            root: epoch.root.to_string(),
        });
        Self {
            holds: true,
            entries: report.entries,
            checkpoints: report.checkpoints,
            first: report.times.map(|(first, _)| first.to_string()),
            last: report.times.map(|(_, last)| last.to_string()),
            epochs: epochs.collect(),
            warnings: report.warnings.iter().map(ToString::to_string).collect(),
            receipt: receipt.and_then(|line| serde_json::from_str(line).ok()),
        }
    }
}

fn render(report: &Report, receipt: Option<&str>) -> String {
    let count = |number: u64, one: &str, more: &str| format!("{number} {}", if number == 1 { one } else { more });
    let mut lines = vec![
        (
            "The log holds",
            format!("{}, {}", count(report.entries, "entry", "entries"), count(report.checkpoints, "checkpoint", "checkpoints")),
        ),
        ("Log", report.epochs.iter().map(|epoch| epoch.origin.to_string()).collect::<Vec<_>>().join(", ")),
    ];
    if let Some((first, last)) = report.times {
        lines.push(("From", first.to_string()));
        lines.push(("To", last.to_string()));
    }
    lines.push(("Root", report.root.to_string()));
    if let Some(line) = receipt {
        lines.push(("Receipt", one_line(line)));
    }
    pairs(&lines)
}
