//! Unsealing.

use std::sync::Arc;

use coffer_crypto::key::Key;
use coffer_store::{Store, Transaction};

use crate::{
    barrier::Barrier,
    error::BarrierError,
    key::Scope,
    root::Root,
    seal::{
        header::{Description, Header, static_key_id},
        quorum::SealSecret,
    },
};

/// Why the vault was not unsealed.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// There is no vault in the store yet.
    #[error("the vault is not initialised")]
    NotInitialised,
    /// The vault has another kind of seal.
    #[error("the vault has another kind of seal")]
    OtherKind,
    /// The key is not the one that seals this vault.
    #[error("the key is not the one that seals this vault")]
    WrongKey,
    /// What is stored cannot be read.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
}

/// Unseals with what a quorum of shares makes. Fails with [`UnsealError::WrongKey`] where the vault was sealed anew since.
pub async fn unseal(store: Arc<dyn Store>, secret: &SealSecret) -> Result<Barrier, UnsealError> {
    let (header, root) = root_of(&*store, secret).await?;
    open(store, &header, &root).await
}

impl Barrier {
    /// Whether a quorum of shares made this secret: proves a right, and changes nothing. Fails with
    /// [`UnsealError::WrongKey`] where it is not this vault's.
    pub async fn prove(&self, secret: &SealSecret) -> Result<(), UnsealError> {
        let (header, root) = root_of(self.store(), secret).await?;
        // A header that was put in another's place has a root key of its own.
        if self.root().is_of(header.vault_id(), &root) { Ok(()) } else { Err(UnsealError::WrongKey) }
    }
}

/// The header as it is stored now, and the root key in it.
pub(super) async fn root_of(store: &dyn Store, secret: &SealSecret) -> Result<(Header, Key), UnsealError> {
    let header = Header::load(store).await?.ok_or(UnsealError::NotInitialised)?;
    let Description::Shamir { shares } = header.description() else { return Err(UnsealError::OtherKind) };
    if !secret.is_of(shares) {
        return Err(UnsealError::WrongKey);
    }
    let root = header.unwrap(secret.key())?;
    Ok((header, root))
}

/// The header as it is stored now, the root key in it, and whether it is the `previous` key that opens it.
pub(super) async fn root_of_static(
    store: &dyn Store,
    key: &Key,
    previous: Option<&Key>,
) -> Result<(Header, Key, bool), UnsealError> {
    let header = Header::load(store).await?.ok_or(UnsealError::NotInitialised)?;
    let Description::StaticKey { key_id } = header.description() else { return Err(UnsealError::OtherKind) };
    let names = |key: &&Key| static_key_id(key, header.vault_id()) == *key_id;
    let of_previous = !names(&key);
    let opens = if of_previous { previous.filter(names).ok_or(UnsealError::WrongKey)? } else { key };
    let root = header.unwrap(opens)?;
    Ok((header, root, of_previous))
}

/// Unseals with a static key. Where the vault is still sealed with the `previous` one, it is sealed with `key` from then
/// on. Fails with [`UnsealError::WrongKey`] where neither is the vault's.
pub async fn unseal_static(store: Arc<dyn Store>, key: &Key, previous: Option<&Key>) -> Result<Barrier, UnsealError> {
    let (header, root, of_previous) = root_of_static(&*store, key, previous).await?;
    if !of_previous {
        return open(store, &header, &root).await;
    }
    let barrier = open(Arc::clone(&store), &header, &root).await?;
    let next = header.version().checked_add(1).ok_or(BarrierError::Internal("a version number"))?;
    let description = Description::StaticKey { key_id: static_key_id(key, header.vault_id()) };
    let mut transaction = Transaction::default();
    Header::wrap(header.vault_id(), description, key, &root, next)?.write(&mut transaction);
    match store.commit(transaction).await.map_err(BarrierError::from) {
        Ok(_) => tracing::info!(vault = %header.vault_id(), "the vault is sealed with the new static key from now on"),
        // Another node was first.
        Err(BarrierError::Conflict) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(barrier)
}

/// The barrier of a root key that opens what is stored.
async fn open(store: Arc<dyn Store>, header: &Header, root: &Key) -> Result<Barrier, UnsealError> {
    let root = Root::new(header.vault_id(), root);
    match root.keyring(&*store, Scope::System).await {
        Ok(_) => Ok(Barrier::new(store, Arc::new(root))),
        Err(BarrierError::NoScope) => Err(BarrierError::corrupt("the system's keyring is missing").into()),
        Err(error) => Err(error.into()),
    }
}
