//! The agent's state: what was read from the vault, and the folder it goes to.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use coffer_client::{Blame, Client, Error, Identity, Options, SessionKeeper, WorkloadLogin};

use crate::{
    config::{Config, SecretFile, Source},
    credentials::Held,
    failure::Failure,
    output::{Content, OutFile, OutputDir, Written},
    refusal,
    render::{Given, RenderError, render},
};

/// Why the vault does not give what it would on conditions that hold.
const CONDITION_UNMET: &str = "CONDITION_UNMET";

/// Reads secrets and writes files.
pub(crate) struct Agent {
    pub(crate) config: Config,
    pub(crate) keeper: SessionKeeper,
    output: OutputDir,
    /// What was read last. Kept, since a change of one secret writes all files anew.
    pub(crate) given: BTreeMap<Source, Given>,
    /// What the vault did not give when it was asked last.
    withdrawn: BTreeSet<Source>,
    /// What the vault gives on conditions that do not hold: its files are removed.
    withheld: BTreeSet<Source>,
    /// Credentials that were made.
    pub(crate) held: BTreeMap<Source, Held>,
    /// Leases that may not have ended, and when they will have at the latest.
    pub(crate) leases: BTreeMap<String, Instant>,
    /// The versions of shared credentials of which the vault knows that they are used here.
    pub(crate) acknowledged: BTreeMap<Source, u64>,
    /// Whether something read is not in the files yet, since they could not be written.
    pub(crate) unwritten: bool,
}

/// Why secrets were not read.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The vault said no.
    Refused(String),
    /// Something of the agent's own is wrong: a path, a token file, a CA bundle.
    Config(String),
    /// The vault is away, sealed, busy, or not to be trusted now: it may be otherwise later.
    Away(String),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(why) => Self::Refused(why),
            Trouble::Config(why) => Self::Config(why),
            Trouble::Away(why) => Self::Unavailable(why),
        }
    }
}

impl Trouble {
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Refused(why) | Self::Config(why) | Self::Away(why) => why,
        }
    }
}

impl Agent {
    /// Prepares everything that does not need the vault, and fails where that alone is wrong.
    pub(crate) fn new(config: Config) -> Result<Self, Failure> {
        let output = OutputDir::open(&config.output)?;
        let identity = Identity::generate().map_err(|error| Failure::Internal(error.to_string()))?;
        let mut options = Options::new(config.vault.address.clone(), identity);
        options.ca.clone_from(&config.vault.ca_file);
        options.server_name.clone_from(&config.vault.server_name);
        let client = Client::connect(options).map_err(|error| Failure::Config(error.to_string()))?;
        let login = WorkloadLogin {
            tenant: config.vault.tenant.clone(),
            cluster: config.vault.cluster.clone(),
            token_file: config.vault.token_file.clone(),
        };
        tracing::info!(
            vault = config.vault.address,
            directory = %config.output.directory.display(),
            files = config.secrets.len(),
            "coffer-agent {} starts",
            env!("CARGO_PKG_VERSION"),
        );
        let keeper = SessionKeeper::new(client, login);
        Ok(Self {
            config,
            keeper,
            output,
            given: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            withheld: BTreeSet::new(),
            held: BTreeMap::new(),
            leases: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            unwritten: false,
        })
    }

    /// Every secret that a file is made of.
    pub(crate) fn sources(&self) -> BTreeSet<Source> {
        self.config.secrets.iter().flat_map(|file| file.sources.values().cloned()).collect()
    }

    /// The paths that are followed: all of them, each once.
    pub(crate) fn followed(&self) -> Vec<String> {
        self.sources().into_iter().map(|source| source.path).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What is read at a path.
    fn at(&self, path: &str) -> Vec<Source> {
        self.sources().into_iter().filter(|source| source.path == path).collect()
    }

    /// What to read where these paths have changed.
    pub(crate) fn changed<'a>(&mut self, paths: impl IntoIterator<Item = &'a String>) -> Vec<Source> {
        let sources: Vec<Source> = paths.into_iter().flat_map(|path| self.at(path)).collect();
        sources.iter().filter(|source| source.credential.is_some()).for_each(|source| self.outdated(source));
        sources
    }

    /// Whether all files are there, from whoever wrote them.
    pub(crate) fn complete(&self) -> bool {
        let mut wanted =
            self.config.secrets.iter().filter(|file| !self.is_withheld(file)).map(|file| file.name.as_str()).peekable();
        wanted.peek().is_some() && self.output.missing(wanted).is_empty()
    }

    /// Whether something of a file is given on conditions that do not hold.
    fn is_withheld(&self, file: &SecretFile) -> bool {
        file.sources.values().any(|source| self.withheld.contains(source))
    }

