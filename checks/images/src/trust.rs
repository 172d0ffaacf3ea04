//! What a site trusts: registries, keys that sign, and base images.

use coffer_crypto::spki::{KeysError, VerifyingKey};
use coffer_registry::{Digest, Scope, ScopeError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::LAYERS_MAX;

/// Keys that are trusted, at most.
pub const KEYS_MAX: usize = 32;
/// Registries that are trusted, and names that signatures may be made out to, at most: each.
pub const SCOPES_MAX: usize = 1_000;
/// Base images that are trusted, at most.
pub const BASES_MAX: usize = 1_000;
/// Bytes of the name of a base image, at most.
const BASE_NAME_BYTES_MAX: usize = 512;

/// What a site trusts. What nothing is said of is not judged.
#[derive(Debug, Default)]
pub struct Trust {
    pub(crate) registries: Vec<Scope>,
    pub(crate) keys: Vec<VerifyingKey>,
    pub(crate) signed_as: Vec<Scope>,
    pub(crate) bases: Vec<Base>,
}

/// The same as it is written down.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrustFile {
    /// Registries, `HOST[:PORT][/PATH]`.
    pub registries: Vec<String>,
    /// Public keys of cosign's, PEM.
    pub cosign_keys: Vec<String>,
    /// What signatures may call an image beside its own name: where it was signed, if this is a copy.
    pub signed_as: Vec<String>,
    /// Base images.
    pub bases: Vec<Base>,
}

/// A base image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// What it is called.
    pub name: String,
    /// The digests of what is in its layers, the lowest first: `rootfs.diff_ids` of its configuration.
    pub diff_ids: Vec<Digest>,
}

/// Why something cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrustError {
    /// A key.
    #[error("key {0}: {1}")]
    Key(usize, KeysError),
    /// A registry, or a name that signatures may be made out to.
    #[error("{0:?} is no registry: {1}")]
    Scope(String, ScopeError),
    /// A base image.
    #[error("base image {0:?}: {1}")]
    Base(String, &'static str),
    /// There are too many.
    #[error("{0} {1}: {2} is the limit")]
    Many(usize, &'static str, usize),
    /// Nothing is trusted.
    #[error("it names nothing to trust: write registries, cosign_keys, signed_as or bases")]
    Nothing,
}

impl Trust {
    /// Trusts what is written down, beside what is trusted already.
    ///
    /// # Errors
    /// Where it is nothing, or something of it cannot be trusted, or there is more than there may be.
    pub fn add(&mut self, file: TrustFile) -> Result<(), TrustError> {
        let TrustFile { registries, cosign_keys, signed_as, bases } = file;
        if registries.is_empty() && cosign_keys.is_empty() && signed_as.is_empty() && bases.is_empty() {
            return Err(TrustError::Nothing);
        }
        for (list, more) in [(&mut self.registries, registries), (&mut self.signed_as, signed_as)] {
            for text in more {
                list.push(text.parse().map_err(|error| TrustError::Scope(text, error))?);
            }
            bounded(list.len(), "registries", SCOPES_MAX)?;
        }
        for (number, text) in cosign_keys.iter().enumerate() {
            let keys = VerifyingKey::from_pem(text, KEYS_MAX).map_err(|error| TrustError::Key(number + 1, error))?;
            for key in keys {
                if !self.keys.contains(&key) {
                    self.keys.push(key);
                }
            }
        }
        bounded(self.keys.len(), "keys", KEYS_MAX)?;
        for base in bases {
            base.check().map_err(|why| TrustError::Base(base.name.clone(), why))?;
            self.bases.push(base);
        }
        bounded(self.bases.len(), "base images", BASES_MAX)
    }

    /// Whether signatures matter: whether there is a key to verify them with.
    #[must_use]
    pub const fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whether there are names that signatures may be made out to.
    #[must_use]
    pub const fn has_names(&self) -> bool {
        !self.signed_as.is_empty()
    }
}

fn bounded(count: usize, what: &'static str, max: usize) -> Result<(), TrustError> {
    if count > max { Err(TrustError::Many(count, what, max)) } else { Ok(()) }
}

/// What a key is called.
pub(crate) fn fingerprint(key: &VerifyingKey) -> String {
    format!("sha256:{}", hex::encode(key.fingerprint()))
}

impl Base {
    fn check(&self) -> Result<(), &'static str> {
        match self.diff_ids.len() {
            // Every image begins with no layer at all.
            0 => Err("it has no diff_ids: coffer scan base IMAGE prints them"),
            layers if layers > LAYERS_MAX => Err("it has more layers than an image has"),
            _ if self.name.trim().is_empty() || self.name.len() > BASE_NAME_BYTES_MAX || self.name.contains(char::is_control) => {
                Err("its name has 1 to 512 bytes in one line")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
