//! Signatures that cosign 2.6 and 3.1 made of one image, and what others could make of them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_crypto::{
    ecdsa::{Curve, EcdsaKey},
    spki::ecdsa_pem,
};
use serde_json::{Value, json};

use super::*;

const P256: &str = include_str!("tests/p256.pub");
const PAYLOAD: &[u8] = include_bytes!("tests/payload.json");
const IMAGE: &str = "sha256:28dfbf8e434b28e6d7501ae088cb404b39ee8d8a1563c82a69d9436ee76cfac6";

fn keys(pem: &str) -> Vec<VerifyingKey> {
    VerifyingKey::from_pem(pem, 4).unwrap()
}

fn with(content: Content) -> Signature {
    Signature { digest: Digest::of(b"x"), content }
}

fn simple(payload: &[u8], signature: &str) -> Signature {
    with(Content::Simple { payload: payload.to_vec(), signature: signature.to_owned() })
}

fn bundle(bytes: &[u8]) -> Signature {
    with(Content::Bundle(bytes.to_vec()))
}

fn recorded() -> [(Signature, Option<&'static str>); 2] {
    [
        (simple(PAYLOAD, include_str!("tests/p256.sig")), Some("localhost:5000/team/app")),
        (bundle(include_bytes!("tests/p256.bundle.json")), None),
    ]
}

/// A key of a test, and the same to verify with.
struct Maker(EcdsaKey, Vec<VerifyingKey>);

impl Maker {
    fn new() -> Self {
        let key = EcdsaKey::generate(Curve::P256).unwrap();
        let verifying = keys(&ecdsa_pem(Curve::P256, key.public_key()));
        Self(key, verifying)
    }

    fn simple(&self, payload: &str) -> Verdict<'_> {
        simple(payload.as_bytes(), &STANDARD.encode(self.0.sign(payload.as_bytes()).unwrap())).verdict(&self.1)
    }

    /// A bundle around this payload, changed before it is read.
    fn bundle(&self, kind: &str, payload: &str, change: impl FnOnce(&mut Value)) -> Verdict<'_> {
        let message = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
        let signature = STANDARD.encode(self.0.sign(message.as_bytes()).unwrap());
        let mut made = json!({
            "mediaType": BUNDLE,
            "verificationMaterial": { "publicKey": { "hint": "any" } },
            "dsseEnvelope": { "payloadType": kind, "payload": STANDARD.encode(payload), "signatures": [{ "sig": signature }] },
        });
        change(&mut made);
        bundle(made.to_string().as_bytes()).verdict(&self.1)
    }
}

#[test]
fn what_cosign_made_is_verified_by_its_key_alone() {
    let (own, other) = (keys(P256), Maker::new().1);
    let all = [other.clone(), own.clone()].concat();
    for (signature, name) in recorded() {
        let claim = Claim { images: vec![IMAGE.parse().unwrap()], name: name.map(str::to_owned) };
        assert_eq!(signature.verdict(&own), Verdict::By(&own[0], Ok(claim.clone())));
        assert_eq!(signature.verdict(&all), Verdict::By(&own[0], Ok(claim)));
        assert_eq!(signature.verdict(&other), Verdict::None("it is by no key that is trusted"));
        assert_eq!(signature.verdict(&[]), Verdict::None("it is by no key that is trusted"));
    }
}

/// Keys that were not made by cosign, which takes them all the same.
#[test]
fn keys_of_other_kinds_sign_as_well() {
    let own = keys(P256);
    for (pem, sig, bytes) in [
        (include_str!("tests/p384.pub"), include_str!("tests/p384.sig"), include_bytes!("tests/p384.bundle.json").as_slice()),
        (include_str!("tests/rsa.pub"), include_str!("tests/rsa.sig"), include_bytes!("tests/rsa.bundle.json")),
    ] {
        let by = keys(pem);
        for (signature, name) in [(simple(PAYLOAD, sig), Some("localhost:5000/team/app")), (bundle(bytes), None)] {
            let claim = Claim { images: vec![IMAGE.parse().unwrap()], name: name.map(str::to_owned) };
            assert_eq!(signature.verdict(&by), Verdict::By(&by[0], Ok(claim)));
            assert_eq!(signature.verdict(&own), Verdict::None("it is by no key that is trusted"));
        }
        let other = PAYLOAD.to_ascii_uppercase();
        assert_eq!(simple(&other, sig).verdict(&by), Verdict::None("it is by no key that is trusted"));
    }
}

