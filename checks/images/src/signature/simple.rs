//! Simple signing, with what cosign makes of it: a signature over JSON that names a manifest.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_registry::Digest;
use serde::Deserialize;

use super::{Claim, NoClaim, Signed};

/// What cosign calls its own.
const KIND: &str = "cosign container image signature";

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

/// What is unknown here may not be passed over: that is what it is called critical for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    r#type: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: Digest,
}

pub(super) fn signed(payload: &[u8], signature: &str) -> Result<Signed, &'static str> {
    let signature = STANDARD.decode(signature).map_err(|_| "its signature is no base64")?;
    Ok(Signed { message: payload.to_vec(), signature, payload: payload.to_vec(), read })
}

fn read(payload: &[u8]) -> Result<Claim, NoClaim> {
    let payload: Payload =
        serde_json::from_slice(payload).map_err(|_| NoClaim::Wrong("what is signed is no payload of simple signing"))?;
    let Critical { identity, image, r#type } = payload.critical;
    if r#type != KIND {
        return Err(NoClaim::Wrong("what is signed is no image, by its type"));
    }
    let name = Some(identity.docker_reference).filter(|name| !name.is_empty());
    Ok(Claim { images: vec![image.docker_manifest_digest], name })
}
