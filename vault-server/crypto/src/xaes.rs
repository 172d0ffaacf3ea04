//! XAES-256-GCM: sealing under random nonces of 192 bits.
//!
//! The construction is <https://c2sp.org/XAES-256-GCM>: half of the nonce derives a key (CMAC-AES-256 in counter
//! mode, NIST SP 800-108r1), the other half is the nonce of AES-256-GCM under it. Nonces are drawn here and never
//! chosen by a caller; 2^80 messages under one key stay below a collision risk of 2^-32. It is not key-committing:
//! a sealed value may open under two keys that an attacker chose both, so what picks a key must not be the
//! attacker's (records carry their term and keyring id in the associated data).
//!
//! A sealed value is the nonce (24 bytes), the ciphertext (as long as the plaintext) and the tag (16 bytes).
//! Cipher states, derived keys and plaintexts that did not make it are wiped.

use aes::{Aes256, Block, cipher::BlockCipherEncrypt as _};
use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{AeadInOut as _, inout::InOutBuf},
};
use coffer_secret::{SecretArray, SecretBytes};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    key::{KEY_BYTES, Key},
    random::{self, RandomError},
};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;
/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;
/// Bytes that a sealed value is longer than its plaintext.
pub const OVERHEAD: usize = NONCE_BYTES + TAG_BYTES;
/// Bytes in a plaintext, at most: what AES-GCM allows is 64 GiB; nothing here comes near.
pub const PLAINTEXT_BYTES_MAX: usize = 1 << 30;

/// Half of a nonce: what the key is derived from, and what AES-GCM then takes.
const HALF: usize = NONCE_BYTES / 2;
const BLOCK: usize = 16;

/// Why something was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No nonce could be drawn.
    #[error("no nonce")]
    Random(#[from] RandomError),
    /// The plaintext is longer than [`PLAINTEXT_BYTES_MAX`].
    #[error("the plaintext is too long to seal")]
    TooLong,
}

/// The sealed value does not open: damaged, cut, sealed under another key, or with other associated data. Which of
/// these cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed value does not open")]
pub struct OpenError;

/// Seals `plaintext` under `key`, bound to `aad`, which is needed again to open it.
///
/// # Errors
/// [`SealError`].
pub fn seal(key: &Key, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
    Cipher::new(key).seal(aad, plaintext)
}

/// Opens what [`seal`] made under the same key with the same associated data.
///
/// # Errors
/// [`OpenError`].
pub fn open(key: &Key, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, OpenError> {
    Cipher::new(key).open(aad, sealed)
}

/// A key made ready: what all its messages share is computed once. Wiped when dropped.
pub struct Cipher {
    /// On the heap, so that moving the cipher leaves no copy.
    aes: Box<Aes256>,
    /// The CMAC subkey K1 of NIST SP 800-38B, 6.1.
    subkey: SecretArray<BLOCK>,
}

impl core::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Cipher")
    }
}

impl Cipher {
    /// Makes `key` ready.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        let aes = Box::new(Aes256::new(key.expose().into()));
        let mut zero = Block::default();
        aes.encrypt_block(&mut zero);
        let doubled = Zeroizing::new(double(u128::from_be_bytes(zero.into())));
        zero.zeroize();
        Self { aes, subkey: SecretArray::zeroed_with(|subkey| subkey.copy_from_slice(&doubled.to_be_bytes())) }
    }

    /// As [`seal`].
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        if plaintext.len() > PLAINTEXT_BYTES_MAX {
            return Err(SealError::TooLong);
        }
        self.seal_with(&random::bytes()?, aad, plaintext)
    }

    /// Seals under a given nonce: for published vectors, and [`Self::seal`].
    fn seal_with(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let (first, second) = halves(nonce);
        let mut sealed = Vec::with_capacity(plaintext.len() + OVERHEAD);
        sealed.extend_from_slice(nonce);
        sealed.extend_from_slice(plaintext);
        let (_, body) = sealed.split_at_mut(NONCE_BYTES);
        match self.derived(first).encrypt_inout_detached(second.into(), aad, InOutBuf::from(body)) {
            Ok(tag) => sealed.extend_from_slice(&tag),
            Err(_) => {
                sealed.zeroize();
                return Err(SealError::TooLong);
            }
        }
        Ok(sealed)
    }

    /// As [`open`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, OpenError> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(OpenError)?;
        let (first, second) = halves(nonce);
        let mut plaintext = SecretBytes::copied_from(ciphertext);
        // The tag is checked first: where it is wrong, nothing is decrypted.
        self.derived(first)
            .decrypt_inout_detached(second.into(), aad, InOutBuf::from(plaintext.expose_mut()), tag.into())
            .map_err(|_| OpenError)?;
        Ok(plaintext)
    }

    /// AES-256-GCM under the key that belongs to this half of a nonce.
    fn derived(&self, first: &[u8; HALF]) -> Aes256Gcm {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        for (counter, half) in (1..).zip(key.chunks_exact_mut(BLOCK)) {
            let mut message = Block::from([0, counter, b'X', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            for (byte, nonce) in message.iter_mut().skip(BLOCK - HALF).zip(first) {
                *byte = *nonce;
            }
            for (byte, subkey) in message.iter_mut().zip(self.subkey.expose()) {
                *byte ^= subkey;
            }
            self.aes.encrypt_block(&mut message);
            half.copy_from_slice(&message);
            message.zeroize();
        }
        Aes256Gcm::new((&*key).into())
    }
}

/// Doubling in GF(2^128) as CMAC has it, without a branch on the secret.
const fn double(block: u128) -> u128 {
    (block << 1) ^ ((block >> 127) * 0x87)
}

/// The two halves of a nonce.
fn halves(nonce: &[u8; NONCE_BYTES]) -> (&[u8; HALF], &[u8; HALF]) {
    let (first, second) = nonce.split_at(HALF);
    (first.try_into().expect("half of a nonce"), second.try_into().expect("half of a nonce"))
}

#[cfg(test)]
mod tests;
