//! From an index to one image.

use std::{collections::BTreeMap, io::Read as _};

use coffer_registry::Digest;
use serde::{Deserialize, de::DeserializeOwned};

use super::{Blobs, Choice, Config, DOCUMENT_BYTES_MAX, Image, LAYERS_MAX, LayerSource, OpenError};
use crate::{digest::blob, signature::BUNDLE};

/// Indexes within indexes, at most.
pub(super) const DEPTH_MAX: usize = 4;
pub(super) const TAG: &str = "org.opencontainers.image.ref.name";
/// What `cosign save` says that a manifest is.
pub(super) const COSIGN_KIND: &str = "kind";
/// What it says of signatures; of attestations it has another word.
pub(super) const COSIGN_SIGNATURES: &str = "dev.cosignproject.cosign/sigs";
const COSIGN_ATTESTATIONS: &str = "dev.cosignproject.cosign/atts";
/// Hexadecimal digits of a digest.
const DIGEST_DIGITS: usize = 64;

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
    artifact_type: Option<String>,
}

impl Descriptor {
    /// Whether it lies beside an image, and is none: signatures and attestations, by what those who put them there say of them.
    fn is_beside(&self) -> bool {
        let kind = self.annotations.get(COSIGN_KIND).map(String::as_str);
        let digits = self.annotations.get(TAG).and_then(|tag| tag.strip_prefix("sha256-"));
        self.artifact_type.as_deref() == Some(BUNDLE)
            || kind.is_some_and(|kind| matches!(kind, COSIGN_SIGNATURES | COSIGN_ATTESTATIONS))
            || digits.and_then(|digits| digits.split('.').next()).is_some_and(|digits| digits.len() == DIGEST_DIGITS)
    }
}

#[derive(Clone, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

impl Platform {
    fn name(&self) -> String {
        let variant = if self.variant.is_empty() { String::new() } else { format!("/{}", self.variant) };
        format!("{}/{}{variant}", self.os, self.architecture)
    }

    fn is(&self, wanted: &str) -> bool {
        self.name() == wanted || format!("{}/{}", self.os, self.architecture) == wanted
    }
}

/// A manifest, or an index: which of them is seen from what it has.
#[derive(Deserialize)]
struct Document {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// What is read while an image is chosen.
struct Reader<'a> {
    name: &'a str,
    blobs: Box<dyn Blobs>,
}

impl Reader<'_> {
    fn broken(&self, why: impl Into<String>) -> OpenError {
        OpenError::Broken(self.name.to_owned(), why.into())
    }

    fn bytes(&mut self, name: &str) -> Result<Vec<u8>, OpenError> {
        let mut bytes = Vec::new();
        let read = self.blobs.open(name).and_then(|blob| blob.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
        read.map_err(|error| OpenError::Broken(self.name.to_owned(), format!("{name}: {error}")))?;
        match bytes.len() > DOCUMENT_BYTES_MAX {
            true => Err(self.broken(format!("{name} has more than {DOCUMENT_BYTES_MAX} bytes"))),
            false => Ok(bytes),
        }
    }

    fn parsed<T: DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Result<T, OpenError> {
        serde_json::from_slice(bytes).map_err(|error| self.broken(format!("{name} is not what it should be: {error}")))
    }

    /// A document that its digest names.
    fn document<T: DeserializeOwned>(&mut self, digest: &Digest) -> Result<T, OpenError> {
        let name = blob(digest);
        let bytes = self.bytes(&name)?;
        if Digest::of(&bytes) != *digest {
            return Err(self.broken(format!("{name} has another digest than its name")));
        }
        self.parsed(&name, &bytes)
    }
}

/// The image of an OCI layout.
pub(super) fn oci(name: &str, blobs: Box<dyn Blobs>, choice: &Choice) -> Result<Image, OpenError> {
    let mut reader = Reader { name, blobs };
    let bytes = reader.bytes("index.json").map_err(|error| match error {
        OpenError::Broken(name, why) => OpenError::NotAnImage(format!("{name} is no OCI layout: {why}")),
        other => other,
    })?;
    let index: Index = reader.parsed("index.json", &bytes)?;
    let named = |descriptor: &&Descriptor| {
        let wanted = choice.name.as_deref();
        wanted.is_none_or(|wanted| {
            descriptor.annotations.get(TAG).is_some_and(|tag| tag == wanted) || descriptor.digest.to_string() == wanted
        })
    };
    let is_meant = |descriptor: &&Descriptor| choice.name.is_some() || !descriptor.is_beside();
    let candidates: Vec<Descriptor> = index.manifests.iter().filter(named).filter(is_meant).cloned().collect();
    let tags = || {
        index
            .manifests
            .iter()
            .filter(|descriptor| !descriptor.is_beside())
            .map(|descriptor| descriptor.annotations.get(TAG).cloned().unwrap_or_else(|| descriptor.digest.to_string()))
    };
    let chosen = match (candidates.as_slice(), &choice.name) {
        ([one], _) => one.clone(),
        ([], Some(wanted)) => {
            let tags: Vec<_> = tags().collect();
            return Err(OpenError::NotAnImage(format!("{name} has no image {wanted}: there are {}", tags.join(", "))));
        }
        ([], None) => return Err(OpenError::NotAnImage(format!("{name} has no image"))),
        (several, _) if several.iter().all(|descriptor| descriptor.platform.is_some()) => of_platform(name, several, choice)?,
        _ => return Err(OpenError::Several(name.to_owned(), tags().collect::<Vec<_>>().join(", "))),
    };
    followed(reader, chosen.digest, choice)
}

