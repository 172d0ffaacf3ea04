//! What lies beside an image: its signatures, in a registry or in a layout.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
};

use coffer_registry::Digest;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Blobs, DOCUMENT_BYTES_MAX, Image, OpenError,
    choose::{COSIGN_KIND, COSIGN_SIGNATURES, TAG},
};
use crate::{
    digest::blob,
    signature::{BUNDLE, Content, More, SIGNATURE_BYTES_MAX, SIGNATURES_MAX, SIMPLE, SIMPLE_ANNOTATION, Signature, Signatures},
};

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// A manifest of signatures.
#[derive(Deserialize)]
struct Manifest {
    subject: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    artifact_type: Option<String>,
    digest: Digest,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Why something was not read.
enum Unread {
    /// It is not what it should be: of one signature.
    Broken(&'static str),
    /// Nobody answers: of all.
    Away(OpenError),
}

impl Image {
    /// The signatures that lie beside the image, and beside the index that it was chosen from. On nothing of them is anything to be believed:
    /// [`Signature::verdict`].
    ///
    /// # Errors
    /// Where the registry does not answer, or the layout cannot be read.
    pub fn signatures(&mut self) -> Result<Signatures, OpenError> {
        let Some(manifest) = self.manifest else {
            return Ok(Signatures::Nowhere("an archive of docker save has no manifest that anybody could have signed"));
        };
        let (mut found, mut more) = (Vec::new(), More::No);
        for digest in [Some(manifest), self.index].into_iter().flatten() {
            let mut beside = Beside { blobs: &mut *self.blobs, found: Vec::new(), more: More::No };
            beside.simple(&digest)?;
            beside.bundles(&digest)?;
            if beside.more == More::Yes {
                more = More::Yes;
            }
            found.append(&mut beside.found);
        }
        Ok(Signatures::Found(found, more))
    }
}

/// What lies beside one manifest.
struct Beside<'a> {
    blobs: &'a mut dyn Blobs,
    found: Vec<Signature>,
    more: More,
}

impl Beside<'_> {
    /// Whether there is room for one more.
    fn has_room(&mut self) -> bool {
        let has_room = self.found.len() < SIGNATURES_MAX;
        if !has_room {
            self.more = More::Yes;
        }
        has_room
    }

    /// Simple signing: a manifest with a layer for each signature, at a tag that the image's digest makes.
    fn simple(&mut self, image: &Digest) -> Result<(), OpenError> {
        let tag = format!("{}.sig", image.to_string().replacen(':', "-", 1));
        let Some(bytes) = self.blobs.tagged(&tag).map_err(away)? else { return Ok(()) };
        let Some(Manifest { layers, .. }) = parsed(&bytes) else {
            self.found.push(Signature { digest: Digest::of(&bytes), content: Content::Unread("its manifest is none") });
            return Ok(());
        };
        for mut layer in layers.into_iter().filter(|layer| layer.media_type == SIMPLE) {
            if !self.has_room() {
                break;
            }
            let content = match layer.annotations.remove(SIMPLE_ANNOTATION) {
                Some(signature) => self.content(&layer.digest, |payload| Content::Simple { payload, signature })?,
                None => Content::Unread("its manifest does not have it"),
            };
            self.found.push(Signature { digest: layer.digest, content });
        }
        Ok(())
    }

    /// Bundles: each in a manifest that refers to the image.
    fn bundles(&mut self, image: &Digest) -> Result<(), OpenError> {
        let referrers = self.blobs.referrers(image, BUNDLE).map_err(away)?;
        if referrers.len() > SIGNATURES_MAX {
            self.more = More::Yes;
        }
        for referrer in referrers.into_iter().take(SIGNATURES_MAX) {
            if !self.has_room() {
                break;
            }
            let manifest = match self.whole(&referrer, DOCUMENT_BYTES_MAX) {
                Ok(bytes) => parsed::<Manifest>(&bytes).ok_or("its manifest is none"),
                Err(Unread::Broken(why)) => Err(why),
                Err(Unread::Away(error)) => return Err(error),
            };
            let manifest = match manifest {
                Ok(manifest) => manifest,
                Err(why) => {
                    self.found.push(Signature { digest: referrer, content: Content::Unread(why) });
                    continue;
                }
            };
            if manifest.subject.is_some_and(|subject| subject.digest != *image) {
                continue;
            }
            for layer in manifest.layers.into_iter().filter(|layer| layer.media_type == BUNDLE) {
                if !self.has_room() {
                    break;
                }
                let content = self.content(&layer.digest, Content::Bundle)?;
                self.found.push(Signature { digest: layer.digest, content });
            }
        }
        Ok(())
    }

