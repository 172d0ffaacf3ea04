use std::fs;

use serde_json::{Value, json};

use super::{archive::ARCHIVE_FILES_MAX, choose::DEPTH_MAX, *};
use crate::{
    digest::blob,
    kit::{Layer, Layout, put},
};

/// A layout whose index has these manifests, made from that of one image.
fn layout(manifests: impl Fn(&Layout, &Value) -> Value) -> Layout {
    let layout = Layout::new(json!({ "os": "linux" }), vec![Layer::new().file("a", b"a").into()]);
    let path = layout.folder.path().join("index.json");
    let index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let manifests = manifests(&layout, &index["manifests"][0]);
    fs::write(&path, json!({ "manifests": manifests }).to_string()).unwrap();
    layout
}

fn with(descriptor: &Value, name: &str, value: Value) -> Value {
    let mut descriptor = descriptor.clone();
    descriptor[name] = value;
    descriptor
}

fn tagged(descriptor: &Value, tag: &str) -> Value {
    with(descriptor, "annotations", json!({ "org.opencontainers.image.ref.name": tag }))
}

fn choice(name: Option<&str>, platform: Option<&str>) -> Choice {
    Choice { name: name.map(Into::into), platform: platform.map(Into::into) }
}

fn opened(layout: &Layout, choice: &Choice) -> Result<Image, String> {
    Image::open(layout.folder.path(), choice).map_err(|error| error.to_string())
}

/// An archive of `docker save`, with a layer that is there by a link.
fn docker(manifest: &Value) -> tempfile::NamedTempFile {
    let config = json!({ "os": "linux", "rootfs": { "diff_ids": [] } }).to_string();
    let layer = Layer::new().file("a", b"a").bytes();
    let archive = Layer::new().file("x.json", config.as_bytes()).file("1/layer.tar", &layer);
    let archive = archive.file("manifest.json", manifest.to_string().as_bytes()).bytes();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), archive).unwrap();
    file
}

#[test]
fn an_image_is_chosen_by_its_tag_where_there_are_several() {
    let layout = layout(|_, one| json!([tagged(one, "v1"), tagged(one, "v2")]));
    assert!(opened(&layout, &choice(Some("v1"), None)).is_ok());
    let several = opened(&layout, &Choice::default()).err().unwrap();
    assert!(several.ends_with("has several images: say which (v1, v2)"), "{several}");
    let none = opened(&layout, &choice(Some("v3"), None)).err().unwrap();
    assert!(none.ends_with("has no image v3: there are v1, v2"), "{none}");
}

#[test]
fn an_image_is_chosen_by_its_platform_and_attestations_are_none() {
    let platform = |os: &str, architecture: &str| json!({ "os": os, "architecture": architecture });
    let layout = layout(|layout, one| {
        let images = ["amd64", "arm64"].map(|architecture| with(one, "platform", platform("linux", architecture)));
        let attestation = with(one, "platform", platform("unknown", "unknown"));
        let index = json!({ "manifests": [images[0], images[1], attestation] });
        json!([{ "digest": put(layout.folder.path(), index.to_string().as_bytes()) }])
    });
    let image = opened(&layout, &choice(None, Some("linux/arm64"))).unwrap();
    assert!(image.index.is_some());
    assert_eq!(image.index_images.len(), 2, "an attestation is no image");
    assert!(image.manifest.is_some_and(|manifest| image.index_images.contains(&manifest)));
    let none = opened(&layout, &choice(None, Some("linux/riscv64"))).err().unwrap();
    assert!(none.ends_with("has no image for linux/riscv64: there are linux/amd64, linux/arm64"), "{none}");
}

#[test]
fn indexes_are_followed_as_deep_as_the_limit() {
    let deep = |depth: usize| {
        let layout = layout(|layout, one| {
            let mut descriptor = one.clone();
            for _ in 0..depth {
                let index = json!({ "manifests": [descriptor] });
                descriptor = json!({ "digest": put(layout.folder.path(), index.to_string().as_bytes()) });
            }
            json!([descriptor])
        });
        opened(&layout, &Choice::default()).is_ok()
    };
    assert!(deep(DEPTH_MAX - 1));
    assert!(!deep(DEPTH_MAX));
}

