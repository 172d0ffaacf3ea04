//! `coffer operator rekey`: new shares of the unseal key.

use clap::{Args, Subcommand};
use coffer_client::proto::{
    CancelRekeyRequest, GetSealStatusRequest, RekeyProgress, SealKind, StartRekeyRequest, SubmitRekeyShareRequest,
    SubmitRekeyShareResponse,
};
use coffer_secret::SecretString;
use serde::Serialize;

use super::{
    init::shown,
    quorum::Quorum,
    shares::{read_shares, share_sources},
};
use crate::{
    app::{App, answer, part},
    exit::Exit,
    failure::{Failure, Result},
};

/// Give the unseal key new shares
///
/// An admin starts it. A quorum of the present holders agrees, each by submitting a share. The new shares are then shown
/// once, to whoever submitted the last share: with --recipient they are encrypted to their holders. Before they are in force,
/// as many of their holders as it takes to unseal submit theirs, so that no vault is locked with shares that nobody has. Then
/// the shares of before are void. Where a key file seals the vault, shares take its place: there, who runs `coffer operator rekey submit`
/// on the server's local socket agrees, for whoever is there can read the file.
#[derive(Subcommand)]
pub(crate) enum Rekey {
    Start(Start),
    Submit(Submit),
    Cancel(Cancel),
}

impl Rekey {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Start(command) => command.run(app).await,
            Self::Submit(command) => command.run(app).await,
            Self::Cancel(command) => command.run(app).await,
        }
    }
}

/// Start to make new shares; needs the role admin
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer operator rekey start --shares 3 --threshold 2
  coffer operator rekey start --threshold 2 --recipient age1alice... --recipient age1bo... --recipient age1cy...")]
pub(crate) struct Start {
    #[command(flatten)]
    quorum: Quorum,
    /// Put the new shares in force as soon as they are made: if they are lost then, so is the vault
    #[arg(long)]
    no_verification: bool,
}

impl Start {
    async fn run(self, app: &App) -> Result<Exit> {
        let (share_count, share_threshold) = self.quorum.counts()?;
        let vault = app.vault()?;
        let attempt = vault.attempt("start to make new shares");
        let request = StartRekeyRequest {
            share_count,
            share_threshold,
            share_recipients: self.quorum.recipients,
            skip_verification: self.no_verification,
        };
        let started = answer(&attempt, vault.client.keys().start_rekey(request).await)?.into_inner();
        let rekey = part(&attempt, started.rekey)?;
        let next = if by_file(&rekey) {
            "Next: on the server's local socket, coffer operator rekey submit"
        } else {
            "Next: each holder of a present share runs `coffer operator rekey submit`"
        };
        app.out.result(&StateJson::new(Some(&rekey), &[], false), |_| {
            format!("New shares will be made: {share_threshold} of {share_count} will unseal.\n{}\n\n{next}", standing(&rekey))
        })?;
        Ok(Exit::Done)
    }
}

/// Submit a share: a present one to agree, or a new one to show that you have it
///
/// Needs no login. Without an argument the share is asked for, hidden. `coffer status` shows which kind is waited for, and the
/// nonce that names the attempt.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer operator rekey submit                            asks for the share
  coffer operator rekey submit @share1.txt
  age -d -i key.txt share1.age | coffer operator rekey submit -")]
pub(crate) struct Submit {
    /// @FILE with a share on each line, or - for standard input
    #[arg(value_name = "@FILE")]
    shares: Vec<String>,
    /// Go on with this attempt only
    #[arg(long)]
    nonce: Option<String>,
}

