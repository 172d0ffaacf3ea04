//! The configuration file as it is written.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::args::Level;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) vault: RawVault,
    pub(super) output: RawOutput,
    pub(super) secrets: Vec<Spanned<RawSecret>>,
    pub(super) notify: Option<Spanned<RawNotify>>,
    pub(super) init: RawInit,
    pub(super) sidecar: RawSidecar,
    pub(super) log_level: Option<Level>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawVault {
    pub(super) address: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) server_name: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) token_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawOutput {
    pub(super) directory: Option<PathBuf>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mode: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecret {
    pub(super) name: String,
    pub(super) path: Option<String>,
    pub(super) paths: Option<BTreeMap<String, String>>,
    pub(super) version: Option<u64>,
    pub(super) credential: Option<String>,
    pub(super) credentials: Option<BTreeMap<String, RawCredential>>,
    pub(super) ttl: Option<String>,
    pub(super) parameters: Option<BTreeMap<String, String>>,
    pub(super) format: Option<RawFormat>,
    pub(super) field: Option<String>,
    pub(super) template: Option<String>,
    pub(super) template_file: Option<PathBuf>,
    pub(super) mode: Option<String>,
}

/// A credential of a template: its path, or that and what it is to be.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a path, or a table of path, ttl and parameters")]
pub(super) enum RawCredential {
    Path(String),
    Table(RawCredentialTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCredentialTable {
    pub(super) path: String,
    pub(super) ttl: Option<String>,
    pub(super) parameters: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawFormat {
    Raw,
    Json,
    Dotenv,
    Template,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNotify {
    pub(super) http: Option<String>,
    pub(super) signal: Option<String>,
    pub(super) process: Option<String>,
    #[serde(default)]
    pub(super) on_start: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawInit {
    pub(super) deadline: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawSidecar {
    pub(super) poll: Option<Spanned<String>>,
    pub(super) probe_listen: Option<SocketAddr>,
    pub(super) revoke_on_exit: bool,
}
