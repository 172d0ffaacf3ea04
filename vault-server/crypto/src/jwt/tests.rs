mod forgeries;
mod sets;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, PublicKeyComponents},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A cluster's key: makes its tokens, and the entry in its key set.
enum Signer {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Signer {
    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::from_der(include_bytes!("../../tests/keys/rsa-2048-one.der")).unwrap())
    }

    fn other_rsa() -> Self {
        Self::Rsa(RsaKeyPair::from_der(include_bytes!("../../tests/keys/rsa-2048-two.der")).unwrap())
    }

    fn ec() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
        }
    }

    fn sign(&self, message: &str) -> Vec<u8> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Ec(key) => key.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec(),
        }
    }

    fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = key.public().into();
                let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": n, "e": e})
            }
            Self::Ec(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": x, "y": y})
            }
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(&message));
        format!("{message}.{signature}")
    }

    /// A token with the header that belongs to this key.
    fn sound(&self, id: &str, claims: &Value) -> String {
        self.token(&json!({"alg": self.algorithm(), "kid": id}), claims)
    }
}

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(&json!({ "keys": keys }).to_string()).unwrap()
}

/// The claims of a token as Kubernetes 1.30 projects it into a pod.
fn claims() -> Value {
    json!({
        "aud": ["coffer"],
        "exp": NOW + 600,
        "iat": NOW - 300,
        "iss": ISSUER,
        "jti": "5f2f0f0e-7b9a-4f0a-9a52-d8e5c2b0a0f1",
        "kubernetes.io": {
            "namespace": "payments",
            "node": {"name": "node-1.example", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
            "pod": {"name": "api-7d9c5b8f6-x2x5z", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
            "serviceaccount": {"name": "api", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
        },
        "nbf": NOW - 300,
        "sub": "system:serviceaccount:payments:api",
    })
}

/// The claims, one of them set (`/pointer`), or taken away where `value` is null.
fn claims_with(pointer: &str, value: Value) -> Value {
    let mut claims = claims();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = claims.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Value::Null => assert!(parent.remove(&name.replace("~1", "/")).is_some(), "{pointer}"),
        value => drop(parent.insert(name.to_owned(), value)),
    }
    claims
}

fn expect() -> Expect<'static> {
    Expect {
        issuer: ISSUER,
        audience: "coffer",
        now: Timestamp::from_secs(NOW),
        skew: Duration::from_secs(30),
        require_pod: true,
    }
}

#[test]
fn a_sound_token_of_either_algorithm_is_believed() {
    let (rsa, ec) = (Signer::rsa(), Signer::ec());
    let keys = set(&[rsa.jwk("one"), ec.jwk("two")]);
    for (signer, id) in [(&rsa, "one"), (&ec, "two")] {
        let token = signer.sound(id, &claims());
        let found = keys.verify(&token, &expect()).unwrap();
        assert_eq!(found.namespace.as_str(), "payments");
        assert_eq!(found.service_account.as_str(), "api");
        assert_eq!(found.service_account_uid, "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798");
        let pod = found.pod.unwrap();
        assert_eq!((pod.name.as_str(), &*pod.uid), ("api-7d9c5b8f6-x2x5z", "5e0bd49b-f040-43b0-99b7-22765a53f7f3"));
        let node = found.node.unwrap();
        assert_eq!(node.name.as_str(), "node-1.example");
        assert_eq!(node.uid.as_deref(), Some("646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"));
        assert_eq!((found.issued, found.expires), (Timestamp::from_secs(NOW - 300), Timestamp::from_secs(NOW + 600)));
        assert_eq!(found.key_id, id);
        assert_eq!(found.jti.as_deref(), Some("5f2f0f0e-7b9a-4f0a-9a52-d8e5c2b0a0f1"));
        assert_eq!(issuer_unverified(&token).as_deref(), Some(ISSUER));
    }
}

#[test]
fn claims_are_believed_as_expected_and_not_otherwise() {
    let signer = Signer::rsa();
    let keys = set(&[signer.jwk("one")]);
    let (missing, claims_error) = (Value::Null, Some(JwtError::Claims));
    #[rustfmt::skip]
    let cases = [
        ("/aud", json!("coffer"), None),
        ("/aud", json!(["other", "coffer"]), None),
        ("/aud", json!(["https://kubernetes.default.svc"]), Some(JwtError::Audience)),
        ("/aud", json!("coffer2"), Some(JwtError::Audience)),
        ("/aud", json!(""), Some(JwtError::Audience)),
        ("/aud", json!([]), Some(JwtError::Audience)),
        ("/aud", json!(7), claims_error),
        ("/aud", missing.clone(), claims_error),
        ("/iss", json!("https://elsewhere"), Some(JwtError::Issuer)),
        ("/iss", json!([ISSUER]), claims_error),
        ("/iss", json!([ISSUER, "https://elsewhere"]), claims_error),
        ("/iss", missing.clone(), claims_error),
        ("/exp", missing.clone(), claims_error),
        ("/exp", json!("soon"), claims_error),
        ("/exp", json!(-1), claims_error),
        ("/exp", json!(NOW - 29), None),
        ("/exp", json!(NOW - 30), Some(JwtError::Expired)),
        ("/exp", json!(0), Some(JwtError::Expired)),
        ("/exp", json!(u64::MAX), None),
        ("/nbf", missing.clone(), None),
        ("/nbf", json!(NOW + 30), None),
        ("/nbf", json!(NOW + 31), Some(JwtError::NotYet)),
        ("/nbf", json!("now"), claims_error),
        ("/iat", json!(NOW + 30), None),
        ("/iat", json!(NOW + 31), Some(JwtError::NotYet)),
        ("/iat", json!(u64::MAX), Some(JwtError::NotYet)),
        ("/iat", missing.clone(), claims_error),
        ("/sub", json!("system:serviceaccount:payments:web"), Some(JwtError::Subject)),
        ("/sub", json!("system:serviceaccount:other:api"), Some(JwtError::Subject)),
        ("/sub", json!("system:serviceaccount:payments:api:more"), Some(JwtError::Subject)),
        ("/sub", json!("payments:api"), Some(JwtError::Subject)),
        ("/sub", missing.clone(), claims_error),
        ("/jti", missing.clone(), None),
        ("/kubernetes.io", missing.clone(), claims_error),
        ("/kubernetes.io/namespace", missing.clone(), claims_error),
        ("/kubernetes.io/namespace", json!("web"), Some(JwtError::Subject)),
        ("/kubernetes.io/serviceaccount", missing.clone(), claims_error),
        ("/kubernetes.io/serviceaccount/uid", missing.clone(), claims_error),
        ("/kubernetes.io/serviceaccount/uid", json!("a/b"), claims_error),
        ("/kubernetes.io/serviceaccount/uid", json!("a".repeat(128)), None),
        ("/kubernetes.io/serviceaccount/uid", json!("a".repeat(129)), claims_error),
        ("/kubernetes.io/pod", missing.clone(), Some(JwtError::NoPod)),
        ("/kubernetes.io/pod/uid", missing.clone(), claims_error),
        ("/kubernetes.io/pod/uid", json!(""), claims_error),
        ("/kubernetes.io/pod/name", json!("A"), claims_error),
        ("/kubernetes.io/pod/name", missing.clone(), claims_error),
        ("/kubernetes.io/node", missing.clone(), None),
        ("/kubernetes.io/node/uid", missing, None),
        ("/kubernetes.io/node/name", json!("../up"), claims_error),
        ("/kubernetes.io/warnafter", json!(NOW + 3_607), None),
    ];
    for (pointer, value, error) in cases {
        let shown = format!("{pointer} = {value}");
        let token = signer.sound("one", &claims_with(pointer, value));
        assert_eq!(keys.verify(&token, &expect()).err(), error, "{shown}");
    }
}

#[test]
fn names_that_kubernetes_does_not_make_are_refused_though_the_subject_agrees() {
    let signer = Signer::rsa();
    let keys = set(&[signer.jwk("one")]);
    for (namespace, account) in
        [("a:b", "c"), ("a.b", "c"), ("a", "b:c"), ("A", "b"), ("", "b"), ("a", ""), ("*", "b"), ("a", "b/c")]
    {
        let mut claims = claims();
        claims["kubernetes.io"]["namespace"] = json!(namespace);
        claims["kubernetes.io"]["serviceaccount"]["name"] = json!(account);
        claims["sub"] = json!(format!("system:serviceaccount:{namespace}:{account}"));
        let token = signer.sound("one", &claims);
        assert_eq!(keys.verify(&token, &expect()).err(), Some(JwtError::Claims), "{namespace}/{account}");
    }
}

#[test]
fn a_token_without_a_pod_is_believed_where_none_is_required() {
    let signer = Signer::rsa();
    let token = signer.sound("one", &claims_with("/kubernetes.io/pod", Value::Null));
    let found = set(&[signer.jwk("one")]).verify(&token, &Expect { require_pod: false, ..expect() }).unwrap();
    assert_eq!(found.pod, None);
}

#[test]
fn a_token_that_ends_before_it_begins_is_refused() {
    let signer = Signer::rsa();
    let keys = set(&[signer.jwk("one")]);
    for (exp, error) in [(NOW + 20, Some(JwtError::Claims)), (NOW + 21, None)] {
        let mut claims = claims_with("/nbf", json!(NOW + 20));
        claims["exp"] = json!(exp);
        assert_eq!(keys.verify(&signer.sound("one", &claims), &expect()).err(), error);
    }
}

#[test]
fn errors_show_nothing_of_the_token() {
    let signer = Signer::rsa();
    let token = signer.sound("one", &claims_with("/iss", json!("canary")));
    let error = set(&[signer.jwk("one")]).verify(&token, &expect()).unwrap_err();
    assert_eq!(format!("{error} {error:?}"), "the token is of another issuer Issuer");
}
