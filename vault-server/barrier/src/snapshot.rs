//! A copy of everything at one moment, and a new store made of it. docs/formats.md has the format.
//!
//! A value stands in the store at a place, and is bound to it: its key, and which write of this key it is. A snapshot holds
//! each value as the first write of its key, encrypted under the keyring's newest term: it is opened and sealed again while
//! it is saved, so saving needs an unsealed vault. [`Restore`] needs no keys: it writes what it is given, and the header,
//! without which the rest cannot be opened, in the last transaction.
//!
//! [`Barrier::save`] copies while writes go on, follows what they change, and holds them for a moment at the end to copy
//! what they changed last. The whole is signed under a key that is derived from the system's keyring, and
//! [`Barrier::restored`] compares: nobody else makes a snapshot that a vault of this id goes to work with.

mod file;
mod follow;
mod restore;
mod save;

use coffer_core::clock::Timestamp;
use coffer_crypto::sign::SigningKey;
use coffer_secret::SecretArray;
use coffer_store::StoreError;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

pub use file::FRAME_BYTES_MAX;
pub use restore::{Restore, RestoreError, clear};
pub use save::{SaveError, Saved};

use crate::{barrier::Barrier, encoding, error::BarrierError, key::Scope};

/// How a snapshot begins: the format and its version.
pub const MAGIC: &[u8] = b"coffer-snapshot-1\n";
/// Bytes in what a snapshot says about itself, in the clear.
pub const ABOUT_BYTES_MAX: usize = 4 << 10;
/// Recipients of a snapshot.
pub const RECIPIENTS_MAX: usize = coffer_core::limits::SNAPSHOT_RECIPIENTS_MAX;

/// Everything of a vault in a store begins with this.
pub(crate) const ALL: &[u8] = b"coffer/";
/// It ends before this.
pub(crate) const ALL_END: &[u8] = b"coffer0";
/// What a restored store remembers of its snapshot, in the clear.
const RESTORED: &[u8] = b"coffer/restored";
/// There while a snapshot is being restored, and where that was broken off.
const RESTORING: &[u8] = b"coffer/restoring";
/// Written to know that every change before it was heard of.
const MARKER: &[u8] = b"coffer/snapshot";

const PUT: u8 = 1;
const DELETE: u8 = 2;
const END: u8 = 3;

/// What a store remembers of the snapshot that it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restored {
    /// When it was restored, by the server's clock.
    pub time: Timestamp,
    /// What the snapshot says about itself.
    pub about: String,
    /// SHA-256 of the snapshot's content.
    pub digest: ByteArray<32>,
    /// Entries in it.
    pub entries: u64,
    /// The key that signed it.
    signer: ByteArray<32>,
}

/// What is signed.
fn statement(digest: &[u8; 32]) -> Vec<u8> {
    [b"coffer/v1/snapshot\0".as_slice(), digest].concat()
}

impl Barrier {
    /// The snapshot that this store was made of; nothing where it grew by itself. Fails with [`BarrierError::Corrupt`]
    /// where the snapshot was not made by this vault.
    pub async fn restored(&self) -> Result<Option<Restored>, BarrierError> {
        let Some(entry) = self.store().get(RESTORED).await? else { return Ok(None) };
        let restored: Restored =
            encoding::decode(&entry.value).map_err(|_| BarrierError::corrupt("where it was restored from"))?;
        if restored.signer.as_slice() != self.snapshot_key().await?.public_key().as_bytes() {
            return Err(BarrierError::corrupt("the snapshot that was restored was not made by this vault"));
        }
        Ok(Some(restored))
    }

    async fn snapshot_key(&self) -> Result<SigningKey, BarrierError> {
        let key = self.derived(Scope::System, crate::Label::Snapshots).await?;
        Ok(SigningKey::from_seed(SecretArray::copied_from(key.expose())))
    }
}

impl From<StoreError> for SaveError {
    fn from(error: StoreError) -> Self {
        Self::Barrier(error.into())
    }
}
