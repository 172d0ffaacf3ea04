//! What every command works with: output, input, the vault that was chosen, and the session for it.

use std::time::Duration;

use coffer_client::{Client, Error, Identity, Options};

use crate::{
    advice::Attempt,
    args::Environment,
    context::{Contexts, Target, Wanted},
    exit::Exit,
    failure::{Answer, Failure, Result},
    input::{CREDENTIAL_BYTES_MAX, Input, Source},
    output::{Output, age},
    paths::Paths,
    session::{Key, Session},
};

/// How long a connection may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Entries on a page that is asked for.
pub const PAGE_SIZE: u32 = 1_000;
/// Entries of a list that are shown, at most: more is not for reading, and memory is bounded.
pub const LIST_MAX: usize = 100_000;

/// One run of the command.
pub struct App {
    /// Where results go.
    pub out: Output,
    /// Where secrets come from.
    pub input: Input,
    /// The command's own files.
    pub paths: Paths,
    /// What was said about the vault.
    pub wanted: Wanted,
    /// How long a call may take.
    pub timeout: Duration,
    /// What else the environment says.
    pub(crate) environment: Environment,
}

/// The chosen vault, and who talks to it.
pub struct Vault {
    /// The client.
    pub client: Client,
    /// The vault.
    pub target: Target,
    /// Who is logged in; none without a session.
    pub principal: Option<String>,
}

impl App {
    /// The vault to talk to.
    ///
    /// # Errors
    /// Where none is chosen, or the contexts cannot be read.
    pub fn target(&self) -> Result<Target> {
        Target::choose(&self.wanted, &Contexts::read(&self.paths.config)?)
    }

    /// The vault with the session of the last login.
    ///
    /// # Errors
    /// Where nobody is logged in there, or the session has ended.
    pub fn vault(&self) -> Result<Vault> {
        let target = self.target()?;
        let Some(session) = Session::read(&self.paths, &target)? else {
            let failure = Failure::new(Exit::NotLoggedIn, format!("not logged in to {}", target.vault.address));
            return Err(if target.vault.address.is_local() {
                failure
                    .why("the local socket is for init, unseal and status")
                    .next("choose an https context and log in there: coffer context use NAME")
            } else {
                failure.next("coffer login NAME, or coffer login --method bootstrap with a new vault")
            });
        };
        if let Some(ended) = session.expires.filter(|expires| *expires <= self.out.view.now) {
            let ago = age(u64::try_from(self.out.view.now.as_second() - ended.as_second()).unwrap_or(0));
            let name = session.principal.strip_prefix("operator:").unwrap_or("NAME");
            return Err(Failure::new(Exit::NotLoggedIn, format!("the session of {} ended {ago} ago", session.principal))
                .next(format!("coffer login {name}")));
        }
        let client = self.client(&target, self.identity(&session.key)?)?;
        client.set_session_token(Some(session.token));
        Ok(Vault { client, target, principal: Some(session.principal) })
    }

    /// The vault without a session, with a key of the moment: for what needs none.
    ///
    /// # Errors
    /// Where no vault is chosen, or no key can be made.
    pub fn vault_without_session(&self) -> Result<Vault> {
        let target = self.target()?;
        let identity = new_identity()?;
        Ok(Vault { client: self.client(&target, identity)?, target, principal: None })
    }

    /// A client of a vault that shows this identity.
    ///
    /// # Errors
    /// Where the address or the CA file cannot be used.
    pub fn client(&self, target: &Target, identity: Identity) -> Result<Client> {
        let mut options = Options::new(target.vault.address.as_str(), identity);
        options.ca.clone_from(&target.vault.ca);
        options.server_name.clone_from(&target.vault.server_name);
        options.call_timeout = self.timeout;
        options.connect_timeout = CONNECT_TIMEOUT.min(self.timeout);
        Client::connect(options).map_err(|error| refused(&Attempt::new(format!("use {}", target.vault.address)), error))
    }

    /// The identity that a session is bound to.
    ///
    /// # Errors
    /// Where the key's file is gone, or is none.
    pub fn identity(&self, key: &Key) -> Result<Identity> {
        match key {
            Key::Kept(pem) => Identity::from_pem(pem.duplicate()).map_err(|error| {
                Failure::new(Exit::NotLoggedIn, format!("the session's key cannot be used: {error}")).next("coffer login NAME")
            }),
            Key::File(path) => {
                let source = Source::File(path.clone());
                let pem = self.input.text(&source, 4 * CREDENTIAL_BYTES_MAX)?;
                Identity::from_pem(pem).map_err(|error| {
                    Failure::usage(format!("{} cannot be used: {error}", path.display()))
                        .next("coffer identity create FILE makes one that can")
                })
            }
        }
    }
}

/// A key of the moment.
///
/// # Errors
/// Where the system gives no random numbers.
pub fn new_identity() -> Result<Identity> {
    Identity::generate().map_err(|error| Failure::new(Exit::Failed, format!("no key can be made: {error}")))
}

impl Vault {
    /// An attempt in the name of whoever is logged in.
    #[must_use]
    pub fn attempt(&self, doing: impl Into<String>) -> Attempt {
        let attempt = Attempt::new(doing);
        match &self.principal {
            Some(principal) => attempt.by(principal),
            None => attempt,
        }
    }
}

/// The vault's answer, or what it, or the way to it, said instead.
///
/// # Errors
/// The failure, with the advice for its reason.
pub fn answer<T>(attempt: &Attempt, result: std::result::Result<T, impl Into<Error>>) -> Result<T> {
    result.map_err(|error| refused(attempt, error.into()))
}

fn refused(attempt: &Attempt, error: Error) -> Box<Failure> {
    let answer = Answer {
        reason: Some(error.reason().to_owned()),
        message: error.to_string(),
        request_id: error.request_id().map(str::to_owned),
        retryable: error.retryable(),
    };
    Failure::refused(attempt, answer)
}

/// A message's part that the protocol promises.
///
/// # Errors
/// Where it is missing: the server is not one of this version.
pub fn part<T>(attempt: &Attempt, part: Option<T>) -> Result<T> {
    part.ok_or_else(|| {
        Failure::new(Exit::Failed, format!("cannot {}: the vault's answer is incomplete", attempt.doing))
            .next("compare `coffer --version` with the version in `coffer status`")
    })
}

/// Reads a list page by page: a macro, since each call's request and answer have types of their own.
macro_rules! all_pages {
    ($app:expr, $attempt:expr, $items:ident, |$token:ident| $call:expr) => {{
        let mut all = Vec::new();
        let mut $token = String::new();
        loop {
            let page = $crate::app::answer($attempt, $call.await)?.into_inner();
            all.extend(page.$items);
            if page.next_page_token.is_empty() {
                break;
            }
            if all.len() >= $crate::app::LIST_MAX {
                $app.out.note(&format!("only the first {} are shown", all.len()));
                break;
            }
            $token = page.next_page_token;
        }
        all
    }};
}
pub(crate) use all_pages;
