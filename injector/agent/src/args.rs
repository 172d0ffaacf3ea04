//! What the command line says.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

/// Puts a pod's secrets on tmpfs and keeps them fresh. Exit codes: 0 done; 1 a fault of the agent's own; 2 settings
/// or templates are wrong; 3 the vault was not available in time; 4 the vault refused; 5 the files cannot be
/// written; 6 (probe) not ready.
#[derive(Debug, Parser)]
#[command(name = "coffer-agent", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes all files once and ends: for an init container.
    Init(Flags),
    /// Writes all files and follows changes until it is stopped: for a sidecar.
    Sidecar(Flags),
    /// Ends with 0 if all files are there: for an exec probe of the sidecar.
    Probe(Flags),
}

impl Command {
    pub(crate) const fn flags(&self) -> &Flags {
        match self {
            Self::Init(flags) | Self::Sidecar(flags) | Self::Probe(flags) => flags,
        }
    }
}

/// Settings. A flag wins over the configuration file. No secret is ever given here, nor in the environment.
#[derive(Debug, Default, Args)]
pub(crate) struct Flags {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The configuration file's text itself, where there is no file.
    #[arg(long, value_name = "TOML", conflicts_with = "config")]
    pub(crate) config_text: Option<String>,
    /// The vault: https://HOST:PORT.
    #[arg(long, value_name = "URL")]
    pub(crate) address: Option<String>,
    /// PEM file with the CA certificates of the vault; read again for every connection.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// The name in the vault's certificate, where it is not the address's host.
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
    /// The tenant [default: default].
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// The name under which this cluster is registered; needed where two clusters have one issuer.
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// The projected service-account token [default: /var/run/secrets/coffer/token].
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Where the files go: a tmpfs, always [default: /coffer/secrets].
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Numeric owner of the files [default: the agent's own].
    #[arg(long)]
    pub(crate) uid: Option<u32>,
    /// Numeric group of the files [default: the agent's own].
    #[arg(long)]
    pub(crate) gid: Option<u32>,
    /// Mode of the files, octal [default: 0400].
    #[arg(long)]
    pub(crate) mode: Option<String>,
    /// A file: NAME=PATH for all fields as JSON, NAME=PATH#FIELD for one field as it is. May be repeated; wins over a
    /// file of the same name in the configuration file.
    #[arg(long = "secret", value_name = "NAME=PATH[#FIELD]")]
    pub(crate) secrets: Vec<String>,
    /// POST to this loopback URL after every change.
    #[arg(long, value_name = "URL")]
    pub(crate) notify_http: Option<String>,
    /// How long init tries to reach the vault [default: 60s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) deadline: Option<Duration>,
    /// How often the sidecar reads the secrets while changes cannot be followed [default: 5m].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) poll: Option<Duration>,
    /// Answer HTTP probes of the sidecar here (200 when all files are written, else 503).
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) probe_listen: Option<SocketAddr>,
    /// What is logged, to standard error [default: info].
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<Level>,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Failures.
    Error,
    /// And what may become one.
    Warn,
    /// And what was done.
    Info,
    /// And how.
    Debug,
    /// And what the libraries say.
    Trace,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}
