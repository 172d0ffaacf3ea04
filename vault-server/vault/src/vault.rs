//! The life of a vault: initialise, unseal, seal.

use std::{error::Error, sync::Arc};

use arc_swap::ArcSwapOption;
use coffer_barrier::{
    Barrier, Batch, Label, Scope, Store,
    seal::{
        Header, InitError, Initialisation, Quorum, QuorumError, SealChoice, SealKind, Taken, UnsealError, unseal, unseal_static,
    },
};
use coffer_core::{
    clock::{Clock, Timestamp},
    id::{MountId, RequestId, TenantId, VaultId},
    limits::{BOOTSTRAP_LIFETIME, SHARES_MAX},
    reason::Reason,
};
use coffer_crypto::{key::Key, random};
use coffer_secret::SecretString;
use tokio::sync::Mutex;

use crate::{
    Beginning, Failure, epoch, first,
    records::BootstrapRecord,
    rekey::RekeyProgress,
    sessions::bootstrap_record,
    trail::{self, AuditConfig, Outcome, Record},
    unsealed::{Parts, Unsealed},
};

/// What a vault needs to know.
pub struct VaultConfig {
    /// The node's name: part of the audit log's origin.
    pub node: String,
    /// Where the audit log is.
    pub audit: AuditConfig,
    /// Where the seal's keys come from, where the vault is sealed with a key file.
    pub static_keys: Option<StaticKeySource>,
    /// What the vault begins with, where it makes itself: only with a key file, for nobody is there to be given shares.
    pub beginning: Option<BeginningSource>,
    /// The server's version.
    pub version: &'static str,
}

/// Reads the keys of a static seal, each time that they are needed: a sealed vault must not have them.
pub type StaticKeySource = Box<dyn Fn() -> Result<StaticKeys, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// Says what a vault begins with, where there is none yet.
pub type BeginningSource = Box<dyn Fn() -> Result<Beginning, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// The keys of a static seal.
pub struct StaticKeys {
    /// The key.
    pub key: Key,
    /// The key before, during a change.
    pub previous: Option<Key>,
}

