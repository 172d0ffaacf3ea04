//! ECDSA over P-256 with SHA-256 and over P-384 with SHA-384 (FIPS 186-5). Signatures are ASN.1 DER, as TLS and openssl
//! have them.

use coffer_secret::SecretBytes;
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING,
        EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair as _, UnparsedPublicKey,
    },
};

use crate::{random::RandomError, sign::SignatureInvalid};

/// A curve, and the hash that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// P-256 with SHA-256.
    P256,
    /// P-384 with SHA-384.
    P384,
}

impl Curve {
    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        }
    }

    fn verification(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1,
            Self::P384 => &ECDSA_P384_SHA384_ASN1,
        }
    }
}

/// The bytes are no private key of this curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a PKCS#8 private key of this curve")]
pub struct NotAKey;

/// A key that signs.
///
/// Only its PKCS#8 form is kept, in memory that is wiped. ring's own form, which it does not wipe, is made anew for each
/// signature.
#[derive(Debug)]
pub struct EcdsaKey {
    curve: Curve,
    pkcs8: SecretBytes,
    public: Vec<u8>,
}

impl EcdsaKey {
    /// A new key.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn generate(curve: Curve) -> Result<Self, RandomError> {
        let document = EcdsaKeyPair::generate_pkcs8(curve.signing(), &SystemRandom::new()).map_err(|_| RandomError)?;
        Self::from_pkcs8(curve, SecretBytes::copied_from(document.as_ref())).map_err(|_| RandomError)
    }

    /// The key of this PKCS#8 document (RFC 5958, DER), which has the public key in it.
    ///
    /// # Errors
    /// [`NotAKey`].
    pub fn from_pkcs8(curve: Curve, pkcs8: SecretBytes) -> Result<Self, NotAKey> {
        let public = pair(curve, &pkcs8)?.public_key().as_ref().to_vec();
        Ok(Self { curve, pkcs8, public })
    }

    /// The key as a PKCS#8 document.
    #[must_use]
    pub const fn pkcs8(&self) -> &SecretBytes {
        &self.pkcs8
    }

    /// The public key: a point, uncompressed (SEC 1).
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// A signature over `message`: another one each time.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, RandomError> {
        let pair = pair(self.curve, &self.pkcs8).expect("the key was read before");
        Ok(pair.sign(&SystemRandom::new(), message).map_err(|_| RandomError)?.as_ref().to_vec())
    }
}

fn pair(curve: Curve, pkcs8: &SecretBytes) -> Result<EcdsaKeyPair, NotAKey> {
    EcdsaKeyPair::from_pkcs8(curve.signing(), pkcs8.expose(), &SystemRandom::new()).map_err(|_| NotAKey)
}

/// Verifies that `signature` is one of the key with this public point over `message`.
///
/// # Errors
/// [`SignatureInvalid`].
pub fn verify(curve: Curve, public: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
    UnparsedPublicKey::new(curve.verification(), public).verify(message, signature).map_err(|_| SignatureInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_one_key_and_one_message() {
        for curve in [Curve::P256, Curve::P384] {
            let (mine, other) = (EcdsaKey::generate(curve).unwrap(), EcdsaKey::generate(curve).unwrap());
            let again = EcdsaKey::from_pkcs8(curve, mine.pkcs8().duplicate()).unwrap();
            assert_eq!(again.public_key(), mine.public_key());
            let signature = again.sign(b"message").unwrap();
            assert_eq!(verify(curve, mine.public_key(), b"message", &signature), Ok(()));
            assert_eq!(verify(curve, mine.public_key(), b"massage", &signature), Err(SignatureInvalid));
            assert_eq!(verify(curve, other.public_key(), b"message", &signature), Err(SignatureInvalid));
            for byte in 0..signature.len() {
                let mut changed = signature.clone();
                changed[byte] ^= 1;
                assert_eq!(verify(curve, mine.public_key(), b"message", &changed), Err(SignatureInvalid), "byte {byte}");
            }
        }
    }

    #[test]
    fn what_is_no_key_of_the_curve_is_refused() {
        let p256 = EcdsaKey::generate(Curve::P256).unwrap();
        assert_eq!(EcdsaKey::from_pkcs8(Curve::P384, p256.pkcs8().duplicate()).err(), Some(NotAKey));
        let pkcs8 = p256.pkcs8().expose();
        for length in 0..pkcs8.len() {
            assert!(EcdsaKey::from_pkcs8(Curve::P256, SecretBytes::copied_from(&pkcs8[..length])).is_err());
        }
        // The private number stands at the bytes 36 to 67.
        let private = format!("{:?}", &pkcs8[36..40]);
        assert!(!format!("{p256:?}").contains(private.trim_matches(['[', ']'])), "nothing of the key is printed");
    }
}
