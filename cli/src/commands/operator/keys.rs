//! `coffer operator rotate` and `rewrap`: the keys that records are encrypted under.

use std::time::Duration;

use clap::{Args, Subcommand};
use coffer_client::proto::{GetKeysRequest, Keyring, RewrapStatus, RotateKeysRequest, StartRewrapRequest};
use serde::Serialize;

use crate::{
    app::{App, Vault, answer, part},
    exit::Exit,
    failure::Result,
    output::{Table, View, rfc3339, since},
};

/// How often it is asked how far re-encryption has come.
const LOOK: Duration = Duration::from_millis(500);
/// Characters of a bar that shows progress.
const BAR_CHARS: u64 = 30;

/// Give every keyring a new key, for what is written from now on
///
/// What was written before stays under the keys of before, which are kept: `coffer operator rewrap` encrypts it anew and
/// drops them. Needs the role admin.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer operator rotate
  coffer operator rotate && coffer operator rewrap --follow")]
pub(crate) struct Rotate {}

impl Rotate {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let attempt = vault.attempt("rotate the keys");
        let keyrings = answer(&attempt, vault.client.keys().rotate_keys(RotateKeysRequest {}).await)?.into_inner().keyrings;
        let json: Vec<_> = keyrings.iter().map(KeyringJson::new).collect();
        app.out.result(&json, |view| {
            let mut table = Table::new(&["KEYRING", "TERM", "KEPT", "CREATED"]);
            for keyring in &keyrings {
                table.row(row(keyring, view));
            }
            format!("{}\nNext: coffer operator rewrap, to encrypt what was written before anew\n", table.render(view, ""))
        })?;
        Ok(Exit::Done)
    }
}

fn row(keyring: &Keyring, view: &View) -> [String; 4] {
    let newest = keyring.terms.last();
    let kept = keyring.terms.len().saturating_sub(1);
    [
        keyring.name.clone(),
        newest.map(|term| term.number.to_string()).unwrap_or_default(),
        if kept == 0 { String::new() } else { format!("{kept} older") },
        newest.map(|term| format!("{} ago", since(term.created.as_ref(), view))).unwrap_or_default(),
    ]
}

#[derive(Serialize)]
struct KeyringJson<'a> {
    name: &'a str,
    terms: Vec<TermJson>,
}

#[derive(Serialize)]
struct TermJson {
    number: u32,
    created: Option<String>,
}

impl<'a> KeyringJson<'a> {
    fn new(keyring: &'a Keyring) -> Self {
        let term =
            |term: &coffer_client::proto::KeyTerm| TermJson { number: term.number, created: rfc3339(term.created.as_ref()) };
        Self { name: &keyring.name, terms: keyring.terms.iter().map(term).collect() }
    }
}

/// Encrypt everything anew under the newest keys, in the background
///
/// Requests go on meanwhile: the vault works on a few records at a time, and goes on by itself after a restart. Secrets keep
/// their versions. When no record is left under an old key, old keys are dropped. Begun twice, it runs once. Needs the
/// role admin.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  coffer operator rewrap --follow
  coffer operator rewrap status"
)]
pub(crate) struct Rewrap {
    /// Wait until it is done, and show how far it has come
    #[arg(short, long)]
    follow: bool,
    #[command(subcommand)]
    command: Option<RewrapCommand>,
}

#[derive(Subcommand)]
enum RewrapCommand {
    /// Show how far it has come
    Status,
}

impl Rewrap {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        if matches!(self.command, Some(RewrapCommand::Status)) {
            let status = look(&vault).await?;
            show(app, status.as_ref())?;
            return Ok(Exit::Done);
        }
        let attempt = vault.attempt("encrypt everything anew");
        let begun = answer(&attempt, vault.client.keys().start_rewrap(StartRewrapRequest {}).await)?.into_inner();
        let mut status = part(&attempt, begun.rewrap)?;
        while self.follow && status.finished.is_none() {
            app.out.progress(&bar(&status));
            tokio::time::sleep(LOOK).await;
            status = part(&attempt, look(&vault).await?)?;
        }
        app.out.progress("");
        show(app, Some(&status))?;
        Ok(Exit::Done)
    }
}

async fn look(vault: &Vault) -> Result<Option<RewrapStatus>> {
    let attempt = vault.attempt("ask how far re-encryption has come");
    Ok(answer(&attempt, vault.client.keys().get_keys(GetKeysRequest {}).await)?.into_inner().rewrap)
}

fn bar(status: &RewrapStatus) -> String {
    if status.total == 0 {
        return "counting records".to_owned();
    }
    let done = (status.seen.min(status.total) * BAR_CHARS / status.total).min(BAR_CHARS);
    let (done, left) = (usize::try_from(done).unwrap_or(0), usize::try_from(BAR_CHARS - done).unwrap_or(0));
    format!("[{}{}] {} of {} records", "#".repeat(done), "-".repeat(left), status.seen.min(status.total), status.total)
}

#[derive(Serialize)]
struct RewrapJson<'a> {
    started: Option<String>,
    started_by: &'a str,
    total: u64,
    seen: u64,
    rewrapped: u64,
    finished: Option<String>,
    terms_dropped: u64,
}

fn show(app: &App, status: Option<&RewrapStatus>) -> Result<()> {
    let json = status.map(|status| RewrapJson {
        started: rfc3339(status.started.as_ref()),
        started_by: &status.started_by,
        total: status.total,
        seen: status.seen,
        rewrapped: status.rewrapped,
        finished: rfc3339(status.finished.as_ref()),
        terms_dropped: status.terms_dropped,
    });
    app.out.result(&json, |view| status.map_or_else(|| "Nothing was encrypted anew yet.".to_owned(), |status| told(status, view)))
}

fn told(status: &RewrapStatus, view: &View) -> String {
    match &status.finished {
        Some(finished) => format!(
            "Done {} ago: {} records encrypted anew, {} old keys dropped.",
            since(Some(finished), view),
            status.rewrapped,
            status.terms_dropped
        ),
        None => format!("{}\nUnder way; coffer operator rewrap --follow waits for the end.", bar(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_never_longer_than_whole() {
        let status = |seen, total| RewrapStatus { seen, total, ..RewrapStatus::default() };
        assert_eq!(bar(&status(0, 0)), "counting records");
        assert_eq!(bar(&status(5, 10)), format!("[{}{}] 5 of 10 records", "#".repeat(15), "-".repeat(15)));
        assert_eq!(bar(&status(12, 10)), format!("[{}] 10 of 10 records", "#".repeat(30)));
    }
}
