//! An image in memory.

use std::{
    collections::HashMap,
    io::{self, Read},
};

use coffer_registry::Digest;

use super::{Blobs, Config, Image, LayerSource};
use crate::digest::blob;

struct Memory(HashMap<String, Vec<u8>>);

pub(super) fn image(config: Config, layers: Vec<Vec<u8>>) -> Image {
    let stored = layers.into_iter().map(|bytes| (Digest::of(&bytes), bytes));
    let (mut sources, mut blobs) = (Vec::new(), HashMap::new());
    for (digest, bytes) in stored {
        let name = blob(&digest);
        sources.push(LayerSource { digest: Some(digest), diff_id: None, media_type: String::new(), name: name.clone() });
        blobs.insert(name, bytes);
    }
    Image {
        reference: None,
        index: None,
        index_images: Vec::new(),
        manifest: None,
        config_digest: Digest::of(&[]),
        config,
        annotations: Vec::new(),
        layers: sources,
        blobs: Box::new(Memory(blobs)),
    }
}

impl Memory {
    fn bytes(&self, name: &str) -> io::Result<&[u8]> {
        self.0.get(name).map(Vec::as_slice).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Blobs for Memory {
    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.bytes(name)?))
    }

    fn size(&mut self, name: &str) -> io::Result<u64> {
        self.bytes(name).map(|bytes| bytes.len() as u64)
    }
}
