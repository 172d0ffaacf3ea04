//! The one plain record: what must be known to unseal.

use coffer_core::id::VaultId;
use coffer_crypto::{
    derive::{self, Label},
    key::{KEY_BYTES, Key},
    share::ShareSet,
    xaes::Cipher,
};
use coffer_secret::SecretArray;
use coffer_store::{Condition, Entry, Revision, Store, Transaction, Write};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use crate::{
    encoding,
    envelope::{self, KeyName, Place},
    error::{BarrierError, FORMAT},
    seal::quorum::Quorum,
};

/// The header's physical key.
pub(crate) const PLACE: &[u8] = b"coffer/header";
/// The form of a header that was wrapped as another write than it is: one that came out of a snapshot.
const FORMAT_MOVED: u8 = 2;
/// What a seal's ciphertext names as its key.
const SEAL: KeyName = KeyName { keyring: [0; 16], term: 0 };

/// What kind of seal protects the root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealKind {
    /// Shares held by people; a quorum of them is needed.
    Shamir,
    /// A key in a file: whoever can read the file can open the store.
    StaticKey,
}

/// The part of the header that can be read without keys. Its bytes are authenticated when the root key is unwrapped.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Public {
    vault: ByteArray<16>,
    seal: Description,
}

/// What is known of a seal without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Description {
    /// Shares, and what is kept of them.
    Shamir {
        /// Commitments to the shares.
        shares: ShareSet,
    },
    /// A key, named by what is derived from it.
    StaticKey {
        /// Names the key.
        key_id: ByteArray<16>,
    },
}

/// The one record that is stored in plain: which vault this is, how it is sealed, and the root key, wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    vault: VaultId,
    description: Description,
    /// The encoding of what is above.
    public: Vec<u8>,
    /// The root key, under the seal's secret.
    wrapped: Vec<u8>,
    /// Which write of the header this is.
    version: u64,
    /// Which write it was when the root key was wrapped.
    wrapped_as: u64,
}

impl Header {
    /// Reads the header; `None` before the vault is initialised.
    pub async fn load(store: &dyn Store) -> Result<Option<Self>, BarrierError> {
        store.get(PLACE).await?.map(|entry| Self::read(&entry)).transpose()
    }

    /// The form: `format (1 byte) || length (4, big-endian) || public part || wrapped root key`. In format 2, which write
    /// the header was when the root key was wrapped (8 bytes, big-endian) stands behind the format.
    fn read(entry: &Entry) -> Result<Self, BarrierError> {
        let damaged = || BarrierError::corrupt("the header");
        let (wrapped_as, rest) = match entry.value.split_first().ok_or_else(damaged)? {
            (&FORMAT, rest) => (entry.version, rest),
            (&FORMAT_MOVED, rest) => {
                let (version, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
                (u64::from_be_bytes(*version), rest)
            }
            (0, _) => return Err(damaged()),
            (&found, _) => return Err(BarrierError::Newer { found }),
        };
        let (length, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| damaged())?;
        let (public, wrapped) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let Public { vault, seal } = encoding::decode(public).map_err(|_| damaged())?;
        Ok(Self {
            vault: VaultId::from_bytes(vault.into_array()),
            description: seal,
            public: public.to_vec(),
            wrapped: wrapped.to_vec(),
            version: entry.version,
            wrapped_as,
        })
    }

    /// The header as it is written into an empty store: the root key cannot be wrapped anew without the seal's secret.
    pub(crate) fn moved(self) -> Self {
        Self { version: 1, ..self }
    }

    /// The header in a stored value that was written as the first of its key.
    pub(crate) fn of_value(value: &[u8]) -> Result<Self, BarrierError> {
        Self::read(&Entry { key: PLACE.to_vec(), value: value.to_vec(), version: 1, modified: Revision(0) })
    }

    /// The header of a seal that is written as `version`.
    pub(super) fn wrap(
        vault: VaultId,
        description: Description,
        secret: &Key,
        root: &Key,
        version: u64,
    ) -> Result<Self, BarrierError> {
        let public = Public { vault: ByteArray::new(*vault.as_bytes()), seal: description.clone() };
        let public = encoding::encode(&public).map_err(|_| BarrierError::Internal("a header that cannot be encoded"))?;
        let public = public.into_exposed();
        let place = [PLACE, &public].concat();
        let wrapping = derive::derive(secret, Label::Root, vault.as_bytes());
        let wrapped = envelope::seal(&Cipher::new(&wrapping), SEAL, Place { key: &place, version }, root.expose())?;
        Ok(Self { vault, description, public, wrapped, version, wrapped_as: version })
    }

    /// The root key, for the seal's secret; an error where it is another secret, or the header was changed.
    pub(super) fn unwrap(&self, secret: &Key) -> Result<Key, BarrierError> {
        envelope::key_name(&self.wrapped)?;
        let place = [PLACE, &self.public].concat();
        let wrapping = derive::derive(secret, Label::Root, self.vault.as_bytes());
        let root = envelope::open(&Cipher::new(&wrapping), Place { key: &place, version: self.wrapped_as }, &self.wrapped)?;
        let root = SecretArray::<KEY_BYTES>::try_from(root.expose());
        root.map(Key::from_array).map_err(|_| BarrierError::corrupt("the root key"))
    }

    /// Adds this header's write to a transaction.
    pub(crate) fn write(&self, transaction: &mut Transaction) {
        transaction.conditions.push(match self.version {
            1 => Condition::Absent(PLACE.to_vec()),
            version => Condition::Version(PLACE.to_vec(), version - 1),
        });
        transaction.writes.push(Write::Put(PLACE.to_vec(), self.value()));
    }

    /// The header as it is stored.
    pub(crate) fn value(&self) -> Vec<u8> {
        let length = u32::try_from(self.public.len()).unwrap_or(u32::MAX).to_be_bytes();
        if self.wrapped_as == self.version {
            [&[FORMAT], length.as_slice(), &self.public, &self.wrapped].concat()
        } else {
            [&[FORMAT_MOVED], self.wrapped_as.to_be_bytes().as_slice(), &length, &self.public, &self.wrapped].concat()
        }
    }

    /// The vault's id. Not authenticated until the vault is unsealed.
    #[must_use]
    pub const fn vault_id(&self) -> VaultId {
        self.vault
    }

    /// The kind of seal.
    #[must_use]
    pub const fn kind(&self) -> SealKind {
        match self.description {
            Description::Shamir { .. } => SealKind::Shamir,
            Description::StaticKey { .. } => SealKind::StaticKey,
        }
    }

    /// How many shares there are, for a seal by shares.
    #[must_use]
    pub fn share_count(&self) -> Option<u8> {
        match &self.description {
            Description::Shamir { shares } => Some(shares.count()),
            Description::StaticKey { .. } => None,
        }
    }

    /// What collects the shares, for a seal by shares.
    #[must_use]
    pub fn quorum(&self) -> Option<Quorum> {
        match &self.description {
            Description::Shamir { shares } => Some(Quorum::new(shares.clone())),
            Description::StaticKey { .. } => None,
        }
    }

    pub(super) const fn description(&self) -> &Description {
        &self.description
    }

    pub(super) const fn version(&self) -> u64 {
        self.version
    }
}

/// What names a static key: derived from it, and of no use to find it.
pub(super) fn static_key_id(key: &Key, vault: VaultId) -> ByteArray<16> {
    let context = [b"id", vault.as_bytes().as_slice()].concat();
    let derived = derive::derive(key, Label::Root, &context);
    let (id, _) = derived.expose().split_first_chunk().expect("a key is longer than an id");
    ByteArray::new(*id)
}
