//! Images for tests, written as they would be by a builder, or by somebody who means harm.

use std::{fs, io::Write as _, path::Path};

use serde_json::json;
use tempfile::TempDir;

use crate::{Choice, Digest, Facts, Image, OpenError, digest::blob, gather};

/// A layer's archive.
pub(crate) struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(path, tar::EntryType::Regular, 0o644, content)
    }

    pub(crate) fn entry(mut self, path: &str, kind: tar::EntryType, mode: u32, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        self.0.append_data(&mut header, path, content).unwrap();
        self
    }

    /// Another name of a file.
    pub(crate) fn link(mut self, path: &str, to: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Link);
        header.set_mode(0o644);
        header.set_size(0);
        self.0.append_link(&mut header, path, to).unwrap();
        self
    }

    /// An entry whose name is taken as it is.
    pub(crate) fn raw(mut self, name: &[u8], kind: u8, size: u64, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o644);
        header.set_size(size);
        header.set_cksum();
        let out = self.0.get_mut();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// An OCI layout in a folder of its own.
pub(crate) struct Layout {
    pub(crate) folder: TempDir,
}

/// What a layer is stored as, and what it is.
pub(crate) struct Stored {
    pub(crate) blob: Vec<u8>,
    pub(crate) diff_id: Digest,
    pub(crate) media_type: &'static str,
}

impl From<Layer> for Stored {
    fn from(layer: Layer) -> Self {
        let bytes = layer.bytes();
        Self { diff_id: Digest::of(&bytes), blob: gzip(&bytes), media_type: "application/vnd.oci.image.layer.v1.tar+gzip" }
    }
}

impl Layout {
    pub(crate) fn new(config: serde_json::Value, layers: Vec<Stored>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        let mut config = config;
        config["rootfs"] = json!({ "type": "layers", "diff_ids": layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>() });
        let config = put(folder.path(), config.to_string().as_bytes());
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| json!({ "mediaType": layer.media_type, "digest": put(folder.path(), &layer.blob), "size": layer.blob.len() }))
            .collect();
        let manifest =
            json!({ "schemaVersion": 2, "config": { "mediaType": "c", "digest": config, "size": 1 }, "layers": layers });
        let manifest = put(folder.path(), manifest.to_string().as_bytes());
        let index = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": "m", "digest": manifest, "size": 1 }] });
        fs::write(folder.path().join("index.json"), index.to_string()).unwrap();
        Self { folder }
    }

    pub(crate) fn open(&self) -> Result<Image, OpenError> {
        Image::open(self.folder.path(), &Choice::default())
    }

    pub(crate) fn facts(&self) -> Facts {
        gather(self.open().unwrap(), &mut |_| ())
    }
}

/// The facts of an image with these layers.
pub(crate) fn facts(layers: Vec<Layer>) -> Facts {
    Layout::new(json!({}), layers.into_iter().map(Stored::from).collect()).facts()
}

pub(crate) fn put(folder: &Path, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    fs::write(folder.join(blob(&digest)), bytes).unwrap();
    digest
}
