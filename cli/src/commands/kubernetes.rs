//! `coffer kubernetes`.

use clap::Subcommand;

use crate::{app::App, exit::Exit, failure::Result};

mod role;

/// Manage whose tokens of Kubernetes service accounts are made
///
/// Whoever may read kubernetes/creds/ROLE gets a token: coffer issue kubernetes/creds/ROLE.
#[derive(Subcommand)]
pub(crate) enum Kubernetes {
    #[command(subcommand)]
    Role(role::Role),
}

impl Kubernetes {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Role(command) => command.run(app).await,
        }
    }
}
