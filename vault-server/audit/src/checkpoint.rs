//! What a log signs: its checkpoints, of C2SP's tlog-checkpoint, and its name.

use std::{fmt, str::FromStr};

use coffer_core::id::VaultId;
use coffer_crypto::sign::{PublicKey, SigningKey};

use crate::{
    merkle::Hash,
    note::{self, NoteError, VerifierKey},
};

/// What every origin begins with.
const ORIGIN_PREFIX: &str = "coffer.dev";
/// What the line with the store's revision begins with.
const REVISION_PREFIX: &str = "store-revision ";
/// Bytes in a node's name: a Kubernetes object's.
pub const NODE_BYTES_MAX: usize = 253;

/// The text is no origin of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an origin is coffer.dev/VAULT/NODE/EPOCH: a vault's id, a name of a-z, 0-9, '.', '_' and '-', a number from 1")]
pub struct OriginError;

/// The name of a log: whose it is. Written as `coffer.dev/VAULT/NODE/EPOCH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    vault: VaultId,
    node: String,
    epoch: u64,
}

impl Origin {
    /// The log of a node (1 to [`NODE_BYTES_MAX`] of `a-z 0-9 . _ -`) of a vault. Epochs count from 1; a new one begins
    /// where an operator accepts that the log before it is lost.
    ///
    /// # Errors
    /// [`OriginError`] where the node's name or the epoch is none.
    pub fn new(vault: VaultId, node: &str, epoch: u64) -> Result<Self, OriginError> {
        let named = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
        if epoch == 0 || node.is_empty() || node.len() > NODE_BYTES_MAX || !node.chars().all(named) {
            return Err(OriginError);
        }
        Ok(Self { vault, node: node.to_owned(), epoch })
    }

    /// The vault.
    #[must_use]
    pub const fn vault(&self) -> VaultId {
        self.vault
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The epoch, from 1.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The same node's log of another epoch.
    #[must_use]
    pub fn with_epoch(&self, epoch: u64) -> Self {
        Self { epoch, ..self.clone() }
    }

    /// The key that verifies the checkpoints of this log.
    #[must_use]
    pub fn verifier_key(&self, public: PublicKey) -> VerifierKey {
        VerifierKey::new(&self.to_string(), public).expect("an origin is a name of a key")
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ORIGIN_PREFIX}/{}/{}/{}", self.vault, self.node, self.epoch)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let mut parts = text.split('/');
        let (Some(ORIGIN_PREFIX), Some(vault), Some(node), Some(epoch), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(OriginError);
        };
        Self::new(vault.parse().map_err(|_| OriginError)?, node, number(epoch).ok_or(OriginError)?)
    }
}

/// A decimal number as C2SP writes it: digits only, no leading zero.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// Why a note is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note is not to be believed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Its text is not that of a checkpoint of Coffer.
    #[error("the note's text is not a checkpoint: origin, size, root and 'store-revision N'")]
    Form,
    /// It is a checkpoint of another log.
    #[error("the checkpoint is one of another log")]
    Origin,
}

/// The state of a log at one size, and of the store when it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose log.
    pub origin: Origin,
    /// How many entries it has.
    pub size: u64,
    /// The root of the tree of these entries.
    pub root: Hash,
    /// The store's revision: the store had reached it at least when this was signed.
    pub store_revision: u64,
}

impl Checkpoint {
    /// The checkpoint as a note, signed under the origin's name.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        note::sign(&self.to_string(), &self.origin.to_string(), key).expect("an origin is a name of a key")
    }

    /// The checkpoint that a note holds, where the key signed it and it is of the log that the key is named after.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, CheckpointError> {
        let checkpoint: Self = note::open(note, key)?.parse()?;
        if checkpoint.origin.to_string() == key.name() { Ok(checkpoint) } else { Err(CheckpointError::Origin) }
    }
}

/// Writes the note's text, without a signature.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, size, root, store_revision } = self;
        write!(f, "{origin}\n{size}\n{root}\n{REVISION_PREFIX}{store_revision}\n")
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root), Some(revision), Some(""), None) =
            (lines.next(), lines.next(), lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Form);
        };
        let revision = revision.strip_prefix(REVISION_PREFIX);
        Ok(Self {
            origin: origin.parse().map_err(|_| CheckpointError::Form)?,
            size: number(size).ok_or(CheckpointError::Form)?,
            root: root.parse().map_err(|_| CheckpointError::Form)?,
            store_revision: revision.and_then(number).ok_or(CheckpointError::Form)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use coffer_secret::SecretArray;

    use super::*;

    fn checkpoint() -> (Checkpoint, SigningKey) {
        let origin = Origin::new(VaultId::from_bytes([7; 16]), "coffer-0", 3).unwrap();
        let key = SigningKey::from_seed(SecretArray::copied_from(&[9; 32]));
        (Checkpoint { origin, size: 42, root: Hash::of_leaf(b""), store_revision: 17 }, key)
    }

    #[test]
    fn a_checkpoint_reads_what_it_writes() {
        let (checkpoint, key) = checkpoint();
        let note = checkpoint.sign(&key);
        assert!(note.starts_with(
            "coffer.dev/07070707070707070707070707070707/coffer-0/3\n42\nbjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=\nstore-revision 17\n\n\u{2014} coffer.dev/"
        ), "{note}");
        let verifier = checkpoint.origin.verifier_key(*key.public_key());
        assert_eq!(Checkpoint::open(&note, &verifier), Ok(checkpoint));
    }

    #[test]
    fn a_checkpoint_of_another_log_is_refused() {
        let (checkpoint, key) = checkpoint();
        let other = checkpoint.origin.with_epoch(4);
        let borrowed = note::sign(&checkpoint.to_string(), &other.to_string(), &key).unwrap();
        let verifier = other.verifier_key(*key.public_key());
        assert_eq!(Checkpoint::open(&borrowed, &verifier), Err(CheckpointError::Origin));
        assert_eq!(Checkpoint::open(&checkpoint.sign(&key), &verifier), Err(CheckpointError::Note(NoteError::Unsigned)));
    }

    #[test]
    fn a_text_of_another_form_is_no_checkpoint() {
        let text = checkpoint().0.to_string();
        for (from, to) in [
            ("\n42\n", "\n042\n"),
            ("\n42\n", "\n+42\n"),
            ("store-revision 17\n", ""),
            ("17\n", "17\nmore\n"),
            ("17", "-1"),
            ("/3", "/0"),
        ] {
            assert_eq!(text.replace(from, to).parse::<Checkpoint>(), Err(CheckpointError::Form), "{from} {to}");
        }
    }

    #[test]
    fn origins_hold_to_their_form() {
        let vault = VaultId::from_bytes([7; 16]);
        assert!(Origin::new(vault, &"a".repeat(NODE_BYTES_MAX), 1).is_ok());
        assert_eq!(Origin::new(vault, &"a".repeat(NODE_BYTES_MAX + 1), 1), Err(OriginError));
        for (node, epoch) in [("", 1), ("a", 0), ("a/b", 1), ("a b", 1), ("a+b", 1), ("A", 1), ("a\n", 1)] {
            assert_eq!(Origin::new(vault, node, epoch), Err(OriginError), "{node}");
        }
        let text = Origin::new(vault, "coffer-0", 1).unwrap().to_string();
        for changed in [text.replace("coffer.dev", "coffer.com"), format!("{text}/1"), text.replace("/1", "/01")] {
            assert_eq!(changed.parse::<Origin>(), Err(OriginError), "{changed}");
        }
    }
}
