//! The command line.

use std::path::PathBuf;

/// The Coffer vault server.
#[derive(clap::Parser)]
#[command(name = "coffer-server", version, about, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// The configuration file (TOML): docs/server.md describes it.
    #[arg(long, value_name = "FILE", default_value = "/etc/coffer/server.toml")]
    pub(crate) config: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What else there is to do than to serve.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make the key of a static seal in the cluster that this runs in, as a Secret; one that is there stays as it is
    MakeSealKey(SealKey),
}

/// Where the key is to be.
#[derive(clap::Args)]
pub(crate) struct SealKey {
    /// The namespace.
    #[arg(long)]
    pub(crate) namespace: String,
    /// The Secret, which has the key as `key`.
    #[arg(long, value_name = "NAME")]
    pub(crate) secret: String,
}
