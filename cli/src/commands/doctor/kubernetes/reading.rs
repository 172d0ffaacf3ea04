//! What a pod reads, as its agent is told.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::objects::Pod;

/// What a pod's agent is told, as far as it is looked at.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    vault: VaultConfig,
    secrets: Vec<SecretConfig>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct VaultConfig {
    tenant: String,
    cluster: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SecretConfig {
    path: Option<String>,
    paths: BTreeMap<String, String>,
    credential: Option<String>,
    credentials: BTreeMap<String, CredentialConfig>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CredentialConfig {
    Path(String),
    Table { path: String },
}

/// What a pod reads, and as whom.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) namespace: String,
    pub(super) service_account: String,
    /// The tenant, and the cluster's name at the vault; empty where nothing is said.
    pub(super) tenant: String,
    pub(super) cluster: String,
    /// Secrets and credentials.
    pub(super) paths: BTreeSet<String>,
}

/// What an injected pod reads; nothing where its agent's arguments are not the injector's.
pub(super) fn of(pod: &Pod) -> Option<Reading> {
    let arguments = &pod.agent()?.args;
    let place = arguments.iter().position(|argument| argument == "--config-text")?;
    // Kubernetes makes one of two.
    let text = arguments.get(place + 1)?.replace("$$", "$");
    let config: Config = toml::from_str(&text).ok()?;
    let mut paths = BTreeSet::new();
    for secret in config.secrets {
        paths.extend(secret.path.into_iter().chain(secret.credential).chain(secret.paths.into_values()));
        paths.extend(secret.credentials.into_values().map(|credential| match credential {
            CredentialConfig::Path(path) | CredentialConfig::Table { path } => path,
        }));
    }
    let account = match pod.spec.service_account_name.as_str() {
        "" => "default",
        account => account,
    };
    Some(Reading {
        namespace: pod.metadata.namespace.clone(),
        service_account: account.to_owned(),
        tenant: config.vault.tenant,
        cluster: config.vault.cluster,
        paths,
    })
}
