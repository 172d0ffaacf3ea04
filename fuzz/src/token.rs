//! Tokens: the vault's own, and those of service accounts. Only what was issued opens.

use std::{sync::LazyLock, time::Duration};

use coffer_barrier::encoding;
use coffer_core::{clock::Timestamp, limits::SERVICE_ACCOUNT_TOKEN_BYTES_MAX, session::SessionClaims};
use coffer_crypto::{
    jwt::{Expect, KeySet, ServiceAccountClaims, issuer_unverified},
    key::Key,
    token::{Sealer, TOKEN_CHARS_MAX},
};

/// The key of the session token among the seeds: it opens nothing else.
const KEY: [u8; 32] = [7; 32];
/// A session token, and a service account's with its issuer's keys.
const SESSION: &str = include_str!("../seeds/token/session");
const SERVICE_ACCOUNT: &str = include_str!("../seeds/token/service-account");
const KEYS: &str = include_str!("../seeds/token/keys");

const EXPECT: Expect<'_> = Expect {
    issuer: "https://issuer.test",
    audience: "coffer",
    now: Timestamp::from_secs(1_700_000_100),
    skew: Duration::from_secs(30),
    require_pod: true,
};

pub(crate) const WORDS: &[&str] = &[
    "coffer.session.1.",
    "coffer.page.1.",
    ".",
    "=",
    "-",
    "_",
    "eyJhbGciOiJub25lIn0",
    "\"alg\":\"none\"",
    "\"alg\":\"HS256\"",
    "\"kid\":",
    "\"kty\":\"EC\"",
    "\"crv\":\"P-256\"",
    "\"keys\":[",
    "\"aud\":[]",
    "\"exp\":0",
    "\"exp\":1e99",
    "\u{0}",
];

static SEALER: LazyLock<Sealer> = LazyLock::new(|| Sealer::new(&Key::from_bytes(KEY), "session"));
static ISSUER: LazyLock<KeySet> = LazyLock::new(|| KeySet::parse(KEYS.trim()).expect("good keys"));
static ACCOUNT: LazyLock<ServiceAccountClaims> =
    LazyLock::new(|| ISSUER.verify(SERVICE_ACCOUNT.trim(), &EXPECT).expect("a good token"));

pub(crate) fn check(input: &[u8]) {
    session_claims(input);
    let Ok(text) = std::str::from_utf8(input) else { return };
    let text = text.trim();
    sealed(text);
    service_account(text);
    keys(text);
}

fn sealed(text: &str) {
    match SEALER.open(text) {
        Ok(claims) => {
            assert_eq!(text, SESSION.trim(), "a token opens that was not issued");
            assert!(encoding::decode::<SessionClaims>(claims.expose()).is_ok(), "what was issued is not understood");
        }
        Err(_) => assert_ne!(text, SESSION.trim(), "the token that was issued does not open"),
    }
    if text.len() > TOKEN_CHARS_MAX {
        assert!(SEALER.open(text).is_err());
    }
}

fn service_account(text: &str) {
    if let Ok(claims) = ISSUER.verify(text, &EXPECT) {
        let signed = |token: &str| token.rsplit_once('.').map(|(signed, _)| signed.to_owned());
        assert_eq!(signed(text), signed(SERVICE_ACCOUNT.trim()), "a token is believed that was not signed");
        assert_eq!(claims, *ACCOUNT);
    } else {
        assert_ne!(text, SERVICE_ACCOUNT.trim());
    }
    if issuer_unverified(text).is_some() {
        assert!(text.len() <= SERVICE_ACCOUNT_TOKEN_BYTES_MAX);
        assert_eq!(text.matches('.').count(), 2);
    }
}

fn keys(text: &str) {
    if let Ok(keys) = KeySet::parse(text) {
        let ids = keys.key_ids();
        assert!(!ids.is_empty(), "keys without a key are none");
        let believed = keys.verify(SERVICE_ACCOUNT.trim(), &EXPECT).is_ok();
        assert!(!believed || ISSUER.key_ids().iter().all(|id| ids.contains(id)), "other keys believe the issuer's token");
    }
}

/// Claims that are taken apart and put together again are the same, however they were written.
fn session_claims(input: &[u8]) {
    if let Ok(claims) = encoding::decode::<SessionClaims>(input) {
        let again = encoding::encode(&claims).expect("what was read can be written");
        assert_eq!(encoding::decode::<SessionClaims>(again.expose()).as_ref(), Ok(&claims));
        if claims.check(EXPECT.now, &claims.thumbprint).is_ok() {
            assert!(claims.check(claims.expires, &claims.thumbprint).is_err(), "a session holds after its end");
            assert!(claims.check(EXPECT.now, &claims.thumbprint.map(|byte| !byte)).is_err(), "it holds under another key");
        }
    }
}
