//! `coffer kv`: secrets.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Subcommand};
use coffer_client::{
    Secret,
    proto::{DeleteVersionsRequest, DestroyVersionsRequest, PutSecretRequest, UndeleteVersionsRequest, VersionInfo},
};
use coffer_secret::SecretBytes;
use serde::Serialize;

use crate::{
    advice::Attempt,
    app::{App, Vault, answer, part},
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::{Failure, Result},
    input::Fields,
    output::{is_printable, rfc3339},
};

pub(crate) mod copy;
pub(crate) mod diff;
pub(crate) mod edit;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod metadata;
pub(crate) mod rollback;
pub(super) mod show;
mod tree;

/// The longest that a version may live: the vault's own limit, a hundred years.
const TTL_MAX: Duration = Duration::from_secs(3_155_760_000);
/// Versions in one command, at most: the vault's own limit.
const VERSIONS_MAX: usize = 100;

/// Read and write secrets
///
/// A secret is a map of fields at a path. Each write makes a new version.
#[derive(Subcommand)]
pub(crate) enum Kv {
    #[command(visible_alias = "write")]
    Put(Put),
    Patch(Patch),
    #[command(visible_alias = "read")]
    Get(Get),
    Edit(edit::Edit),
    #[command(visible_alias = "ls")]
    List(list::List),
    #[command(visible_alias = "find")]
    Search(list::Search),
    #[command(visible_alias = "versions")]
    History(history::History),
    Diff(diff::Diff),
    Rollback(rollback::Rollback),
    #[command(visible_alias = "cp")]
    Copy(copy::Copy),
    #[command(visible_alias = "mv")]
    Move(copy::Move),
    #[command(visible_alias = "rm")]
    Delete(Delete),
    Undelete(Undelete),
    Destroy(Destroy),
    #[command(subcommand)]
    Metadata(metadata::Metadata),
}

impl Kv {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Put(command) => command.write.run(app, command.merge, command.cas).await,
            Self::Patch(command) => command.write.run(app, true, command.cas).await,
            Self::Get(command) => command.run(app).await,
            Self::Edit(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Search(command) => command.run(app).await,
            Self::History(command) => command.run(app).await,
            Self::Diff(command) => command.run(app).await,
            Self::Rollback(command) => command.run(app).await,
            Self::Copy(command) => command.run(app).await,
            Self::Move(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
            Self::Undelete(command) => command.run(app).await,
            Self::Destroy(command) => command.run(app).await,
            Self::Metadata(command) => command.run(app).await,
        }
    }
}

/// Write a new version of a secret
#[derive(Args)]
#[command(after_help = FIELDS_HELP)]
pub(crate) struct Put {
    #[command(flatten)]
    write: Write,
    /// Write only where this is the newest version; 0 where there must be none yet
    #[arg(long, value_name = "VERSION")]
    cas: Option<u64>,
    /// Keep the newest version's other fields, as `coffer kv patch` does
    #[arg(long, visible_alias = "patch")]
    merge: bool,
}

/// Change some fields of a secret and keep the others
#[derive(Args)]
#[command(after_help = FIELDS_HELP)]
pub(crate) struct Patch {
    #[command(flatten)]
    write: Write,
    /// Write only where this is the newest version
    #[arg(long, value_name = "VERSION")]
    cas: Option<u64>,
}

const FIELDS_HELP: &str = "\
Fields:
  KEY           asks for the value, hidden
  KEY=@FILE     the file's bytes, as they are
  KEY=-         standard input, as it is
  KEY=value     the value itself: your shell keeps it in its history, and other users of the
                machine can see it (\\@ and \\- at the beginning stand for @ and -)
  @FILE.json    all fields of a JSON object; - for one on standard input

Examples:
  coffer kv put kv/prod/payments user=app password
  coffer kv put kv/prod/tls cert=@tls.crt key=@tls.key --ttl 90d
  pass show db | coffer kv put kv/prod/payments password=- --merge";

#[derive(Args)]
struct Write {
    /// The secret's path
    #[arg(add = crate::complete::paths())]
    path: String,
    /// The fields: KEY, KEY=@FILE, KEY=-, KEY=value or @FILE.json
    #[arg(required = true, value_name = "FIELD")]
    fields: Vec<String>,
    /// How long the version lives, as 12h or 30d [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    #[command(flatten)]
    dry_run: DryRun,
}

#[derive(Serialize)]
struct WrittenJson<'a> {
    path: &'a str,
    version: u64,
    created: Option<String>,
    expires: Option<String>,
}

