//! Registries that are not as they should be.

use std::sync::atomic::{AtomicUsize, Ordering};

use coffer_registry::{Credentials, Digest, Error};
use tokio::io::AsyncReadExt as _;

use crate::kit::{Answer, MANIFEST, Odd, client, image, user_at};

fn manifest_head(more: &str) -> String {
    format!("Content-Type: {MANIFEST}\r\n{more}")
}

#[tokio::test]
async fn where_no_digest_is_told_the_manifest_says_it() {
    let odd = Odd::start(|_| Answer::new(200, &manifest_head(""), b"{}")).await;
    assert_eq!(odd.client().resolve(&odd.image("a:b")).await, Ok(Digest::of(b"{}")));
    assert!(
        odd.head("GET /v2/a/manifests/b")
            .unwrap()
            .contains(&format!("accept: application/vnd.oci.image.index.v1+json, {MANIFEST}"))
    );
}

#[tokio::test]
async fn what_is_no_answer_is_told_apart_and_taken_for_none() {
    let other = Digest::of(b"other").to_string();
    let told = |digest: &str| manifest_head(&format!("Docker-Content-Digest: {digest}\r\n"));
    let refusal = |text: &str| format!(r#"{{"errors":[{{"code":"DENIED","message":"{text}"}}]}}"#).into_bytes();
    let answers = [
        ("digest", Answer::new(200, &told("sha512:00"), b"{}"), "what it says is the digest is none of sha256"),
        ("another", Answer::new(200, &manifest_head(""), b"{}"), "the manifest has the digest"),
        ("type", Answer::new(200, "Content-Type: text/html\r\n", b"<html>"), "\"text/html\" is no manifest of today"),
        ("garbage", Answer::Whole(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()), "its answer is no HTTP that can be read"),
        ("head", Answer::Endless(b"HTTP/1.1 200 OK\r\nX: ".to_vec()), "its answer is no HTTP that can be read"),
        (
            "endless",
            Answer::Endless(format!("HTTP/1.1 200 OK\r\n{}\r\n", manifest_head("")).into_bytes()),
            "more than 4194304 bytes",
        ),
        (
            "broken",
            Answer::Whole(format!("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n{}\r\n{{}}", manifest_head("")).into_bytes()),
            "its answer broke off",
        ),
        ("nothing", Answer::Whole(Vec::new()), "cannot be reached"),
        ("refusal", Answer::new(403, "", &refusal("no\\u001b[2J")), "403 (DENIED: no?[2J): those credentials are not good"),
        ("long", Answer::new(500, "", &refusal(&"x".repeat(17_000))), "answers 500: look at the registry, and try again"),
        ("loop", Answer::new(307, "Location: /v2/a/manifests/loop\r\n", b""), "it sends elsewhere more than 5 times"),
        ("nowhere", Answer::new(307, "Location: //x/\r\n", b""), "it sends elsewhere, and not to an address"),
        ("inside", Answer::new(302, "Location: http://169.254.169.254/x\r\n", b""), "it sends to 169.254.169.254 without TLS"),
    ];
    for (tag, answer, told) in answers {
        let answer = std::sync::Arc::new(answer);
        let odd = Odd::start(move |_| match &*answer {
            Answer::Whole(bytes) => Answer::Whole(bytes.clone()),
            Answer::Endless(bytes) => Answer::Endless(bytes.clone()),
            Answer::Silent(bytes) => Answer::Silent(bytes.clone()),
        })
        .await;
        let asked = if tag == "another" { odd.image(&format!("a@{other}")) } else { odd.image(&format!("a:{tag}")) };
        let why = odd.client().manifest(&asked).await.unwrap_err().to_string();
        assert!(why.contains(told) && why.contains(&odd.host), "{tag}: {why}");
    }
}

#[tokio::test]
async fn a_manifest_is_as_long_as_it_may_be_and_no_longer() {
    let longest = 4 << 20;
    let odd = Odd::start(move |asked| {
        Answer::new(200, &manifest_head(""), &vec![b' '; if asked.ends_with("at") { longest } else { longest + 1 }])
    })
    .await;
    assert_eq!(odd.client().manifest(&odd.image("a:at")).await.unwrap().bytes.len(), longest);
    assert!(odd.client().manifest(&odd.image("a:past")).await.unwrap_err().to_string().ends_with("more than 4194304 bytes"));
}

#[tokio::test]
async fn so_many_steps_are_followed_and_no_more() {
    let steps = |asked: &str| asked.rsplit_once('/').unwrap().1.parse::<u32>().unwrap();
    let odd = Odd::start(move |asked| match steps(asked) {
        0 => Answer::new(200, &manifest_head(""), b"{}"),
        left => Answer::new(307, &format!("Location: /v2/a/manifests/{}\r\n", left - 1), b""),
    })
    .await;
    assert!(odd.client().manifest(&odd.image("a:5")).await.is_ok());
    assert!(odd.client().manifest(&odd.image("a:6")).await.unwrap_err().to_string().contains("more than 5 times"));
}

#[tokio::test]
async fn a_blob_that_is_another_never_ends_well() {
    let odd = Odd::start(|asked| match asked.ends_with(&Digest::of(b"endless").to_string()) {
        true => Answer::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        false => Answer::new(200, "", b"evil!"),
    })
    .await;
    let (client, image) = (odd.client(), odd.image("a:b"));
    for (wanted, told) in [(b"good!".as_slice(), "has another digest"), (b"endless", "has more bytes than its manifest says")] {
        let mut blob = client.blob(&image, &Digest::of(wanted), u64::try_from(wanted.len()).unwrap()).await.unwrap();
        let mut read = Vec::new();
        let why = blob.read_to_end(&mut read).await.unwrap_err().to_string();
        assert!(why.ends_with(told), "{why}");
        assert!(read.is_empty(), "nothing of it is given out: {read:?}");
        assert!(blob.read_to_end(&mut read).await.is_err(), "it stays so");
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_says_nothing_is_not_waited_for() {
    let odd = Odd::start(|_| Answer::Silent(Vec::new())).await;
    let why = odd.client().resolve(&odd.image("a:b")).await.unwrap_err();
    assert_eq!(why, Error::TooLong { host: odd.host.clone() });
}

#[tokio::test]
async fn a_blob_that_stops_coming_is_not_waited_for() {
    let odd = Odd::start(|_| Answer::Silent(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nblob".to_vec())).await;
    let mut blob = odd.client().blob(&odd.image("a:b"), &Digest::of(b"blob-blob"), 9).await.unwrap();
    let mut start = [0; 4];
    blob.read_exact(&mut start).await.unwrap();
    tokio::time::pause();
    let why = blob.read_to_end(&mut Vec::new()).await.unwrap_err().to_string();
    assert!(why.contains("takes too long"), "{why}");
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_can_pull_alone() {
    static TOKENS: AtomicUsize = AtomicUsize::new(0);
    let service = Odd::start(|_| {
        TOKENS.fetch_add(1, Ordering::Relaxed);
        Answer::new(200, "", br#"{"access_token":"canary-token","expires_in":300}"#)
    })
    .await;
    let realm = format!("http://{}/token?x=y", service.host);
    let hits = AtomicUsize::new(0);
    let challenge = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"a b&c\",scope=\"registry:catalog:*\"\r\n");
    let odd = Odd::start(move |_| match hits.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::new(401, &challenge, b""),
        _ => Answer::new(200, &manifest_head(""), b"{}"),
    })
    .await;
    let client = client(&[&odd.host, &service.host], Credentials::default(), None);
    for _ in 0..2 {
        client.manifest(&odd.image("a/b:c")).await.unwrap();
    }
    assert_eq!(TOKENS.load(Ordering::Relaxed), 1);
    assert!(service.head("GET /token?x=y&service=a%20b%26c&scope=repository:a/b:pull").is_some());
    assert!(odd.head("GET /v2/a/b/manifests/c").unwrap().contains("authorization: bearer canary-token\r\n"));
}

#[tokio::test]
async fn so_many_tokens_are_kept_and_an_answer_with_one_has_so_many_bytes() {
    static TOKENS: AtomicUsize = AtomicUsize::new(0);
    let token = r#"{"token":"t"}"#;
    let answer = move |bytes: usize| [token.as_bytes(), &vec![b' '; bytes - token.len()]].concat();
    let service = Odd::start(move |asked| {
        TOKENS.fetch_add(1, Ordering::Relaxed);
        Answer::new(200, "", &answer(if asked.ends_with("repository:long:pull") { 65_537 } else { 65_536 }))
    })
    .await;
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/\"\r\n", service.host);
    let odd = Odd::start_with(move |_, is_known| match is_known {
        true => Answer::new(200, &manifest_head(""), b"{}"),
        false => Answer::new(401, &challenge, b""),
    })
    .await;
    let client = client(&[&odd.host, &service.host], Credentials::default(), None);
    let ask = async |repository: &str| client.manifest(&odd.image(repository)).await;
    for index in 0..256 {
        ask(&format!("a{index}")).await.unwrap();
    }
    ask("a0").await.unwrap();
    assert_eq!(TOKENS.load(Ordering::Relaxed), 256);
    // One more, and the others are asked for anew.
    ask("a256").await.unwrap();
    ask("a0").await.unwrap();
    assert_eq!(TOKENS.load(Ordering::Relaxed), 258);
    assert!(ask("long").await.unwrap_err().to_string().ends_with("more than 65536 bytes"));
}

#[tokio::test]
async fn a_token_service_without_tls_is_told_no_password_and_none_that_may_not_be_asked_is_asked() {
    let service = Odd::start(|_| Answer::new(200, "", b"{}")).await;
    let realm = format!("http://{}/token", service.host);
    let odd = Odd::start(move |_| Answer::new(401, &format!("WWW-Authenticate: Bearer realm=\"{realm}\"\r\n"), b"")).await;
    let asked = odd.image("a:b");
    let why = client(&[&odd.host], Credentials::default(), None).manifest(&asked).await.unwrap_err().to_string();
    assert!(why.ends_with(&format!("it sends to {} without TLS", service.host)), "{why}");
    let why = client(&[&odd.host, &service.host], user_at(&odd.host), None).manifest(&asked).await.unwrap_err();
    assert!(matches!(why, Error::Withheld { .. }), "{why}");
    assert!(service.head("GET /token?scope=repository:a:pull").is_none(), "nobody asked it");
    // Nor one with TLS: somebody on the way to the registry could have named it.
    let other = Odd::start(|_| Answer::new(401, "WWW-Authenticate: Bearer realm=\"https://127.0.0.1:1/\"\r\n", b"")).await;
    let why = client(&[&other.host], user_at(&other.host), None).manifest(&other.image("a:b")).await.unwrap_err();
    assert!(matches!(why, Error::Withheld { .. }), "{why}");
    let why = client(&[&odd.host, &service.host], Credentials::default(), None).manifest(&asked).await.unwrap_err();
    assert!(why.to_string().ends_with("it gives no token"), "{why}");
}

#[tokio::test]
async fn settings_that_mean_nothing_are_refused() {
    let with = |plain: &str, authorities: Option<&[u8]>| {
        let plain_http = [plain.to_owned()].into();
        let registries =
            coffer_registry::Registries { plain_http, authorities: authorities.map(<[u8]>::to_vec), ..Default::default() };
        coffer_registry::Client::new(registries).err().map(|error| error.to_string())
    };
    assert_eq!(with("a.example", None), None);
    assert!(with("http://a.example", None).unwrap().contains("write HOST or HOST:PORT"));
    assert!(with("a.example", Some(b"no PEM")).unwrap().ends_with("there is none in PEM"));
    assert_eq!(image("a.example/b").host(), "a.example");
}