#[test]
fn an_image_has_as_many_layers_as_the_limit_and_no_more() {
    let with_layers = |count: usize| {
        let layers = (0..count).map(|_| Layer::new().into()).collect();
        Layout::new(json!({}), layers).open().map(|image| image.layers.len()).map_err(|error| error.to_string())
    };
    assert_eq!(with_layers(LAYERS_MAX), Ok(LAYERS_MAX));
    assert!(with_layers(LAYERS_MAX + 1).unwrap_err().contains("1001 layers: 1000 is the limit"));
}

#[test]
fn a_document_past_the_limit_is_refused() {
    let padded = |bytes: usize| {
        let layout = layout(|_, one| json!([one]));
        let path = layout.folder.path().join("index.json");
        let mut text = fs::read(&path).unwrap();
        text.resize(bytes, b' ');
        fs::write(&path, text).unwrap();
        opened(&layout, &Choice::default()).is_ok()
    };
    assert!(padded(DOCUMENT_BYTES_MAX));
    assert!(!padded(DOCUMENT_BYTES_MAX + 1));
}

#[test]
fn what_a_digest_names_must_be_it() {
    let layout = layout(|_, one| json!([one]));
    let image = opened(&layout, &Choice::default()).unwrap();
    let path = layout.folder.path().join(blob(&image.config_digest));
    fs::write(path, "{}").unwrap();
    assert!(opened(&layout, &Choice::default()).err().unwrap().contains("another digest than its name"));
}

#[test]
fn a_layout_cannot_have_files_of_this_machine_read() {
    let layout = layout(|_, one| json!([one]));
    let image = opened(&layout, &Choice::default()).unwrap();
    let path = layout.folder.path().join(blob(&image.config_digest));
    fs::rename(&path, layout.folder.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(layout.folder.path().join("elsewhere"), &path).unwrap();
    assert!(opened(&layout, &Choice::default()).err().unwrap().contains("no file of the layout's own"));
}

#[test]
fn an_archive_of_docker_is_read_and_its_layers_by_their_links_too() {
    let image = |layers: Value| json!({ "Config": "x.json", "RepoTags": ["localhost/app:v1"], "Layers": layers });
    let one = docker(&json!([image(json!(["1/layer.tar"]))]));
    let facts = crate::gather(Image::open(one.path(), &Choice::default()).unwrap(), &mut |_| ());
    assert_eq!((facts.layers[0].files, &facts.layers[0].outcome), (1, &crate::Outcome::Read));
    for tag in ["v1", "localhost/app:v1"] {
        assert!(Image::open(one.path(), &choice(Some(tag), None)).is_ok(), "{tag}");
    }
    let none = Image::open(one.path(), &choice(Some("v2"), None)).err().unwrap().to_string();
    assert!(none.ends_with("has no such image: there are localhost/app:v1"), "{none}");
    let two = docker(&json!([image(json!([])), image(json!([]))]));
    assert!(matches!(Image::open(two.path(), &Choice::default()), Err(OpenError::Several(..))));
    let lost = docker(&json!([image(json!(["2/layer.tar"]))]));
    let facts = crate::gather(Image::open(lost.path(), &Choice::default()).unwrap(), &mut |_| ());
    assert_eq!(facts.layers[0].outcome, crate::Outcome::Unread("it has no 2/layer.tar".into()));
}

#[test]
fn other_files_are_refused_by_what_they_are() {
    let refused = |bytes: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        Image::open(file.path(), &Choice::default()).err().unwrap().to_string()
    };
    assert!(refused(b"").contains("it is empty"));
    assert!(refused(&crate::kit::gzip(b"x")).contains("decompress it first"));
    assert!(refused(&Layer::new().file("a", b"a").bytes()).contains("neither index.json"));
    let empty = tempfile::tempdir().unwrap();
    assert!(Image::open(empty.path(), &Choice::default()).err().unwrap().to_string().contains("no OCI layout"));
    assert!(matches!(Image::open(&empty.path().join("none"), &Choice::default()), Err(OpenError::Read(..))));
    let many =
        |files: usize| refused(&(0..files).fold(Layer::new(), |layer, number| layer.file(&number.to_string(), b"")).bytes());
    assert!(many(ARCHIVE_FILES_MAX).contains("neither index.json"));
    assert!(many(ARCHIVE_FILES_MAX + 1).contains("more than 10000 files"));
}