impl Write {
    async fn run(self, app: &App, merge: bool, expected_version: Option<u64>) -> Result<Exit> {
        let vault = app.vault()?;
        let fields = app.input.fields(&self.fields)?;
        for note in &fields.notes {
            app.out.note(note);
        }
        if self.dry_run.asked() {
            return self.plan(app, &vault, &fields, merge, expected_version).await;
        }
        let attempt = vault.attempt(format!("write {}", self.path)).at("write", &self.path);
        let request = PutSecretRequest {
            path: self.path.clone(),
            fields: fields.entries.into_iter().map(|(name, value)| (name, value.into_exposed())).collect(),
            expected_version,
            merge,
            ttl_seconds: self.ttl.map_or(0, |ttl| ttl.as_secs()),
            idempotency_key: String::new(),
        };
        let written = answer(&attempt, vault.client.kv().put_secret(request).await)?.into_inner();
        let version = part(&attempt, written.version)?;
        let json = WrittenJson {
            path: &self.path,
            version: version.version,
            created: rfc3339(version.created.as_ref()),
            expires: rfc3339(version.expires.as_ref()),
        };
        app.out.result(&json, |view| show::written(&self.path, &version, view))?;
        Ok(Exit::Done)
    }
}

impl Write {
    /// What would be written: names and sizes, no values.
    async fn plan(&self, app: &App, vault: &Vault, fields: &Fields, merge: bool, expected: Option<u64>) -> Result<Exit> {
        let mut planned = Planned::new(format!("write a new version of {}", self.path), "KvService/PutSecret");
        planned.say("path", &self.path);
        planned.say("field_sizes", fields.entries.iter().map(|(name, value)| (name, value.len())).collect::<BTreeMap<_, _>>());
        planned.say("merge", merge);
        planned.say_some("expected_version", expected);
        planned.say_some("ttl_seconds", self.ttl.map(|ttl| ttl.as_secs()));
        planned.newest(vault, &self.path, expected).await?;
        planned.show(app)
    }
}

fn parse_ttl(text: &str) -> std::result::Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|_| "write a duration such as 12h or 30d".to_owned())?;
    if ttl.subsec_nanos() != 0 || ttl.is_zero() || ttl > TTL_MAX {
        return Err("a version lives for whole seconds, from 1s to a hundred years".into());
    }
    Ok(ttl)
}

/// Read a secret
///
/// Each reading leaves a receipt in the audit log.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer kv get kv/prod/payments
  coffer kv get kv/prod/payments --field password | wl-copy
  coffer kv get kv/prod/payments -o json | jq -r .fields.user")]
pub(crate) struct Get {
    /// The secret's path
    #[arg(add = crate::complete::paths())]
    path: String,
    /// Print this field's value alone: as it is, and without a newline where output is no terminal
    #[arg(short, long, value_name = "NAME")]
    field: Option<String>,
    /// A version [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    version: Option<u64>,
    /// Show the fields' names and sizes, not their values: for a screen that others see
    #[arg(long, conflicts_with = "field")]
    mask: bool,
}

impl Get {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let attempt = vault.attempt(format!("read {}", self.path)).at("read", &self.path);
        let secret = answer(&attempt, vault.client.kv_get(&self.path, self.version.unwrap_or(0)).await)?;
        if let Some(field) = &self.field {
            let value = secret.field(field).ok_or_else(|| no_field(&self.path, field, &secret))?;
            return one_field(app, field, value);
        }
        app.out.result(&show::secret_json(&self.path, &secret, self.mask), |view| {
            show::secret_text(&self.path, &secret, self.mask, view)
        })?;
        Ok(Exit::Done)
    }
}

pub(crate) fn no_field(path: &str, field: &str, secret: &Secret) -> Box<Failure> {
    let names: Vec<&str> = secret.fields.keys().map(String::as_str).collect();
    Failure::new(Exit::Denied, format!("{path} has no field '{field}'")).next(format!("its fields: {}", names.join(", ")))
}

fn one_field(app: &App, name: &str, value: &SecretBytes) -> Result<Exit> {
    if app.out.format != crate::output::Format::Table {
        app.out.result(&show::field_json(value), |_| String::new())?;
        return Ok(Exit::Done);
    }
    let text = std::str::from_utf8(value.expose()).ok();
    if app.out.terminal && !text.is_some_and(is_printable) {
        return Err(
            Failure::usage(format!("field '{name}' is not text that a terminal can show")).next("send it to a file: add > FILE")
        );
    }
    app.out.raw(value.expose())?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct VersionsJson<'a> {
    path: &'a str,
    versions: &'a [u64],
}

