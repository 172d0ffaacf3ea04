use coffer_core::{clock::Timestamp, principal::KubernetesName};
use serde::Deserialize;

use super::{Expect, JwtError};

/// Bytes in an object's UID: Kubernetes makes UUIDs of 36 and promises no form.
const UID_BYTES_MAX: usize = 128;

/// What a service-account token says, once it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountClaims {
    /// The namespace.
    pub namespace: KubernetesName,
    /// The service account's name.
    pub service_account: KubernetesName,
    /// The service account's UID.
    pub service_account_uid: String,
    /// The pod that the token is bound to, and dies with.
    pub pod: Option<Pod>,
    /// The node that the pod is on (Kubernetes 1.29 and later).
    pub node: Option<Node>,
    /// When the token was issued.
    pub issued: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
    /// The id of the key that signed it.
    pub key_id: String,
    /// The token's own id, unique to it (Kubernetes 1.30 and later).
    pub jti: Option<String>,
}

/// A pod that a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: KubernetesName,
    /// Its UID.
    pub uid: String,
}

/// A node that a pod is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: KubernetesName,
    /// Its UID; the API server leaves it out where it did not know the node when it issued the token.
    pub uid: Option<String>,
}

/// The claims as they are written.
#[derive(Deserialize)]
pub(super) struct Claims {
    iss: String,
    sub: String,
    aud: Audiences,
    exp: u64,
    nbf: Option<u64>,
    iat: u64,
    jti: Option<String>,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Object,
    pod: Option<Object>,
    node: Option<Object>,
}

#[derive(Deserialize)]
struct Object {
    name: String,
    #[serde(default)]
    uid: String,
}

impl Claims {
    /// What they say, where that is what is expected.
    pub(super) fn check(self, expect: &Expect<'_>, key_id: String) -> Result<ServiceAccountClaims, JwtError> {
        if self.iss != expect.issuer {
            return Err(JwtError::Issuer);
        }
        let for_us = match &self.aud {
            Audiences::One(audience) => audience == expect.audience,
            Audiences::Many(audiences) => audiences.iter().any(|audience| audience == expect.audience),
        };
        if !for_us {
            return Err(JwtError::Audience);
        }
        let (issued, expires) = (Timestamp::from_secs(self.iat), Timestamp::from_secs(self.exp));
        let begins = self.nbf.map_or(issued, |nbf| issued.max(Timestamp::from_secs(nbf)));
        if expires.plus(expect.skew) <= expect.now {
            return Err(JwtError::Expired);
        }
        if begins > expect.now.plus(expect.skew) {
            return Err(JwtError::NotYet);
        }
        if expires <= begins {
            return Err(JwtError::Claims);
        }
        let Kubernetes { namespace, serviceaccount, pod, node } = self.kubernetes;
        if self.sub != format!("system:serviceaccount:{namespace}:{}", serviceaccount.name) {
            return Err(JwtError::Subject);
        }
        // A namespace is a label: one with a dot is none that Kubernetes made.
        if namespace.contains('.') {
            return Err(JwtError::Claims);
        }
        let pod = pod.map(|pod| Ok(Pod { name: name(&pod.name)?, uid: uid(pod.uid)? })).transpose()?;
        if expect.require_pod && pod.is_none() {
            return Err(JwtError::NoPod);
        }
        let node_uid = |text: String| if text.is_empty() { Ok(None) } else { uid(text).map(Some) };
        Ok(ServiceAccountClaims {
            namespace: name(&namespace)?,
            service_account: name(&serviceaccount.name)?,
            service_account_uid: uid(serviceaccount.uid)?,
            pod,
            node: node.map(|node| Ok(Node { name: name(&node.name)?, uid: node_uid(node.uid)? })).transpose()?,
            issued,
            expires,
            key_id,
            jti: self.jti,
        })
    }
}

fn name(text: &str) -> Result<KubernetesName, JwtError> {
    text.parse().map_err(|_| JwtError::Claims)
}

/// A UID that can stand in a key or a record.
fn uid(text: String) -> Result<String, JwtError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if (1..=UID_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain) { Ok(text) } else { Err(JwtError::Claims) }
}
