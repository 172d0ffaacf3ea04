use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::provider;

/// Bits in an RSA modulus, at least.
pub const RSA_BITS_MIN: usize = 2_048;
/// Bits in an RSA modulus, at most: what ring takes.
pub const RSA_BITS_MAX: usize = 8_192;

/// Why a text is no set of keys to verify tokens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is no JSON Web Key Set (RFC 7517).
    #[error("this is not a JSON Web Key Set")]
    Form,
    /// A private key is in it: it is not to be kept, and its owner should know.
    #[error("the set has a private key in it")]
    Private,
    /// Two keys have the same id.
    #[error("two keys of the set have the same id")]
    Duplicate,
    /// None of its keys can be used: RS256 with at least 2,048 bits or ES256, with an id, to verify signatures.
    #[error("no key of the set is for RS256 or ES256")]
    NoneUsable,
    /// Another part of this process took the place of our signature checks. A bug.
    #[error("signatures cannot be checked in this process")]
    Provider,
}

/// The public keys of a cluster, by id.
pub struct KeySet(BTreeMap<String, VerifyingKey>);

/// A public key and the one algorithm that it is for.
pub(super) struct VerifyingKey {
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeySet").field(&self.0.keys().collect::<Vec<_>>()).finish()
    }
}

impl KeySet {
    /// Reads a JSON Web Key Set, whose size the caller has bounded (`limits::JWKS_BYTES_MAX`). Keys that cannot be
    /// used are passed over.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub fn parse(jwks: &str) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<Value>,
        }
        if !provider::installed() {
            return Err(KeySetError::Provider);
        }
        let jwks: Jwks = serde_json::from_str(jwks).map_err(|_| KeySetError::Form)?;
        let mut keys = BTreeMap::new();
        for key in jwks.keys {
            // d, and k of a symmetric key: RFC 7518, 6.2.2, 6.3.2 and 6.4.1.
            if key.get("d").is_some() || key.get("k").is_some() {
                return Err(KeySetError::Private);
            }
            let Some((id, key)) = serde_json::from_value::<Jwk>(key).ok().and_then(Jwk::usable) else { continue };
            if keys.insert(id, key).is_some() {
                return Err(KeySetError::Duplicate);
            }
        }
        if keys.is_empty() { Err(KeySetError::NoneUsable) } else { Ok(Self(keys)) }
    }

    /// The ids of the keys, in order.
    #[must_use]
    pub fn key_ids(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    pub(super) fn key(&self, id: &str) -> Option<&VerifyingKey> {
        self.0.get(id)
    }
}

/// What is looked at of a JSON Web Key.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    /// The key and its id, where it is one that tokens are believed by.
    fn usable(self) -> Option<(String, VerifyingKey)> {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig");
        let verifies = self.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        if !signs || !verifies || self.kid.is_empty() {
            return None;
        }
        let (name, algorithm, decoding) = match self.kty.as_str() {
            "RSA" => ("RS256", Algorithm::RS256, rsa(&self.n?, &self.e?)?),
            "EC" if self.crv.as_deref() == Some("P-256") => ("ES256", Algorithm::ES256, p256(&self.x?, &self.y?)?),
            _ => return None,
        };
        let meant = self.alg.as_deref().is_none_or(|alg| alg == name);
        meant.then_some((self.kid, VerifyingKey { algorithm, decoding }))
    }
}

fn rsa(modulus: &str, exponent: &str) -> Option<DecodingKey> {
    let (n, e) = (URL_SAFE_NO_PAD.decode(modulus).ok()?, URL_SAFE_NO_PAD.decode(exponent).ok()?);
    let bits = |number: &[u8]| {
        let leading = number.first().map_or(0, |byte| usize::try_from(byte.leading_zeros()).unwrap_or(8));
        8 * number.len() - leading
    };
    let plain = |number: &[u8]| number.first().is_some_and(|byte| *byte != 0) && number.last().is_some_and(|byte| byte % 2 == 1);
    // The exponent: odd, at least 3 and, as ring has it, of at most 33 bits.
    let usable = plain(&n) && plain(&e) && (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits(&n)) && (2..=33).contains(&bits(&e));
    usable.then(|| DecodingKey::from_rsa_raw_components(&n, &e))
}

fn p256(x: &str, y: &str) -> Option<DecodingKey> {
    let coordinate = |text: &str| -> Option<[u8; 32]> { URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok() };
    let (x, y) = (coordinate(x)?, coordinate(y)?);
    Some(DecodingKey::from_ec_der(&[&[4], x.as_slice(), y.as_slice()].concat()))
}
