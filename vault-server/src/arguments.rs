//! The command line.

use std::path::PathBuf;

/// The Coffer vault server.
#[derive(clap::Parser)]
#[command(name = "coffer-server", version, about)]
pub(crate) struct Arguments {
    /// The configuration file (TOML): docs/server.md describes it.
    #[arg(long, value_name = "FILE", default_value = "/etc/coffer/server.toml")]
    pub(crate) config: PathBuf,
}
