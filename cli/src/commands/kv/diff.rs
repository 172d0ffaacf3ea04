//! `coffer kv diff`: what changed between two versions.

use std::collections::BTreeMap;

use clap::Args;
use coffer_client::Secret;
use coffer_secret::SecretBytes;
use serde::Serialize;

use super::show::{self, FieldJson, field_json};
use crate::{
    app::{App, Vault, answer},
    exit::Exit,
    failure::{Failure, Result},
    output::{Table, View},
};

/// Show which fields differ between two versions
///
/// Needs permission to read: both versions are read, and each reading leaves a receipt. Values are not shown unless
/// --show-values is said.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer kv diff kv/prod/payments 3 4
  coffer kv diff kv/prod/payments 3                 version 3 and the newest
  coffer kv diff kv/prod/payments                   the newest and the one before it")]
pub(crate) struct Diff {
    /// The secret's path
    #[arg(add = crate::complete::paths())]
    path: String,
    /// The older version [default: the one before the other]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// The newer version [default: the newest]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    /// Show the values too
    #[arg(long)]
    show_values: bool,
}

impl Diff {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let to = read(&vault, &self.path, self.to.unwrap_or(0)).await?;
        let from = match self.from {
            Some(from) => from,
            None if to.version > 1 => to.version - 1,
            None => {
                return Err(Failure::new(Exit::Denied, format!("{} has one version, and nothing to compare it with", self.path))
                    .next(format!("coffer kv history {}", self.path)));
            }
        };
        let from = read(&vault, &self.path, from).await?;
        let changes = Changes::new(&self.path, &from, &to, self.show_values);
        app.out.result(&changes, |view| changes.render(&from, &to, self.show_values, view))?;
        Ok(Exit::Done)
    }
}

async fn read(vault: &Vault, path: &str, version: u64) -> Result<Secret> {
    let which = if version == 0 { String::new() } else { format!("version {version} of ") };
    let attempt = vault.attempt(format!("read {which}{path}")).at("read", path);
    answer(&attempt, vault.client.kv_get(path, version).await)
}

/// How a field differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    Added,
    Changed,
    Removed,
}

/// How two versions differ.
#[derive(Serialize)]
pub(super) struct Changes<'a> {
    path: &'a str,
    from_version: u64,
    to_version: u64,
    fields: BTreeMap<&'a str, FieldChange<'a>>,
    unchanged: usize,
}

#[derive(Serialize)]
struct FieldChange<'a> {
    change: Change,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<FieldJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<FieldJson<'a>>,
}

impl<'a> Changes<'a> {
    pub(super) fn new(path: &'a str, from: &'a Secret, to: &'a Secret, values: bool) -> Self {
        let mut fields = BTreeMap::new();
        let mut unchanged = 0;
        let shown = |value: Option<&'a SecretBytes>| value.filter(|_| values).map(field_json);
        let names = from.fields.keys().chain(to.fields.keys());
        for name in names {
            let (old, new) = (from.fields.get(name), to.fields.get(name));
            let change = match (old, new) {
                (Some(old), Some(new)) if old.same(new) => continue,
                (Some(_), Some(_)) => Change::Changed,
                (Some(_), None) => Change::Removed,
                (None, _) => Change::Added,
            };
            fields.insert(name.as_str(), FieldChange { change, from: shown(old), to: shown(new) });
        }
        for name in from.fields.keys() {
            unchanged += usize::from(to.fields.contains_key(name) && !fields.contains_key(name.as_str()));
        }
        Self { path, from_version: from.version, to_version: to.version, fields, unchanged }
    }

    pub(super) fn render(&self, from: &Secret, to: &Secret, values: bool, view: &View) -> String {
        let cell = |secret: &Secret, name: &str| match secret.fields.get(name) {
            Some(value) => show::value_text(name, value, !values),
            None => "-".to_owned(),
        };
        let mut table = Table::new(&["FIELD", "CHANGE", "OLD", "NEW"]);
        for (name, field) in &self.fields {
            let change = match field.change {
                Change::Added => "added",
                Change::Changed => "changed",
                Change::Removed => "removed",
            };
            table.row([(*name).to_owned(), change.to_owned(), cell(from, name), cell(to, name)]);
        }
        let head = format!("{}, version {} to version {}", self.path, self.from_version, self.to_version);
        let rest = match self.unchanged {
            0 => String::new(),
            1 => "\n1 field is the same.".to_owned(),
            same => format!("\n{same} fields are the same."),
        };
        format!("{}\n\n{}{rest}", crate::output::printable(&head), table.render(view, "No field differs.\n"))
    }
}
