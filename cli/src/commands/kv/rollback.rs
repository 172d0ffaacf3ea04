//! `coffer kv rollback`.

use std::time::Duration;

use clap::Args;
use coffer_client::proto::RollbackSecretRequest;
use serde::Serialize;

use super::{parse_ttl, show};
use crate::{
    app::{App, answer, part},
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::Result,
    output::rfc3339,
};

/// Go back to an older version: write its fields anew
///
/// The vault does it by itself, so that it needs permission to write and none to read. The new version has the older
/// one's fields, and no expiry unless --ttl is said; the versions between stay. The older version must be live:
/// `coffer kv undelete` brings a deleted one back first.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer kv history kv/prod/payments
  coffer kv rollback kv/prod/payments --version 3")]
pub(crate) struct Rollback {
    /// The secret's path
    #[arg(add = crate::complete::paths())]
    path: String,
    /// The version whose fields the new version has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    version: u64,
    /// Write only where this is the newest version
    #[arg(long, value_name = "VERSION")]
    cas: Option<u64>,
    /// How long the new version lives, as 12h or 30d [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    #[command(flatten)]
    dry_run: DryRun,
}

#[derive(Serialize)]
struct RolledBackJson<'a> {
    path: &'a str,
    version: u64,
    from_version: u64,
    created: Option<String>,
    expires: Option<String>,
}

impl Rollback {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let mut planned =
                Planned::new(format!("write version {} of {} anew", self.version, self.path), "KvService/RollbackSecret");
            planned.say("path", &self.path);
            planned.say("version", self.version);
            planned.say_some("expected_version", self.cas);
            planned.say_some("ttl_seconds", self.ttl.map(|ttl| ttl.as_secs()));
            planned.newest(&vault, &self.path, self.cas).await?;
            planned.versions(&vault, &self.path, &[self.version]).await?;
            return planned.show(app);
        }
        let doing = format!("go back to version {} of {}", self.version, self.path);
        let attempt = vault.attempt(doing).at("write", &self.path);
        let request = RollbackSecretRequest {
            path: self.path.clone(),
            version: self.version,
            expected_version: self.cas,
            ttl_seconds: self.ttl.map_or(0, |ttl| ttl.as_secs()),
            idempotency_key: String::new(),
        };
        let written = answer(&attempt, vault.client.kv().rollback_secret(request).await)?.into_inner();
        let version = part(&attempt, written.version)?;
        let json = RolledBackJson {
            path: &self.path,
            version: version.version,
            from_version: self.version,
            created: rfc3339(version.created.as_ref()),
            expires: rfc3339(version.expires.as_ref()),
        };
        app.out.result(&json, |view| {
            format!("{}, with the fields of version {}", show::written(&self.path, &version, view), self.version)
        })?;
        Ok(Exit::Done)
    }
}
