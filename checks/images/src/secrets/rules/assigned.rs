//! Values that only their names make secrets. For reports: nothing else is as often wrong.

use super::{Certainty, Charset, Rule, Shape};

const fn named(
    id: &'static str,
    what: &'static str,
    keywords: &'static [&'static str],
    charset: Charset,
    min: usize,
    max: usize,
) -> Rule {
    Rule { id, what, certainty: Certainty::Likely, keywords, shape: Shape::Assigned { charset, min, max, entropy: 3.0 } }
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "secret-value",
        what: "a value whose name says that it is secret",
        certainty: Certainty::Likely,
        keywords: &[
            "password",
            "passwd",
            "passphrase",
            "secret",
            "token",
            "api_key",
            "api-key",
            "apikey",
            "access_key",
            "access-key",
            "accesskey",
            "private_key",
            "privatekey",
            "auth_key",
            "authkey",
            "encryption_key",
            "encryptionkey",
            "credential",
            "_pwd",
            "_pass",
        ],
        shape: Shape::Generic,
    },
    named("algolia-key", "an API key of Algolia", &["algolia"], Charset::Hex, 32, 32),
    named("asana-secret", "a secret of Asana", &["asana"], Charset::Alnum, 32, 34),
    named("cloudflare-key", "a key of Cloudflare", &["cloudflare"], Charset::Url, 37, 40),
    named("codecov-token", "a token of Codecov", &["codecov"], Charset::Url, 32, 36),
    named("confluent-secret", "a secret of Confluent", &["confluent"], Charset::Base64, 64, 64),
    named("dropbox-secret", "a secret of Dropbox", &["dropbox"], Charset::Url, 15, 64),
    named("fastly-token", "a token of Fastly", &["fastly"], Charset::Url, 32, 32),
    named("heroku-uuid-key", "an API key of Heroku", &["heroku"], Charset::Url, 36, 36),
    named("okta-token", "a token of Okta", &["okta"], Charset::Url, 42, 42),
    named("pagerduty-key", "a key of PagerDuty", &["pagerduty", "pager_duty"], Charset::Url, 20, 32),
    named("travis-token", "a token of Travis CI", &["travis"], Charset::Alnum, 22, 22),
    named("twitter-secret", "a secret of Twitter", &["twitter"], Charset::Alnum, 35, 50),
    named("zendesk-secret", "a secret of Zendesk", &["zendesk"], Charset::Alnum, 40, 40),
];
