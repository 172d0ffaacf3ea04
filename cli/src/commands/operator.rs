//! `coffer operator`: the life of the vault itself.

use clap::{Args, Subcommand};
use coffer_client::proto::{
    GetSealStatusRequest, InitRequest, InitResponse, QuorumProgress, RecoverRequest, SealRequest, UnsealRequest,
};
use coffer_secret::SecretString;
use serde::Serialize;

use crate::{
    app::{App, Vault, answer},
    exit::Exit,
    failure::{Failure, Result},
    input::{CREDENTIAL_BYTES_MAX, Source, hidden},
    output::{View, rfc3339, until},
};

/// Shares that are made where neither shares nor recipients are said.
const SHARES_DEFAULT: u32 = 5;
/// Shares needed of those.
const THRESHOLD_DEFAULT: u32 = 3;
/// What a share begins with.
const SHARE_PREFIX: &str = "coffer-share-";
/// What an encrypted share begins with.
const AGE_PREFIX: &str = "-----BEGIN AGE ENCRYPTED FILE-----";

/// Run the vault: initialise, unseal, seal, recover
///
/// Operator accounts are managed with `coffer user`.
#[derive(Subcommand)]
pub(crate) enum Operator {
    Init(Init),
    Unseal(Unseal),
    Seal(Seal),
    Recover(Recover),
}

impl Operator {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Init(command) => command.run(app).await,
            Self::Unseal(command) => command.run(app).await,
            Self::Seal(command) => command.run(app).await,
            Self::Recover(command) => command.run(app).await,
        }
    }
}

/// Create the vault's keys, once, and show the shares
///
/// Answered on the server's local socket, or with the set-up token of the server's configuration. Shares and bootstrap
/// credential are shown this once and kept nowhere: send them to their holders, each share to another person, or
/// encrypt them to the holders' age keys with --recipient.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer --address unix:///run/coffer/coffer.sock operator init
  coffer operator init --shares 3 --threshold 2 --setup-token-file token
  coffer operator init --threshold 2 --recipient age1alice... --recipient age1bo... --recipient age1cy...")]
pub(crate) struct Init {
    /// Shares to make, 1 to 16; 0 where the server is configured with a static key [default: 5, or one for each recipient]
    #[arg(long, value_name = "N")]
    shares: Option<u32>,
    /// Shares needed to unseal [default: more than half of the shares]
    #[arg(long, value_name = "M")]
    threshold: Option<u32>,
    /// An age public key to encrypt a share to; one for each share, in order
    #[arg(long = "recipient", value_name = "AGE1...")]
    recipients: Vec<String>,
    /// A file with the server's set-up token; - for standard input
    #[arg(long, value_name = "FILE")]
    setup_token_file: Option<String>,
}

impl Init {
    async fn run(self, app: &App) -> Result<Exit> {
        let (share_count, share_threshold) = self.quorum()?;
        let token = self.setup_token_file.as_deref().map(Source::of_file);
        let token = token.map(|source| app.input.line(&source, CREDENTIAL_BYTES_MAX)).transpose()?;
        let vault = app.vault_without_session()?;
        let request = InitRequest {
            share_count,
            share_threshold,
            share_recipients: self.recipients,
            setup_token: token.map(SecretString::into_exposed).unwrap_or_default(),
        };
        let fruits = answer(&vault.attempt("initialise the vault"), vault.client.system().init(request).await)?.into_inner();
        let fruits = Fruits::new(fruits, share_threshold);
        app.out.result(&fruits, |view| fruits.render(view))?;
        Ok(Exit::Done)
    }

    /// How many shares, and how many of them unseal. The vault checks the bounds.
    fn quorum(&self) -> Result<(u32, u32)> {
        let recipients = u32::try_from(self.recipients.len()).unwrap_or(u32::MAX);
        let shares = match (self.shares, recipients) {
            (None, 0) => SHARES_DEFAULT,
            (None, recipients) => recipients,
            (Some(shares), recipients) if recipients != 0 && recipients != shares => {
                return Err(Failure::usage(format!(
                    "{shares} shares, but {recipients} recipients: each share has a recipient, or none has"
                )));
            }
            (Some(shares), _) => shares,
        };
        let usual = if shares == SHARES_DEFAULT {
            THRESHOLD_DEFAULT
        } else if shares == 0 {
            0
        } else {
            shares / 2 + 1
        };
        let threshold = self.threshold.unwrap_or(usual);
        if threshold > shares {
            return Err(Failure::usage(format!("a threshold of {threshold} cannot be reached with {shares} shares")));
        }
        Ok((shares, threshold))
    }
}

/// What Init yields. Secret: wiped when dropped, and printed once.
#[derive(Serialize)]
struct Fruits {
    vault_id: String,
    share_threshold: u32,
    shares: Vec<zeroize::Zeroizing<String>>,
    bootstrap_credential: zeroize::Zeroizing<String>,
    bootstrap_expires: Option<String>,
    #[serde(skip)]
    expires: Option<prost_types::Timestamp>,
}

