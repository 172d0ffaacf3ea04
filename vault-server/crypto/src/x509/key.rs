//! Keys of certificates: those that sign here, and those that certificates are for.

use coffer_secret::{SecretArray, SecretBytes, SecretString};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
        KeyPair as _,
    },
};
use x509_parser::{prelude::FromDer as _, public_key::PublicKey as Parsed, x509::SubjectPublicKeyInfo};

use super::{
    X509Error,
    der::{Der, NULL, OID, SEQUENCE},
    pem,
};
use crate::{hash::sha256, random};

/// Bits in an RSA key, at least.
pub const RSA_BITS_MIN: usize = 2_048;
/// Bits in an RSA key, at most.
pub const RSA_BITS_MAX: usize = 8_192;

/// id-ecPublicKey, 1.2.840.10045.2.1
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// prime256v1, 1.2.840.10045.3.1.7
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// secp384r1, 1.3.132.0.34
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// Ed25519, 1.3.101.112
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// rsaEncryption, 1.2.840.113549.1.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// ecdsa-with-SHA256, 1.2.840.10045.4.3.2
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// ecdsa-with-SHA384, 1.2.840.10045.4.3.3
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];

/// Bytes of a key's id in certificates.
const KEY_ID_BYTES: usize = 20;
/// The seed of an Ed25519 key in PKCS#8 stands behind these bytes (RFC 8410, version 1).
const ED25519_PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The kind of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// ECDSA on P-256, with SHA-256.
    P256,
    /// ECDSA on P-384, with SHA-384.
    P384,
    /// Ed25519.
    Ed25519,
    /// RSA: for the keys of others alone.
    Rsa,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::P256, Self::P384, Self::Ed25519, Self::Rsa];

    /// The name in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Ed25519 => "ed25519",
            Self::Rsa => "rsa",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Bytes of a point of the curve.
    const fn point_bytes(self) -> usize {
        match self {
            Self::P256 => 65,
            Self::P384 => 97,
            Self::Ed25519 | Self::Rsa => 0,
        }
    }

    const fn ecdsa(self) -> Option<&'static EcdsaSigningAlgorithm> {
        match self {
            Self::P256 => Some(&ECDSA_P256_SHA256_ASN1_SIGNING),
            Self::P384 => Some(&ECDSA_P384_SHA384_ASN1_SIGNING),
            Self::Ed25519 | Self::Rsa => None,
        }
    }
}

/// A key that signs.
///
/// Only its PKCS#8 encoding is kept, in memory that is wiped. ring's own form, which it does not wipe, is made anew for
/// each signature and lives on the stack while it is made.
#[derive(Debug)]
pub struct PrivateKey {
    kind: KeyKind,
    pkcs8: SecretBytes,
    public: PublicKey,
}

