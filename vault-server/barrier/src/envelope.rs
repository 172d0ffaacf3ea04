//! The form of an encrypted value.
//!
//! `format (1 byte) || algorithm (1) || keyring id (16) || term (4, big-endian) || nonce || ciphertext || tag`. The
//! associated data are all that comes before the nonce, then where the value stands: the length of its physical key (4
//! bytes, big-endian), the key, and the version of the write (8 bytes, big-endian). A value that stands elsewhere, or was
//! written another time, does not open.

use coffer_crypto::xaes::Cipher;
use coffer_secret::SecretBytes;

use crate::error::{BarrierError, FORMAT};

/// XAES-256-GCM (C2SP).
const XAES: u8 = 1;
const HEAD_BYTES: usize = 22;

/// Whose key a value is encrypted under: a keyring's id and term. The root key's are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyName {
    pub(crate) keyring: [u8; 16],
    pub(crate) term: u32,
}

/// Where a value stands: its physical key, and which write of that key it is.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) version: u64,
}

fn associated(head: &[u8], place: Place<'_>) -> Vec<u8> {
    let length = u32::try_from(place.key.len()).unwrap_or(u32::MAX);
    [head, &length.to_be_bytes(), place.key, &place.version.to_be_bytes()].concat()
}

/// Encrypts a value for its place.
pub(crate) fn seal(key: &Cipher, name: KeyName, place: Place<'_>, value: &[u8]) -> Result<Vec<u8>, BarrierError> {
    let mut envelope = [&[FORMAT, XAES], name.keyring.as_slice(), &name.term.to_be_bytes()].concat();
    let sealed = key.seal(&associated(&envelope, place), value);
    let sealed = sealed.map_err(|_| BarrierError::Internal("no random numbers, or a value too long to encrypt"))?;
    envelope.extend_from_slice(&sealed);
    Ok(envelope)
}

/// The key that a value is encrypted under.
pub(crate) fn key_name(envelope: &[u8]) -> Result<KeyName, BarrierError> {
    let damaged = || BarrierError::corrupt("a value without its head");
    let (&[format, algorithm], rest) = envelope.split_first_chunk().ok_or_else(damaged)?;
    match format {
        FORMAT => {}
        0 => return Err(damaged()),
        found => return Err(BarrierError::Newer { found }),
    }
    if algorithm != XAES {
        return Err(BarrierError::corrupt("a value under an unknown algorithm"));
    }
    let (keyring, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
    let (term, _) = rest.split_first_chunk().ok_or_else(damaged)?;
    Ok(KeyName { keyring: *keyring, term: u32::from_be_bytes(*term) })
}

/// Decrypts the value that stands at a place.
pub(crate) fn open(key: &Cipher, place: Place<'_>, envelope: &[u8]) -> Result<SecretBytes, BarrierError> {
    let head = envelope.split_at_checked(HEAD_BYTES);
    let (head, sealed) = head.ok_or_else(|| BarrierError::corrupt("a value without its head"))?;
    let opened = key.open(&associated(head, place), sealed);
    opened.map_err(|_| BarrierError::corrupt("a value was moved, changed or put back"))
}
