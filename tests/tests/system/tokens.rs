//! Tokens that are not good: every one is refused, and no refusal tells which part was wrong.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client, Error,
    proto::{GetSecretRequest, LoginWorkloadRequest},
};
use coffer_tests::{
    cluster,
    issuer::{Issuer, Pod, encode, now_secs},
};
use ring::{hmac, rand::SystemRandom};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::{Request, Status, metadata::KeyAndValueRef};

use crate::vault::{CLUSTER, TOKEN_LIFETIME, Vault};

/// All that a caller can see of a failure: status, message, details, and every header but the time of day.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    code: tonic::Code,
    message: String,
    details: Vec<u8>,
    headers: BTreeMap<String, Vec<u8>>,
}

impl From<Status> for Seen {
    fn from(status: Status) -> Self {
        let headers = status.metadata().iter().map(|pair| match pair {
            KeyAndValueRef::Ascii(key, value) => (key.to_string(), value.as_encoded_bytes().to_vec()),
            KeyAndValueRef::Binary(key, value) => (key.to_string(), value.as_encoded_bytes().to_vec()),
        });
        let headers = headers.filter(|(name, _)| name != "date").collect();
        Self { code: status.code(), message: status.message().to_owned(), details: status.details().to_vec(), headers }
    }
}

/// A request with an id that does not change, so that answers can be compared byte by byte.
pub(crate) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("coffer-request-id", "the-same".parse().expect("it is ASCII"));
    request
}

async fn refusal(client: &Client, token: String, cluster: &str) -> Result<Seen> {
    let message = LoginWorkloadRequest { tenant: String::new(), token, cluster: cluster.to_owned() };
    let answer = client.auth().login_workload(request(message)).await;
    Ok(answer.err().context("the login was not refused")?.into())
}

fn remove(claims: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    claims.pointer_mut(parent).and_then(Value::as_object_mut).expect("it is there").remove(key).expect("it is there");
}

/// Tokens of a wrong form, or signed by or as somebody else.
fn badly_signed(issuer: &Issuer, pod: &Pod) -> Result<Vec<(&'static str, String)>> {
    let (header, claims) = (issuer.header(), issuer.claims(pod, TOKEN_LIFETIME)?);
    let other = Issuer::es256(issuer.url())?;
    let good = issuer.sign(&header, &claims)?;
    let (unsigned, signature) = good.rsplit_once('.').context("a token has a signature")?;

    let mut tokens = vec![
        ("empty", String::new()),
        ("not a token", "x".repeat(100)),
        ("oversized", format!("{good}{}", "A".repeat(8_192))),
        ("without signature", format!("{unsigned}.")),
        ("signature of something else", {
            let (_, foreign) = good.split_once('.').context("a token has a header")?;
            format!("{}.{foreign}", encode(json!({"alg": "ES256", "typ": "JWT"}).to_string().as_bytes()))
        }),
        ("signed by another key of the same name", {
            let mut header = other.header();
            header["kid"] = issuer.header()["kid"].clone();
            other.sign(&header, &claims)?
        }),
        ("signed by another cluster with the same issuer", other.sign(&other.header(), &claims)?),
        ("padded", format!("{good}=")),
        ("with a fourth part", format!("{good}.{signature}")),
        ("with a line break", format!("{good}\n")),
        ("with a key in its header", {
            let mut header = other.header();
            header["jwk"] = other.jwks()["keys"][0].clone();
            other.sign(&header, &claims)?
        }),
        ("with a critical extension", {
            let mut header = header.clone();
            header["crit"] = json!(["exp"]);
            issuer.sign(&header, &claims)?
        }),
        ("key confusion: HS256 with the public key as secret", {
            let unsigned = format!(
                "{}.{}",
                encode(json!({"alg": "HS256", "kid": header["kid"]}).to_string().as_bytes()),
                encode(claims.to_string().as_bytes())
            );
            let key = hmac::Key::new(hmac::HMAC_SHA256, issuer.jwks()["keys"][0].to_string().as_bytes());
            format!("{unsigned}.{}", encode(hmac::sign(&key, unsigned.as_bytes()).as_ref()))
        }),
    ];
    for algorithm in ["none", "None", "", "RS256", "RS512", "PS256", "ES384", "EdDSA"] {
        let mut header = header.clone();
        header["alg"] = algorithm.into();
        tokens.push(("another algorithm in the header", issuer.sign(&header, &claims)?));
        if algorithm.eq_ignore_ascii_case("none") {
            let text = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
            tokens.push(("no algorithm", format!("{text}.")));
        }
    }
    Ok(tokens)
}

