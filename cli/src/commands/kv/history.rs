//! `coffer kv history`: versions.

use clap::Args;
use coffer_client::proto::VersionInfo;

use super::{
    metadata::{self, VersionJson},
    state,
};
use crate::{
    app::App,
    exit::Exit,
    failure::Result,
    output::{Table, View, rfc3339, since, until},
};

/// Show the versions of a secret: who wrote each, when, and its state
///
/// The newest is first. No values are read: it needs permission to list, none to read.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer kv history kv/prod/payments
  coffer kv diff kv/prod/payments 3 4
  coffer kv rollback kv/prod/payments --version 3")]
pub(crate) struct History {
    /// The secret's path
    #[arg(add = crate::complete::paths())]
    path: String,
}

impl History {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let mut versions = metadata::read(&vault, &self.path).await?.versions;
        versions.reverse();
        let json: Vec<_> = versions.iter().map(VersionJson::of).collect();
        app.out.long(&json, |view| render(&versions, view))?;
        Ok(Exit::Done)
    }
}

pub(super) fn render(versions: &[VersionInfo], view: &View) -> String {
    let mut table = Table::new(&["VERSION", "STATE", "WRITTEN", "AGE", "EXPIRES", "BY"]);
    for version in versions {
        table.row([
            version.version.to_string(),
            state(version).to_owned(),
            rfc3339(version.created.as_ref()).unwrap_or_default(),
            since(version.created.as_ref(), view),
            until(version.expires.as_ref(), view),
            version.created_by.clone(),
        ]);
    }
    table.render(view, "No versions.")
}
