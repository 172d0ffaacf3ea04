//! An image in a registry, layer by layer.

use std::{
    collections::HashMap,
    io::{self, Cursor, Read},
    sync::Arc,
};

use coffer_registry::{Client, Digest, Reference};
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio_util::io::SyncIoBridge;

use super::Blobs;
use crate::digest::blob;

/// What a manifest says of the blobs that it names.
#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: Digest,
    size: u64,
}

pub(super) struct Remote {
    client: Arc<Client>,
    image: Reference,
    runtime: Handle,
    /// What manifests named so far: everything else is a manifest.
    blobs: HashMap<String, Descriptor>,
}

impl Remote {
    pub(super) fn new(client: Arc<Client>, image: Reference, runtime: Handle) -> Self {
        Self { client, image, runtime, blobs: HashMap::new() }
    }

    fn manifest(&mut self, name: &str) -> io::Result<Vec<u8>> {
        let digest = name.strip_prefix("blobs/").map(|name| name.replacen('/', ":", 1)).unwrap_or_default();
        let digest = digest.parse().map_err(io::Error::other)?;
        let manifest = self.runtime.block_on(self.client.manifest(&self.image.pinned(digest))).map_err(io::Error::other)?;
        self.note(&manifest.bytes);
        Ok(manifest.bytes)
    }

    /// Notes what a manifest names. What another has named before stays: the image's own comes before its signatures'.
    fn note(&mut self, manifest: &[u8]) {
        let Ok(Manifest { config, layers }) = serde_json::from_slice(manifest) else { return };
        for descriptor in config.into_iter().chain(layers) {
            self.blobs.entry(blob(&descriptor.digest)).or_insert(descriptor);
        }
    }
}

impl Blobs for Remote {
    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read + Send + '_>> {
        let Some(Descriptor { digest, size }) = self.blobs.get(name) else {
            return Ok(Box::new(Cursor::new(self.manifest(name)?)));
        };
        let blob = self.runtime.block_on(self.client.blob(&self.image, digest, *size)).map_err(io::Error::other)?;
        Ok(Box::new(SyncIoBridge::new_with_handle(blob, self.runtime.clone())))
    }

    fn size(&mut self, name: &str) -> io::Result<u64> {
        self.blobs.get(name).map(|blob| blob.size).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no manifest names it"))
    }

    fn tagged(&mut self, tag: &str) -> io::Result<Option<Vec<u8>>> {
        let tagged = self.image.tagged(tag).map_err(io::Error::other)?;
        let manifest = self.runtime.block_on(self.client.find(&tagged)).map_err(io::Error::other)?;
        let Some(manifest) = manifest else { return Ok(None) };
        self.note(&manifest.bytes);
        Ok(Some(manifest.bytes))
    }

    fn referrers(&mut self, image: &Digest, artifact_type: &str) -> io::Result<Vec<Digest>> {
        self.runtime.block_on(self.client.referrers(&self.image, image, artifact_type)).map_err(io::Error::other)
    }
}