    /// Reads these secrets. Those that are refused are named together; what was read is kept in any case.
    pub(crate) async fn read(&mut self, sources: impl IntoIterator<Item = Source>) -> Result<(), Trouble> {
        let sources: Vec<Source> = sources.into_iter().collect();
        // Those whose turn does not come, for the vault is away, are asked for again as well.
        sources.iter().filter(|source| source.credential.is_some()).for_each(|source| self.want(source));
        let session = self.keeper.ensure().await.map_err(|error| self.login_trouble(&error))?;
        let mut refused = Vec::new();
        for source in sources {
            let read = match &source.credential {
                // One is enough, however often the others are tried.
                Some(_) if self.holds(&source) => continue,
                Some(credential) => self.issue(&source, credential).await,
                None => {
                    let secret = self.keeper.kv_get(&source.path, source.version).await;
                    secret.map(|secret| Given { secret, term: None })
                }
            };
            if source.credential.is_some()
                && let Err(error) = &read
            {
                self.without(&source, matches!(error.blame(), Blame::Denied | Blame::NotFound));
            }
            match read {
                Ok(given) => {
                    if source.credential.is_none() {
                        let (version, receipt) = (given.secret.version, given.secret.receipt);
                        tracing::info!(path = source.path, version, receipt, "read");
                    }
                    self.withdrawn.remove(&source);
                    self.withheld.remove(&source);
                    self.given.insert(source, given);
                }
                Err(error) if matches!(error.blame(), Blame::Denied | Blame::NotFound) => {
                    tracing::debug!(path = source.path, request = error.request_id(), "refused");
                    if error.reason() == CONDITION_UNMET {
                        refused.push(refusal::withheld(&source, &error, &session.principal));
                        self.withhold(&source);
                    } else {
                        refused.push(refusal::secret(&source, &session.principal));
                        self.withdrawn.insert(source);
                    }
                }
                Err(error) if error.blame() == Blame::Invalid => {
                    return Err(Trouble::Config(format!("{source}: {}", told(&error))));
                }
                Err(error) => return Err(self.login_trouble(&error)),
            }
        }
        match refused.is_empty() {
            true => Ok(()),
            false => Err(Trouble::Refused(refused.join("\n"))),
        }
    }

    /// Notes that the vault gives a path no longer. The last value stays.
    pub(crate) fn withdraw(&mut self, path: &str) {
        for source in self.at(path) {
            if self.withdrawn.insert(source) {
                tracing::warn!(path, "gone, or not permitted any longer: the last value stays in the files");
            }
        }
    }

    /// Notes that the vault gives a path on conditions that do not hold; says whether files are to be removed for that.
    pub(crate) fn withhold_path(&mut self, path: &str) -> bool {
        self.at(path).iter().filter(|source| self.withhold(source)).count() > 0
    }

    /// Forgets what was given of a secret whose conditions do not hold; says whether that is new.
    fn withhold(&mut self, source: &Source) -> bool {
        self.given.remove(source);
        self.withdrawn.remove(source);
        if source.credential.is_some() {
            self.held.remove(source);
        }
        let is_new = self.withheld.insert(source.clone());
        if is_new {
            tracing::warn!(path = source.path, "the conditions do not hold on which it is given: its files are removed");
        }
        is_new
    }

    /// Notes that the vault has a version of a path; says whether it must be read.
    pub(crate) fn announce(&mut self, path: &str, version: u64) -> bool {
        let mut due = false;
        for source in self.at(path) {
            // It may have been made anew, with a version of the same number.
            let again = self.withdrawn.remove(&source) || self.withheld.contains(&source);
            if again {
                tracing::info!(path, version, "there again");
            }
            let is_newest = source.version == 0 && version != 0;
            due |= again || (is_newest && self.given.get(&source).map(|given| given.secret.version) != Some(version));
        }
        due
    }

    /// Writes all files of what was read. A file whose secret was not read since the start stays as it is.
    pub(crate) fn write(&mut self) -> Result<Written, Failure> {
        self.unwritten = true;
        let files = self.config.secrets.iter().filter(|file| !self.is_withheld(file));
        let files = files.map(|file| self.out_file(file)).collect::<Result<Vec<_>, _>>()?;
        let written = self.output.write(&files)?;
        self.unwritten = false;
        match written {
            Written::Changed => tracing::info!(files = files.len(), "wrote the files"),
            Written::Same => tracing::debug!("the files are so already"),
        }
        Ok(written)
    }

    fn out_file(&self, file: &SecretFile) -> Result<OutFile, Failure> {
        let content = match render(file, &self.given) {
            Ok(content) => Content::New(content),
            Err(RenderError::NotRead(_)) => Content::Keep,
            Err(error) => return Err(Failure::Config(format!("{}: {error}", file.name))),
        };
        Ok(OutFile { name: file.name.clone(), mode: file.mode, content })
    }

    /// What a failed login or call means for the agent.
    fn login_trouble(&self, error: &Error) -> Trouble {
        match error.blame() {
            Blame::Config => Trouble::Config(error.to_string()),
            Blame::Unauthenticated if !error.session_invalid() => {
                Trouble::Refused(refusal::login(&self.config.vault.token_file, &self.config.vault.cluster))
            }
            _ => Trouble::Away(told(error)),
        }
    }
}

/// The error with its request id, under which an operator finds it.
pub(crate) fn told(error: &Error) -> String {
    match error.request_id() {
        Some(id) => format!("{error} ({}, request {id})", error.reason()),
        None => error.to_string(),
    }
}
