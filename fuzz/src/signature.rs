//! Signatures of images, which whoever can write to a registry makes, and what is trusted.

use std::sync::OnceLock;

use coffer_crypto::{
    ecdsa::{Curve, EcdsaKey},
    spki::{VerifyingKey, ecdsa_pem},
};
use coffer_images::{Claim, Content, Digest, Signature, Trust, TrustFile, Verdict};

pub(crate) const WORDS: &[&str] = &[
    "\"critical\":{",
    "\"identity\":{\"docker-reference\":\"a.example/b\"}",
    "\"image\":{\"docker-manifest-digest\":\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}",
    "\"type\":\"cosign container image signature\"",
    "\"_type\":\"https://in-toto.io/Statement/v1\"",
    "\"subject\":[{\"digest\":{\"sha256\":\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}}]",
    "\"predicateType\":\"https://sigstore.dev/cosign/sign/v1\"",
    "\"dsseEnvelope\":{",
    "\"payloadType\":\"application/vnd.in-toto+json\"",
    "\"signatures\":[{\"sig\":\"MEQ=\"}]",
    "\"diff_ids\":[",
    "null",
    "\\u0000",
    "[[[[[[[[",
    "{}",
];

/// A key that nobody has but this run: nothing that comes from elsewhere is signed by it.
fn key() -> &'static (EcdsaKey, Vec<VerifyingKey>) {
    static KEY: OnceLock<(EcdsaKey, Vec<VerifyingKey>)> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = EcdsaKey::generate(Curve::P256).expect("random numbers");
        let pem = ecdsa_pem(Curve::P256, key.public_key());
        (key, VerifyingKey::from_pem(&pem, 1).expect("a key"))
    })
}

fn verdict(content: Content) -> Verdict<'static> {
    Signature { digest: Digest::of(&[]), content }.verdict(&key().1)
}

pub(crate) fn check(input: &[u8]) {
    for signature in [String::from_utf8_lossy(input).into_owned(), String::new()] {
        let content = Content::Simple { payload: input.to_vec(), signature };
        assert!(matches!(verdict(content), Verdict::None(_)), "nobody signed it");
    }
    assert!(matches!(verdict(Content::Bundle(input.to_vec())), Verdict::None(_)), "nobody signed it");

    // Signed by the key: what is said is what is there, whatever else is.
    let payload = input.to_vec();
    said(verdict(Content::Simple { signature: signed(input), payload }), input, true);
    let kind = "application/vnd.in-toto+json";
    let message = [format!("DSSEv1 {} {kind} {} ", kind.len(), input.len()).as_bytes(), input].concat();
    let bundle = format!(
        r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":{{"payloadType":"{kind}","payload":"{}","signatures":[{{"sig":"{}"}}]}}}}"#,
        base64(input),
        signed(&message)
    );
    said(verdict(Content::Bundle(bundle.into_bytes())), input, false);

    if let Ok(file) = serde_json::from_slice::<TrustFile>(input) {
        let has_keys = !file.cosign_keys.is_empty();
        let mut trust = Trust::default();
        if trust.add(file).is_ok() {
            assert_eq!(trust.has_keys(), has_keys, "every key is one");
        }
    }
}

/// Sees that what is signed was found to be, and that nothing was read from it that is not in it.
fn said(verdict: Verdict<'_>, payload: &[u8], is_named: bool) {
    let claim = match verdict {
        Verdict::By(_, claim) => claim,
        Verdict::None(why) => {
            assert!(!is_named && why.starts_with("it attests"), "it is signed: {why}");
            return;
        }
    };
    let Ok(Claim { images, name }) = claim else { return };
    assert!(is_named || name.is_none());
    // An escape could write a digit in another way; there is none in digests that programs write.
    let text = String::from_utf8_lossy(payload);
    for image in images {
        let digits = image.to_string().replace("sha256:", "");
        assert!(text.contains(&digits) || text.contains("\\u"), "{image} is not in {text}");
    }
}

fn signed(message: &[u8]) -> String {
    base64(&key().0.sign(message).expect("random numbers"))
}

/// Base64 with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_usize, |bits, at| bits << 8 | usize::from(chunk.get(at).copied().unwrap_or(0)));
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            let is_there = digit <= chunk.len();
            text.push(if is_there { char::from(DIGITS.get(value).copied().unwrap_or(b'=')) } else { '=' });
        }
    }
    text
}
