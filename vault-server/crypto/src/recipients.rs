//! Encrypting a share to the person who is to hold it: age (<https://age-encryption.org/v1>), X25519 recipients.
//!
//! The answer of Init then holds no share that anybody else could read, and the holder needs nothing of Coffer to
//! decrypt it: `age --decrypt`.

use std::{fmt, str::FromStr};

use age::x25519;

/// Characters in a recipient, at most; an X25519 recipient has 62.
pub const RECIPIENT_CHARS_MAX: usize = 128;

/// Why a share was not encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// The text is no X25519 recipient.
    #[error("this is not an age recipient: age1...")]
    Form,
    /// age failed.
    #[error("the share could not be encrypted")]
    Encrypt,
}

/// A person's public key.
#[derive(Clone)]
pub struct Recipient(x25519::Recipient);

impl FromStr for Recipient {
    type Err = RecipientError;

    fn from_str(text: &str) -> Result<Self, RecipientError> {
        let recipient = (text.len() <= RECIPIENT_CHARS_MAX).then(|| text.parse().ok()).flatten();
        recipient.map(Self).ok_or(RecipientError::Form)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

impl Recipient {
    /// Encrypts `share` to this recipient, as an armoured age file.
    ///
    /// # Errors
    /// [`RecipientError::Encrypt`].
    pub fn encrypt(&self, share: &str) -> Result<String, RecipientError> {
        age::encrypt_and_armor(&self.0, share.as_bytes()).map_err(|_| RecipientError::Encrypt)
    }
}

/// Encrypts `share` to `recipient` (`age1...`), as an armoured age file.
///
/// # Errors
/// [`RecipientError`].
pub fn encrypt_share(share: &str, recipient: &str) -> Result<String, RecipientError> {
    recipient.parse::<Recipient>()?.encrypt(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_recipient_decrypts_a_share() {
        let (holder, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        let armoured = encrypt_share("coffer-share-1-0123", &holder.to_public().to_string()).unwrap();
        assert!(armoured.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"), "{armoured}");
        assert!(!armoured.contains("coffer-share"));
        assert_eq!(age::decrypt(&holder, armoured.as_bytes()).unwrap(), b"coffer-share-1-0123");
        assert!(age::decrypt(&other, armoured.as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_recipient_is_refused() {
        let good = x25519::Identity::generate().to_public().to_string();
        assert_eq!(good.parse::<Recipient>().unwrap().to_string(), good);
        let longer = format!("{good}q");
        let cut = good.get(..good.len() - 1).unwrap();
        for text in ["", "age1", "alice", &good.replacen("age1", "age2", 1), &longer, cut, "AGE-SECRET-KEY-1", &"a".repeat(200)] {
            assert_eq!(text.parse::<Recipient>().err(), Some(RecipientError::Form), "{text}");
        }
    }
}