impl PrivateKey {
    /// A new key.
    ///
    /// # Errors
    /// [`X509Error::PrivateKey`] for RSA, [`X509Error::Unsigned`] where there are no random numbers.
    pub fn generate(kind: KeyKind) -> Result<Self, X509Error> {
        match kind.ecdsa() {
            Some(algorithm) => {
                let made = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).map_err(|_| X509Error::Unsigned)?;
                let pkcs8 = SecretBytes::copied_from(made.as_ref());
                // The public key stands last in what ring writes: to compute it anew would cost as much as a signature.
                let point = pkcs8.expose().len().checked_sub(kind.point_bytes()).and_then(|start| pkcs8.expose().get(start..));
                let public = PublicKey::encoded(kind, point.ok_or(X509Error::Unsigned)?);
                Ok(Self { kind, pkcs8, public })
            }
            None if kind == KeyKind::Ed25519 => {
                let seed: SecretArray<32> = random::array().map_err(|_| X509Error::Unsigned)?;
                let mut pkcs8 = SecretBytes::with_capacity(ED25519_PKCS8.len() + seed.len());
                pkcs8.append(&ED25519_PKCS8);
                pkcs8.append(seed.expose());
                let public = public_of(kind, pkcs8.expose())?;
                Ok(Self { kind, pkcs8, public })
            }
            None => Err(X509Error::PrivateKey),
        }
    }

    /// The key of an encoding that was made or read here before, with the public half that belongs to it: what does not
    /// belong to it makes signatures that do not hold, and nothing worse.
    ///
    /// # Errors
    /// [`X509Error::PrivateKey`] for RSA.
    pub fn stored(pkcs8: SecretBytes, public: PublicKey) -> Result<Self, X509Error> {
        if public.kind == KeyKind::Rsa { Err(X509Error::PrivateKey) } else { Ok(Self { kind: public.kind, pkcs8, public }) }
    }

    /// The key of a PKCS#8 encoding.
    ///
    /// # Errors
    /// [`X509Error::PrivateKey`] where it is none, or of another kind.
    pub fn from_pkcs8(pkcs8: SecretBytes) -> Result<Self, X509Error> {
        let kinds = [KeyKind::P256, KeyKind::P384, KeyKind::Ed25519];
        let (kind, public) = kinds
            .into_iter()
            .find_map(|kind| Some((kind, public_of(kind, pkcs8.expose()).ok()?)))
            .ok_or(X509Error::PrivateKey)?;
        Ok(Self { kind, pkcs8, public })
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The PKCS#8 encoding, for the barrier.
    #[must_use]
    pub const fn pkcs8(&self) -> &SecretBytes {
        &self.pkcs8
    }

    /// The same without the rest.
    #[must_use]
    pub fn into_pkcs8(self) -> SecretBytes {
        self.pkcs8
    }

    /// The key as PEM (`BEGIN PRIVATE KEY`), for its owner.
    #[must_use]
    pub fn pem(&self) -> SecretString {
        pem::encode_secret("PRIVATE KEY", &self.pkcs8)
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Writes what `signed` encodes, the algorithm and the signature: a certificate, a request or a list.
    pub(super) fn seal(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, X509Error> {
        let signature = self.sign(to_be_signed)?;
        Ok(Der::build(SEQUENCE, |der| {
            der.raw(to_be_signed);
            self.algorithm(der);
            der.bits(&signature);
        }))
    }

    /// The algorithm of this key's signatures.
    pub(super) fn algorithm(&self, der: &mut Der) {
        der.within(SEQUENCE, |der| {
            der.value(
                OID,
                match self.kind {
                    KeyKind::P256 => ECDSA_SHA256,
                    KeyKind::P384 => ECDSA_SHA384,
                    KeyKind::Ed25519 | KeyKind::Rsa => ED25519,
                },
            );
        });
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, X509Error> {
        match self.kind.ecdsa() {
            Some(algorithm) => {
                let random = SystemRandom::new();
                let pair =
                    EcdsaKeyPair::from_pkcs8(algorithm, self.pkcs8.expose(), &random).map_err(|_| X509Error::PrivateKey)?;
                let signature = pair.sign(&random, message).map_err(|_| X509Error::Unsigned)?;
                Ok(signature.as_ref().to_vec())
            }
            None => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(self.pkcs8.expose()).map_err(|_| X509Error::PrivateKey)?;
                Ok(pair.sign(message).as_ref().to_vec())
            }
        }
    }
}

fn public_of(kind: KeyKind, pkcs8: &[u8]) -> Result<PublicKey, X509Error> {
    let refused = |_| X509Error::PrivateKey;
    match kind.ecdsa() {
        Some(algorithm) => {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &SystemRandom::new()).map_err(refused)?;
            Ok(PublicKey::encoded(kind, pair.public_key().as_ref()))
        }
        None if kind == KeyKind::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(refused)?;
            Ok(PublicKey::encoded(kind, pair.public_key().as_ref()))
        }
        None => Err(X509Error::PrivateKey),
    }
}

/// A key that a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: KeyKind,
    /// The `SubjectPublicKeyInfo`, in the one encoding that there is of it.
    info: Vec<u8>,
    /// The bits in it.
    bits: Vec<u8>,
}

