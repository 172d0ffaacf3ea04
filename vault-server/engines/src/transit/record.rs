//! Keys as they are stored, and what is told of them.

use std::{fmt, str::FromStr};

use coffer_barrier::encoding::SecretField;
use coffer_core::clock::Timestamp;
use coffer_crypto::{
    ecdsa::{Curve, EcdsaKey},
    key::{KEY_BYTES, Key},
    random,
    sign::{PublicKey, SigningKey},
    spki,
};
use coffer_secret::{SecretArray, SecretBytes};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use super::{TransitError, UseError};

/// Bytes in material of the type `hmac-sha256` that is brought in: what SHA-256 gives, at least, and two of its blocks.
pub(super) const HMAC_KEY_BYTES_MIN: usize = 32;
pub(super) const HMAC_KEY_BYTES_MAX: usize = 128;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyKind {
    /// Encrypts: XAES-256-GCM.
    #[serde(rename = "aes256-gcm")]
    Aes256Gcm,
    /// Signs: Ed25519.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// Signs: ECDSA over P-256 with SHA-256.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// Signs: ECDSA over P-384 with SHA-384.
    #[serde(rename = "ecdsa-p384")]
    EcdsaP384,
    /// Authenticates: HMAC-SHA256.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
}

impl KeyKind {
    /// Every type.
    pub const ALL: &[Self] = &[Self::Aes256Gcm, Self::Ed25519, Self::EcdsaP256, Self::EcdsaP384, Self::HmacSha256];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes256-gcm",
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::HmacSha256 => "hmac-sha256",
        }
    }

    /// Whether it signs, with a key that others verify with.
    #[must_use]
    pub const fn signs(self) -> bool {
        matches!(self, Self::Ed25519 | Self::EcdsaP256 | Self::EcdsaP384)
    }

    /// New material.
    pub(super) fn generate(self) -> Result<SecretBytes, TransitError> {
        let random = || random::array::<KEY_BYTES>().map(|key| SecretBytes::copied_from(key.expose()));
        let ecdsa = |curve| EcdsaKey::generate(curve).map(|key| key.pkcs8().duplicate());
        match self {
            Self::Aes256Gcm | Self::Ed25519 | Self::HmacSha256 => random(),
            Self::EcdsaP256 => ecdsa(Curve::P256),
            Self::EcdsaP384 => ecdsa(Curve::P384),
        }
        .map_err(|_| TransitError::Random)
    }

    /// Material as it is kept, of what was brought in: raw bytes, or PKCS#8 where the key signs.
    pub(super) fn import(self, given: SecretBytes) -> Result<SecretBytes, TransitError> {
        let refused = || TransitError::Material(self);
        match self {
            Self::Aes256Gcm => (given.len() == KEY_BYTES).then_some(given).ok_or_else(refused),
            Self::HmacSha256 => {
                (HMAC_KEY_BYTES_MIN..=HMAC_KEY_BYTES_MAX).contains(&given.len()).then_some(given).ok_or_else(refused)
            }
            Self::Ed25519 => {
                let key = SigningKey::from_pkcs8(given.expose()).ok_or_else(refused)?;
                Ok(SecretBytes::copied_from(key.seed().expose()))
            }
            Self::EcdsaP256 | Self::EcdsaP384 => {
                let curve = if self == Self::EcdsaP256 { Curve::P256 } else { Curve::P384 };
                EcdsaKey::from_pkcs8(curve, given).map(|key| key.pkcs8().duplicate()).map_err(|_| refused())
            }
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyKind {
    type Err = TransitError;

    fn from_str(name: &str) -> Result<Self, TransitError> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or(TransitError::Setting(
            "there is no such type of key; types are aes256-gcm, ed25519, ecdsa-p256, ecdsa-p384 and hmac-sha256",
        ))
    }
}

/// A key as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRecord {
    /// Drawn when the key is made: part of what its ciphertexts are bound to.
    pub(super) id: ByteArray<16>,
    pub(super) kind: KeyKind,
    /// By number, ascending; at least one.
    pub(super) versions: Vec<KeyVersion>,
    /// The lowest version that decrypts and verifies.
    pub(super) min_decrypt: u32,
    /// The lowest version that encrypts and signs; 0 for the newest alone.
    pub(super) min_encrypt: u32,
    /// Whether it may be deleted.
    pub(super) deletable: bool,
    pub(super) created: Timestamp,
}

