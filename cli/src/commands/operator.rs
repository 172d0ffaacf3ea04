//! `coffer operator`: the life of the vault itself.

mod ca;
mod init;
mod keys;
mod quorum;
mod rekey;
mod shares;
mod snapshot;

pub(crate) use rekey::standing;

use clap::{Args, Subcommand};
use coffer_client::proto::{GetSealStatusRequest, QuorumProgress, RecoverRequest, SealKind, SealRequest, UnsealRequest};
use coffer_secret::SecretString;
use serde::Serialize;

use self::shares::{handed_in, read_shares, share_sources};
use crate::{
    app::{App, Vault, answer},
    exit::Exit,
    failure::Result,
    output::{rfc3339, until},
};

/// Run the vault: initialise, unseal, seal, its keys, snapshots
///
/// Operator accounts are managed with `coffer user`.
#[derive(Subcommand)]
pub(crate) enum Operator {
    Init(init::Init),
    Ca(ca::Ca),
    Unseal(Unseal),
    Seal(Seal),
    Recover(Recover),
    Rotate(keys::Rotate),
    Rewrap(keys::Rewrap),
    #[command(subcommand)]
    Rekey(rekey::Rekey),
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
}

impl Operator {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Init(command) => command.run(app).await,
            Self::Ca(command) => command.run(app),
            Self::Unseal(command) => command.run(app).await,
            Self::Seal(command) => command.run(app).await,
            Self::Recover(command) => command.run(app).await,
            Self::Rotate(command) => command.run(app).await,
            Self::Rewrap(command) => command.run(app).await,
            Self::Rekey(command) => command.run(app).await,
            Self::Snapshot(command) => command.run(app).await,
        }
    }
}

/// Hand in a share of the unseal key
///
/// Without an argument the share is asked for, hidden. A share is never taken from the command line, which other users
/// of the machine can see. Several holders can hand in theirs from different machines.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer operator unseal                                  asks for the share
  coffer operator unseal @share1.txt
  age -d -i key.txt share1.age | coffer operator unseal -")]
pub(crate) struct Unseal {
    /// @FILE with a share on each line, or - for standard input
    #[arg(value_name = "@FILE")]
    shares: Vec<String>,
    /// Go on with this attempt only
    #[arg(long)]
    nonce: Option<String>,
    /// Forget the shares handed in so far
    #[arg(long, conflicts_with_all = ["shares", "nonce"])]
    reset: bool,
}

impl Unseal {
    async fn run(self, app: &App) -> Result<Exit> {
        let sources = share_sources(&self.shares)?;
        let vault = app.vault_without_session()?;
        let attempt = vault.attempt("unseal the vault");
        if self.reset {
            let request = UnsealRequest { share: String::new(), nonce: String::new(), reset: true };
            let state = answer(&attempt, vault.client.system().unseal(request).await)?.into_inner();
            report(app, state.sealed, state.progress.as_ref())?;
            return Ok(Exit::Done);
        }
        let status = answer(&attempt, vault.client.system().get_seal_status(GetSealStatusRequest {}).await)?.into_inner();
        if status.initialised && !status.sealed {
            report(app, false, None)?;
            return Ok(Exit::Done);
        }
        let shares = read_shares(app, &sources)?;
        let mut nonce = self.nonce.or_else(|| status.unseal.map(|unseal| unseal.nonce)).unwrap_or_default();
        let mut state = None;
        for share in shares {
            let request = UnsealRequest { share: share.into_exposed(), nonce, reset: false };
            let next = answer(&attempt, vault.client.system().unseal(request).await)?.into_inner();
            nonce = next.progress.as_ref().map(|progress| progress.nonce.clone()).unwrap_or_default();
            let sealed = next.sealed;
            state = Some(next);
            if !sealed {
                break;
            }
        }
        if let Some(state) = state {
            report(app, state.sealed, state.progress.as_ref())?;
        }
        Ok(Exit::Done)
    }
}

#[derive(Serialize)]
struct StateJson<'a> {
    sealed: bool,
    received: Option<u32>,
    needed: Option<u32>,
    nonce: Option<&'a str>,
}

fn report(app: &App, sealed: bool, progress: Option<&QuorumProgress>) -> Result<()> {
    let progress = progress.filter(|progress| progress.received > 0);
    let json = StateJson {
        sealed,
        received: progress.map(|progress| progress.received),
        needed: progress.map(|progress| progress.needed),
        nonce: progress.map(|progress| progress.nonce.as_str()),
    };
    app.out.result(&json, |_| match (sealed, progress) {
        (false, _) => "The vault is unsealed.".to_owned(),
        (true, Some(progress)) => handed_in(progress),
        (true, None) => "The vault is sealed; no share is handed in.".to_owned(),
    })
}

