//! `coffer identity`: a key and certificate to log in with.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    app::{App, new_identity},
    exit::Exit,
    failure::{Failure, Result},
    private,
    session::Key,
};

/// Make a key and certificate to log in with
#[derive(Subcommand)]
pub(crate) enum IdentityCommand {
    Create(Create),
    Pin(Pin),
}

impl IdentityCommand {
    pub(crate) fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Create(command) => command.run(app),
            Self::Pin(command) => command.run(app),
        }
    }
}

/// Make a key and a self-signed certificate, in one PEM file
///
/// The vault knows a certificate by the pin of its key, so that no CA is needed. The file's mode is 0600.
#[derive(Args)]
#[command(after_help = "\
Example:
  coffer identity create alice.pem
  coffer user update alice --pin $(coffer identity pin alice.pem)      by an admin
  coffer login --method certificate --identity alice.pem alice")]
pub(crate) struct Create {
    /// The file to write
    file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    file: &'a str,
    pin: &'a str,
}

impl Create {
    fn run(self, app: &App) -> Result<Exit> {
        if self.file.exists() && !self.force {
            return Err(Failure::new(Exit::Conflict, format!("{} is there already", self.file.display()))
                .next("choose another name, or add --force to replace it"));
        }
        let identity = new_identity()?;
        private::write(&self.file, identity.to_pem().expose().as_bytes())?;
        let file = self.file.display().to_string();
        app.out.result(&Json { file: &file, pin: identity.pin() }, |_| format!("{file} written; its pin: {}", identity.pin()))?;
        Ok(Exit::Done)
    }
}

/// Show the pin of a PEM file's key
#[derive(Args)]
pub(crate) struct Pin {
    /// The PEM file with certificate and private key
    file: PathBuf,
}

impl Pin {
    fn run(self, app: &App) -> Result<Exit> {
        let file = self.file.display().to_string();
        let identity = app.identity(&Key::File(self.file))?;
        app.out.result(&Json { file: &file, pin: identity.pin() }, |_| identity.pin().to_owned())?;
        Ok(Exit::Done)
    }
}
