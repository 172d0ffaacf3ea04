//! `coffer operator init`.

use clap::Args;
use coffer_client::proto::{InitRequest, InitResponse};
use coffer_secret::SecretString;
use serde::Serialize;

use super::quorum::Quorum;
use crate::{
    app::{App, answer},
    exit::Exit,
    failure::Result,
    input::{CREDENTIAL_BYTES_MAX, Source},
    output::{View, rfc3339, until},
};

/// Create the vault's keys, once, and show the shares
///
/// Answered on the server's local socket, or with the set-up token of the server's configuration. Shares and bootstrap
/// credential are shown this once and kept nowhere: send them to their holders, each share to another person, or
/// encrypt them to the holders' age keys with --recipient. Where the server is configured with a static key, there are none:
/// --shares 0.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer --address unix:///run/coffer/coffer.sock operator init
  coffer operator init --shares 3 --threshold 2 --setup-token-file token
  coffer operator init --threshold 2 --recipient age1alice... --recipient age1bo... --recipient age1cy...")]
pub(crate) struct Init {
    #[command(flatten)]
    quorum: Quorum,
    /// A file with the server's set-up token; - for standard input
    #[arg(long, value_name = "FILE")]
    setup_token_file: Option<String>,
}

impl Init {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let (share_count, share_threshold) = self.quorum.counts()?;
        let token = self.setup_token_file.as_deref().map(Source::of_file);
        let token = token.map(|source| app.input.line(&source, CREDENTIAL_BYTES_MAX)).transpose()?;
        let vault = app.vault_without_session()?;
        let request = InitRequest {
            share_count,
            share_threshold,
            share_recipients: self.quorum.recipients,
            setup_token: token.map(SecretString::into_exposed).unwrap_or_default(),
        };
        let fruits = answer(&vault.attempt("initialise the vault"), vault.client.system().init(request).await)?.into_inner();
        let fruits = Fruits::new(fruits, share_threshold);
        app.out.result(&fruits, |view| fruits.render(view))?;
        Ok(Exit::Done)
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
            text.push_str(&shown(number + 1, share));
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

/// A share, with its number.
pub(super) fn shown(number: usize, share: &str) -> String {
    let gap = if share.contains('\n') { '\n' } else { ' ' };
    format!("Share {number}:{gap}{}\n", share.trim_end())
}

#[cfg(test)]
mod tests;
