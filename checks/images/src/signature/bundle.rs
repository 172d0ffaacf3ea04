//! Sigstore's bundle, version 0.3, with what cosign makes of it: a DSSE envelope around a statement of in-toto.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_registry::Digest;
use serde::Deserialize;

use super::{BUNDLE, Claim, NoClaim, Signed};

const PAYLOAD: &str = "application/vnd.in-toto+json";
/// The versions of statements.
const STATEMENTS: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];
/// What a statement says that signs an image. Others attest something about it: by the same key, perhaps, but what was found is not always good.
const SIGNS: &str = "https://sigstore.dev/cosign/sign/v1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    r#type: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    digest: Digests,
}

#[derive(Deserialize)]
struct Digests {
    sha256: Option<String>,
}

pub(super) fn signed(bundle: &[u8]) -> Result<Signed, &'static str> {
    let bundle: Bundle = serde_json::from_slice(bundle).map_err(|_| "it is no bundle of sigstore's")?;
    if bundle.media_type != BUNDLE {
        return Err("it is a bundle of another version than 0.3");
    }
    let envelope = bundle.dsse_envelope.ok_or("the bundle has no statement in it")?;
    let [signature] = envelope.signatures.as_slice() else { return Err("the bundle has not one signature") };
    let decoded = |text: &str| STANDARD.decode(text).map_err(|_| "the bundle has what is no base64");
    let (payload, signature) = (decoded(&envelope.payload)?, decoded(&signature.sig)?);
    if envelope.payload_type != PAYLOAD {
        return Err("the bundle has no statement of in-toto in it");
    }
    Ok(Signed { message: encoded(PAYLOAD, &payload), signature, payload, read })
}

/// What is signed of an envelope (DSSE 1.0, PAE).
fn encoded(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut encoded = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    encoded.extend_from_slice(payload);
    encoded
}

fn read(payload: &[u8]) -> Result<Claim, NoClaim> {
    let statement: Statement =
        serde_json::from_slice(payload).map_err(|_| NoClaim::Wrong("what is signed is no statement of in-toto"))?;
    if !STATEMENTS.contains(&statement.r#type.as_str()) {
        return Err(NoClaim::Wrong("what is signed is a statement of a version that is not known"));
    }
    if statement.predicate_type != SIGNS {
        return Err(NoClaim::Attests);
    }
    let digests = statement.subject.into_iter().filter_map(|subject| subject.digest.sha256);
    let images: Result<Vec<Digest>, _> = digests.map(|digest| format!("sha256:{digest}").parse()).collect();
    Ok(Claim { images: images.map_err(|_| NoClaim::Wrong("what is signed names a digest that is none"))?, name: None })
}