/// Tokens whose signature is good, and whose claims are not.
fn badly_claimed(issuer: &Issuer, pod: &Pod) -> Result<Vec<(&'static str, String)>> {
    type Change = fn(&mut Value, u64);
    let changes: [(&str, Change); 31] = [
        ("another audience", |claims, _| claims["aud"] = json!(["vault"])),
        ("another audience as text", |claims, _| claims["aud"] = json!("vault")),
        ("an audience that begins alike", |claims, _| claims["aud"] = json!("coffer2")),
        ("an audience as an object", |claims, _| claims["aud"] = json!({"coffer": true})),
        ("an empty audience", |claims, _| claims["aud"] = json!("")),
        ("the API server's audience", |claims, _| claims["aud"] = json!(["https://kubernetes.default.svc.cluster.local"])),
        ("no audience", |claims, _| claims["aud"] = json!([])),
        ("audience in another case", |claims, _| claims["aud"] = json!(["Coffer"])),
        ("without audience", |claims, _| remove(claims, "/aud")),
        ("another issuer", |claims, _| claims["iss"] = json!("https://issuer.example")),
        ("issuer with a slash", |claims, _| claims["iss"] = json!("https://issuer.test/")),
        ("without issuer", |claims, _| remove(claims, "/iss")),
        ("expired", |claims, now| claims["exp"] = json!(now - 60)),
        ("expired long ago", |claims, _| claims["exp"] = json!(1)),
        ("expiry as text", |claims, now| claims["exp"] = json!(format!("{}", now + 600))),
        ("negative expiry", |claims, _| claims["exp"] = json!(-1)),
        ("without expiry", |claims, _| remove(claims, "/exp")),
        ("not valid yet", |claims, now| claims["nbf"] = json!(now + 120)),
        ("issued in the future", |claims, now| claims["iat"] = json!(now + 120)),
        ("without pod", |claims, _| remove(claims, "/kubernetes.io/pod")),
        ("pod without UID", |claims, _| remove(claims, "/kubernetes.io/pod/uid")),
        ("pod with an empty UID", |claims, _| claims["kubernetes.io"]["pod"]["uid"] = json!("")),
        ("without service account", |claims, _| remove(claims, "/kubernetes.io/serviceaccount")),
        ("without namespace", |claims, _| remove(claims, "/kubernetes.io/namespace")),
        ("without Kubernetes", |claims, _| remove(claims, "/kubernetes.io")),
        ("another subject's namespace", |claims, _| claims["sub"] = json!("system:serviceaccount:kube-system:api")),
        ("another subject's account", |claims, _| claims["sub"] = json!("system:serviceaccount:shop:root")),
        ("a user's subject", |claims, _| claims["sub"] = json!("system:admin")),
        ("without subject", |claims, _| remove(claims, "/sub")),
        ("a namespace that is a path", |claims, _| {
            claims["kubernetes.io"]["namespace"] = json!("shop/../kube-system");
            claims["sub"] = json!("system:serviceaccount:shop/../kube-system:api");
        }),
        ("claims that are no object", |claims, _| *claims = json!([1, 2, 3])),
    ];
    let (now, good) = (now_secs(), issuer.claims(pod, TOKEN_LIFETIME)?);
    let signed = changes.into_iter().map(|(name, change)| {
        let mut claims = good.clone();
        change(&mut claims, now);
        Ok((name, issuer.sign(&issuer.header(), &claims)?))
    });
    signed.collect()
}

