//! The root key: wraps the keyrings.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use coffer_core::id::VaultId;
use coffer_crypto::{
    derive::{self, Label},
    key::Key,
    siv::NamesKey,
    xaes::Cipher,
};
use coffer_secret::SecretBytes;
use coffer_store::{Entry, Store};

use crate::{
    encoding,
    envelope::{self, KeyName, Place},
    error::BarrierError,
    key::Scope,
    keyring::{Keyring, KeyringRecord},
};

/// Physical keys of keyrings begin with this; then follows the scope, encrypted.
pub(crate) const KEYRINGS: &[u8] = b"coffer/k/";
/// They end before this.
pub(crate) const KEYRINGS_END: &[u8] = b"coffer/k0";
/// What the root key's own ciphertexts name as their key.
const ROOT: KeyName = KeyName { keyring: [0; 16], term: 0 };

/// Whether a physical key is a keyring's.
pub(crate) fn is_keyring(key: &[u8]) -> bool {
    key.starts_with(KEYRINGS)
}

/// The root key in use, and the keyrings that it has opened so far.
pub(crate) struct Root {
    vault: VaultId,
    wrapping: Key,
    names: NamesKey,
    known: RwLock<HashMap<Scope, Arc<Keyring>>>,
}

impl Root {
    pub(crate) fn new(vault: VaultId, root: &Key) -> Self {
        Self {
            vault,
            wrapping: derive::derive(root, Label::Keyring, vault.as_bytes()),
            names: derive::names(root, vault.as_bytes()),
            known: RwLock::default(),
        }
    }

    pub(crate) const fn vault(&self) -> VaultId {
        self.vault
    }

    /// Whether this is the root key of this vault.
    pub(crate) fn is_of(&self, vault: VaultId, root: &Key) -> bool {
        self.vault == vault && self.wrapping.same(&Self::new(vault, root).wrapping)
    }

    /// Where a scope's keyring is stored.
    pub(crate) fn place(&self, scope: Scope) -> Vec<u8> {
        let sealed = match scope {
            Scope::System => self.names.seal(&[KEYRINGS], b"system"),
            Scope::Tenant(id) => self.names.seal(&[KEYRINGS], id.as_bytes()),
        };
        [KEYRINGS, &sealed].concat()
    }

    /// A keyring as it is stored when `version` is the version of that write, and as it is used from then on.
    pub(crate) fn wrap(&self, scope: Scope, record: &KeyringRecord, version: u64) -> Result<(Vec<u8>, Keyring), BarrierError> {
        let place = self.place(scope);
        let encoded = encoding::encode(record).map_err(|_| BarrierError::Internal("a keyring that cannot be encoded"))?;
        let value = envelope::seal(&Cipher::new(&self.wrapping), ROOT, Place { key: &place, version }, encoded.expose())?;
        Ok((value, Keyring::new(record, scope, place, version)?))
    }

    /// A scope's keyring as it is stored now, and its version.
    pub(crate) async fn read(&self, store: &dyn Store, scope: Scope) -> Result<Option<(KeyringRecord, u64)>, BarrierError> {
        let Some(entry) = store.get(&self.place(scope)).await? else { return Ok(None) };
        Ok(Some((self.unwrap(&entry)?, entry.version)))
    }

    fn unwrap(&self, entry: &Entry) -> Result<KeyringRecord, BarrierError> {
        let encoded = self.open(entry)?;
        encoding::decode(encoded.expose()).map_err(|_| BarrierError::corrupt("a keyring"))
    }

    fn open(&self, entry: &Entry) -> Result<SecretBytes, BarrierError> {
        if envelope::key_name(&entry.value)? != ROOT {
            return Err(BarrierError::corrupt("a keyring that the root key did not wrap"));
        }
        envelope::open(&Cipher::new(&self.wrapping), Place { key: &entry.key, version: entry.version }, &entry.value)
    }

    /// The keyring that is stored here, whosever it is.
    pub(crate) fn open_keyring(&self, entry: &Entry) -> Result<(Scope, Keyring), BarrierError> {
        let record = self.unwrap(entry)?;
        let scope = record.scope();
        if entry.key != self.place(scope) {
            return Err(BarrierError::corrupt("a keyring of another scope"));
        }
        Ok((scope, Keyring::new(&record, scope, entry.key.clone(), entry.version)?))
    }

    /// The stored form of the same keyring as the first write of its key.
    pub(crate) fn moved(&self, entry: &Entry) -> Result<Vec<u8>, BarrierError> {
        let encoded = self.open(entry)?;
        envelope::seal(&Cipher::new(&self.wrapping), ROOT, Place { key: &entry.key, version: 1 }, encoded.expose())
    }

    /// A scope's keyring: as it is known, or else as it is stored.
    pub(crate) async fn keyring(&self, store: &dyn Store, scope: Scope) -> Result<Arc<Keyring>, BarrierError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&scope).cloned();
        match known {
            Some(keyring) => Ok(keyring),
            None => self.reload(store, scope).await,
        }
    }

    /// A scope's keyring as it is stored now.
    pub(crate) async fn reload(&self, store: &dyn Store, scope: Scope) -> Result<Arc<Keyring>, BarrierError> {
        match self.read(store, scope).await? {
            Some((record, version)) => {
                let keyring = Arc::new(Keyring::new(&record, scope, self.place(scope), version)?);
                Ok(self.learn(scope, keyring))
            }
            None => {
                self.forget(scope);
                Err(BarrierError::NoScope)
            }
        }
    }

    pub(crate) fn learn(&self, scope: Scope, keyring: Arc<Keyring>) -> Arc<Keyring> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(scope, Arc::clone(&keyring));
        keyring
    }

    pub(crate) fn forget(&self, scope: Scope) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&scope);
    }

    /// Forgets the keyring that is stored here.
    pub(crate) fn forget_place(&self, place: &[u8]) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).retain(|_, keyring| !keyring.stands_at(place));
    }
}

/// Names no key.
impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({:?})", self.vault)
    }
}
