//! Public keys as others read them: SubjectPublicKeyInfo (RFC 5280) in PEM.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};

use crate::{
    ecdsa::Curve,
    hash::sha256,
    sign::{PublicKey, SignatureInvalid},
    x509::{self, KeyKind, X509Error, blocks},
};

/// What stands before a key of Ed25519 (RFC 8410).
const ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What stands before a point of P-256 (RFC 5480).
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00,
];
/// What stands before a point of P-384.
const P384: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03,
    0x62, 0x00,
];

/// Characters in a line of PEM (RFC 7468).
const LINE: usize = 64;

/// Bytes of a point of P-256, uncompressed (SEC 1).
const P256_POINT_BYTES: usize = 65;

/// A public key that others sign with: ECDSA on P-256 or P-384, or RSA. The key says which algorithms a signature can be of, never the
/// signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    key: x509::PublicKey,
    fingerprint: [u8; 32],
}

/// Why a text has no keys to verify with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// It is no PEM, or has more keys than are taken.
    #[error("it has no public keys in PEM (BEGIN PUBLIC KEY), or too many")]
    Pem,
    /// It has a private key.
    #[error("it has something else than public keys in it: name the file with BEGIN PUBLIC KEY")]
    Label,
    /// The key is of another kind. That of Ed25519 is among them: cosign signs with Ed25519ph, which ring does not verify.
    #[error("a key is ECDSA on P-256, which cosign generate-key-pair makes, ECDSA on P-384 or RSA; others are not verified here")]
    Kind,
    /// The key is too weak to believe what it signs, or larger than is verified here.
    #[error("a key of RSA has {} to {} bits, and a public exponent of 65537 or more", x509::RSA_BITS_MIN, x509::RSA_BITS_MAX)]
    Weak,
}

impl VerifyingKey {
    /// The key of a SubjectPublicKeyInfo (DER).
    ///
    /// # Errors
    /// [`KeysError::Kind`] and [`KeysError::Weak`].
    pub fn read(spki: &[u8]) -> Result<Self, KeysError> {
        let key = x509::PublicKey::from_info(spki).map_err(|error| match error {
            X509Error::KeyWeak => KeysError::Weak,
            _ => KeysError::Kind,
        })?;
        // In another encoding it would have another fingerprint.
        if algorithms(key.kind()).is_empty() || key.info() != spki {
            return Err(KeysError::Kind);
        }
        Ok(Self { key, fingerprint: sha256(spki) })
    }

    /// The keys of a text with PEM blocks, `max` at most.
    ///
    /// # Errors
    /// Where one of them is no public key of a kind that is known, or there are too many or none.
    pub fn from_pem(text: &str, max: usize) -> Result<Vec<Self>, KeysError> {
        let blocks = blocks(text, max).map_err(|_| KeysError::Pem)?;
        if blocks.iter().any(|block| block.label != "PUBLIC KEY") {
            return Err(KeysError::Label);
        }
        blocks.iter().map(|block| Self::read(block.content.expose())).collect()
    }

    /// The SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub const fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// Verifies that `signature` is one of this key over `message`: of ECDSA in ASN.1 DER, with SHA-256, or SHA-384 on P-384; of RSA by
    /// PKCS #1 v1.5 (RFC 8017), with SHA-256.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        let key = self.key.bits();
        let is_one = |algorithm| UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok();
        algorithms(self.key.kind()).into_iter().any(is_one).then_some(()).ok_or(SignatureInvalid)
    }
}

/// What keys of a kind sign with. Signers differ in the hash that they take for P-384: cosign has SHA-384, others SHA-256 as for every key.
fn algorithms(kind: KeyKind) -> Vec<&'static dyn VerificationAlgorithm> {
    match kind {
        KeyKind::P256 => vec![&ECDSA_P256_SHA256_ASN1],
        KeyKind::P384 => vec![&ECDSA_P384_SHA384_ASN1, &ECDSA_P384_SHA256_ASN1],
        KeyKind::Rsa => vec![&RSA_PKCS1_2048_8192_SHA256],
        KeyKind::Ed25519 => Vec::new(),
    }
}

/// A public key of Ed25519.
#[must_use]
pub fn ed25519_pem(key: &PublicKey) -> String {
    pem(ED25519, key.as_bytes())
}

/// A public point of ECDSA.
#[must_use]
pub fn ecdsa_pem(curve: Curve, point: &[u8]) -> String {
    match curve {
        Curve::P256 => pem(P256, point),
        Curve::P384 => pem(P384, point),
    }
}

/// The point of a public key of P-256 (SubjectPublicKeyInfo, DER); none where it is a key of another kind, or none.
#[must_use]
pub fn p256_point(spki: &[u8]) -> Option<&[u8]> {
    spki.strip_prefix(P256).filter(|point| point.len() == P256_POINT_BYTES)
}

