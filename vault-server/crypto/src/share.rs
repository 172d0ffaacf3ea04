//! Shares of an unseal key as people hold them: text that says what it belongs to.
//!
//! A share is `coffer-share-1-` and 108 lower-case hexadecimal digits: 8 bytes that stand for the vault, 8 random
//! bytes that stand for the set, the share's index, the threshold, 32 bytes of the share itself, and 4 bytes of
//! SHA-256 over all that is before them. So a slip of the pen is told from a share of elsewhere without a vault.
//!
//! A [`ShareSet`] is what the vault keeps of the shares it gave out, in the clear: commitments (SHA-256 of the
//! share, which is uniformly random, under a label) that tell each share forged from right before any is combined,
//! and one to the secret, so that what comes out is known to be right.

use std::fmt;

use coffer_core::{id::VaultId, limits::SHARES_MAX};
use coffer_secret::{SecretArray, SecretBytes, SecretString};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{
    key::Key,
    random,
    shamir::{self, Point, SECRET_BYTES, SplitError},
};

/// How a share's text begins: the format and its version.
pub const PREFIX: &str = "coffer-share-1-";

const TAG_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 4;
const BODY_BYTES: usize = 2 * TAG_BYTES + 2 + SECRET_BYTES;
/// Characters in a share's text.
pub const TEXT_CHARS: usize = PREFIX.len() + 2 * (BODY_BYTES + CHECKSUM_BYTES);

/// Why a text is not a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It does not begin as a share does: something else, or a share of a newer format.
    #[error("this is not a share: shares begin with {PREFIX}")]
    NotAShare,
    /// It begins as a share, but characters are missing, too many or not hexadecimal.
    #[error("the share is damaged: after {PREFIX} come {} lower-case hexadecimal digits", 2 * (BODY_BYTES + CHECKSUM_BYTES))]
    Form,
    /// It has the form of a share, but its checksum is wrong.
    #[error("the share is damaged: its checksum is wrong")]
    Checksum,
}

/// Why a share is not one of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// It belongs to another vault.
    #[error("the share belongs to another vault")]
    OtherVault,
    /// It belongs to this vault, and to shares that were given out at another time.
    #[error("the share belongs to an older set of shares of this vault")]
    OtherSet,
    /// It says that it belongs to this set, but is none of its shares.
    #[error("the share is none of this set, although it says so: it was forged")]
    Forged,
}

/// Why shares did not make the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// One of them is wrong.
    #[error("share {at} is wrong", at = .0 + 1)]
    Share(usize, #[source] ShareError),
    /// Two of them are the same share.
    #[error("a share was given twice")]
    Twice,
    /// There are fewer than the threshold.
    #[error("too few shares")]
    TooFew,
    /// Every share is right, but not what they make: the set's description was tampered with.
    #[error("the shares do not make the secret that they were made of")]
    WrongSecret,
}

/// One share.
#[derive(Debug)]
pub struct Share {
    vault: [u8; TAG_BYTES],
    set: [u8; TAG_BYTES],
    threshold: u8,
    point: Point,
}

impl Share {
    /// Reads a share's text.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let digits = text.strip_prefix(PREFIX).ok_or(ParseError::NotAShare)?;
        if digits.bytes().any(|digit| !matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ParseError::Form);
        }
        let mut bytes = Zeroizing::new([0; BODY_BYTES + CHECKSUM_BYTES]);
        hex::decode_to_slice(digits, &mut *bytes).map_err(|_| ParseError::Form)?;
        let (body, sum) = bytes.split_first_chunk::<BODY_BYTES>().ok_or(ParseError::Form)?;
        if !bool::from(checksum(body).ct_eq(sum)) {
            return Err(ParseError::Checksum);
        }
        let (vault, rest) = body.split_first_chunk().ok_or(ParseError::Form)?;
        let (set, rest) = rest.split_first_chunk().ok_or(ParseError::Form)?;
        let ([index, threshold], values) = rest.split_first_chunk().ok_or(ParseError::Form)?;
        let values = SecretArray::try_from(values).map_err(|_| ParseError::Form)?;
        Ok(Self { vault: *vault, set: *set, threshold: *threshold, point: Point { index: *index, values } })
    }

    /// The share's text, which [`Self::parse`] reads.
    #[must_use]
    pub fn text(&self) -> SecretString {
        let mut body = Zeroizing::new([0; BODY_BYTES]);
        let fields = self.vault.iter().chain(&self.set).chain([&self.point.index, &self.threshold]);
        for (byte, field) in body.iter_mut().zip(fields.chain(self.point.values.expose())) {
            *byte = *field;
        }
        let mut digits = Zeroizing::new([0; 2 * (BODY_BYTES + CHECKSUM_BYTES)]);
        let (body_digits, sum_digits) = digits.split_at_mut(2 * BODY_BYTES);
        hex::encode_to_slice(*body, body_digits).expect("two digits for each byte");
        hex::encode_to_slice(checksum(&body), sum_digits).expect("two digits for each byte");
        let mut text = SecretBytes::with_capacity(TEXT_CHARS);
        text.append(PREFIX.as_bytes());
        text.append(&*digits);
        text.into_text().expect("the prefix and digits are text")
    }

    /// The share's number, from 1 on.
    #[must_use]
    pub const fn index(&self) -> u8 {
        self.point.index
    }

    /// How many shares of its set are needed, as the share has it.
    #[must_use]
    pub const fn threshold(&self) -> u8 {
        self.threshold
    }
}

