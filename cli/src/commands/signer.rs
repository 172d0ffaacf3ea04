//! `coffer signer`.

use clap::{Args, Subcommand};
use coffer_client::proto::{DeleteSignerRequest, ListSignersRequest, PutSignerRequest, Signer as Signs};
use serde::Serialize;

use super::confirm;
use crate::{
    app::{App, answer, part},
    exit::Exit,
    failure::Result,
    output::{Table, rfc3339, since},
};

/// Manage signers: whose verdicts on images count
///
/// A signer is a name for a signing key of the engine transit. Who may use that key may attest in the signer's name.
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  coffer transit key create release --type ed25519
  coffer signer set release --key transit/sign/release
  coffer grant use transit/sign/release --to k8s:ci/build/scanner
  coffer scan image registry.example.com/team/app:1.4 --attest release")]
pub(crate) enum Signer {
    Set(Set),
    #[command(visible_alias = "ls")]
    List(List),
    #[command(visible_alias = "rm")]
    Delete(Delete),
}

impl Signer {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Set(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
        }
    }
}

#[derive(Serialize)]
struct SignerJson<'a> {
    name: &'a str,
    key_path: &'a str,
    created: Option<String>,
    created_by: &'a str,
}

impl<'a> From<&'a Signs> for SignerJson<'a> {
    fn from(signer: &'a Signs) -> Self {
        let created = rfc3339(signer.created.as_ref());
        Self { name: &signer.name, key_path: &signer.key_path, created, created_by: &signer.created_by }
    }
}

/// Make a signer, or give it another key
///
/// Verdicts that it has signed before do not count any more.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer signer set release --key transit/sign/release")]
pub(crate) struct Set {
    /// The name, as --require signed-by=NAME has it
    name: String,
    /// The path at which its key signs: MOUNT/sign/KEY
    #[arg(long, value_name = "PATH")]
    key: String,
}

impl Set {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let attempt = vault.attempt(format!("make the signer {}", self.name)).of("coffer transit key list,");
        let request = PutSignerRequest { name: self.name, key_path: self.key };
        let made = answer(&attempt, vault.client.gate().put_signer(request).await)?.into_inner();
        let signer = part(&attempt, made.signer)?;
        app.out.result(&SignerJson::from(&signer), |_| {
            format!("verdicts signed at {} count as {}'s", signer.key_path, signer.name)
        })?;
        Ok(Exit::Done)
    }
}

/// List signers
#[derive(Args)]
pub(crate) struct List {}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let attempt = vault.attempt("list signers");
        let signers = answer(&attempt, vault.client.gate().list_signers(ListSignersRequest {}).await)?.into_inner().signers;
        let json: Vec<_> = signers.iter().map(SignerJson::from).collect();
        app.out.long(&json, |view| {
            let mut table = Table::new(&["NAME", "KEY", "AGE", "BY"]);
            for signer in &signers {
                let age = since(signer.created.as_ref(), view);
                table.row([signer.name.clone(), signer.key_path.clone(), age, signer.created_by.clone()]);
            }
            table.render(view, "No signers.")
        })?;
        Ok(Exit::Done)
    }
}

/// Take a signer away: its verdicts count no longer
///
/// What is in use on their account is withheld at once.
#[derive(Args)]
pub(crate) struct Delete {
    /// The name
    name: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Serialize)]
struct DeletedJson<'a> {
    deleted: &'a str,
}

impl Delete {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        confirm(
            app,
            self.yes,
            &format!("Verdicts of {} will count no longer, and pods lose what they have on their account. Go on?", self.name),
        )?;
        let attempt = vault.attempt(format!("delete the signer {}", self.name));
        answer(&attempt, vault.client.gate().delete_signer(DeleteSignerRequest { name: self.name.clone() }).await)?;
        app.out.result(&DeletedJson { deleted: &self.name }, |_| format!("signer {} deleted", self.name))?;
        Ok(Exit::Done)
    }
}
