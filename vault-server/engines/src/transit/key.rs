//! What is done with a key.

use coffer_core::id::MountId;
use coffer_crypto::{ecdsa, ecdsa::Curve, hash::HmacKey, random, xaes};
use coffer_secret::SecretBytes;

use super::{
    KeyKind, UseError,
    record::{KeyRecord, KeyVersion},
    text,
};

/// What every associated data begins with.
const CONTEXT: &[u8] = b"coffer/transit/v1\0";

/// A key, ready for use.
pub struct TransitKey {
    mount: MountId,
    record: KeyRecord,
}

impl TransitKey {
    pub(super) const fn new(mount: MountId, record: KeyRecord) -> Self {
        Self { mount, record }
    }

    /// The version that makes something new: the one asked for, where it may, or the newest for 0.
    fn making(&self, asked: u32) -> Result<&KeyVersion, UseError> {
        let newest = self.record.newest();
        let lowest = if self.record.min_encrypt == 0 { newest } else { self.record.min_encrypt.max(self.record.min_decrypt) };
        let number = if asked == 0 { newest } else { asked };
        if number < lowest { Err(UseError::TooOld) } else { self.record.version(number) }
    }

    /// The version that a text was made with.
    fn made_with(&self, number: u32) -> Result<&KeyVersion, UseError> {
        if number < self.record.min_decrypt { Err(UseError::TooOld) } else { self.record.version(number) }
    }

    fn is(&self, kinds: &[KeyKind]) -> Result<(), UseError> {
        if kinds.contains(&self.record.kind) { Ok(()) } else { Err(UseError::Kind(self.record.kind)) }
    }

    /// What a ciphertext is bound to: mount, key and version, each of fixed length, then the caller's own.
    fn bound(&self, version: u32, associated: &[u8]) -> Vec<u8> {
        [CONTEXT, self.mount.as_bytes(), self.record.id.as_slice(), &version.to_be_bytes(), associated].concat()
    }

    /// Encrypts. The nonce is drawn here; nobody chooses one.
    pub fn encrypt(&self, version: u32, associated: &[u8], plaintext: &SecretBytes) -> Result<(u32, String), UseError> {
        self.is(&[KeyKind::Aes256Gcm])?;
        let version = self.making(version)?;
        let sealed = xaes::seal(&version.cipher_key()?, &self.bound(version.number, associated), plaintext.expose());
        Ok((version.number, text::write(version.number, &sealed.map_err(|_| UseError::Fault)?)))
    }

    /// Decrypts what [`encrypt`](Self::encrypt) made with the same associated data.
    pub fn decrypt(&self, associated: &[u8], ciphertext: &str) -> Result<(u32, SecretBytes), UseError> {
        self.is(&[KeyKind::Aes256Gcm])?;
        let (number, sealed) = text::read(ciphertext)?;
        let key = self.made_with(number)?.cipher_key()?;
        let opened = xaes::open(&key, &self.bound(number, associated), &sealed).map_err(|_| UseError::Open)?;
        Ok((number, opened))
    }

    /// Encrypts anew what was encrypted, without showing it.
    pub fn rewrap(&self, version: u32, associated: &[u8], ciphertext: &str) -> Result<(u32, String), UseError> {
        let (_, plaintext) = self.decrypt(associated, ciphertext)?;
        self.encrypt(version, associated, &plaintext)
    }

    /// Signs.
    pub fn sign(&self, version: u32, message: &[u8]) -> Result<(u32, String), UseError> {
        self.is(&[KeyKind::Ed25519, KeyKind::EcdsaP256, KeyKind::EcdsaP384])?;
        let version = self.making(version)?;
        let ecdsa = |curve| version.ecdsa(curve)?.sign(message).map_err(|_| UseError::Fault);
        let signature = match self.record.kind {
            KeyKind::EcdsaP256 => ecdsa(Curve::P256)?,
            KeyKind::EcdsaP384 => ecdsa(Curve::P384)?,
            _ => version.ed25519()?.sign(message).to_vec(),
        };
        Ok((version.number, text::write(version.number, &signature)))
    }

    /// The HMAC of a message.
    pub fn hmac(&self, version: u32, message: &[u8]) -> Result<(u32, String), UseError> {
        self.is(&[KeyKind::HmacSha256])?;
        let version = self.making(version)?;
        let tag = HmacKey::new(version.material().expose()).tag(message);
        Ok((version.number, text::write(version.number, &tag)))
    }

    /// Whether a signature, or an HMAC, is this key's over the message.
    pub fn verify(&self, message: &[u8], signature: &str) -> Result<(u32, bool), UseError> {
        self.is(&[KeyKind::Ed25519, KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::HmacSha256])?;
        let (number, signature) = text::read(signature)?;
        let version = self.made_with(number)?;
        let ecdsa = |curve| ecdsa::verify(curve, version.public(), message, &signature).is_ok();
        let valid = match self.record.kind {
            KeyKind::EcdsaP256 => ecdsa(Curve::P256),
            KeyKind::EcdsaP384 => ecdsa(Curve::P384),
            KeyKind::HmacSha256 => HmacKey::new(version.material().expose()).verify(message, &signature),
            _ => version.ed25519_public()?.verify(message, &signature).is_ok(),
        };
        Ok((number, valid))
    }

    /// A new key of so many bytes for somebody else, and the same encrypted with this one.
    pub fn data_key(&self, bytes: usize, associated: &[u8]) -> Result<(u32, SecretBytes, String), UseError> {
        let mut key = SecretBytes::from(vec![0; bytes]);
        random::fill(key.expose_mut()).map_err(|_| UseError::Fault)?;
        let (version, wrapped) = self.encrypt(0, associated, &key)?;
        Ok((version, key, wrapped))
    }
}