/// Why a vault cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The seal does not open.
    #[error("the vault cannot be unsealed")]
    Unseal(#[source] UnsealError),
    /// The seal's key file cannot be read.
    #[error("the seal's key cannot be read")]
    Key(#[source] Box<dyn Error + Send + Sync>),
    /// What the vault begins with cannot be told.
    #[error("a new vault cannot be made")]
    Beginning(#[source] Box<dyn Error + Send + Sync>),
    /// The vault was unsealed and cannot go to work.
    #[error("the vault cannot go to work: {0}")]
    Work(Failure),
}

/// How a quorum stands.
pub struct Progress {
    /// Names the attempt; empty where none is under way.
    pub nonce: String,
    /// Shares received.
    pub received: u32,
    /// Shares needed.
    pub needed: u32,
}

/// The seal, as anyone may see it.
pub struct SealStatus {
    /// The vault's id, once it is initialised.
    pub vault: Option<VaultId>,
    /// Whether it is sealed.
    pub sealed: bool,
    /// The kind of seal, once it is initialised.
    pub kind: Option<SealKind>,
    /// Shares there are.
    pub share_count: u32,
    /// How unsealing stands.
    pub unseal: Progress,
    /// How letting a new first operator in stands.
    pub recovery: Progress,
    /// How making new shares stands, where they are being made.
    pub rekey: Option<RekeyProgress>,
    /// The server's version.
    pub version: &'static str,
}

/// The fruits of Init.
pub struct InitAnswer {
    /// The vault's id.
    pub vault: VaultId,
    /// The shares.
    pub shares: Vec<SecretString>,
    /// The bootstrap credential.
    pub bootstrap: SecretString,
    /// When it ends.
    pub bootstrap_expires: Timestamp,
}

/// How recovery stands, and what it yields in the end.
pub struct Recovery {
    /// How the quorum stands.
    pub progress: Progress,
    /// The new bootstrap credential and when it ends, once the quorum is complete.
    pub bootstrap: Option<(SecretString, Timestamp)>,
}

/// A vault, whatever its state.
pub struct Vault {
    pub(crate) store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    config: VaultConfig,
    started: Timestamp,
    unsealed: ArcSwapOption<Unsealed>,
    pub(crate) header: ArcSwapOption<Header>,
    pub(crate) unsealing: Mutex<Option<Quorum>>,
    pub(crate) recovering: Mutex<Option<Quorum>>,
    /// Held while a vault is made: by Init, or from a snapshot.
    pub(crate) making: Arc<Mutex<()>>,
}

impl Vault {
    /// The vault in this store; unsealed at once where its seal is a key file, and made where there is none and it makes itself.
    ///
    /// # Errors
    /// Fails where the store cannot be read, or the key file's key is not the vault's.
    pub async fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>, config: VaultConfig) -> Result<Arc<Self>, VaultError> {
        let work = |error| VaultError::Work(Failure::from(error));
        let header = Header::load(&*store).await.map_err(work)?;
        let vault = Arc::new(Self {
            started: clock.now(),
            unsealed: ArcSwapOption::empty(),
            header: ArcSwapOption::new(header.map(Arc::new)),
            unsealing: Mutex::new(None),
            recovering: Mutex::new(None),
            making: Arc::default(),
            store,
            clock,
            config,
        });
        vault.clear_broken_restore().await.map_err(VaultError::Work)?;
        if let Some(beginning) = &vault.config.beginning
            && !vault.initialised()
        {
            let beginning = beginning().map_err(VaultError::Beginning)?;
            vault.begin(&beginning).await.map_err(VaultError::Work)?;
        }
        vault.unseal_by_file().await?;
        Ok(vault)
    }

    /// A request id of the server's making.
    #[must_use]
    pub fn new_request_id(&self) -> RequestId {
        // Without random numbers nothing is sealed, opened or logged either: two requests of one id are the least of it.
        RequestId::from_bytes(random::bytes().unwrap_or_default())
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// When the server was started.
    #[must_use]
    pub const fn started(&self) -> Timestamp {
        self.started
    }

    /// Whether the vault is initialised.
    #[must_use]
    pub fn initialised(&self) -> bool {
        self.header.load().is_some()
    }

    /// The vault at work.
    ///
    /// # Errors
    /// Fails where it is sealed or not initialised.
    pub fn unsealed(&self) -> Result<Arc<Unsealed>, Failure> {
        self.unsealed.load_full().ok_or_else(|| {
            if self.header.load().is_some() {
                Failure::sealed()
            } else {
                Failure::new(Reason::NotInitialised, "the vault is not initialised")
            }
        })
    }

    /// The seal, as anyone may see it.
    pub async fn seal_status(&self) -> SealStatus {
        let header = self.header.load_full();
        let vault = self.unsealed.load_full();
        let rekey = match &vault {
            Some(vault) => vault.rekey_progress().await,
            None => None,
        };
        SealStatus {
            vault: header.as_ref().map(|header| header.vault_id()),
            sealed: vault.is_none(),
            kind: header.as_ref().map(|header| header.kind()),
            share_count: header.as_ref().and_then(|header| header.share_count()).map_or(0, u32::from),
            unseal: progress(self.unsealing.lock().await.as_ref(), header.as_deref()),
            recovery: progress(self.recovering.lock().await.as_ref(), header.as_deref()),
            rekey,
            version: self.config.version,
        }
    }

    /// Makes the vault's keys.
    ///
    /// # Errors
    /// Fails where that was done, or the shares asked for are none that there can be.
    pub async fn init(&self, count: u32, threshold: u32, recipients: Vec<String>, record: Record) -> Result<InitAnswer, Failure> {
        let choice = self.seal_choice(count, threshold, recipients)?;
        let _one_at_a_time = self.making.lock().await;
        self.clear_broken_restore().await?;
        let now = self.clock.now();
        let expires = now.plus(BOOTSTRAP_LIFETIME);
        let (bootstrap, bootstrap_record) = bootstrap_record(expires)?;
        let first = |tenant, mount| first::first_records(tenant, mount, Some(&bootstrap_record), now);
        let (vault, shares) = self.make(choice, first, &record).await?;
        // Nothing may fail from here on: the shares exist nowhere else.
        if let Err(error) = self.unseal_by_file().await {
            tracing::error!(error = &error as &dyn Error, "the new vault cannot be unsealed");
        }
        Ok(InitAnswer { vault, shares, bootstrap, bootstrap_expires: expires })
    }

    /// Makes the vault's keys and first records, by the server's own configuration.
    async fn begin(&self, beginning: &Beginning) -> Result<(), Failure> {
        beginning.check()?;
        let choice = self.seal_choice(0, 0, Vec::new())?;
        let _one_at_a_time = self.making.lock().await;
        let now = self.clock.now();
        let workload = beginning.workload()?.map(|principal| principal.to_string());
        let expires = now.plus(BOOTSTRAP_LIFETIME);
        let bootstrap = workload.is_some().then(|| BootstrapRecord { hash: Vec::new(), expires, workload: workload.clone() });
        let first = |tenant, mount| {
            let mut batch = first::first_records(tenant, mount, bootstrap.as_ref(), now)?;
            beginning.records(tenant, &mut batch, now)?;
            Ok(batch)
        };
        let mut record = Record::event("init", now)?;
        for operator in &beginning.operators {
            let roles: Vec<&str> = operator.roles.iter().map(|role| role.name()).collect();
            record.detail(&format!("operator {}", operator.name), roles.join(" "));
        }
        if let Some((name, settings)) = &beginning.cluster {
            record.detail(&format!("cluster {name}"), &settings.issuer);
        }
        if let Some(workload) = &workload {
            record.detail("may create operators once", workload);
        }
        let (vault, _) = self.make(choice, first, &record).await?;
        tracing::info!(%vault, "a vault was made, as the configuration says");
        Ok(())
    }

    /// Draws keys, and stores them with the first records and the record of it: then there is a vault, which is sealed. Gives its shares.
    async fn make(
        &self,
        choice: SealChoice,
        first: impl FnOnce(TenantId, MountId) -> Result<Batch, Failure>,
        record: &Record,
    ) -> Result<(VaultId, Vec<SecretString>), Failure> {
        let id = || random::bytes().map_err(|_| Failure::internal("no random numbers"));
        let (vault, tenant, mount) = (VaultId::from_bytes(id()?), TenantId::from_bytes(id()?), MountId::from_bytes(id()?));
        let initialisation = Initialisation::new(vault, choice, &[tenant], self.clock.now()).map_err(refused_init)?;
        let mut records = first(tenant, mount)?;
        // The log has it when the vault is unsealed.
        let _stored = trail::add_pending(&mut records, &record.clone().answered(Outcome::Ok))?;
        let made = initialisation.commit(Arc::clone(&self.store), records).await.map_err(refused_init)?;
        self.header.store(Some(Arc::new(made.header)));
        Ok((vault, made.shares))
    }

    /// Takes a share of the unseal key; with the last one needed, the vault goes to work.
    ///
    /// # Errors
    /// Fails where the share is damaged or of another vault, or the nonce is another attempt's.
    pub async fn unseal(&self, share: &SecretString, nonce: &str, record: Record) -> Result<(bool, Progress), Failure> {
        let mut attempt = self.unsealing.lock().await;
        if self.unsealed.load().is_some() {
            return Ok((false, progress(None, None)));
        }
        let header = self.header()?;
        let secret = match self.take(&mut attempt, &header, share, nonce)? {
            Taken::More(progress) => return Ok((true, progress.into())),
            Taken::Enough(secret) => secret,
        };
        let barrier = unseal(Arc::clone(&self.store), &secret).await.map_err(refused_unseal)?;
        drop(secret);
        self.go_to_work(barrier, header.kind(), Some(record)).await?;
        Ok((false, progress(None, None)))
    }

    /// Forgets the shares received.
    pub async fn forget_shares(&self) -> Progress {
        *self.unsealing.lock().await = None;
        progress(None, self.header.load_full().as_deref())
    }

    /// Takes a share to let a new first operator in; with the last one needed, yields a bootstrap credential.
    ///
    /// # Errors
    /// Fails as [`Self::unseal`] does, and where the vault is sealed.
    pub async fn recover(&self, share: &SecretString, nonce: &str, record: Record) -> Result<Recovery, Failure> {
        let vault = self.unsealed()?;
        let mut attempt = self.recovering.lock().await;
        let header = self.header()?;
        let secret = match self.take(&mut attempt, &header, share, nonce)? {
            Taken::More(progress) => {
                let record = record.detailed("shares", progress.received);
                vault.append(record.answered(Outcome::Ok)).await?;
                return Ok(Recovery { progress: progress.into(), bootstrap: None });
            }
            Taken::Enough(secret) => secret,
        };
        vault.barrier.prove(&secret).await.map_err(refused_unseal)?;
        self.let_in(&vault, record).await
    }

    /// Yields a bootstrap credential to whoever speaks to the vault on its local socket, where a key file seals it: they can read that
    /// file and the store.
    ///
    /// # Errors
    /// Fails where the vault is sealed, or by shares.
    pub async fn recover_locally(&self, record: Record) -> Result<Recovery, Failure> {
        let vault = self.unsealed()?;
        if self.header()?.kind() != SealKind::StaticKey {
            return Err(Failure::invalid("this vault is sealed by shares: a new first operator takes a quorum of them"));
        }
        self.let_in(&vault, record).await
    }

    async fn let_in(&self, vault: &Arc<Unsealed>, record: Record) -> Result<Recovery, Failure> {
        let _one_at_a_time = vault.change().await;
        let (bootstrap, stored) = vault.commit(vault.new_bootstrap()?, &record).await?;
        vault.append_written(stored).await?;
        Ok(Recovery { progress: progress(None, None), bootstrap: Some(bootstrap) })
    }

    /// Forgets the shares received for recovery.
    pub async fn forget_recovery(&self) -> Progress {
        *self.recovering.lock().await = None;
        progress(None, self.header.load_full().as_deref())
    }

    fn take(&self, attempt: &mut Option<Quorum>, header: &Header, share: &SecretString, nonce: &str) -> Result<Taken, Failure> {
        let none = || Failure::new(Reason::InvalidArgument, "this vault is sealed with a key file: it has no shares");
        let quorum = match attempt {
            Some(quorum) => quorum,
            None => attempt.insert(header.quorum().ok_or_else(none)?),
        };
        quorum.take(nonce, share.expose().trim(), self.clock.now()).map_err(refused_share)
    }

    /// Lets streams end, so that the server can be stopped: requests go on being answered.
    pub fn end_streams(&self) {
        if let Some(vault) = &*self.unsealed.load() {
            vault.ending.cancel();
        }
    }

    /// Seals the vault: its keys are dropped when the requests under way are done.
    pub async fn seal(&self) {
        let _no_unsealing = self.unsealing.lock().await;
        if let Some(vault) = self.unsealed.swap(None) {
            vault.end().await;
        }
    }

    fn header(&self) -> Result<Arc<Header>, Failure> {
        self.header.load_full().ok_or_else(|| Failure::new(Reason::NotInitialised, "the vault is not initialised"))
    }

    fn seal_choice(&self, count: u32, threshold: u32, recipients: Vec<String>) -> Result<SealChoice, Failure> {
        if let Some(keys) = self.static_keys()? {
            return match (count, threshold, recipients.is_empty()) {
                (0, 0, true) => Ok(SealChoice::StaticKey(keys.key)),
                _ => Err(Failure::invalid(
                    "the server is configured with a seal key and makes no shares: ask for 0 (coffer operator init --shares 0)",
                )),
            };
        }
        let (count, threshold) = share_numbers(count, threshold)?;
        if !recipients.is_empty() && recipients.len() != usize::from(count) {
            return Err(Failure::invalid("there must be one age recipient for each share, or none"));
        }
        Ok(SealChoice::Shamir { count, threshold, recipients })
    }

    /// The keys of the key file, where the server is configured with one.
    pub(crate) fn static_keys(&self) -> Result<Option<StaticKeys>, Failure> {
        let Some(read) = &self.config.static_keys else { return Ok(None) };
        read().map(Some).map_err(|error| {
            tracing::error!(error = &*error as &dyn Error, "the seal's key cannot be read");
            Failure::new(Reason::Unavailable, "the seal's key file cannot be read; the server's log says why")
        })
    }

    pub(crate) async fn unseal_by_file(&self) -> Result<(), VaultError> {
        let (Some(read), Some(header)) = (&self.config.static_keys, self.header.load_full()) else { return Ok(()) };
        if header.kind() != SealKind::StaticKey {
            return Ok(());
        }
        let keys = read().map_err(VaultError::Key)?;
        let store = Arc::clone(&self.store);
        let barrier = unseal_static(store, &keys.key, keys.previous.as_ref()).await.map_err(VaultError::Unseal)?;
        drop(keys);
        self.go_to_work(barrier, SealKind::StaticKey, None).await.map_err(VaultError::Work)
    }

    async fn go_to_work(&self, barrier: Barrier, seal: SealKind, record: Option<Record>) -> Result<(), Failure> {
        let key = barrier.derived(Scope::System, Label::Audit).await?;
        let epoch = epoch::settle(&barrier).await?;
        let opened = trail::open(&self.config.audit, &self.config.node, &barrier, &key, &epoch).await?;
        let mut not_before = opened.not_before;
        if self.config.audit.accept_divergence && not_before > self.clock.now() {
            tracing::warn!("the clock stands before a time that the vault has seen: believing the clock, as configured");
            not_before = self.clock.now();
        }
        let parts = Parts {
            barrier: Arc::new(barrier),
            clock: Arc::clone(&self.clock),
            log: opened.log,
            seal,
            not_before,
            epoch: epoch.number,
        };
        let vault = Unsealed::open(parts).await?;
        let record = match record {
            Some(record) => record,
            None => Record::event("unseal", self.clock.now())?,
        };
        vault.append(record.answered(Outcome::Ok)).await?;
        Unsealed::begin_upkeep(&vault);
        self.unsealed.store(Some(vault));
        Ok(())
    }
}

/// Numbers of shares that there can be.
pub(crate) fn share_numbers(count: u32, threshold: u32) -> Result<(u8, u8), Failure> {
    let number = |number| u8::try_from(number).ok().filter(|number| (1..=SHARES_MAX).contains(number));
    match (number(count), number(threshold)) {
        (Some(count), Some(threshold)) if threshold <= count && (threshold > 1 || count == 1) => Ok((count, threshold)),
        _ => Err(Failure::invalid("shares: 1 to 16; threshold: 2 to the number of shares, or 1 of 1")),
    }
}

fn progress(attempt: Option<&Quorum>, header: Option<&Header>) -> Progress {
    match attempt {
        Some(quorum) => quorum.progress().into(),
        None => Progress {
            nonce: String::new(),
            received: 0,
            needed: header.and_then(Header::quorum).map_or(0, |quorum| quorum.progress().needed.into()),
        },
    }
}

impl From<coffer_barrier::seal::Progress> for Progress {
    fn from(progress: coffer_barrier::seal::Progress) -> Self {
        Self { nonce: progress.nonce, received: progress.received.into(), needed: progress.needed.into() }
    }
}

pub(crate) fn refused_init(error: InitError) -> Failure {
    match error {
        InitError::AlreadyInitialised => Failure::new(Reason::AlreadyInitialised, "the vault is initialised already"),
        InitError::Barrier(error) => error.into(),
        error => Failure::told(Reason::InvalidArgument, error.to_string()),
    }
}

pub(crate) fn refused_share(error: QuorumError) -> Failure {
    let reason = match error {
        QuorumError::Foreign(_) => Reason::ShareForeign,
        QuorumError::Nonce => Reason::NonceMismatch,
        QuorumError::Damaged(_) => Reason::ShareInvalid,
        QuorumError::Repeated(_) => Reason::AlreadyExists,
        QuorumError::WrongSecret => Reason::Corrupt,
        QuorumError::Random(_) => Reason::Internal,
    };
    Failure::told(reason, error.to_string())
}

pub(crate) fn refused_unseal(error: UnsealError) -> Failure {
    match error {
        UnsealError::Barrier(error) => error.into(),
        error => Failure::told(Reason::ShareForeign, error.to_string()),
    }
}
