//! What the command line says.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;
use tracing::level_filters::LevelFilter;

/// Tells the vault what could take a secret out of a pod's memory on this node. Exit codes: 0 stopped; 1 a fault of the agent's own; 2 settings
/// are wrong.
#[derive(Debug, Parser)]
#[command(name = "coffer-node", version, max_term_width = 100)]
pub(crate) struct Args {
    /// The vault: https://HOST:PORT.
    #[arg(long, value_name = "URL")]
    pub(crate) address: String,
    /// PEM file with the CA certificates of the vault; read again for every connection.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: PathBuf,
    /// The name in the vault's certificate, where it is not the address's host.
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
    /// The tenant.
    #[arg(long, default_value = "")]
    pub(crate) tenant: String,
    /// The name under which this cluster is registered; needed where two clusters have one issuer.
    #[arg(long, default_value = "")]
    pub(crate) cluster: String,
    /// The projected service-account token.
    #[arg(long, value_name = "FILE", default_value = "/var/run/secrets/coffer/token")]
    pub(crate) token_file: PathBuf,
    /// The folder that the node's folders are mounted below, or that is the node's root.
    #[arg(long, value_name = "DIR", default_value = "/host")]
    pub(crate) root: PathBuf,
    /// Answer HTTP probes here: /live with 200, anything else with 200 while the vault knows the node, else 503.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) probe_listen: Option<SocketAddr>,
    /// What is logged, to standard error: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LevelFilter,
}
