//! Service-account tokens of the projected kind, signed as a Kubernetes API server signs them.

use std::{
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    digest,
    rand::{SecureRandom as _, SystemRandom},
    rsa::{KeyPair as RsaKeyPair, PublicKeyComponents},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use serde_json::{Value, json};

/// The audience that Coffer's tokens are made for, unless a cluster says otherwise.
pub const AUDIENCE: &str = "coffer";

/// What a token says about the pod that it was projected into.
#[derive(Debug, Clone)]
pub struct Pod {
    /// The namespace.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
    /// The service account's UID.
    pub service_account_uid: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// The node that it runs on.
    pub node: String,
}

impl Pod {
    /// A pod of a service account, with UIDs of its own.
    ///
    /// # Errors
    /// Where the system gives no random numbers.
    pub fn new(namespace: &str, service_account: &str) -> Result<Self> {
        Ok(Self {
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            service_account_uid: uuid()?,
            name: format!("{service_account}-0"),
            uid: uuid()?,
            node: "node-0".to_owned(),
        })
    }
}

/// Signs tokens, and publishes the key to verify them with.
#[derive(Debug)]
pub struct Issuer {
    url: String,
    key: Key,
    id: String,
}

#[derive(Debug)]
enum Key {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl Issuer {
    /// An issuer with a new P-256 key.
    ///
    /// # Errors
    /// Where the system gives no random numbers.
    pub fn es256(url: &str) -> Result<Self> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(|_| anyhow!("no key"))?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
            .map_err(|error| anyhow!("no key: {error}"))?;
        let id = key_id(key.public_key().as_ref());
        Ok(Self { url: url.to_owned(), key: Key::Es256(key), id })
    }

    /// An issuer with a new RSA key of 2,048 bits, as most clusters have: the program `openssl` makes it.
    ///
    /// # Errors
    /// Where there is no `openssl`.
    pub fn rs256(url: &str) -> Result<Self> {
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .context("openssl cannot be started")?;
        ensure!(made.status.success(), "openssl made no key");
        // As PEM, since `-outform DER` is PKCS #1 with some versions of openssl, and PKCS #8 with others.
        let pem = String::from_utf8(made.stdout)?;
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(body)?).map_err(|error| anyhow!("no key: {error}"))?;
        let id = key_id(key.public().as_ref());
        Ok(Self { url: url.to_owned(), key: Key::Rs256(key), id })
    }

    /// The issuer's name: the claim `iss`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The algorithm, as a token's header names it.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Es256(_) => "ES256",
            Key::Rs256(_) => "RS256",
        }
    }

    /// The public key as a JSON Web Key Set.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let (id, algorithm) = (&self.id, self.algorithm());
        let key = match &self.key {
            Key::Es256(key) => {
                // An uncompressed point: 4, x, y.
                let (x, y) = key.public_key().as_ref().get(1..).unwrap_or_default().split_at(32);
                json!({"kty": "EC", "use": "sig", "alg": algorithm, "kid": id, "crv": "P-256", "x": encode(x), "y": encode(y)})
            }
            Key::Rs256(key) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = key.public().into();
                json!({"kty": "RSA", "use": "sig", "alg": algorithm, "kid": id, "n": encode(&n), "e": encode(&e)})
            }
        };
        json!({"keys": [key]})
    }

    /// The header of this issuer's tokens.
    #[must_use]
    pub fn header(&self) -> Value {
        json!({"alg": self.algorithm(), "kid": self.id})
    }

    /// What Kubernetes 1.34 says in the token that it projects into a pod, from now on.
    ///
    /// # Errors
    /// Where the system gives no random numbers.
    pub fn claims(&self, pod: &Pod, lifetime: Duration) -> Result<Value> {
        let now = now_secs();
        Ok(json!({
            "aud": [AUDIENCE],
            "exp": now + lifetime.as_secs(),
            "iat": now,
            "iss": self.url,
            "jti": uuid()?,
            "kubernetes.io": {
                "namespace": pod.namespace,
                "node": {"name": pod.node, "uid": uuid()?},
                "pod": {"name": pod.name, "uid": pod.uid},
                "serviceaccount": {"name": pod.service_account, "uid": pod.service_account_uid},
            },
            "nbf": now,
            "sub": format!("system:serviceaccount:{}:{}", pod.namespace, pod.service_account),
        }))
    }

    /// A token as the kubelet puts it into the pod.
    ///
    /// # Errors
    /// Where the system gives no random numbers.
    pub fn token(&self, pod: &Pod, lifetime: Duration) -> Result<String> {
        self.sign(&self.header(), &self.claims(pod, lifetime)?)
    }

    /// Signs whatever it is given.
    ///
    /// # Errors
    /// Where the system gives no random numbers.
    pub fn sign(&self, header: &Value, claims: &Value) -> Result<String> {
        let text = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Es256(key) => key.sign(&random, text.as_bytes()).map_err(|_| anyhow!("no signature"))?.as_ref().to_vec(),
            Key::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).map_err(|_| anyhow!("no signature"))?;
                signature
            }
        };
        Ok(format!("{text}.{}", encode(&signature)))
    }
}

/// Bytes as tokens hold them: base64url without padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "tokens are for the real server, which goes by the real time")]
pub fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A key's id, made from the public key, as Kubernetes does.
fn key_id(public: &[u8]) -> String {
    encode(digest::digest(&digest::SHA256, public).as_ref())
}

/// A random UUID (RFC 9562, version 4).
///
/// # Errors
/// Where the system gives no random numbers.
pub fn uuid() -> Result<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("no random numbers"))?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{number:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    Ok([part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, RsaPublicKeyComponents, UnparsedPublicKey};

    use super::*;

    fn parts(token: &str) -> (&str, Vec<u8>) {
        let (text, signature) = token.rsplit_once('.').unwrap();
        (text, URL_SAFE_NO_PAD.decode(signature).unwrap())
    }

    fn field(issuer: &Issuer, name: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(issuer.jwks()["keys"][0][name].as_str().unwrap()).unwrap()
    }

    #[test]
    fn published_keys_verify_the_tokens() {
        let pod = Pod::new("shop", "api").unwrap();
        let issuer = Issuer::es256("https://issuer.test").unwrap();
        let token = issuer.token(&pod, Duration::from_secs(600)).unwrap();
        let (text, signature) = parts(&token);
        let point = [vec![4], field(&issuer, "x"), field(&issuer, "y")].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(text.as_bytes(), &signature).unwrap();
    }

    #[test]
    #[ignore = "needs openssl: tests/run"]
    fn published_rsa_keys_verify_the_tokens() {
        let pod = Pod::new("shop", "api").unwrap();
        let issuer = Issuer::rs256("https://issuer.test").unwrap();
        let token = issuer.token(&pod, Duration::from_secs(600)).unwrap();
        let (text, signature) = parts(&token);
        RsaPublicKeyComponents { n: field(&issuer, "n"), e: field(&issuer, "e") }
            .verify(&ring::signature::RSA_PKCS1_2048_8192_SHA256, text.as_bytes(), &signature)
            .unwrap();
    }

    #[test]
    fn uids_are_version_4_uuids() {
        let uuid = uuid().unwrap();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.chars().nth(14), Some('4'));
        assert!(uuid.chars().nth(19).is_some_and(|digit| "89ab".contains(digit)));
    }
}
