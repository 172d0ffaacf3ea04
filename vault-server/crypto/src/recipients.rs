//! Encrypting to people: age (<https://age-encryption.org/v1>), X25519 recipients.
//!
//! A share goes to the person who is to hold it. The answer of Init then holds no share that anybody else could read, and
//! the holder needs nothing of Coffer to decrypt it: `age --decrypt`. A snapshot goes to whoever may restore it.

use std::{
    fmt,
    io::{self, Write},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use age::{secrecy::ExposeSecret as _, x25519};
use coffer_secret::SecretBytes;

/// Characters in a recipient, at most; an X25519 recipient has 62.
pub const RECIPIENT_CHARS_MAX: usize = 128;

/// Why something was not encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// The text is no X25519 recipient.
    #[error("this is not an age recipient: age1...")]
    Form,
    /// age failed.
    #[error("nothing could be encrypted")]
    Encrypt,
    /// This is no age file to this identity.
    #[error("this is not an age file for the recipient that was asked for")]
    Decrypt,
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

/// The private half of a [`Recipient`] that the vault keeps: what was encrypted to it is decrypted here.
pub struct Identity(x25519::Identity);

impl Identity {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// The identity of this text (`AGE-SECRET-KEY-1...`).
    ///
    /// # Errors
    /// [`RecipientError::Form`].
    pub fn parse(text: &SecretBytes) -> Result<Self, RecipientError> {
        let text = std::str::from_utf8(text.expose()).map_err(|_| RecipientError::Form)?;
        text.parse().map(Self).map_err(|_| RecipientError::Form)
    }

    /// The identity as text, to be kept.
    #[must_use]
    pub fn text(&self) -> SecretBytes {
        SecretBytes::copied_from(self.0.to_string().expose_secret().as_bytes())
    }

    /// Who others encrypt to.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// Decrypts an age file, armoured or not.
    ///
    /// # Errors
    /// [`RecipientError::Decrypt`] where it is none, or none to this identity.
    pub fn decrypt(&self, file: &[u8]) -> Result<SecretBytes, RecipientError> {
        age::decrypt(&self.0, file).map(SecretBytes::from).map_err(|_| RecipientError::Decrypt)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// A binary age file in the making: what is written comes out encrypted, piece by piece.
pub struct Encrypting {
    stream: age::stream::StreamWriter<Pieces>,
    pieces: Pieces,
}

impl Encrypting {
    /// A file that each of these recipients, of whom there is at least one, can decrypt alone.
    ///
    /// # Errors
    /// [`RecipientError::Encrypt`].
    pub fn to(recipients: &[Recipient]) -> Result<Self, RecipientError> {
        let recipients = recipients.iter().map(|recipient| &recipient.0 as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(|_| RecipientError::Encrypt)?;
        let pieces = Pieces::default();
        let stream = encryptor.wrap_output(pieces.clone()).map_err(|_| RecipientError::Encrypt)?;
        Ok(Self { stream, pieces })
    }

    /// Encrypts what comes next. What is ready is had with [`Self::take`].
    ///
    /// # Errors
    /// [`RecipientError::Encrypt`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), RecipientError> {
        self.stream.write_all(bytes).map_err(|_| RecipientError::Encrypt)
    }

    /// What is encrypted so far and was not taken yet.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        self.pieces.take()
    }

    /// The end of the file: without it, the file is known to be cut.
    ///
    /// # Errors
    /// [`RecipientError::Encrypt`].
    pub fn finish(self) -> Result<Vec<u8>, RecipientError> {
        self.stream.finish().map(|pieces| pieces.take()).map_err(|_| RecipientError::Encrypt)
    }
}

impl fmt::Debug for Encrypting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encrypting")
    }
}

/// Encrypted bytes on their way out.
#[derive(Clone, Default)]
struct Pieces(Arc<Mutex<Vec<u8>>>);

impl Pieces {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    fn each_recipient_decrypts_a_file_that_was_written_in_pieces() {
        let identities = [x25519::Identity::generate(), x25519::Identity::generate()];
        let recipients = identities.each_ref().map(|identity| Recipient(identity.to_public()));
        let mut encrypting = Encrypting::to(&recipients).unwrap();
        let (mut file, mut plain) = (Vec::new(), Vec::new());
        for piece in 0..200_u8 {
            encrypting.write(&[piece; 1_000]).unwrap();
            plain.extend_from_slice(&[piece; 1_000]);
            file.extend(encrypting.take());
        }
        let before = file.len();
        file.extend(encrypting.finish().unwrap());
        for identity in &identities {
            assert_eq!(age::decrypt(identity, &file).unwrap(), plain);
            assert!(age::decrypt(identity, file.get(..before).unwrap()).is_err(), "without its end");
        }
        assert!(Encrypting::to(&[]).is_err());
    }

    #[test]
    fn what_was_encrypted_to_an_identity_is_decrypted_by_it_alone_also_once_it_was_kept() {
        let (mine, other) = (Identity::generate(), Identity::generate());
        let kept = Identity::parse(&mine.text()).unwrap();
        assert_eq!(kept.recipient().to_string(), mine.recipient().to_string());
        let mut encrypting = Encrypting::to(&[mine.recipient()]).unwrap();
        encrypting.write(b"key material").unwrap();
        let mut file = encrypting.take();
        file.extend(Encrypting::finish(encrypting).unwrap());
        let armoured = mine.recipient().encrypt("key material").unwrap();
        for file in [&file[..], armoured.as_bytes()] {
            assert_eq!(kept.decrypt(file).unwrap().expose(), b"key material");
            assert_eq!(other.decrypt(file).err(), Some(RecipientError::Decrypt));
            assert_eq!(kept.decrypt(&file[..file.len() - 2]).err(), Some(RecipientError::Decrypt));
        }
        assert!(Identity::parse(&SecretBytes::copied_from(b"AGE-SECRET-KEY-1")).is_err());
        assert_eq!(format!("{mine:?}"), "Identity");
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