impl PublicKey {
    /// The key of a `SubjectPublicKeyInfo` (DER), with nothing behind it.
    ///
    /// # Errors
    /// [`X509Error::KeyKind`], and [`X509Error::KeyWeak`] for an RSA key that is too short, too long or has a small exponent.
    pub(crate) fn from_info(info: &[u8]) -> Result<Self, X509Error> {
        match SubjectPublicKeyInfo::from_der(info) {
            Ok(([], info)) => Self::read(&info),
            _ => Err(X509Error::KeyKind),
        }
    }

    /// The key of a `SubjectPublicKeyInfo` that was read. Its encoding is made anew: nothing comes along that is not the key.
    pub(super) fn read(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, X509Error> {
        let curve = || info.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
        let point = info.subject_public_key.data.as_ref();
        let kind = match info.algorithm.algorithm.as_bytes() {
            EC => match curve().as_ref().map(|oid| oid.as_bytes()) {
                Some(P256) if point.len() == KeyKind::P256.point_bytes() => KeyKind::P256,
                Some(P384) if point.len() == KeyKind::P384.point_bytes() => KeyKind::P384,
                _ => return Err(X509Error::KeyKind),
            },
            ED25519 if point.len() == 32 => KeyKind::Ed25519,
            RSA => return Self::read_rsa(info),
            _ => return Err(X509Error::KeyKind),
        };
        if matches!(kind, KeyKind::P256 | KeyKind::P384) && point.first() != Some(&4) {
            return Err(X509Error::KeyKind);
        }
        Ok(Self::encoded(kind, point))
    }

    fn read_rsa(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, X509Error> {
        let Ok(Parsed::RSA(key)) = info.parsed() else { return Err(X509Error::KeyKind) };
        let stripped = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
        let (modulus, exponent) = (stripped(key.modulus), stripped(key.exponent));
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| usize::try_from(first.leading_zeros()).unwrap_or(0));
        let small = exponent.len() < 3 || exponent.len() > 4;
        let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) || small || !odd(&exponent) || !odd(&modulus) {
            return Err(X509Error::KeyWeak);
        }
        let numbers = Der::build(SEQUENCE, |der| {
            der.unsigned(&modulus);
            der.unsigned(&exponent);
        });
        Ok(Self::encoded(KeyKind::Rsa, &numbers))
    }

    fn encoded(kind: KeyKind, bits: &[u8]) -> Self {
        let info = Der::build(SEQUENCE, |der| {
            der.within(SEQUENCE, |der| match kind {
                KeyKind::P256 | KeyKind::P384 => {
                    der.value(OID, EC);
                    der.value(OID, if kind == KeyKind::P256 { P256 } else { P384 });
                }
                KeyKind::Ed25519 => der.value(OID, ED25519),
                KeyKind::Rsa => {
                    der.value(OID, RSA);
                    der.value(NULL, &[]);
                }
            });
            der.bits(bits);
        });
        Self { kind, info, bits: bits.to_vec() }
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key itself: a point, uncompressed (SEC 1), or an `RSAPublicKey` (RFC 8017).
    pub(crate) fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// The `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn info(&self) -> &[u8] {
        &self.info
    }

    /// The key's id in certificates: the first 160 bits of its SHA-256 (RFC 7093, method 1).
    #[must_use]
    pub fn id(&self) -> Vec<u8> {
        sha256(&self.bits).into_iter().take(KEY_ID_BYTES).collect()
    }

    /// Hands the key to a check of signatures.
    pub(super) fn with_parsed<T>(
        &self,
        check: impl FnOnce(&SubjectPublicKeyInfo<'_>) -> Result<T, X509Error>,
    ) -> Result<T, X509Error> {
        let (_, info) = SubjectPublicKeyInfo::from_der(&self.info).map_err(|_| X509Error::KeyKind)?;
        check(&info)
    }
}