#[tokio::test]
async fn every_bad_token_is_refused_in_the_same_words() -> Result<()> {
    let vault = Vault::new().await?;
    let (pod, client) = (Pod::new("shop", "api")?, vault.stranger()?);
    let expected = refusal(&client, "no token".to_owned(), CLUSTER).await?;
    assert_eq!(expected.code, tonic::Code::Unauthenticated);
    for tokens in [badly_signed(&vault.issuer, &pod)?, badly_claimed(&vault.issuer, &pod)?] {
        // An address that fails too often is turned away before its token is looked at.
        let client = vault.stranger()?;
        for (name, token) in tokens {
            let seen = refusal(&client, token, CLUSTER).await.context(name)?;
            assert_eq!(seen, expected, "{name}");
        }
    }
    let good = vault.token(&pod, TOKEN_LIFETIME)?;
    for cluster in ["other", "TEST", "test ", "no such cluster", "../test"] {
        assert_eq!(refusal(&client, good.clone(), cluster).await.context(cluster)?, expected, "{cluster}");
    }
    // The token itself was good all along, however it names its audience.
    for audience in [json!("coffer"), json!(["coffer", "another"]), json!(["another", "coffer"])] {
        let mut claims = vault.issuer.claims(&pod, TOKEN_LIFETIME)?;
        claims["aud"] = audience;
        let token = vault.issuer.sign(&vault.issuer.header(), &claims)?;
        let message = LoginWorkloadRequest { tenant: String::new(), token, cluster: CLUSTER.to_owned() };
        client.auth().login_workload(message).await?;
    }
    let message = LoginWorkloadRequest { tenant: String::new(), token: good, cluster: CLUSTER.to_owned() };
    client.auth().login_workload(message).await?;
    Ok(())
}

#[tokio::test]
async fn tokens_of_clusters_with_one_issuer_are_told_apart() -> Result<()> {
    let vault = Vault::new().await?;
    let twin = Issuer::es256(vault.issuer.url())?;
    vault.register("twin", &twin).await?;
    let (pod, client) = (Pod::new("shop", "api")?, vault.stranger()?);
    let expected = refusal(&client, "no token".to_owned(), CLUSTER).await?;
    let (ours, theirs) = (vault.token(&pod, TOKEN_LIFETIME)?, twin.token(&pod, TOKEN_LIFETIME)?);
    cluster::tokens::note(vault.server.canaries(), &theirs);
    assert_eq!(refusal(&client, ours.clone(), "twin").await?, expected);
    assert_eq!(refusal(&client, theirs.clone(), CLUSTER).await?, expected);
    // Without a name it would be a guess.
    assert_eq!(refusal(&client, ours.clone(), "").await?, expected);
    for (token, cluster) in [(ours, CLUSTER), (theirs, "twin")] {
        let message = LoginWorkloadRequest { tenant: String::new(), token, cluster: cluster.to_owned() };
        let session = client.auth().login_workload(message).await?.into_inner().session.context("a login yields a session")?;
        assert_eq!(session.principal, format!("k8s:{cluster}/shop/api"));
    }
    Ok(())
}

/// Ten thousand tokens that differ from a good one in one place each: a bit, a byte, a piece cut out or doubled.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_mutations_of_a_good_token_are_refused() -> Result<()> {
    const CALLERS: u64 = 20;
    let vault = Arc::new(Vault::quiet().await?);
    let good = vault.token(&Pod::new("shop", "api")?, TOKEN_LIFETIME)?;
    let expected = Arc::new(refusal(&vault.stranger()?, "no token".to_owned(), CLUSTER).await?);
    let seed = random()?;
    println!("seed {seed}");
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (vault, good, expected) = (Arc::clone(&vault), good.clone(), Arc::clone(&expected));
        callers.spawn(async move {
            let mut numbers = Numbers(seed.wrapping_add(2 * caller) | 1);
            let mut client = vault.stranger()?;
            for round in 0..10_000 / CALLERS {
                // An address that fails too often is turned away before its token is looked at.
                if round % 50 == 49 {
                    client = vault.stranger()?;
                }
                let token = mutation(&good, &mut numbers)?;
                let seen = refusal(&client, token.clone(), CLUSTER).await.with_context(|| token.clone())?;
                ensure!(seen == *expected, "caller {caller}, round {round}: {token}: {seen:?}");
            }
            Ok(())
        });
    }
    callers.join_all().await.into_iter().collect()
}

/// A token that is not the good one, and nearly is.
fn mutation(good: &str, numbers: &mut Numbers) -> Result<String> {
    loop {
        let mut bytes = good.as_bytes().to_vec();
        let at = numbers.below(bytes.len());
        match numbers.below(4) {
            0 => bytes[at] ^= 1 << numbers.below(7),
            1 => bytes[at] = u8::try_from(numbers.below(128))?,
            2 => drop(bytes.drain(at..(at + 1 + numbers.below(16)).min(good.len()))),
            _ => bytes.insert(at, bytes[at]),
        }
        let token = String::from_utf8(bytes).context("mutations are ASCII")?;
        if token != good {
            return Ok(token);
        }
    }
}

