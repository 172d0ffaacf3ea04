//! `coffer kv metadata`: what is known about a secret, without its values.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use coffer_client::proto::{
    DestroySecretRequest, GetSecretMetadataRequest, PutSecretMetadataRequest, SecretMetadata, VersionInfo,
};
use serde::Serialize;

use super::state;
use crate::{
    app::{App, Vault, answer, part},
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::{Failure, Result},
    output::{Table, View, pairs, rfc3339, since, until},
};

/// Versions, custom metadata and limits of a secret
#[derive(Subcommand)]
pub(crate) enum Metadata {
    Get(Get),
    Put(Put),
    Delete(Delete),
}

impl Metadata {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Get(command) => command.run(app).await,
            Self::Put(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
        }
    }
}

/// Show versions, custom metadata and limits; never values
#[derive(Args)]
pub(crate) struct Get {
    /// The secret's path
    #[arg(add = crate::complete::paths())]
    path: String,
}

impl Get {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let metadata = read(&vault, &self.path).await?;
        app.out.result(&json(&self.path, &metadata), |view| render(&self.path, &metadata, view))?;
        Ok(Exit::Done)
    }
}

pub(super) async fn read(vault: &Vault, path: &str) -> Result<SecretMetadata> {
    let attempt = vault.attempt(format!("read the metadata of {path}")).at("list", path);
    let request = GetSecretMetadataRequest { path: path.to_owned() };
    let answer = answer(&attempt, vault.client.kv().get_secret_metadata(request).await)?.into_inner();
    part(&attempt, answer.metadata)
}

/// Change custom metadata and limits
///
/// What is not said stays as it is.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer kv metadata put kv/prod/payments --set owner=payments --set ticket=OPS-12
  coffer kv metadata put kv/prod/payments --max-versions 20 --cas-required true")]
pub(crate) struct Put {
    /// The secret's path
    #[arg(add = crate::complete::paths())]
    path: String,
    /// Set an entry of the custom metadata
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_entry)]
    set: Vec<(String, String)>,
    /// Remove an entry of the custom metadata
    #[arg(long = "unset", value_name = "KEY")]
    unset: Vec<String>,
    /// Versions to keep, 1 to 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    max_versions: Option<u32>,
    /// Whether every write must say --cas
    #[arg(long, value_name = "BOOL")]
    cas_required: Option<bool>,
    /// Make the entry of a secret that has not been written yet
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Put {
    async fn run(self, app: &App) -> Result<Exit> {
        if self.set.is_empty()
            && self.unset.is_empty()
            && self.max_versions.is_none()
            && self.cas_required.is_none()
            && !self.create
        {
            return Err(Failure::usage("nothing to change is given").next("say --set, --unset, --max-versions or --cas-required"));
        }
        let vault = app.vault()?;
        let known = match read(&vault, &self.path).await {
            Err(failure) if self.create && failure.exit == Exit::Denied => SecretMetadata::default(),
            Err(failure) if failure.exit == Exit::Denied => {
                return Err(failure.next("for a secret that has not been written yet, add --create"));
            }
            known => known?,
        };
        let mut custom_metadata = known.custom_metadata;
        for key in &self.unset {
            custom_metadata.remove(key);
        }
        custom_metadata.extend(self.set);
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("change the metadata of {}", self.path), "KvService/PutSecretMetadata");
            planned.say("path", &self.path);
            // Keys alone: what people write beside them is theirs.
            planned.say("custom_metadata", custom_metadata.keys().collect::<std::collections::BTreeSet<_>>());
            planned.say("max_versions", self.max_versions.unwrap_or(known.max_versions));
            planned.say("cas_required", self.cas_required.unwrap_or(known.cas_required));
            planned.checked(format!("the newest version is {}", known.newest_version));
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("change the metadata of {}", self.path)).at("write", &self.path);
        let request = PutSecretMetadataRequest {
            path: self.path.clone(),
            custom_metadata,
            max_versions: self.max_versions.unwrap_or(known.max_versions),
            cas_required: self.cas_required.unwrap_or(known.cas_required),
            etag: known.etag,
        };
        let changed = answer(&attempt, vault.client.kv().put_secret_metadata(request).await)?.into_inner();
        let metadata = part(&attempt, changed.metadata)?;
        app.out.result(&json(&self.path, &metadata), |_| format!("{}: metadata changed", self.path))?;
        Ok(Exit::Done)
    }
}

