//! AES-SIV (RFC 5297) without a nonce: sealing that is the same each time, for names.
//!
//! Equal names with equal associated data give equal ciphertexts, and nothing else is given away but their length.
//! That is what a store needs to look a name up without knowing it. Keys are 512 bits: AES-256 for the synthetic
//! initialisation vector, AES-256 for the encryption. A sealed name is the vector (16 bytes) and the ciphertext (as
//! long as the name).

use std::sync::{Mutex, MutexGuard, PoisonError};

use aes_siv::{KeyInit as _, siv::Aes256Siv};
use coffer_secret::{SecretArray, SecretBytes};

pub use crate::xaes::OpenError;

/// Bytes in a [`NamesKey`].
pub const NAMES_KEY_BYTES: usize = 64;
/// Bytes that a sealed name is longer than the name.
pub const OVERHEAD: usize = 16;
/// Strings of associated data, at most (RFC 5297, 7: 126, and the plaintext).
pub const ASSOCIATED_MAX: usize = aes_siv::siv::MAX_HEADERS;

/// The key that names are sealed under. Wiped when dropped.
pub struct NamesKey {
    key: SecretArray<NAMES_KEY_BYTES>,
    /// The key made ready: making it so costs more than sealing a name. On the heap, so that moving leaves no copy.
    cipher: Box<Mutex<Aes256Siv>>,
}

impl std::fmt::Debug for NamesKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NamesKey")
    }
}

impl NamesKey {
    /// A key of these bytes, which stay where they are.
    #[must_use]
    pub fn from_array(array: SecretArray<NAMES_KEY_BYTES>) -> Self {
        let cipher = Box::new(Mutex::new(Aes256Siv::new(array.expose().into())));
        Self { key: array, cipher }
    }

    /// A second owner of the same key.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::from_array(self.key.duplicate())
    }

    /// Seals `plaintext`, bound to each of the strings in `associated` and to their order. How many there are is
    /// part of the call's type, so that too many ([`ASSOCIATED_MAX`]) do not compile.
    #[must_use]
    pub fn seal<const A: usize>(&self, associated: &[&[u8]; A], plaintext: &[u8]) -> Vec<u8> {
        const { assert!(A <= ASSOCIATED_MAX) }
        self.cipher().encrypt(associated, plaintext).expect("few enough strings, and no other error exists")
    }

    /// Opens what [`Self::seal`] made of the same strings.
    ///
    /// # Errors
    /// [`OpenError`]: damaged, cut, sealed under another key, or with other associated data.
    pub fn open<const A: usize>(&self, associated: &[&[u8]; A], sealed: &[u8]) -> Result<SecretBytes, OpenError> {
        const { assert!(A <= ASSOCIATED_MAX) }
        self.cipher().decrypt(associated, sealed).map(SecretBytes::from).map_err(|_| OpenError)
    }

    /// Sealing and opening leave the cipher as it was, also where they fail.
    fn cipher(&self) -> MutexGuard<'_, Aes256Siv> {
        self.cipher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
