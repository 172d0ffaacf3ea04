//! Archives of images, which anybody may have made: which image is in them, and what it is made of.

use std::io::Write as _;

use coffer_images::{Choice, Image, LAYERS_MAX, gather};
use tempfile::NamedTempFile;

pub(crate) const WORDS: &[&str] = &[
    "index.json\0",
    "manifest.json\0",
    "oci-layout\0",
    "blobs/sha256/",
    "../",
    "\"manifests\":[",
    "\"layers\":[",
    "\"Layers\":[\"layer.tar\"]",
    "\"RepoTags\":[\"x:1\"]",
    "\"Config\":\"config.json\"",
    "\"mediaType\":\"application/vnd.oci.image.index.v1+json\"",
    "\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}",
    "\"digest\":\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
    "\"size\":0",
    "ustar\0",
    "00000000010\0",
    "77777777777\0",
    "null",
];

pub(crate) fn check(input: &[u8]) {
    let mut file = NamedTempFile::new().expect("there is room for a file");
    file.write_all(input).expect("there is room for it");
    let choices = [(None, None), (Some("x:1"), None), (None, Some("linux/amd64"))];
    for (name, platform) in choices.map(|(name, platform)| (name.map(str::to_owned), platform.map(str::to_owned))) {
        let Ok(image) = Image::open(file.path(), &Choice { name, platform }) else { continue };
        let layers = image.layers.len();
        assert!(layers <= LAYERS_MAX, "{layers}");
        assert_eq!(gather(image, &mut |_| ()).layers.len(), layers, "each layer was looked at, or said not to be");
    }
}
