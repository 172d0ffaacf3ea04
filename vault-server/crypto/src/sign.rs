//! Ed25519 signatures (RFC 8032).

use coffer_secret::SecretArray;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

/// Bytes in the seed that a key is made from.
pub const SEED_BYTES: usize = 32;
/// Bytes in a public key.
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Bytes in a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// What stands before the seed in a PKCS#8 document (RFC 8410, section 7).
const PKCS8_BEFORE_SEED: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A signature is not one of this key over this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not one of this key over this message")]
pub struct SignatureInvalid;

/// A key that signs.
///
/// Only the seed is kept, in memory that is wiped. ring's own form of the key, which it does not wipe, is made anew
/// for each signature and lives on the stack while it is made.
#[derive(Debug)]
pub struct SigningKey {
    seed: SecretArray<SEED_BYTES>,
    public: PublicKey,
}

impl SigningKey {
    /// The key of this seed: 32 random, or derived, bytes.
    #[must_use]
    pub fn from_seed(seed: SecretArray<SEED_BYTES>) -> Self {
        let mut bytes = [0; PUBLIC_KEY_BYTES];
        bytes.copy_from_slice(pair(&seed).public_key().as_ref());
        Self { seed, public: PublicKey(bytes) }
    }

    /// The key of a PKCS#8 document (RFC 8410, DER) that has the private key alone, as `openssl genpkey` writes it. `None`
    /// for any other.
    #[must_use]
    pub fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let seed = pkcs8.strip_prefix(&PKCS8_BEFORE_SEED)?;
        SecretArray::try_from(seed).ok().map(Self::from_seed)
    }

    /// The seed, to be kept.
    #[must_use]
    pub const fn seed(&self) -> &SecretArray<SEED_BYTES> {
        &self.seed
    }

    /// The signature over `message`: always the same one.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(pair(&self.seed).sign(message).as_ref());
        signature
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// A second owner of the same key.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { seed: self.seed.duplicate(), public: self.public }
    }
}

fn pair(seed: &SecretArray<SEED_BYTES>) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("32 bytes are a seed of Ed25519")
}

/// A key that verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; PUBLIC_KEY_BYTES]);

impl PublicKey {
    /// The key of these bytes, in the encoding of RFC 8032. Bytes that are no key verify nothing.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; PUBLIC_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The key's bytes, in the encoding of RFC 8032.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.0
    }

    /// Verifies that `signature` is one of this key over `message`.
    ///
    /// # Errors
    /// [`SignatureInvalid`] where it is not, or is not of [`SIGNATURE_BYTES`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).map_err(|_| SignatureInvalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: &str) -> SigningKey {
        let mut bytes = [0; SEED_BYTES];
        hex::decode_to_slice(seed, &mut bytes).unwrap();
        SigningKey::from_seed(SecretArray::taken_from(&mut bytes))
    }

    /// RFC 8032, section 7.1, tests 1 to 3.
    #[test]
    fn keys_and_signatures_are_those_of_rfc_8032() {
        for (seed, public, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
            (
                "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ] {
            let key = key(seed);
            let message = hex::decode(message).unwrap();
            assert_eq!(hex::encode(key.public_key().as_bytes()), public);
            assert_eq!(hex::encode(key.sign(&message)), signature);
            assert_eq!(key.duplicate().sign(&message), key.sign(&message));
            assert_eq!(key.public_key().verify(&message, &hex::decode(signature).unwrap()), Ok(()));
        }
    }

    #[test]
    fn a_signature_holds_for_one_key_and_one_message() {
        let (mine, other) = (key(&"01".repeat(32)), key(&"02".repeat(32)));
        let signature = mine.sign(b"message");
        assert_eq!(mine.public_key().verify(b"massage", &signature), Err(SignatureInvalid));
        assert_eq!(other.public_key().verify(b"message", &signature), Err(SignatureInvalid));
        assert_eq!(mine.public_key().verify(b"message", &signature[..63]), Err(SignatureInvalid));
        assert_eq!(mine.public_key().verify(b"message", &[]), Err(SignatureInvalid));
        for bit in 0..8 * SIGNATURE_BYTES {
            let mut changed = signature;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(mine.public_key().verify(b"message", &changed), Err(SignatureInvalid), "bit {bit}");
        }
    }

    /// RFC 8410, section 10.3.
    #[test]
    fn a_private_key_is_read_as_rfc_8410_writes_it() {
        let pkcs8 =
            hex::decode("302e020100300506032b657004220420d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842")
                .unwrap();
        let key = SigningKey::from_pkcs8(&pkcs8).unwrap();
        let public = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        assert_eq!(hex::encode(key.public_key().as_bytes()), public);
        assert_eq!(key.seed().expose(), &pkcs8[16..]);
        for length in 0..pkcs8.len() {
            assert!(SigningKey::from_pkcs8(&pkcs8[..length]).is_none());
        }
        assert!(SigningKey::from_pkcs8(&[&pkcs8[..], &[0]].concat()).is_none());
    }

    #[test]
    fn bytes_that_are_no_key_verify_nothing() {
        assert_eq!(PublicKey::from_bytes([0xff; 32]).verify(b"", &[0; 64]), Err(SignatureInvalid));
    }

    #[test]
    fn nothing_of_the_seed_is_printed() {
        assert!(!format!("{:?}", key(&"5a".repeat(32))).contains("90, 90"));
    }
}