/// xorshift64*: a seed that was printed gives the same numbers again.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).expect("31 bits") % limit
    }
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    ring::rand::SecureRandom::fill(&SystemRandom::new(), &mut bytes).ok().context("no random numbers")?;
    Ok(u64::from_le_bytes(bytes))
}

#[tokio::test]
async fn what_is_not_there_and_what_may_not_be_seen_look_the_same() -> Result<()> {
    let vault = Vault::new().await?;
    vault.put("kv/prod/payments", "password", "hidden").await?;
    let client = vault.workload(&Pod::new("shop", "api")?).await?;
    let read = async |path: &str, version| -> Result<Seen> {
        let message = GetSecretRequest { path: path.to_owned(), version };
        Ok(client.kv().get_secret(request(message)).await.err().context("it was read")?.into())
    };
    let expected = read("kv/prod/payments", 0).await?;
    assert_eq!(expected.code, tonic::Code::PermissionDenied);
    for (path, version) in [
        ("kv/prod/other", 0),
        ("kv/prod/payments", 7),
        ("kv/prod", 0),
        ("kv/prod/payments/deep", 0),
        ("nomount/prod/payments", 0),
    ] {
        assert_eq!(read(path, version).await?, expected, "{path} {version}");
    }
    Ok(())
}

#[tokio::test]
async fn a_session_opens_nothing_over_a_connection_with_another_key() -> Result<()> {
    let vault = Vault::new().await?;
    vault.put("kv/prod/payments", "password", "hidden").await?;
    vault.grant_read("kv/prod/payments", "k8s:test/shop/api").await?;
    let client = vault.workload(&Pod::new("shop", "api")?).await?;
    assert_eq!(client.kv_get("kv/prod/payments", 0).await?.field("password").context("it has the field")?.expose(), b"hidden");
    let thief = vault.stranger()?;
    thief.set_session_token(client.session_token());
    let error = thief.kv_get("kv/prod/payments", 0).await.err().context("the session was taken")?;
    assert_eq!(error.detail().reason, "SESSION_INVALID");
    Ok(())
}

#[tokio::test]
async fn sessions_without_a_pod_check_last_ten_minutes_at_most() -> Result<()> {
    let vault = Vault::new().await?;
    let client = vault.stranger()?;
    for (lifetime, expected) in [(TOKEN_LIFETIME, 600), (Duration::from_secs(300), 300)] {
        let token = vault.token(&Pod::new("shop", "api")?, lifetime)?.into();
        let session = client.login_workload("", CLUSTER, &token).await?;
        let left = session.expires.duration_since(std::time::UNIX_EPOCH)?.as_secs().saturating_sub(now_secs());
        assert!(left.abs_diff(expected) <= 5, "{left} s left, rather than {expected}");
    }
    Ok(())
}

#[tokio::test]
async fn an_address_that_fails_too_often_is_turned_away_and_others_are_not() -> Result<()> {
    let vault = Vault::new().await?;
    let good = vault.token(&Pod::new("shop", "api")?, TOKEN_LIFETIME)?;
    let login = async |client: &Client, token: &str| -> Result<(), Error> {
        let message = LoginWorkloadRequest { tenant: String::new(), token: token.to_owned(), cluster: CLUSTER.to_owned() };
        client.auth().login_workload(message).await.map(drop).map_err(Error::from)
    };
    let (noisy, quiet) = (vault.stranger()?, vault.stranger()?);
    let mut refused = 0;
    let turned_away = loop {
        let error = login(&noisy, "no token").await.err().context("the login was not refused")?;
        match error.detail().reason.as_str() {
            "LOGIN_REFUSED" => refused += 1,
            _ => break error,
        }
        ensure!(refused < 1_000, "nothing stops it");
    };
    assert!(turned_away.detail().retryable, "{turned_away:?}");
    assert!(login(&noisy, &good).await.is_err(), "it was heard all the same");
    login(&quiet, &good).await?;
    Ok(())
}