impl Fruits {
    fn new(answer: InitResponse, share_threshold: u32) -> Self {
        Self {
            vault_id: answer.vault_id,
            share_threshold,
            shares: answer.shares.into_iter().map(Into::into).collect(),
            bootstrap_credential: answer.bootstrap_credential.into(),
            bootstrap_expires: rfc3339(answer.bootstrap_expires.as_ref()),
            expires: answer.bootstrap_expires,
        }
    }

    fn render(&self, view: &View) -> String {
        let mut text = format!("Vault {} is initialised.\n\n", self.vault_id);
        for (number, share) in self.shares.iter().enumerate() {
            let gap = if share.contains('\n') { '\n' } else { ' ' };
            text.push_str(&format!("Share {}:{gap}{}\n", number + 1, share.trim_end()));
        }
        if !self.shares.is_empty() {
            text.push('\n');
        }
        let left = until(self.expires.as_ref(), view);
        text.push_str(&format!("Bootstrap credential (ends in {left}): {}\n\n", self.bootstrap_credential.as_str()));
        text.push_str("This is shown once and kept nowhere. ");
        let mut step = 0;
        let mut steps = String::new();
        let mut next = |command: &str, why: &str| {
            step += 1;
            steps.push_str(&format!("  {step}. {command:<42} {why}\n"));
        };
        if self.shares.is_empty() {
            text.push_str("Next:\n");
        } else {
            text.push_str("Give each share to another person. Next:\n");
            let share = if self.share_threshold == 1 { "with the share" } else { "by its holder, a share each time" };
            let times = if self.share_threshold == 1 { "once".to_owned() } else { format!("{} times", self.share_threshold) };
            next("coffer operator unseal", &format!("{times}, {share}"));
        }
        next("coffer login --method bootstrap", "with the bootstrap credential");
        next("coffer user create NAME --role admin", "who runs the vault");
        next("coffer user create NAME --role officer", "who decides who may read: another person");
        text + &steps
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

fn handed_in(progress: &QuorumProgress) -> String {
    format!("{} of {} shares handed in (nonce {}).", progress.received, progress.needed, progress.nonce)
}

/// Where the shares are. A share itself on the command line is refused.
fn share_sources(arguments: &[String]) -> Result<Vec<Source>> {
    let source = |text: &String| {
        Source::marked(text).map_err(|hint| {
            let failure = Failure::usage(format!("a share is not taken from the command line: {hint}"));
            if text.starts_with(SHARE_PREFIX) {
                failure.why("other users of this machine can see it, and your shell keeps it in its history: remove it there")
            } else {
                failure.next("coffer operator unseal asks for the share")
            }
        })
    };
    arguments.iter().map(source).collect()
}

/// Reads the shares of all sources, a line each; asks for one where there is no source.
fn read_shares(app: &App, sources: &[Source]) -> Result<Vec<SecretString>> {
    if sources.is_empty() {
        let share = hidden("Share", "use @FILE, or - for standard input", CREDENTIAL_BYTES_MAX)?;
        return split_shares(&share, "what was typed");
    }
    let mut shares = Vec::new();
    for source in sources {
        let content = app.input.text(source, CREDENTIAL_BYTES_MAX)?;
        shares.extend(split_shares(&content, &source.name())?);
    }
    Ok(shares)
}

/// The shares in a text, a line each.
fn split_shares(content: &SecretString, source: &str) -> Result<Vec<SecretString>> {
    if content.expose().trim_start().starts_with(AGE_PREFIX) {
        return Err(Failure::usage(format!("{source} is still encrypted"))
            .next("age -d -i KEY-FILE SHARE-FILE | coffer operator unseal -"));
    }
    let lines = content.expose().lines().map(str::trim).filter(|line| !line.is_empty());
    let shares: Vec<SecretString> = lines.map(SecretString::copied_from).collect();
    if shares.is_empty() {
        return Err(Failure::usage(format!("there is no share in {source}")));
    }
    if shares.iter().any(|share| !share.expose().starts_with(SHARE_PREFIX)) {
        let what = if shares.len() == 1 { "is no share" } else { "holds something that is no share" };
        return Err(
            Failure::usage(format!("{source} {what}")).next(format!("a share is one line that begins with {SHARE_PREFIX}"))
        );
    }
    Ok(shares)
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
/// For the day on which nobody can log in any more. The vault must be unsealed. With the last share needed the vault
/// answers with a new bootstrap credential, which creates operators and ends after an hour.
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
        let vault = app.vault_without_session()?;
        let shares = if self.reset { vec![SecretString::default()] } else { read_shares(app, &share_sources(&self.shares)?)? };
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

#[cfg(test)]
mod tests;