/// Delete versions; `undelete` brings them back
#[derive(Args)]
pub(crate) struct Delete {
    /// The secret's path
    #[arg(add = crate::complete::paths())]
    path: String,
    /// The versions, as 3,4 [default: the newest]
    #[arg(long, value_name = "N,N", value_parser = parse_version, value_delimiter = ',')]
    versions: Vec<u64>,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Delete {
    async fn run(self, app: &App) -> Result<Exit> {
        check_versions(&self.versions)?;
        let vault = app.vault()?;
        if self.dry_run.asked() {
            return plan_versions(app, &vault, "delete", "KvService/DeleteVersions", &self.path, &self.versions).await;
        }
        let attempt = vault.attempt(format!("delete {}", self.path)).at("delete", &self.path);
        let request = DeleteVersionsRequest { path: self.path.clone(), versions: self.versions.clone() };
        answer(&attempt, vault.client.kv().delete_versions(request).await)?;
        changed(app, &self.path, &self.versions, "deleted")
    }
}

/// Bring deleted versions back
#[derive(Args)]
pub(crate) struct Undelete {
    /// The secret's path
    #[arg(add = crate::complete::paths())]
    path: String,
    /// The versions, as 3,4
    #[arg(long, required = true, value_name = "N,N", value_parser = parse_version, value_delimiter = ',')]
    versions: Vec<u64>,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Undelete {
    async fn run(self, app: &App) -> Result<Exit> {
        check_versions(&self.versions)?;
        let vault = app.vault()?;
        if self.dry_run.asked() {
            return plan_versions(app, &vault, "undelete", "KvService/UndeleteVersions", &self.path, &self.versions).await;
        }
        let attempt = vault.attempt(format!("undelete versions of {}", self.path)).at("delete", &self.path);
        let request = UndeleteVersionsRequest { path: self.path.clone(), versions: self.versions.clone() };
        answer(&attempt, vault.client.kv().undelete_versions(request).await)?;
        changed(app, &self.path, &self.versions, "undeleted")
    }
}

/// Erase versions for good
///
/// `coffer kv metadata delete` erases a whole secret with its name.
#[derive(Args)]
pub(crate) struct Destroy {
    /// The secret's path
    #[arg(add = crate::complete::paths())]
    path: String,
    /// The versions, as 3,4
    #[arg(long, required = true, value_name = "N,N", value_parser = parse_version, value_delimiter = ',')]
    versions: Vec<u64>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Destroy {
    async fn run(self, app: &App) -> Result<Exit> {
        check_versions(&self.versions)?;
        let vault = app.vault()?;
        if self.dry_run.asked() {
            return plan_versions(app, &vault, "destroy", "KvService/DestroyVersions", &self.path, &self.versions).await;
        }
        super::confirm(app, self.yes, &format!("Erase versions {} of {} for good?", numbers(&self.versions), self.path))?;
        let attempt: Attempt = vault.attempt(format!("destroy versions of {}", self.path)).at("destroy", &self.path);
        let request = DestroyVersionsRequest { path: self.path.clone(), versions: self.versions.clone() };
        answer(&attempt, vault.client.kv().destroy_versions(request).await)?;
        changed(app, &self.path, &self.versions, "destroyed")
    }
}

/// What would be done to versions, and whether they are there.
async fn plan_versions(app: &App, vault: &Vault, doing: &str, rpc: &'static str, path: &str, versions: &[u64]) -> Result<Exit> {
    let what = if versions.is_empty() { "the newest version".to_owned() } else { format!("versions {}", numbers(versions)) };
    let mut planned = Planned::new(format!("{doing} {what} of {path}"), rpc);
    planned.say("path", path);
    planned.say("versions", versions);
    planned.versions(vault, path, versions).await?;
    planned.show(app)
}

fn changed(app: &App, path: &str, versions: &[u64], how: &str) -> Result<Exit> {
    app.out.result(&VersionsJson { path, versions }, |_| match versions {
        [] => format!("{path}: newest version {how}"),
        [version] => format!("{path}: version {version} {how}"),
        _ => format!("{path}: versions {} {how}", numbers(versions)),
    })?;
    Ok(Exit::Done)
}

fn numbers(versions: &[u64]) -> String {
    versions.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

fn parse_version(text: &str) -> std::result::Result<u64, String> {
    text.trim().parse().ok().filter(|version| *version > 0).ok_or_else(|| "versions are numbers from 1, as 3,4".into())
}

fn check_versions(versions: &[u64]) -> Result<()> {
    if versions.len() > VERSIONS_MAX {
        return Err(Failure::usage(format!("{} versions at once; at most {VERSIONS_MAX}", versions.len())));
    }
    Ok(())
}

/// The state of a version in one word.
pub(crate) fn state(version: &VersionInfo) -> &'static str {
    use coffer_client::proto::VersionState;
    match VersionState::try_from(version.state) {
        Ok(VersionState::Live) => "live",
        Ok(VersionState::Deleted) => "deleted",
        Ok(VersionState::Expired) => "expired",
        Ok(VersionState::Destroyed) => "destroyed",
        Ok(VersionState::Unspecified) | Err(_) => "unknown",
    }
}

#[cfg(test)]
mod tests;