#[test]
fn no_byte_of_what_was_signed_may_be_another() {
    let own = keys(P256);
    for (signature, _) in recorded() {
        let (Content::Simple { payload: bytes, .. } | Content::Bundle(bytes)) = &signature.content else { unreachable!() };
        let Verdict::By(_, claim) = signature.verdict(&own) else { unreachable!() };
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let content = match &signature.content {
                Content::Simple { signature, .. } => Content::Simple { payload: changed, signature: signature.clone() },
                _ => Content::Bundle(changed),
            };
            // What is around an envelope is not signed: it may be other, but says nothing else.
            if let Verdict::By(_, now) = with(content).verdict(&own) {
                assert!(matches!(signature.content, Content::Bundle(_)), "byte {at} of the payload");
                assert_eq!(now, claim, "byte {at}");
            }
        }
    }
}

#[test]
fn an_attestation_by_the_same_key_does_not_sign() {
    let own = keys(P256);
    let attestation = bundle(include_bytes!("tests/attestation.bundle.json"));
    assert_eq!(attestation.verdict(&own), Verdict::None("it attests something about an image, and does not sign it"));
}

#[test]
fn a_payload_is_read_in_one_way_only() {
    let maker = Maker::new();
    let payload = |critical: &str| format!(r#"{{"critical":{{{critical}}},"optional":null}}"#);
    let image = format!(r#""image":{{"docker-manifest-digest":"{IMAGE}"}}"#);
    let (identity, kind) = (r#""identity":{"docker-reference":""}"#, r#""type":"cosign container image signature""#);
    let good = payload(&format!("{identity},{image},{kind}"));
    let claim = Claim { images: vec![IMAGE.parse().unwrap()], name: None };
    assert_eq!(maker.simple(&good), Verdict::By(&maker.1[0], Ok(claim)));
    let other = format!("sha256:{}", "0".repeat(64));
    let deep = |depth: usize| format!(r#"{}{}"#, "[".repeat(depth), "]".repeat(depth));
    let wrong = "what is signed is no payload of simple signing";
    for (what, payload, why) in [
        ("no digest", payload(&format!("{identity},{kind}")), wrong),
        ("two digests", good.replace(&format!("{IMAGE}\""), &format!(r#"{IMAGE}","docker-manifest-digest":"{other}""#)), wrong),
        ("two images", payload(&format!(r#"{identity},{image},{kind},{image}"#)), wrong),
        ("two of the whole", format!(r#"{{"critical":{{{identity},{image},{kind}}},"critical":{{}}}}"#), wrong),
        ("more that is critical", payload(&format!(r#"{identity},{image},{kind},"until":"2020-01-01""#)), wrong),
        ("a digest in capitals", good.replace(IMAGE, &IMAGE.to_uppercase()), wrong),
        ("a digest of another kind", good.replace("sha256", "sha512"), wrong),
        ("a number", good.replace(&format!("\"{IMAGE}\""), "7"), wrong),
        ("something behind", format!("{good}{good}"), wrong),
        ("deep", good.replace(&format!("\"{IMAGE}\""), &deep(10_000)), wrong),
        ("nothing", String::new(), wrong),
        ("another type", good.replace("cosign container", "atomic container"), "what is signed is no image, by its type"),
    ] {
        assert_eq!(maker.simple(&payload), Verdict::By(&maker.1[0], Err(why)), "{what}: {payload:.200}");
    }
    // What is not critical says nothing, whatever it is.
    let with = good.replace("null", &deep(10_000));
    assert!(matches!(maker.simple(&with), Verdict::By(_, Ok(_))));
}

#[test]
fn a_statement_is_read_in_one_way_only() {
    let maker = Maker::new();
    let kind = "application/vnd.in-toto+json";
    let hex = IMAGE.strip_prefix("sha256:").unwrap();
    let good = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "digest": { "sha256": hex } }, { "name": "x", "digest": { "gitCommit": "1" } }],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    })
    .to_string();
    let claim = Claim { images: vec![IMAGE.parse().unwrap()], name: None };
    assert_eq!(maker.bundle(kind, &good, |_| ()), Verdict::By(&maker.1[0], Ok(claim)));
    let wrong = "what is signed is no statement of in-toto";
    for (payload, why) in [
        (good.replace("Statement/v1", "Statement/v2"), "what is signed is a statement of a version that is not known"),
        (good.replace(hex, &hex.to_uppercase()), "what is signed names a digest that is none"),
        (good.replace(hex, &format!(r#"{hex}","sha256":"{}"#, "0".repeat(64))), wrong),
        (good.replace("\"subject\"", "\"subjects\""), wrong),
        (format!("[{good}]"), wrong),
    ] {
        assert_eq!(maker.bundle(kind, &payload, |_| ()), Verdict::By(&maker.1[0], Err(why)), "{payload}");
    }
    let other = maker.bundle(kind, &good.replace("cosign/sign/v1", "cosign/sign/v2"), |_| ());
    assert_eq!(other, Verdict::None("it attests something about an image, and does not sign it"));
    // The same text under another type of payload is something else that was signed.
    let other = maker.bundle("text/plain", &good, |_| ());
    assert_eq!(other, Verdict::None("the bundle has no statement of in-toto in it"));
    let renamed = maker.bundle("text/plain", &good, |bundle| bundle["dsseEnvelope"]["payloadType"] = json!(kind));
    assert_eq!(renamed, Verdict::None("it is by no key that is trusted"));
}

#[test]
fn what_is_no_bundle_is_told_apart() {
    let maker = Maker::new();
    let kind = "application/vnd.in-toto+json";
    for (change, why) in [
        (
            Box::new(|bundle: &mut Value| bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v0.4+json"))
                as Box<dyn FnOnce(&mut Value)>,
            "it is a bundle of another version than 0.3",
        ),
        (Box::new(|bundle| drop(bundle.as_object_mut().unwrap().remove("dsseEnvelope"))), "the bundle has no statement in it"),
        (Box::new(|bundle| bundle["dsseEnvelope"]["signatures"] = json!([])), "the bundle has not one signature"),
        (
            Box::new(|bundle| {
                let one = bundle["dsseEnvelope"]["signatures"][0].clone();
                bundle["dsseEnvelope"]["signatures"] = json!([one, one]);
            }),
            "the bundle has not one signature",
        ),
        (Box::new(|bundle| bundle["dsseEnvelope"]["payload"] = json!("*")), "the bundle has what is no base64"),
        (Box::new(|bundle| bundle["dsseEnvelope"] = json!(7)), "it is no bundle of sigstore's"),
    ] {
        assert_eq!(maker.bundle(kind, "{}", change), Verdict::None(why));
    }
    for bytes in [b"".as_slice(), b"{}", b"[]", b"\xff", br#"{"mediaType":"a","mediaType":"b"}"#, "[".repeat(100_000).as_bytes()]
    {
        assert_eq!(bundle(bytes).verdict(&maker.1), Verdict::None("it is no bundle of sigstore's"));
    }
    assert_eq!(simple(b"{}", "*").verdict(&maker.1), Verdict::None("its signature is no base64"));
    assert_eq!(with(Content::Unread("why")).verdict(&maker.1), Verdict::None("why"));
}