/// The image that a manifest's or an index' digest leads to.
pub(super) fn by_digest(name: &str, blobs: Box<dyn Blobs>, digest: Digest, choice: &Choice) -> Result<Image, OpenError> {
    followed(Reader { name, blobs }, digest, choice)
}

fn followed(mut reader: Reader<'_>, mut digest: Digest, choice: &Choice) -> Result<Image, OpenError> {
    let (mut index, mut index_images) = (None, Vec::new());
    for _ in 0..DEPTH_MAX {
        let document: Document = reader.document(&digest)?;
        if let Some(manifests) = document.manifests {
            // What an index within an index has beside it is not told: there is no one list of what the outermost stands for.
            index_images = if index.is_none() { images(&manifests).map(|image| image.digest).collect() } else { Vec::new() };
            index.get_or_insert(digest);
            digest = of_platform(reader.name, &manifests, choice)?.digest;
            continue;
        }
        let config = document.config.ok_or_else(|| reader.broken("its manifest names no configuration"))?;
        let parsed: Config = reader.document(&config.digest)?;
        check_count(&reader, document.layers.len())?;
        let layers = document.layers.into_iter().enumerate().map(|(number, layer)| LayerSource {
            name: blob(&layer.digest),
            diff_id: parsed.rootfs.diff_ids.get(number).cloned(),
            digest: Some(layer.digest),
            media_type: layer.media_type,
        });
        return Ok(Image {
            reference: None,
            index,
            index_images,
            manifest: Some(digest),
            config_digest: config.digest,
            layers: layers.collect(),
            config: parsed,
            annotations: document.annotations.into_iter().collect(),
            blobs: reader.blobs,
        });
    }
    Err(reader.broken(format!("indexes lead to indexes, {DEPTH_MAX} deep")))
}

/// The images of an index. Attestations of BuildKit's are none.
fn images(manifests: &[Descriptor]) -> impl Iterator<Item = &Descriptor> {
    manifests.iter().filter(|image| image.platform.as_ref().is_none_or(|platform| platform.os != "unknown"))
}

/// The one for the platform, which need not be said where there is one only.
fn of_platform(name: &str, manifests: &[Descriptor], choice: &Choice) -> Result<Descriptor, OpenError> {
    let images: Vec<&Descriptor> = images(manifests).collect();
    let platforms = || images.iter().filter_map(|image| Some(image.platform.as_ref()?.name())).collect::<Vec<_>>().join(", ");
    if let ([one], None) = (images.as_slice(), &choice.platform) {
        return Ok((*one).clone());
    }
    let wanted = choice.platform.clone().unwrap_or_else(|| format!("linux/{}", architecture()));
    let fit = images.iter().find(|image| image.platform.as_ref().is_some_and(|platform| platform.is(&wanted)));
    fit.map(|image| (*image).clone())
        .ok_or_else(|| OpenError::NotAnImage(format!("{name} has no image for {wanted}: there are {}", platforms())))
}

/// This machine's processor, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The image of an archive of `docker save`.
pub(super) fn docker(name: &str, blobs: Box<dyn Blobs>, choice: &Choice) -> Result<Image, OpenError> {
    let mut reader = Reader { name, blobs };
    let bytes = reader.bytes("manifest.json")?;
    let mut manifests: Vec<DockerManifest> = reader.parsed("manifest.json", &bytes)?;
    let tags: Vec<String> = manifests.iter().flat_map(|image| image.repo_tags.clone().unwrap_or_default()).collect();
    if let Some(wanted) = &choice.name {
        let is_wanted = |tag: &String| tag == wanted || tag.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted);
        manifests.retain(|image| image.repo_tags.iter().flatten().any(is_wanted));
    }
    let (Some(chosen), true) = (manifests.first(), manifests.len() < 2) else {
        return Err(match manifests.len() {
            0 => OpenError::NotAnImage(format!("{name} has no such image: there are {}", tags.join(", "))),
            _ => OpenError::Several(name.to_owned(), tags.join(", ")),
        });
    };
    let bytes = reader.bytes(&chosen.config)?;
    let config: Config = reader.parsed(&chosen.config, &bytes)?;
    check_count(&reader, chosen.layers.len())?;
    let layers = chosen.layers.iter().enumerate().map(|(number, layer)| LayerSource {
        name: layer.clone(),
        digest: None,
        diff_id: config.rootfs.diff_ids.get(number).cloned(),
        media_type: "application/vnd.docker.image.rootfs.diff.tar".to_owned(),
    });
    Ok(Image {
        reference: None,
        index: None,
        index_images: Vec::new(),
        manifest: None,
        config_digest: Digest::of(&bytes),
        layers: layers.collect(),
        config,
        annotations: Vec::new(),
        blobs: reader.blobs,
    })
}

fn check_count(reader: &Reader<'_>, layers: usize) -> Result<(), OpenError> {
    if layers > LAYERS_MAX { Err(reader.broken(format!("it has {layers} layers: {LAYERS_MAX} is the limit"))) } else { Ok(()) }
}
