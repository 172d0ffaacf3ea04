//! Symmetric keys of 256 bits.

use coffer_secret::SecretArray;

/// Bytes in a [`Key`].
pub const KEY_BYTES: usize = 32;

/// A symmetric key. Which cipher or derivation it is for is said by where it is kept: one key, one use.
#[derive(Debug)]
pub struct Key(SecretArray<KEY_BYTES>);

impl Key {
    /// A key of these bytes; the caller's own copy is the caller's to wipe.
    #[must_use]
    pub fn from_bytes(mut bytes: [u8; KEY_BYTES]) -> Self {
        Self(SecretArray::taken_from(&mut bytes))
    }

    /// A key of these bytes, which stay where they are.
    #[must_use]
    pub const fn from_array(array: SecretArray<KEY_BYTES>) -> Self {
        Self(array)
    }

    /// The key's bytes, to be used in the smallest scope there is.
    #[must_use]
    pub const fn expose(&self) -> &[u8; KEY_BYTES] {
        self.0.expose()
    }

    /// A second owner of the same key.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0.duplicate())
    }

    /// Whether both are the same key, in constant time.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.0.same(&other.0)
    }
}

impl From<Key> for SecretArray<KEY_BYTES> {
    fn from(key: Key) -> Self {
        key.0
    }
}