/// A version of a key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyVersion {
    pub(super) number: u32,
    pub(super) created: Timestamp,
    /// Whether somebody brought it in, and may have it still.
    pub(super) imported: bool,
    material: SecretField,
    /// The public key, kept so that it is not computed for each check; nothing where there is none.
    public: ByteBuf,
}

impl KeyVersion {
    pub(super) fn new(
        kind: KeyKind,
        number: u32,
        (created, imported, material): (Timestamp, bool, SecretBytes),
    ) -> Result<Self, TransitError> {
        let mut version = Self { number, created, imported, material: SecretField(material), public: ByteBuf::default() };
        let ecdsa = |curve| version.ecdsa(curve).map(|key| key.public_key().to_vec());
        let public = match kind {
            KeyKind::Aes256Gcm | KeyKind::HmacSha256 => Ok(Vec::new()),
            KeyKind::Ed25519 => version.ed25519().map(|key| key.public_key().as_bytes().to_vec()),
            KeyKind::EcdsaP256 => ecdsa(Curve::P256),
            KeyKind::EcdsaP384 => ecdsa(Curve::P384),
        };
        version.public = ByteBuf::from(public.map_err(|_| TransitError::Record)?);
        Ok(version)
    }

    pub(super) fn cipher_key(&self) -> Result<Key, UseError> {
        SecretArray::try_from(self.material().expose()).map(Key::from_array).map_err(|_| UseError::Fault)
    }

    pub(super) fn ed25519(&self) -> Result<SigningKey, UseError> {
        SecretArray::try_from(self.material().expose()).map(SigningKey::from_seed).map_err(|_| UseError::Fault)
    }

    pub(super) fn ecdsa(&self, curve: Curve) -> Result<EcdsaKey, UseError> {
        EcdsaKey::from_pkcs8(curve, self.material().duplicate()).map_err(|_| UseError::Fault)
    }

    pub(super) fn ed25519_public(&self) -> Result<PublicKey, UseError> {
        self.public.as_slice().try_into().map(PublicKey::from_bytes).map_err(|_| UseError::Fault)
    }

    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    pub(super) const fn material(&self) -> &SecretBytes {
        &self.material.0
    }

    fn public_pem(&self, kind: KeyKind) -> Result<Option<String>, UseError> {
        Ok(match kind {
            KeyKind::Aes256Gcm | KeyKind::HmacSha256 => None,
            KeyKind::Ed25519 => Some(spki::ed25519_pem(&self.ed25519_public()?)),
            KeyKind::EcdsaP256 => Some(spki::ecdsa_pem(Curve::P256, self.public())),
            KeyKind::EcdsaP384 => Some(spki::ecdsa_pem(Curve::P384, self.public())),
        })
    }
}

impl KeyRecord {
    pub(super) fn newest(&self) -> u32 {
        self.versions.last().map_or(0, |version| version.number)
    }

    pub(super) fn oldest(&self) -> u32 {
        self.versions.first().map_or(0, |version| version.number)
    }

    pub(super) fn version(&self, number: u32) -> Result<&KeyVersion, UseError> {
        let at = self.versions.binary_search_by_key(&number, |version| version.number).map_err(|_| UseError::Version)?;
        self.versions.get(at).ok_or(UseError::Fault)
    }

    pub(super) fn info(&self) -> Result<KeyInfo, TransitError> {
        let version = |version: &KeyVersion| {
            Ok(VersionInfo {
                number: version.number,
                created: version.created,
                imported: version.imported,
                public_pem: version.public_pem(self.kind).map_err(|_| TransitError::Record)?,
            })
        };
        Ok(KeyInfo {
            kind: self.kind,
            versions: self.versions.iter().map(version).collect::<Result<_, TransitError>>()?,
            min_decrypt: self.min_decrypt,
            min_encrypt: self.min_encrypt,
            deletable: self.deletable,
            created: self.created,
        })
    }
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its type.
    pub kind: KeyKind,
    /// Its versions, the oldest first.
    pub versions: Vec<VersionInfo>,
    /// The lowest version that decrypts and verifies.
    pub min_decrypt: u32,
    /// The lowest version that encrypts and signs; 0 for the newest alone.
    pub min_encrypt: u32,
    /// Whether it may be deleted.
    pub deletable: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// What is known of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInfo {
    /// The number.
    pub number: u32,
    /// When it was made.
    pub created: Timestamp,
    /// Whether somebody brought it in.
    pub imported: bool,
    /// The public key, where there is one.
    pub public_pem: Option<String>,
}
