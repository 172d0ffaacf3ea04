//! `--dry-run`: what would be sent, without values, and what the vault says about it as far as reading is permitted.

use clap::Args;
use coffer_client::proto::{GetSecretMetadataRequest, SecretMetadata, VersionState};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    app::{App, Vault, answer},
    exit::Exit,
    failure::{Failure, Result},
    output::pairs,
};

/// The option of commands that change something.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct DryRun {
    /// Show what would be sent, without values, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl DryRun {
    /// Whether nothing shall be changed.
    pub(crate) const fn asked(self) -> bool {
        self.dry_run
    }
}

/// A change that is shown and not made.
#[derive(Debug)]
pub(crate) struct Planned {
    doing: String,
    rpc: &'static str,
    request: Map<String, Value>,
    checked: Vec<String>,
}

impl Planned {
    /// A change, as a phrase that follows "would".
    pub(crate) fn new(doing: impl Into<String>, rpc: &'static str) -> Self {
        Self { doing: doing.into(), rpc, request: Map::new(), checked: Vec::new() }
    }

    /// A part of the request. Never a value of a secret.
    pub(crate) fn say(&mut self, name: &str, value: impl Serialize) {
        self.request.insert(name.to_owned(), serde_json::json!(value));
    }

    /// A part of the request that may be missing.
    pub(crate) fn say_some(&mut self, name: &str, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.say(name, value);
        }
    }

    /// What was looked at.
    pub(crate) fn checked(&mut self, what: impl Into<String>) {
        self.checked.push(what.into());
    }

    /// Looks at a secret's newest version, where that is permitted, and compares it with the expected one.
    ///
    /// # Errors
    /// Where the change would be refused for that.
    pub(crate) async fn newest(&mut self, vault: &Vault, path: &str, expected: Option<u64>) -> Result<Option<SecretMetadata>> {
        let Some(found) = metadata(vault, path).await? else {
            self.checked("the secret is not there, or may not be looked at");
            return Ok(None);
        };
        self.checked(format!("the newest version is {}", found.newest_version));
        match expected {
            Some(0) if found.versions.iter().all(|version| version.state() == VersionState::Destroyed) => {}
            Some(expected) if expected != found.newest_version => {
                return Err(Failure::new(
                    Exit::Conflict,
                    format!("the newest version is {}, not {expected}", found.newest_version),
                )
                .next("say the version that you saw last, or leave --cas out"));
            }
            None if found.cas_required => {
                return Err(Failure::usage(format!("every write of {path} must say which version it expects"))
                    .next(format!("add --cas {}", found.newest_version)));
            }
            _ => {}
        }
        Ok(Some(found))
    }

    /// Looks whether a secret has these versions, where that is permitted.
    ///
    /// # Errors
    /// Where one is not there.
    pub(crate) async fn versions(&mut self, vault: &Vault, path: &str, versions: &[u64]) -> Result<()> {
        let Some(found) = metadata(vault, path).await? else {
            self.checked("the secret is not there, or may not be looked at");
            return Ok(());
        };
        if let Some(missing) = versions.iter().find(|version| **version > found.newest_version) {
            return Err(Failure::new(Exit::Denied, format!("{path} has no version {missing}"))
                .next(format!("coffer kv history {path} shows its versions")));
        }
        let state = |wanted: u64| {
            let version = found.versions.iter().find(|version| version.version == wanted);
            version.map_or("destroyed", crate::commands::kv::state)
        };
        let newest = [found.newest_version];
        for version in if versions.is_empty() { &newest } else { versions } {
            self.checked(format!("version {version} is {}", state(*version)));
        }
        Ok(())
    }

    /// Shows the change.
    ///
    /// # Errors
    /// Where output cannot be written.
    pub(crate) fn show(self, app: &App) -> Result<Exit> {
        let json = serde_json::json!({
            "dry_run": true, "would": self.doing, "rpc": self.rpc, "request": self.request, "checked": self.checked,
        });
        app.out.result(&json, |_| {
            let mut lines = vec![("Would", self.doing.clone()), ("Request", self.rpc.to_owned())];
            let parts = self.request.iter().map(|(name, value)| match value {
                Value::String(text) => (name.as_str(), text.clone()),
                value => (name.as_str(), value.to_string()),
            });
            lines.extend(parts.filter(|(_, value)| value != "[]"));
            lines.extend(self.checked.iter().map(|checked| ("Checked", checked.clone())));
            format!("{}\nNothing was changed.", pairs(&lines))
        })?;
        Ok(Exit::Done)
    }
}

/// What is known of a secret; none where it is not there, or may not be seen.
pub(crate) async fn metadata(vault: &Vault, path: &str) -> Result<Option<SecretMetadata>> {
    let attempt = vault.attempt(format!("read the metadata of {path}")).at("list", path);
    let request = GetSecretMetadataRequest { path: path.to_owned() };
    match answer(&attempt, vault.client.kv().get_secret_metadata(request).await) {
        Ok(found) => Ok(found.into_inner().metadata),
        Err(failure) if failure.exit == Exit::Denied => Ok(None),
        Err(failure) => Err(failure),
    }
}