fn pem(before: &[u8], key: &[u8]) -> String {
    let text: Vec<char> = STANDARD.encode([before, key].concat()).chars().collect();
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    for line in text.chunks(LINE) {
        pem.extend(line);
        pem.push('\n');
    }
    pem.push_str("-----END PUBLIC KEY-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecdsa::EcdsaKey;

    #[test]
    fn a_point_of_p256_is_found_in_its_key_and_in_nothing_else() {
        let point = [4_u8; 65];
        let spki = [P256, point.as_slice()].concat();
        assert_eq!(p256_point(&spki), Some(point.as_slice()));
        assert_eq!(p256_point(&[P384, [4; 97].as_slice()].concat()), None);
        for end in 0..spki.len() {
            assert_eq!(p256_point(&spki[..end]), None);
        }
        assert_eq!(p256_point(&[spki.as_slice(), &[0]].concat()), None);
    }

    #[test]
    fn keys_that_verify_are_read_from_pem() {
        let key = |curve| EcdsaKey::generate(curve).unwrap();
        let (one, two, other) = (key(Curve::P256), key(Curve::P256), key(Curve::P384));
        let text = ecdsa_pem(Curve::P256, one.public_key())
            + &ecdsa_pem(Curve::P256, two.public_key())
            + &ecdsa_pem(Curve::P384, other.public_key());
        let keys = VerifyingKey::from_pem(&text, 3).unwrap();
        for (at, maker) in [one, two, other].into_iter().enumerate() {
            let signature = maker.sign(b"message").unwrap();
            for (of, key) in keys.iter().enumerate() {
                let expected = if at == of { Ok(()) } else { Err(SignatureInvalid) };
                assert_eq!(key.verify(b"message", &signature), expected);
                assert_eq!(key.verify(b"massage", &signature), Err(SignatureInvalid));
            }
        }
        assert_ne!(keys[0].fingerprint(), keys[1].fingerprint());
        assert_eq!(VerifyingKey::from_pem(&text, 2), Err(KeysError::Pem));
        let private = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
        for (text, error) in [
            ("", KeysError::Pem),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n", KeysError::Pem),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", KeysError::Kind),
            (private, KeysError::Label),
            (&ed25519_pem(&PublicKey::from_bytes([7; 32])), KeysError::Kind),
            (include_str!("spki/tests/rsa-1024.pub"), KeysError::Weak),
            (include_str!("spki/tests/rsa-exponent-3.pub"), KeysError::Weak),
        ] {
            assert_eq!(VerifyingKey::from_pem(text, 2), Err(error), "{text}");
        }
        // A point that is compressed, longer than it may be, or has something behind it.
        let spki = |point: &[u8]| [P256, point].concat();
        assert_eq!(VerifyingKey::read(&spki(&[2; 65])), Err(KeysError::Kind));
        assert_eq!(VerifyingKey::read(&spki(&[4; 66])), Err(KeysError::Kind));
        assert!(VerifyingKey::read(&spki(&[4; 65])).is_ok());
        assert_eq!(VerifyingKey::read(&[spki(&[4; 65]), vec![0]].concat()), Err(KeysError::Kind));
    }

    #[test]
    fn what_openssl_signed_is_verified_in_the_ways_of_its_key_alone() {
        const RSA: &str = include_str!("spki/tests/rsa.pub");
        const P384: &str = include_str!("spki/tests/p384.pub");
        for (key, signature, is_one) in [
            (RSA, include_str!("spki/tests/rsa-sha256.sig"), true),
            (RSA, include_str!("spki/tests/rsa-sha1.sig"), false),
            (RSA, include_str!("spki/tests/rsa-pss.sig"), false),
            (P384, include_str!("spki/tests/p384-sha256.sig"), true),
            (P384, include_str!("spki/tests/p384-sha512.sig"), false),
            (P384, include_str!("spki/tests/rsa-sha256.sig"), false),
            (RSA, include_str!("spki/tests/p384-sha256.sig"), false),
        ] {
            let key = &VerifyingKey::from_pem(key, 1).unwrap()[0];
            let bytes = STANDARD.decode(signature.trim_end()).unwrap();
            assert_eq!(key.verify(b"message", &bytes).is_ok(), is_one, "{signature}");
            assert_eq!(key.verify(b"massage", &bytes), Err(SignatureInvalid));
        }
    }

    /// RFC 8410, section 10.1.
    #[test]
    fn a_public_key_of_ed25519_is_that_of_rfc_8410() {
        let mut key = [0; 32];
        hex::decode_to_slice("19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1", &mut key).unwrap();
        let pem = ed25519_pem(&PublicKey::from_bytes(key));
        assert_eq!(
            pem,
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"
        );
    }
}