    fn content(&mut self, digest: &Digest, of: impl FnOnce(Vec<u8>) -> Content) -> Result<Content, OpenError> {
        // What a manifest says of its size decides whether it is asked for; what comes is bounded all the same.
        let size = self.blobs.size(&blob(digest)).unwrap_or(0);
        if size > SIGNATURE_BYTES_MAX as u64 {
            return Ok(Content::Unread("it is larger than a signature is"));
        }
        match self.whole(digest, SIGNATURE_BYTES_MAX) {
            Ok(bytes) => Ok(of(bytes)),
            Err(Unread::Broken(why)) => Ok(Content::Unread(why)),
            Err(Unread::Away(error)) => Err(error),
        }
    }

    /// What a digest names, of at most so many bytes.
    fn whole(&mut self, digest: &Digest, bytes_max: usize) -> Result<Vec<u8>, Unread> {
        let bytes = read(&mut *self.blobs, &blob(digest), bytes_max).map_err(|error| match of_registry(&error) {
            Some(refused) if refused.is_transient() => Unread::Away(OpenError::Registry(refused.clone())),
            _ => Unread::Broken("it is not where its manifest says, or not whole"),
        })?;
        match bytes {
            Some(bytes) if Digest::of(&bytes) == *digest => Ok(bytes),
            Some(_) => Err(Unread::Broken("it has another digest than its manifest says")),
            None => Err(Unread::Broken("it is larger than a signature is")),
        }
    }
}

/// What an error is from a registry, as it came through what is read.
fn of_registry(error: &io::Error) -> Option<&coffer_registry::Error> {
    error.get_ref().and_then(|error| error.downcast_ref())
}

fn away(error: io::Error) -> OpenError {
    match of_registry(&error) {
        Some(refused) => OpenError::Registry(refused.clone()),
        None => OpenError::Read("what lies beside the image".to_owned(), error),
    }
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// A whole blob; none where it has more bytes.
fn read<B: Blobs + ?Sized>(blobs: &mut B, name: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    blobs.open(name)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= bytes_max).then_some(bytes))
}

/// What is in a layout's index; nothing where there is none.
fn index<B: Blobs + ?Sized>(blobs: &mut B) -> io::Result<Vec<Descriptor>> {
    match read(blobs, "index.json", DOCUMENT_BYTES_MAX) {
        Ok(bytes) => Ok(bytes.and_then(|bytes| parsed::<Index>(&bytes)).map(|index| index.manifests).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The manifest that a layout's index has under a tag; or where that is one of signatures, as those that `cosign save` has put there.
pub(super) fn tagged<B: Blobs + ?Sized>(blobs: &mut B, tag: &str) -> io::Result<Option<Vec<u8>>> {
    let index = index(blobs)?;
    let with = |name: &str, value: &str| index.iter().find(|found| found.annotations.get(name).is_some_and(|is| is == value));
    let saved = || tag.strip_suffix(".sig").and_then(|_| with(COSIGN_KIND, COSIGN_SIGNATURES));
    let Some(found) = with(TAG, tag).or_else(saved) else { return Ok(None) };
    let bytes = read(blobs, &blob(&found.digest), DOCUMENT_BYTES_MAX)?;
    Ok(bytes.filter(|bytes| Digest::of(bytes) == found.digest))
}

/// The manifests of this kind in a layout's index, and in the index under the tag that stands for what refers to an image.
pub(super) fn referrers<B: Blobs + ?Sized>(blobs: &mut B, image: &Digest, artifact_type: &str) -> io::Result<Vec<Digest>> {
    let mut found = index(blobs)?;
    // Programs that copy them do not all say what they are.
    found.retain(|descriptor| descriptor.artifact_type.is_some() || descriptor.annotations.is_empty());
    let tagged = tagged(blobs, &image.to_string().replacen(':', "-", 1))?;
    found.extend(tagged.and_then(|bytes| parsed::<Index>(&bytes)).into_iter().flat_map(|index| index.manifests));
    let is_of_type = |descriptor: &Descriptor| descriptor.artifact_type.as_deref().is_none_or(|kind| kind == artifact_type);
    let mut digests: Vec<Digest> = found.into_iter().filter(is_of_type).map(|descriptor| descriptor.digest).collect();
    digests.retain(|digest| digest != image);
    digests.sort_unstable();
    digests.dedup();
    Ok(digests)
}