fn parse_entry(text: &str) -> std::result::Result<(String, String), String> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Erase a secret for good: all versions, metadata and name
#[derive(Args)]
pub(crate) struct Delete {
    /// The secret's path
    #[arg(add = crate::complete::paths())]
    path: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

#[derive(Serialize)]
struct ErasedJson<'a> {
    path: &'a str,
}

impl Delete {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("erase {} with all its versions", self.path), "KvService/DestroySecret");
            planned.say("path", &self.path);
            planned.versions(&vault, &self.path, &[]).await?;
            return planned.show(app);
        }
        let question = format!("Erase {} for good, with all its versions?", self.path);
        crate::commands::confirm(app, self.yes, &question)?;
        let attempt = vault.attempt(format!("erase {}", self.path)).at("destroy", &self.path);
        let request = DestroySecretRequest { path: self.path.clone(), etag: String::new() };
        answer(&attempt, vault.client.kv().destroy_secret(request).await)?;
        app.out.result(&ErasedJson { path: &self.path }, |_| format!("{}: erased", self.path))?;
        Ok(Exit::Done)
    }
}

#[derive(Serialize)]
struct MetadataJson<'a> {
    path: &'a str,
    newest_version: u64,
    versions: Vec<VersionJson<'a>>,
    custom_metadata: BTreeMap<&'a str, &'a str>,
    max_versions: u32,
    cas_required: bool,
    created: Option<String>,
}

/// What is known about a version.
#[derive(Serialize)]
pub(super) struct VersionJson<'a> {
    version: u64,
    state: &'static str,
    created: Option<String>,
    created_by: &'a str,
    expires: Option<String>,
}

impl<'a> VersionJson<'a> {
    pub(super) fn of(version: &'a VersionInfo) -> Self {
        Self {
            version: version.version,
            state: state(version),
            created: rfc3339(version.created.as_ref()),
            created_by: &version.created_by,
            expires: rfc3339(version.expires.as_ref()),
        }
    }
}

fn json<'a>(path: &'a str, metadata: &'a SecretMetadata) -> MetadataJson<'a> {
    MetadataJson {
        path,
        newest_version: metadata.newest_version,
        versions: metadata.versions.iter().map(VersionJson::of).collect(),
        custom_metadata: metadata.custom_metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        max_versions: metadata.max_versions,
        cas_required: metadata.cas_required,
        created: rfc3339(metadata.created.as_ref()),
    }
}

pub(super) fn render(path: &str, metadata: &SecretMetadata, view: &View) -> String {
    let lines = [
        ("Path", path.to_owned()),
        ("Created", format!("{} ago", since(metadata.created.as_ref(), view))),
        ("Keeps", format!("{} versions", metadata.max_versions)),
        ("Check-and-set", if metadata.cas_required { "required" } else { "optional" }.to_owned()),
    ];
    let mut table = Table::new(&["VERSION", "STATE", "AGE", "EXPIRES", "BY"]);
    for version in &metadata.versions {
        table.row([
            version.version.to_string(),
            state(version).to_owned(),
            since(version.created.as_ref(), view),
            until(version.expires.as_ref(), view),
            version.created_by.clone(),
        ]);
    }
    let mut text = format!("{}\n{}\n", pairs(&lines), table.render(view, "No versions.").trim_end());
    if !metadata.custom_metadata.is_empty() {
        let mut custom = Table::new(&["METADATA", "VALUE"]);
        for (key, value) in metadata.custom_metadata.iter().collect::<BTreeMap<_, _>>() {
            custom.row([key.clone(), value.clone()]);
        }
        text.push_str(&format!("\n{}", custom.render(view, "")));
    }
    text
}
