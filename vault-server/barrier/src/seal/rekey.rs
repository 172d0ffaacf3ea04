//! New shares for the same root key.

use coffer_crypto::{
    key::Key,
    random,
    recipients::{Recipient, RecipientError},
    share::ShareSet,
};
use coffer_secret::SecretString;
use coffer_store::{Revision, StoreError};

use crate::{
    barrier::Barrier,
    batch::Batch,
    error::BarrierError,
    keyring::no_random,
    plan::Plan,
    seal::{
        header::{Description, Header},
        init::{InitError, texts},
        open::{UnsealError, root_of, root_of_static},
        quorum::{Quorum, SealSecret},
    },
};

/// The shares that are to be.
#[derive(Debug, Clone)]
pub struct NewShares {
    /// How many: 1 to [`coffer_core::limits::SHARES_MAX`].
    pub count: u8,
    /// How many are needed: 1 to `count`, and at least 2 where `count` is above 1.
    pub threshold: u8,
    /// age recipients (`age1...`), one for each share, to encrypt them to; or none.
    pub recipients: Vec<String>,
}

impl NewShares {
    /// Refuses recipients that cannot be encrypted to, before anybody hands in a share for them.
    pub fn check_recipients(&self) -> Result<(), InitError> {
        if !self.recipients.is_empty() && self.recipients.len() != usize::from(self.count) {
            return Err(InitError::Recipients { recipients: self.recipients.len(), shares: self.count.into() });
        }
        for (number, recipient) in (1..).zip(&self.recipients) {
            let parsed: Result<Recipient, RecipientError> = recipient.parse();
            parsed.map_err(|source| InitError::Recipient { number, source })?;
        }
        Ok(())
    }
}

/// Why there are no new shares.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// The quorum is not this vault's, or no longer.
    #[error(transparent)]
    Quorum(#[from] UnsealError),
    /// The shares cannot be made.
    #[error(transparent)]
    Shares(#[from] InitError),
}

/// New shares that are made and not yet in force: the header that will hold them.
///
/// Owns no key: the root key in it is wrapped under the new shares already.
#[derive(Debug)]
pub struct Rekey {
    header: Header,
    shares: ShareSet,
}

impl Barrier {
    /// Makes new shares by the right of a quorum of the present ones, which stay in force until
    /// [`Rekey::put_in_force`]. The shares, each encrypted where there are recipients, are kept nowhere.
    pub async fn rekey(&self, secret: &SealSecret, new: &NewShares) -> Result<(Rekey, Vec<SecretString>), RekeyError> {
        let (before, root) = root_of(self.store(), secret).await?;
        self.reseal(&before, &root, new)
    }

    /// The same for a vault that is sealed with a key file, by the right of who has the file: shares take its place.
    pub async fn rekey_static(
        &self,
        key: &Key,
        previous: Option<&Key>,
        new: &NewShares,
    ) -> Result<(Rekey, Vec<SecretString>), RekeyError> {
        let (before, root, _) = root_of_static(self.store(), key, previous).await?;
        self.reseal(&before, &root, new)
    }

    fn reseal(&self, before: &Header, root: &Key, new: &NewShares) -> Result<(Rekey, Vec<SecretString>), RekeyError> {
        if !self.root().is_of(before.vault_id(), root) {
            return Err(UnsealError::WrongKey.into());
        }
        let next = random::key().map_err(no_random).map_err(InitError::from)?;
        let split = ShareSet::split(&self.vault_id(), &next, new.threshold, new.count).map_err(InitError::from)?;
        let (set, shares) = split;
        let texts = texts(&shares, &new.recipients)?;
        let version = before.version().checked_add(1).ok_or(BarrierError::Internal("a version number"));
        let version = version.map_err(InitError::from)?;
        let description = Description::Shamir { shares: set.clone() };
        let header = Header::wrap(self.vault_id(), description, &next, root, version).map_err(InitError::from)?;
        Ok((Rekey { header, shares: set }, texts))
    }
}

impl Rekey {
    /// What collects the new shares, to see that their holders have them.
    #[must_use]
    pub fn quorum(&self) -> Quorum {
        Quorum::new(self.shares.clone())
    }

    /// Whether a quorum of the new shares unwraps the root key.
    pub fn check(&self, secret: &SealSecret) -> Result<(), UnsealError> {
        if !secret.is_of(&self.shares) {
            return Err(UnsealError::WrongKey);
        }
        Ok(self.header.unwrap(secret.key()).map(drop)?)
    }

    /// Puts the new shares in force, together with a batch: those before are void from then on. Fails with
    /// [`BarrierError::Conflict`] where the seal was changed since the new shares were made.
    pub async fn put_in_force(&self, barrier: &Barrier, batch: &Batch) -> Result<Revision, BarrierError> {
        let _gate = barrier.pass().await;
        let plan = Plan::new(barrier.root(), barrier.store(), batch).await?;
        let mut transaction = plan.transaction(batch)?;
        self.header.write(&mut transaction);
        let revision = match barrier.store().commit(transaction).await {
            Ok(revision) => revision,
            // The shares before may be void already: say so only where they are not.
            Err(StoreError::Unknown(_)) if self.is_stored(barrier).await => barrier.revision().await?,
            Err(error) => return Err(error.into()),
        };
        plan.applied(barrier.root(), batch);
        Ok(revision)
    }

    async fn is_stored(&self, barrier: &Barrier) -> bool {
        matches!(Header::load(barrier.store()).await, Ok(Some(header)) if header == self.header)
    }
}
