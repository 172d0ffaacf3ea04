//! `coffer database`.

use clap::{Args, Subcommand};

use crate::{app::App, exit::Exit, failure::Result};

mod connection;
mod role;
mod static_role;

/// Manage databases: how they are reached, and how users are made in them
///
/// Whoever may read database/creds/ROLE gets a user of the database's own: coffer issue database/creds/ROLE.
#[derive(Subcommand)]
pub(crate) enum Database {
    #[command(subcommand)]
    Connection(connection::Connection),
    #[command(subcommand)]
    Role(role::Role),
    #[command(subcommand)]
    StaticRole(static_role::StaticRole),
}

impl Database {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Connection(command) => command.run(app).await,
            Self::Role(command) => command.run(app).await,
            Self::StaticRole(command) => command.run(app).await,
        }
    }
}

/// Which mount is meant.
#[derive(Args)]
struct InMount {
    /// The mount
    #[arg(long, value_name = "NAME", default_value = "database", add = crate::complete::mounts())]
    mount: String,
}

impl InMount {
    fn connection(&self, name: &str) -> String {
        format!("{}/config/{name}", self.mount)
    }

    fn connections(&self) -> String {
        format!("{}/config", self.mount)
    }

    fn role(&self, name: &str) -> String {
        format!("{}/roles/{name}", self.mount)
    }

    fn roles(&self) -> String {
        format!("{}/roles", self.mount)
    }

    fn static_role(&self, name: &str) -> String {
        format!("{}/static-roles/{name}", self.mount)
    }

    fn static_roles(&self) -> String {
        format!("{}/static-roles", self.mount)
    }
}
