//! Which key is for what: every derivation of Coffer, side by side.
//!
//! HKDF-SHA256 (RFC 5869) with no salt, since what is derived from is a uniformly random key; the info is the
//! label, a zero byte and the context. No label holds a zero byte, so no two pairs of label and context are the same
//! info. A label is never changed or used for something else: a new use gets a new one.

use coffer_secret::SecretArray;
use hkdf::Hkdf;
use sha2::Sha256;

use crate::{
    key::Key,
    siv::{NAMES_KEY_BYTES, NamesKey},
};

/// What a derived key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// From a seal's secret: wraps the root key.
    Root,
    /// From the root key: wraps the keyrings. Context: the tenant.
    Keyring,
    /// From a names root: seals names ([`names`]). Context: the tenant.
    Names,
    /// Seals sessions.
    Sessions,
    /// Seals the credentials that Init, recovery and set-up give out.
    Bootstrap,
    /// Seals page tokens.
    Pages,
    /// Seals the place in a watch from which to resume.
    Watches,
    /// Seeds the key that signs the audit log's checkpoints.
    Audit,
    /// Keys the hashes of values in the audit log. Context: the tenant.
    AuditValues,
    /// Keys the hashes that idempotency keys are remembered by.
    Idempotency,
    /// Keys etags.
    Etags,
    /// Seeds the key that signs verdicts and postures.
    Verdicts,
    /// Signs snapshots: the seed of an Ed25519 key.
    Snapshots,
}

impl Label {
    /// Every label.
    pub const ALL: [Self; 13] = [
        Self::Root,
        Self::Keyring,
        Self::Names,
        Self::Sessions,
        Self::Bootstrap,
        Self::Pages,
        Self::Watches,
        Self::Audit,
        Self::AuditValues,
        Self::Idempotency,
        Self::Etags,
        Self::Verdicts,
        Self::Snapshots,
    ];

    /// The label's text, part of the format of what is stored.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Root => "coffer/v1/root",
            Self::Keyring => "coffer/v1/keyring",
            Self::Names => "coffer/v1/names",
            Self::Sessions => "coffer/v1/sessions",
            Self::Bootstrap => "coffer/v1/bootstrap",
            Self::Pages => "coffer/v1/pages",
            Self::Watches => "coffer/v1/watches",
            Self::Audit => "coffer/v1/audit",
            Self::AuditValues => "coffer/v1/audit-values",
            Self::Idempotency => "coffer/v1/idempotency",
            Self::Etags => "coffer/v1/etags",
            Self::Verdicts => "coffer/v1/verdicts",
            Self::Snapshots => "coffer/v1/snapshots",
        }
    }
}

/// The key that `root` gives for a use, within a context (an id of fixed length, or nothing).
#[must_use]
pub fn derive(root: &Key, label: Label, context: &[u8]) -> Key {
    Key::from_array(expand(root, label, context))
}

/// The key that names are sealed under ([`Label::Names`]), within a context.
#[must_use]
pub fn names(root: &Key, context: &[u8]) -> NamesKey {
    NamesKey::from_array(expand::<NAMES_KEY_BYTES>(root, Label::Names, context))
}

fn expand<const N: usize>(root: &Key, label: Label, context: &[u8]) -> SecretArray<N> {
    const { assert!(N <= 255 * 32, "what HKDF-SHA256 can give") }
    SecretArray::zeroed_with(|okm| {
        Hkdf::<Sha256>::new(None, root.expose())
            .expand_multi_info(&[label.text().as_bytes(), &[0], context], okm)
            .expect("the length is checked above");
    })
}

#[cfg(test)]
mod tests;
