//! What lies beside an image.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use coffer_registry::{Credentials, Digest, REFERRER_PAGES_MAX};

use crate::kit::{Answer, INDEX, MANIFEST, Odd, Registry, client, image};

const KIND: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

fn list(of: &[(&[u8], &str)]) -> Vec<u8> {
    let of = of.iter().map(|(content, kind)| {
        let digest = Digest::of(content);
        format!(r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{},"artifactType":"{kind}"}}"#, content.len())
    });
    let of: Vec<_> = of.collect();
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, of.join(",")).into_bytes()
}

fn answer(body: &[u8], more: &str) -> Answer {
    Answer::new(200, &format!("Content-Type: {INDEX}\r\n{more}"), body)
}

#[tokio::test]
async fn what_refers_to_an_image_is_listed_by_its_kind_page_by_page() {
    let odd = Odd::start(|asked| match asked.contains("n=2") {
        true => answer(&list(&[(b"three", KIND)]), ""),
        false => {
            let next = "Link: </v2/a/referrers/x?n=1>; rel=\"prev\", </v2/a/referrers/x?n=2>; rel=\"next\"\r\n";
            answer(&list(&[(b"one", KIND), (b"two", "application/other")]), next)
        }
    })
    .await;
    let subject = Digest::of(b"image");
    let found = odd.client().referrers(&odd.image("a:b"), &subject, KIND).await.unwrap();
    assert_eq!(found, [Digest::of(b"one"), Digest::of(b"three")]);
    let asked = format!("GET /v2/a/referrers/{subject}?artifactType=application/vnd.dev.sigstore.bundle.v0.3%2Bjson");
    assert!(odd.head(&asked).is_some(), "{asked}");
}

#[tokio::test]
async fn so_many_pages_are_read_and_no_more() {
    for (pages, is_ok) in [(REFERRER_PAGES_MAX, true), (REFERRER_PAGES_MAX + 1, false)] {
        let left = AtomicUsize::new(pages);
        let odd = Odd::start(move |_| match left.fetch_sub(1, Ordering::Relaxed) {
            1 => answer(&list(&[]), ""),
            _ => answer(&list(&[]), "Link: </v2/a/referrers/x>; rel=next\r\n"),
        })
        .await;
        let found = odd.client().referrers(&odd.image("a:b"), &Digest::of(b"image"), KIND).await;
        assert_eq!(found.is_ok(), is_ok, "{pages}: {found:?}");
    }
}

#[tokio::test]
async fn another_registry_is_not_asked_for_the_next_page_and_no_answer_is_not_none() {
    let odd = Odd::start(|asked| match asked {
        asked if asked.contains("elsewhere") => answer(&list(&[]), "Link: <https://other.example/v2/a>; rel=\"next\"\r\n"),
        asked if asked.contains("broken") => answer(b"{\"manifests\":7}", ""),
        _ => Answer::new(500, "", b""),
    })
    .await;
    let subject = Digest::of(b"image");
    assert_eq!(odd.client().referrers(&odd.image("elsewhere:b"), &subject, KIND).await, Ok(Vec::new()));
    for (name, told) in [("broken:b", "is none"), ("away:b", "answers 500")] {
        let why = odd.client().referrers(&odd.image(name), &subject, KIND).await.unwrap_err().to_string();
        assert!(why.contains(told), "{name}: {why}");
    }
    assert!(odd.client().find(&odd.image("away:b")).await.is_err());
}

#[tokio::test]
async fn where_a_registry_knows_no_referrers_their_tag_is_looked_at() {
    let subject = Digest::of(b"image");
    let tag = subject.to_string().replace(':', "-");
    for unknown in [
        || Answer::new(404, "", b"404 page not found"),
        || Answer::new(405, "", b""),
        || Answer::new(200, "Content-Type: text/html\r\n", b"<html>"),
    ] {
        let at = format!("GET /v2/a/manifests/{tag}");
        let odd = Odd::start(move |asked| match asked {
            asked if asked == at => answer(&list(&[(b"one", KIND), (b"two", "application/other")]), ""),
            asked if asked.contains("/manifests/") => Answer::new(404, "", b""),
            _ => unknown(),
        })
        .await;
        assert_eq!(odd.client().referrers(&odd.image("a:b"), &subject, KIND).await, Ok(vec![Digest::of(b"one")]));
        assert_eq!(odd.client().referrers(&odd.image("a:b"), &Digest::of(b"other"), KIND).await, Ok(Vec::new()));
    }
}

#[tokio::test]
#[ignore = "needs docker-registry: tests/run"]
async fn debians_registry_knows_no_referrers_and_has_their_tag() -> Result<()> {
    let subject = Digest::of(b"image");
    let registry = tokio::task::spawn_blocking(move || {
        let tag = subject.to_string().replace(':', "-");
        Registry::start(false, "", &[("a/b", &tag, &list(&[(b"one", KIND)]))], &[b"one"])
    });
    let registry = registry.await??;
    let host = registry.host();
    let client = client(&[&host], Credentials::default(), None);
    let at = image(&format!("{host}/a/b:one"));
    assert_eq!(client.referrers(&at, &subject, KIND).await?, [Digest::of(b"one")]);
    assert_eq!(client.referrers(&at, &Digest::of(b"other"), KIND).await?, []);
    assert_eq!(client.find(&at).await?, None);
    Ok(())
}
