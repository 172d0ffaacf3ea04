//! Making a vault.

use std::sync::Arc;

use coffer_core::{
    clock::Timestamp,
    id::{TenantId, VaultId},
};
use coffer_crypto::{
    derive::Label,
    key::Key,
    random,
    recipients::{RecipientError, encrypt_share},
    shamir::SplitError,
    share::{Share, ShareSet},
};
use coffer_secret::SecretString;
use coffer_store::{Store, StoreError};

use crate::{
    barrier::Barrier,
    batch::Batch,
    error::BarrierError,
    key::Scope,
    keyring::no_random,
    plan::Plan,
    root::Root,
    seal::header::{Description, Header, static_key_id},
};

/// How a vault is to be sealed.
#[derive(Debug)]
pub enum SealChoice {
    /// By shares.
    Shamir {
        /// How many shares: 1 to [`coffer_core::limits::SHARES_MAX`].
        count: u8,
        /// How many are needed: 1 to `count`, and at least 2 where `count` is above 1.
        threshold: u8,
        /// age recipients (`age1...`), one for each share, to encrypt them to; or none.
        recipients: Vec<String>,
    },
    /// By a key in a file.
    StaticKey(Key),
}

/// Why a vault was not made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is one in the store.
    #[error("the store holds a vault already")]
    AlreadyInitialised,
    /// There are records of a vault in the store, and no header.
    #[error("the store holds records of a vault whose header is missing")]
    NotEmpty,
    /// The numbers of shares make no sense.
    #[error(transparent)]
    Shares(#[from] SplitError),
    /// There are recipients, and not as many as shares.
    #[error("there are {recipients} recipients for {shares} shares")]
    Recipients {
        /// How many there are.
        recipients: usize,
        /// How many are needed.
        shares: usize,
    },
    /// One is not an age recipient.
    #[error("recipient {number} cannot be encrypted to")]
    Recipient {
        /// Which one, from 1.
        number: usize,
        /// Why.
        source: RecipientError,
    },
    /// The records cannot be written.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
}

/// A vault's keys, drawn and not yet stored.
#[derive(Debug)]
pub struct Initialisation {
    root: Root,
    header: Header,
    shares: Vec<SecretString>,
    plan: Plan,
}

/// A vault that was made.
#[derive(Debug)]
pub struct Initialised {
    /// The vault, unsealed.
    pub barrier: Barrier,
    /// The shares of the unseal key as text, each encrypted where recipients were given. They are kept nowhere.
    pub shares: Vec<SecretString>,
    /// The header that is stored.
    pub header: Header,
}

impl Initialisation {
    /// Draws the keys of a vault with these tenants.
    pub fn new(vault: VaultId, choice: SealChoice, tenants: &[TenantId], now: Timestamp) -> Result<Self, InitError> {
        let key = random::key().map_err(no_random)?;
        let root = Root::new(vault, &key);
        let mut plan = Plan::default();
        plan.make(&root, Scope::System, now)?;
        for tenant in tenants {
            plan.make(&root, Scope::Tenant(*tenant), now)?;
        }
        let (description, secret, shares) = match choice {
            SealChoice::Shamir { count, threshold, recipients } => {
                let secret = random::key().map_err(no_random)?;
                let (set, shares) = ShareSet::split(&vault, &secret, threshold, count)?;
                (Description::Shamir { shares: set }, secret, texts(&shares, &recipients)?)
            }
            SealChoice::StaticKey(secret) => {
                (Description::StaticKey { key_id: static_key_id(&secret, vault) }, secret, Vec::new())
            }
        };
        let header = Header::wrap(vault, description, &secret, &key, 1)?;
        Ok(Self { root, header, shares, plan })
    }

    /// As [`Barrier::derived`], to make the first records with.
    pub fn derived(&self, scope: Scope, label: Label) -> Result<Key, BarrierError> {
        Ok(self.plan.keyring(scope)?.derived(label))
    }

    /// Stores the keys and the first records in one transaction. Of two that do so at once, one fails with
    /// [`InitError::AlreadyInitialised`].
    pub async fn commit(self, store: Arc<dyn Store>, first: Batch) -> Result<Initialised, InitError> {
        first.check()?;
        if first.created().next().is_some() || first.deleted().next().is_some() {
            return Err(BarrierError::Internal("the tenants of a new vault are named before its first records").into());
        }
        let mut transaction = self.plan.transaction(&first)?;
        self.header.write(&mut transaction);
        // In this order: a header is written with the records, so that records seen first have one by now.
        let stored = store.range(b"coffer/", b"coffer0", 1).await.map_err(BarrierError::from)?;
        if Header::load(&*store).await?.is_some() {
            return Err(InitError::AlreadyInitialised);
        }
        if !stored.is_empty() {
            return Err(InitError::NotEmpty);
        }
        match store.commit(transaction).await {
            Ok(_) => {}
            Err(StoreError::Conflict) => return Err(InitError::AlreadyInitialised),
            // The shares exist nowhere else: a vault that was made after all must not be lost.
            Err(StoreError::Unknown(_)) if self.is_stored(&*store).await => {}
            Err(error) => return Err(BarrierError::from(error).into()),
        }
        self.plan.applied(&self.root, &first);
        Ok(Initialised { barrier: Barrier::new(store, Arc::new(self.root)), shares: self.shares, header: self.header })
    }
}

impl Initialisation {
    /// Whether the header that is stored is this one.
    async fn is_stored(&self, store: &dyn Store) -> bool {
        matches!(Header::load(store).await, Ok(Some(header)) if header == self.header)
    }
}

/// The shares as they are given out: encrypted where there are recipients.
pub(super) fn texts(shares: &[Share], recipients: &[String]) -> Result<Vec<SecretString>, InitError> {
    if recipients.is_empty() {
        return Ok(shares.iter().map(Share::text).collect());
    }
    if recipients.len() != shares.len() {
        return Err(InitError::Recipients { recipients: recipients.len(), shares: shares.len() });
    }
    let encrypted = (1..).zip(shares.iter().zip(recipients)).map(|(number, (share, recipient))| {
        let text = encrypt_share(share.text().expose(), recipient);
        text.map(SecretString::from).map_err(|source| InitError::Recipient { number, source })
    });
    encrypted.collect()
}
