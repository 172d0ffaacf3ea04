//! `coffer pki`.

mod ca;
mod ca_from_elsewhere;
mod config;
mod issue;
mod kept;
mod role;

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::{app::App, exit::Exit, failure::Result};

/// Have certificates made, by CAs whose keys never leave the vault
#[derive(Subcommand)]
pub(crate) enum Pki {
    #[command(subcommand)]
    Ca(ca::Ca),
    #[command(subcommand)]
    Role(role::Role),
    Issue(issue::Issue),
    Sign(issue::Sign),
    #[command(subcommand)]
    Cert(kept::Cert),
    Revoke(kept::Revoke),
    Crl(kept::Crl),
    Config(config::Config),
}

impl Pki {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Ca(command) => command.run(app).await,
            Self::Role(command) => command.run(app).await,
            Self::Issue(command) => command.run(app).await,
            Self::Sign(command) => command.run(app).await,
            Self::Cert(command) => command.run(app).await,
            Self::Revoke(command) => command.run(app).await,
            Self::Crl(command) => command.run(app).await,
            Self::Config(command) => command.run(app).await,
        }
    }
}

/// Which mount is meant.
#[derive(Args)]
struct Mount {
    /// The mount
    #[arg(long, value_name = "MOUNT", default_value = "pki", add = crate::complete::mounts())]
    mount: String,
}

impl Mount {
    fn path(&self, kind: &str, name: &str) -> String {
        format!("{}/{kind}/{name}", self.mount)
    }

    fn all(&self, kind: &str) -> String {
        format!("{}/{kind}", self.mount)
    }
}

fn secs(ttl: Option<Duration>) -> u64 {
    ttl.map_or(0, |ttl| ttl.as_secs())
}

/// The last part of a path.
fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