/// Seal the vault: it drops its keys and serves nothing until it is unsealed
///
/// Everything that uses the vault stops getting secrets until its share holders unseal it.
#[derive(Args)]
pub(crate) struct Seal {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Serialize)]
struct SealedJson {
    sealed: bool,
}

impl Seal {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let question = format!("Seal {}, so that nobody gets a secret until it is unsealed?", vault.target.vault.address);
        super::confirm(app, self.yes, &question)?;
        answer(&vault.attempt("seal the vault"), vault.client.system().seal(SealRequest {}).await)?;
        app.out.result(&SealedJson { sealed: true }, |_| "The vault is sealed.".to_owned())?;
        Ok(Exit::Done)
    }
}

/// Let a new first operator in, with a quorum of shares
///
/// For the day on which nobody can log in any more, or nobody ever could. The vault must be unsealed. With the last share needed the
/// vault answers with a new bootstrap credential, which creates operators and ends after an hour. Where a key file seals the vault
/// there are no shares: it answers at once, on the server's local socket.
#[derive(Args)]
pub(crate) struct Recover {
    /// @FILE with a share on each line, or - for standard input
    #[arg(value_name = "@FILE")]
    shares: Vec<String>,
    /// The attempt to go on with: needed from the second share on
    #[arg(long)]
    nonce: Option<String>,
    /// Forget the shares handed in so far
    #[arg(long, conflicts_with_all = ["shares", "nonce"])]
    reset: bool,
}

#[derive(Serialize)]
struct RecoverJson<'a> {
    received: Option<u32>,
    needed: Option<u32>,
    nonce: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bootstrap_credential: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bootstrap_expires: Option<String>,
}

impl Recover {
    async fn run(self, app: &App) -> Result<Exit> {
        let sources = share_sources(&self.shares)?;
        let vault = app.vault_without_session()?;
        let attempt = vault.attempt("let a new first operator in");
        let without = self.reset
            || (sources.is_empty() && {
                let status = answer(&attempt, vault.client.system().get_seal_status(GetSealStatusRequest {}).await)?.into_inner();
                status.seal_kind() == SealKind::StaticKey
            });
        let shares = if without { vec![SecretString::default()] } else { read_shares(app, &sources)? };
        self.hand_in(app, &vault, shares).await
    }

    async fn hand_in(self, app: &App, vault: &Vault, shares: Vec<SecretString>) -> Result<Exit> {
        let attempt = vault.attempt("let a new first operator in");
        let mut nonce = self.nonce.unwrap_or_default();
        let mut last = None;
        for share in shares {
            let request = RecoverRequest { share: share.into_exposed(), nonce, reset: self.reset };
            let next = answer(&attempt, vault.client.system().recover(request).await)?.into_inner();
            nonce = next.progress.as_ref().map(|progress| progress.nonce.clone()).unwrap_or_default();
            let complete = !next.bootstrap_credential.is_empty();
            last = Some(next);
            if complete {
                break;
            }
        }
        let Some(last) = last else { return Ok(Exit::Done) };
        let progress = last.progress.as_ref().filter(|progress| progress.received > 0);
        let credential = Some(zeroize::Zeroizing::new(last.bootstrap_credential)).filter(|credential| !credential.is_empty());
        let json = RecoverJson {
            received: progress.map(|progress| progress.received),
            needed: progress.map(|progress| progress.needed),
            nonce: progress.map(|progress| progress.nonce.as_str()),
            bootstrap_credential: credential.as_ref().map(|credential| credential.as_str()),
            bootstrap_expires: rfc3339(last.bootstrap_expires.as_ref()),
        };
        app.out.result(&json, |view| match (&credential, progress) {
            (Some(credential), _) => {
                let left = until(last.bootstrap_expires.as_ref(), view);
                format!("Bootstrap credential (ends in {left}): {}\n\nNext: coffer login --method bootstrap", credential.as_str())
            }
            (None, Some(progress)) => {
                format!("{}\nNext: coffer operator recover --nonce {}", handed_in(progress), progress.nonce)
            }
            (None, None) => "No share is handed in.".to_owned(),
        })?;
        Ok(Exit::Done)
    }
}
