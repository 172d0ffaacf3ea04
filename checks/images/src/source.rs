//! Where an image comes from: a registry, a folder or an archive, of OCI's format or Docker's.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use serde::Deserialize;
use thiserror::Error;
use tokio::runtime::Handle;

mod archive;
mod beside;
mod choose;
mod folder;
mod memory;
mod remote;

use coffer_registry::{Client, Digest, Reference};

/// Bytes of an index, a manifest or a configuration, at most.
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// Layers of an image, at most.
pub const LAYERS_MAX: usize = 1_000;

/// Why an image cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// It cannot be read.
    #[error("{0} cannot be read: {1}")]
    Read(String, #[source] io::Error),
    /// The registry does not give it.
    #[error(transparent)]
    Registry(coffer_registry::Error),
    /// It is no image.
    #[error("{0}")]
    NotAnImage(String),
    /// There are several, and none is asked for.
    #[error("{0} has several images: say which ({1})")]
    Several(String, String),
    /// It is broken.
    #[error("{0} is broken: {1}")]
    Broken(String, String),
}

/// What of an image is wanted, where there are several.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// The tag, or the digest of the manifest.
    pub name: Option<String>,
    /// The platform, `linux/amd64` or `linux/arm64/v8`.
    pub platform: Option<String>,
}

/// An image: what it says of itself, and where its layers are.
pub struct Image {
    /// What it is called in its registry; none where it comes from somewhere else.
    pub reference: Option<Reference>,
    /// The digest of the index that it was chosen from, if there is one.
    pub index: Option<Digest>,
    /// All images of that index, this one among them; empty where it leads to another index first.
    pub index_images: Vec<Digest>,
    /// The digest of its manifest; none in Docker's archives, which have none.
    pub manifest: Option<Digest>,
    /// The digest of its configuration.
    pub config_digest: Digest,
    /// Its configuration.
    pub config: Config,
    /// Annotations of its manifest.
    pub annotations: Vec<(String, String)>,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerSource>,
    pub(crate) blobs: Box<dyn Blobs>,
}

/// One layer, before it is read.
#[derive(Debug, Clone)]
pub struct LayerSource {
    /// The digest of what is stored; none in Docker's archives.
    pub digest: Option<Digest>,
    /// The digest of what is in it when it is not compressed.
    pub diff_id: Option<Digest>,
    /// Its kind, as the manifest names it.
    pub media_type: String,
    /// What it is called where the image comes from.
    pub(crate) name: String,
}

/// What is stored, by name.
pub(crate) trait Blobs: Send {
    /// Reads one.
    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read + Send + '_>>;

    /// How many bytes it has.
    fn size(&mut self, name: &str) -> io::Result<u64>;

    /// The manifest that a tag stands for there; none where there is no such tag.
    fn tagged(&mut self, tag: &str) -> io::Result<Option<Vec<u8>>> {
        beside::tagged(self, tag)
    }

    /// The manifests of this artifact type that refer, or may refer, to an image.
    fn referrers(&mut self, image: &Digest, artifact_type: &str) -> io::Result<Vec<Digest>> {
        beside::referrers(self, image, artifact_type)
    }
}

/// An image's configuration, as far as it matters here (OCI image-spec, `config.md`).
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Config {
    /// When it was made.
    pub created: Option<String>,
    /// The processor that it is for.
    pub architecture: Option<String>,
    /// The system that it is for.
    pub os: Option<String>,
    /// How it is run.
    #[serde(default)]
    pub config: Run,
    /// Its layers.
    #[serde(default)]
    pub rootfs: RootFs,
    /// How it was made.
    #[serde(default)]
    pub history: Vec<History>,
}

/// How an image is run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Run {
    /// The user.
    pub user: Option<String>,
    /// The environment, `NAME=value`.
    pub env: Option<Vec<String>>,
    /// The program and its first arguments.
    pub entrypoint: Option<Vec<String>>,
    /// The rest of them.
    pub cmd: Option<Vec<String>>,
    /// Labels.
    pub labels: Option<std::collections::BTreeMap<String, String>>,
    /// Ports, `22/tcp`.
    pub exposed_ports: Option<std::collections::BTreeMap<String, serde_json::Value>>,
    /// Volumes.
    pub volumes: Option<std::collections::BTreeMap<String, serde_json::Value>>,
    /// How its health is asked for.
    pub healthcheck: Option<Healthcheck>,
    /// What an image does that is made from it.
    pub on_build: Option<Vec<String>>,
}

/// How an image's health is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// The command.
    pub test: Option<Vec<String>>,
}

/// The digests of an image's layers.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RootFs {
    /// The lowest first.
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

/// One step of how an image was made.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct History {
    /// The command.
    pub created_by: Option<String>,
    /// What somebody said about it.
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(default)]
    pub empty_layer: bool,
}

impl Image {
    /// An image in memory: layers, the lowest first, as they are stored. For whoever tries what layers can be made of.
    #[must_use]
    pub fn in_memory(config: Config, layers: Vec<Vec<u8>>) -> Self {
        memory::image(config, layers)
    }

    /// Opens an image in a registry. It must be called on a thread that may wait, and `runtime` goes on elsewhere.
    ///
    /// # Errors
    /// Where the registry does not give it, or it is broken.
    pub fn pull(client: Arc<Client>, reference: &Reference, runtime: &Handle, choice: &Choice) -> Result<Self, OpenError> {
        let name = reference.to_string();
        let digest = runtime.block_on(client.resolve(reference)).map_err(OpenError::Registry)?;
        let blobs = remote::Remote::new(client, reference.pinned(digest), runtime.clone());
        let image = choose::by_digest(&name, Box::new(blobs), digest, choice)?;
        Ok(Self { reference: Some(reference.clone()), ..image })
    }

    /// Opens the image in a folder (an OCI layout) or in a file (an archive of OCI's format or Docker's, not compressed).
    ///
    /// # Errors
    /// Where it cannot be read, is none, is broken, or has several images of which none is chosen.
    pub fn open(path: &Path, choice: &Choice) -> Result<Self, OpenError> {
        let name = path.display().to_string();
        let unread = |error| OpenError::Read(name.clone(), error);
        let metadata = path.metadata().map_err(unread)?;
        if metadata.is_dir() {
            return choose::oci(&name, Box::new(folder::Folder::new(path)), choice);
        }
        let archive = archive::Archive::open(File::open(path).map_err(unread)?);
        let archive = archive.map_err(|error| OpenError::NotAnImage(format!("{name} is no archive of an image: {error}")))?;
        if archive.has("index.json") {
            choose::oci(&name, Box::new(archive), choice)
        } else if archive.has("manifest.json") {
            choose::docker(&name, Box::new(archive), choice)
        } else {
            Err(OpenError::NotAnImage(format!("{name} has neither index.json (OCI) nor manifest.json (docker save)")))
        }
    }
}

#[cfg(test)]
mod tests;