/// What a vault keeps of the shares that it gave out; says nothing about them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareSet {
    #[serde(with = "serde_bytes")]
    vault: [u8; TAG_BYTES],
    #[serde(with = "serde_bytes")]
    set: [u8; TAG_BYTES],
    threshold: u8,
    /// A commitment to each share, by index from 1 on.
    shares: Vec<ByteArray<32>>,
    /// A commitment to the secret.
    #[serde(with = "serde_bytes")]
    secret: [u8; 32],
}

impl fmt::Debug for ShareSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShareSet({} of {})", self.threshold, self.shares.len())
    }
}

impl ShareSet {
    /// Splits `secret` into `count` shares for the vault, of which any `threshold` make it again.
    ///
    /// # Errors
    /// [`SplitError`].
    pub fn split(vault: &VaultId, secret: &Key, threshold: u8, count: u8) -> Result<(Self, Vec<Share>), SplitError> {
        let (vault, set) = (vault_tag(vault), random::bytes()?);
        let points = shamir::split(&SecretArray::copied_from(secret.expose()), threshold, count)?;
        let shares: Vec<_> = points.into_iter().map(|point| Share { vault, set, threshold, point }).collect();
        let commitments = shares.iter().map(|share| ByteArray::new(share_commitment(share))).collect();
        Ok((Self { vault, set, threshold, shares: commitments, secret: secret_commitment(&set, secret.expose()) }, shares))
    }

    /// How many shares are needed.
    #[must_use]
    pub const fn threshold(&self) -> u8 {
        self.threshold
    }

    /// How many shares there are.
    #[must_use]
    pub fn count(&self) -> u8 {
        u8::try_from(self.shares.len()).unwrap_or(u8::MAX)
    }

    /// Whether `share` is one of this set.
    ///
    /// # Errors
    /// [`ShareError`] says what it is instead.
    pub fn check(&self, share: &Share) -> Result<(), ShareError> {
        if share.vault != self.vault {
            return Err(ShareError::OtherVault);
        }
        if share.set != self.set {
            return Err(ShareError::OtherSet);
        }
        let known = usize::from(share.point.index).checked_sub(1).and_then(|at| self.shares.get(at));
        let known = known.ok_or(ShareError::Forged)?;
        if share.threshold == self.threshold && bool::from(share_commitment(share).ct_eq(known.as_slice())) {
            Ok(())
        } else {
            Err(ShareError::Forged)
        }
    }

    /// The secret that the shares make. Each is checked first; of more than are needed, all are used.
    ///
    /// # Errors
    /// [`CombineError`].
    pub fn combine(&self, shares: &[Share]) -> Result<Key, CombineError> {
        for (at, share) in shares.iter().enumerate() {
            self.check(share).map_err(|error| CombineError::Share(at, error))?;
            if shares.iter().skip(at + 1).any(|other| other.index() == share.index()) {
                return Err(CombineError::Twice);
            }
        }
        if shares.is_empty() || shares.len() < usize::from(self.threshold) {
            return Err(CombineError::TooFew);
        }
        let points: Vec<_> = shares.iter().map(|share| &share.point).collect();
        let secret = shamir::combine(&points).map_err(|_| CombineError::WrongSecret)?;
        if secret_commitment(&self.set, secret.expose()).ct_eq(&self.secret).into() {
            Ok(Key::from_array(secret))
        } else {
            Err(CombineError::WrongSecret)
        }
    }
}

const _: () = assert!(SHARES_MAX < u8::MAX, "an index is a byte and not zero");

/// What stands for a vault in its shares.
fn vault_tag(vault: &VaultId) -> [u8; TAG_BYTES] {
    first(&Sha256::new().chain_update("coffer/v1/share-vault\0").chain_update(vault.as_bytes()).finalize().into())
}

/// The checksum over a share's text.
fn checksum(body: &[u8; BODY_BYTES]) -> [u8; CHECKSUM_BYTES] {
    first(&Sha256::new().chain_update(PREFIX).chain_update(body).finalize().into())
}

/// What the vault keeps to know a share by: its 32 random bytes cannot be guessed from this.
fn share_commitment(share: &Share) -> [u8; 32] {
    let hash = Sha256::new().chain_update("coffer/v1/share\0").chain_update(share.vault).chain_update(share.set);
    hash.chain_update([share.point.index, share.threshold]).chain_update(share.point.values.expose()).finalize().into()
}

/// What the vault keeps to know the secret by.
fn secret_commitment(set: &[u8; TAG_BYTES], secret: &[u8; SECRET_BYTES]) -> [u8; 32] {
    Sha256::new().chain_update("coffer/v1/share-secret\0").chain_update(set).chain_update(secret).finalize().into()
}

fn first<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    const { assert!(N <= 32) }
    *hash.first_chunk().expect("no more than the hash has")
}

#[cfg(test)]
mod tests;
