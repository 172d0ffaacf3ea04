//! Tokens of the development cluster, signed as a Kubernetes API server signs them (ES256).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coffer_secret::SecretString;
use jiff::Timestamp;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SigningKey as _};
use rustix::fs::Mode;
use serde_json::{Value, json};

use crate::{
    app::App,
    exit::Exit,
    failure::{Failure, Result},
    input::{CREDENTIAL_BYTES_MAX, Source},
    memory::MemoryFolder,
    random::random,
};

/// The file with the key.
const FILE: &str = "issuer.pem";
/// What the tokens name as their issuer; nobody else's.
pub(super) const URL: &str = "https://coffer-dev.invalid";
/// The audience of tokens for Coffer.
const AUDIENCE: &str = "coffer";
/// Bytes of a coordinate of P-256, and of each half of a signature.
const COORDINATE_BYTES: usize = 32;

/// Who signs the tokens.
pub(super) struct Issuer(KeyPair);

impl Issuer {
    /// A new key, kept in the folder.
    pub(super) fn new(folder: &MemoryFolder) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| no_key(&error))?;
        let pem = SecretString::from(key.serialize_pem());
        folder.write(FILE, pem.expose().as_bytes(), Mode::RUSR)?;
        Ok(Self(key))
    }

    /// The key of the server that runs.
    pub(super) fn read(app: &App, folder: &std::path::Path) -> Result<Self> {
        let pem = app.input.text(&Source::File(folder.join(FILE)), CREDENTIAL_BYTES_MAX)?;
        Ok(Self(KeyPair::from_pem(pem.expose()).map_err(|error| no_key(&error))?))
    }

    /// The public key as a JSON Web Key Set.
    pub(super) fn jwks(&self) -> Value {
        // An uncompressed point: 4, x, y.
        let point = self.0.der_bytes();
        let x = point.get(1..=COORDINATE_BYTES).unwrap_or_default();
        let y = point.get(1 + COORDINATE_BYTES..).unwrap_or_default();
        json!({"keys": [{
            "kty": "EC", "use": "sig", "alg": "ES256", "kid": self.id(), "crv": "P-256", "x": encode(x), "y": encode(y),
        }]})
    }

    fn id(&self) -> String {
        encode(self.0.der_bytes().get(1..17).unwrap_or_default())
    }

    /// A token as the kubelet would put it into a pod of this service account.
    pub(super) fn token(&self, namespace: &str, account: &str, now: Timestamp, lifetime: Duration) -> Result<SecretString> {
        let now = now.as_second();
        let claims = json!({
            "aud": [AUDIENCE],
            "exp": now.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(0)),
            "iat": now,
            "iss": URL,
            "jti": uuid()?,
            "kubernetes.io": {
                "namespace": namespace,
                "node": {"name": "dev", "uid": uuid()?},
                "pod": {"name": format!("{account}-0"), "uid": uuid()?},
                "serviceaccount": {"name": account, "uid": uuid()?},
            },
            "nbf": now,
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
        });
        let header = json!({"alg": "ES256", "kid": self.id()});
        let text = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = self.0.sign(text.as_bytes()).map_err(|error| no_key(&error))?;
        let signature =
            fixed(&signature).ok_or_else(|| Failure::new(Exit::Failed, "a signature has another form than P-256's"))?;
        Ok(SecretString::from(format!("{text}.{}", encode(&signature))))
    }
}

fn no_key(error: &rcgen::Error) -> Box<Failure> {
    Failure::new(Exit::Failed, format!("the development cluster's key cannot be used: {error}"))
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn uuid() -> Result<String> {
    let mut bytes = random::<16>()?;
    // Version 4, variant 1.
    for (index, keep, set) in [(6, 0x0f, 0x40), (8, 0x3f, 0x80)] {
        if let Some(byte) = bytes.get_mut(index) {
            *byte = *byte & keep | set;
        }
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default().to_owned());
    Ok(parts.join("-"))
}

/// A signature as tokens hold it, r and s of 32 bytes each, from the DER that certificates hold.
fn fixed(der: &[u8]) -> Option<[u8; 2 * COORDINATE_BYTES]> {
    let mut rest = der.strip_prefix(&[0x30])?.split_first().filter(|(length, rest)| usize::from(**length) == rest.len())?.1;
    let mut out = [0; 2 * COORDINATE_BYTES];
    for half in out.chunks_mut(COORDINATE_BYTES) {
        let (length, after) = rest.strip_prefix(&[0x02])?.split_first()?;
        let (number, after) = after.split_at_checked(usize::from(*length))?;
        // Whole numbers are signed in DER: a zero may stand before.
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        let start = half.len().checked_sub(number.len())?;
        half.get_mut(start..)?.copy_from_slice(number);
        rest = after;
    }
    rest.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_loses_its_der_and_nothing_else() {
        let mut expected = [0_u8; 64];
        expected[31] = 5;
        expected[32] = 0x80;
        let mut der = vec![0x30, 0x26, 0x02, 1, 5, 0x02, 33, 0, 0x80];
        der.extend([0; 31]);
        assert_eq!(fixed(&der).unwrap(), expected);
        for bad in [&der[..der.len() - 1], &[0x30, 0x00], &[], &[0x31, 0x03, 0x02, 1, 5]] {
            assert!(fixed(bad).is_none());
        }
    }

    #[test]
    fn a_uuid_looks_like_one() {
        let uuid = uuid().unwrap();
        assert_eq!((uuid.len(), uuid.as_bytes()[14]), (36, b'4'), "{uuid}");
    }
}
