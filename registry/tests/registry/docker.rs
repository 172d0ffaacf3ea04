//! Debian's registry.

use anyhow::Result;
use coffer_registry::{Credentials, Digest, Error};
use tokio::io::AsyncReadExt as _;

use crate::kit::{Answer, INDEX, MANIFEST, Odd, PASSWORD, Registry, client, image, user_at};

const LAYER: &[u8] = b"what an image has";

fn manifest() -> Vec<u8> {
    let descriptor = |kind: &str| {
        format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{}","size":{}}}"#, Digest::of(LAYER), LAYER.len())
    };
    let (config, layer) = (descriptor("config.v1+json"), descriptor("layer.v1.tar"));
    format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{layer}]}}"#).into_bytes()
}

fn index() -> Vec<u8> {
    let manifest = manifest();
    let platform = r#"{"architecture":"amd64","os":"linux"}"#;
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{MANIFEST}","digest":"{}","size":{},"platform":{platform}}}]}}"#,
        Digest::of(&manifest),
        manifest.len()
    )
    .into_bytes()
}

async fn start(tls: bool, more: &str) -> Result<Registry> {
    let (tls, more, manifest, index) = (tls, more.to_owned(), manifest(), index());
    let images = move || Registry::start(tls, &more, &[("a/b", "one", &manifest), ("a/b", "many", &index)], &[LAYER]);
    tokio::task::spawn_blocking(images).await?
}

#[tokio::test]
#[ignore = "needs docker-registry: tests/run"]
async fn a_tag_is_a_digest_and_what_hangs_on_it_is_read_and_checked() -> Result<()> {
    let registry = start(false, "").await?;
    let host = registry.host();
    let client = client(&[&host], Credentials::default(), None);
    let one = image(&format!("{host}/a/b:one"));
    assert_eq!(client.resolve(&one).await?, Digest::of(&manifest()));
    // Of an index it is the index's own.
    assert_eq!(client.resolve(&image(&format!("{host}/a/b:many"))).await?, Digest::of(&index()));
    let read = client.manifest(&one).await?;
    assert_eq!((read.media_type.as_str(), read.bytes), (MANIFEST, manifest()));
    let pinned = one.pinned(read.digest);
    assert_eq!(client.manifest(&pinned).await?.digest, read.digest);
    assert_eq!(client.resolve(&pinned).await?, read.digest);

    let (mut layer, size) = (Vec::new(), u64::try_from(LAYER.len())?);
    client.blob(&one, &Digest::of(LAYER), size).await?.read_to_end(&mut layer).await?;
    assert_eq!(layer, LAYER);
    for (size, told) in [(size - 1, "has more bytes than its manifest says"), (size + 1, "lacks 1 bytes")] {
        let read = client.blob(&one, &Digest::of(LAYER), size).await?.read_to_end(&mut Vec::new()).await;
        let why = read.unwrap_err().to_string();
        assert!(why.ends_with(told), "{why}");
    }

    let unknown = client.resolve(&image(&format!("{host}/a/b:two"))).await.unwrap_err();
    let advice = "there is no such image: look at its name, tag and digest";
    assert_eq!(unknown.to_string(), format!("the registry {host} answers 404 (MANIFEST_UNKNOWN: manifest unknown): {advice}"));
    assert!(!unknown.is_transient());
    drop(registry);
    let away = client.resolve(&one).await.unwrap_err();
    assert!(matches!(away, Error::Unreachable { .. }) && away.is_transient(), "{away}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs docker-registry: tests/run"]
async fn a_registry_with_tls_and_passwords_is_believed_and_told_them() -> Result<()> {
    let registry = start(true, "").await?;
    let (host, authorities) = (registry.host(), registry.authorities.as_deref());
    let one = image(&format!("{host}/a/b:one"));
    let digest = Digest::of(&manifest());
    let known = client(&[], user_at(&host), authorities);
    assert_eq!(known.resolve(&one).await?, digest);
    assert_eq!(known.manifest(&one).await?.digest, digest);

    let unknown = client(&[], Credentials::default(), authorities).resolve(&one).await.unwrap_err();
    let told = "answers 401 (UNAUTHORIZED: authentication required): there is no such image, or only with credentials";
    assert!(unknown.to_string().contains(told), "{unknown}");
    let other = client(&[], user_at("127.0.0.1:1"), authorities).resolve(&one).await.unwrap_err();
    assert!(other.to_string().contains("answers 401"), "{other}");
    // Nobody but its CA is believed, and without TLS it is told nothing.
    let stranger = client(&[], user_at(&host), None).resolve(&one).await.unwrap_err();
    assert!(matches!(stranger, Error::Unreachable { .. }) && stranger.to_string().contains("certificate"), "{stranger}");
    let plain = client(&[&host], user_at(&host), authorities).resolve(&one).await.unwrap_err();
    assert!(plain.to_string().contains("answers 400"), "{plain}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs docker-registry: tests/run"]
async fn where_a_registry_sends_for_a_blob_nobody_is_told_the_password() -> Result<()> {
    let store = Odd::start(|_| Answer::new(200, "", LAYER)).await;
    let to_store = format!("middleware: {{storage: [{{name: redirect, options: {{baseurl: \"http://{}/\"}}}}]}}\n", store.host);
    let registry = start(true, &to_store).await?;
    let (host, authorities) = (registry.host(), registry.authorities.as_deref());
    let one = image(&format!("{host}/a/b:one"));
    let (digest, size) = (Digest::of(LAYER), u64::try_from(LAYER.len())?);
    let unsafe_store = client(&[], user_at(&host), authorities).blob(&one, &digest, size).await;
    let told = unsafe_store.err().unwrap().to_string();
    assert_eq!(told, format!("the registry {host} answers wrongly: it sends to {} without TLS", store.host));

    let mut layer = Vec::new();
    let client = client(&[&store.host], user_at(&host), authorities);
    client.blob(&one, &digest, size).await?.read_to_end(&mut layer).await?;
    assert_eq!(layer, LAYER);
    let hex = digest.to_string().replace("sha256:", "");
    let short: String = hex.chars().take(2).collect();
    let head = store.head(&format!("GET /docker/registry/v2/blobs/sha256/{short}/{hex}/data")).unwrap();
    assert!(!head.contains("authorization") && !head.contains(PASSWORD), "{head}");
    Ok(())
}