impl Submit {
    async fn run(self, app: &App) -> Result<Exit> {
        let sources = share_sources(&self.shares)?;
        let vault = app.vault_without_session()?;
        let attempt = vault.attempt("submit a share for new ones");
        let status = answer(&attempt, vault.client.system().get_seal_status(GetSealStatusRequest {}).await)?.into_inner();
        if status.sealed {
            return Err(Failure::new(Exit::Sealed, "the vault is sealed, and forgets new shares in the making when it is")
                .next("coffer operator unseal"));
        }
        let was_by_file = status.seal_kind() == SealKind::StaticKey;
        let under_way = status.rekey.ok_or_else(|| {
            Failure::new(Exit::Conflict, "no new shares are being made").next("an admin begins: coffer operator rekey start")
        })?;
        let mut nonce = self.nonce.unwrap_or_else(|| nonce_of(&under_way));
        let without = by_file(&under_way) && sources.is_empty();
        let shares = if without { vec![SecretString::default()] } else { read_shares(app, &sources)? };
        let mut last = SubmitRekeyShareResponse { rekey: Some(under_way), ..SubmitRekeyShareResponse::default() };
        for share in shares {
            let request = SubmitRekeyShareRequest { share: share.into_exposed(), nonce };
            last = answer(&attempt, vault.client.keys().submit_rekey_share(request).await)?.into_inner();
            nonce = last.rekey.as_ref().map(nonce_of).unwrap_or_default();
            if last.in_force || !last.shares.is_empty() {
                break;
            }
        }
        let shares: Vec<zeroize::Zeroizing<String>> = std::mem::take(&mut last.shares).into_iter().map(Into::into).collect();
        let json = StateJson::new(last.rekey.as_ref(), &shares, last.in_force);
        app.out.result(&json, |_| told(&last, &shares, was_by_file))?;
        Ok(Exit::Done)
    }
}

fn told(last: &SubmitRekeyShareResponse, shares: &[zeroize::Zeroizing<String>], was_by_file: bool) -> String {
    let mut text = String::new();
    for (number, share) in (1..).zip(shares) {
        text.push_str(&shown(number, share));
    }
    if !shares.is_empty() {
        text.push_str("\nThis is shown once and kept nowhere. Give each share to another person.\n");
    }
    match &last.rekey {
        Some(rekey) if !shares.is_empty() => text.push_str(&format!(
            "They are not in force yet: {} of their holders run `coffer operator rekey submit` first. {}",
            rekey.share_threshold,
            standing(rekey)
        )),
        Some(rekey) => text.push_str(&standing(rekey)),
        None if was_by_file => text.push_str(
            "The shares are in force, and the key file opens nothing any more but old snapshots.\n\n\
             Next: seal.kind = \"shamir\" in the server's configuration; after each start, its holders run coffer operator unseal",
        ),
        None => text.push_str("The new shares are in force. Those of before are void."),
    }
    text
}

fn nonce_of(rekey: &RekeyProgress) -> String {
    rekey.progress.as_ref().map(|progress| progress.nonce.clone()).unwrap_or_default()
}

/// Whether it is for whoever has the key file to agree.
fn by_file(rekey: &RekeyProgress) -> bool {
    !rekey.verifying && rekey.progress.as_ref().is_some_and(|progress| progress.needed == 0)
}

/// How a rekey stands, in a sentence.
pub(crate) fn standing(rekey: &RekeyProgress) -> String {
    let progress = rekey.progress.clone().unwrap_or_default();
    if by_file(rekey) {
        return format!(
            "Shares will take the key file's place, once that is agreed to on the server's local socket (nonce {}).",
            progress.nonce
        );
    }
    let kind = if rekey.verifying { "new" } else { "present" };
    format!("{} of {} {kind} shares submitted (nonce {}).", progress.received, progress.needed, progress.nonce)
}

/// Forget the new shares in the making: those of now stay in force
///
/// Needs the role admin.
#[derive(Args)]
pub(crate) struct Cancel {}

impl Cancel {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        answer(&vault.attempt("cancel the new shares"), vault.client.keys().cancel_rekey(CancelRekeyRequest {}).await)?;
        app.out.result(&StateJson::new(None, &[], false), |_| "No new shares are being made.".to_owned())?;
        Ok(Exit::Done)
    }
}

#[derive(Serialize)]
struct StateJson<'a> {
    nonce: Option<String>,
    received: Option<u32>,
    needed: Option<u32>,
    verifying: Option<bool>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    shares: &'a [zeroize::Zeroizing<String>],
    in_force: bool,
}

impl<'a> StateJson<'a> {
    fn new(rekey: Option<&RekeyProgress>, shares: &'a [zeroize::Zeroizing<String>], in_force: bool) -> Self {
        let progress = rekey.and_then(|rekey| rekey.progress.as_ref());
        Self {
            nonce: rekey.map(nonce_of),
            received: progress.map(|progress| progress.received),
            needed: progress.map(|progress| progress.needed),
            verifying: rekey.map(|rekey| rekey.verifying),
            shares,
            in_force,
        }
    }
}
