//! Private keys and tokens of no particular provider.

use super::{Certainty, Charset, Rule, Shape, token};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "private-key",
        what: "a private key",
        certainty: Certainty::Sure,
        keywords: &["-----BEGIN "],
        shape: Shape::PrivateKey { encrypted: false },
    },
    Rule {
        id: "encrypted-private-key",
        what: "a private key behind a password",
        certainty: Certainty::Likely,
        keywords: &["-----BEGIN "],
        shape: Shape::PrivateKey { encrypted: true },
    },
    token("age-secret-key", "an age identity", &["AGE-SECRET-KEY-1"], Charset::UpperAlnum, 58, 58),
    token("coffer-share", "a share of a Coffer vault's key", &["coffer-share-1-"], Charset::Hex, 60, 400),
    token("coffer-session", "a session of a Coffer vault", &["coffer.session.1."], Charset::Url, 60, 4096),
    Rule { id: "jwt", what: "a JSON web token", certainty: Certainty::Likely, keywords: &["eyJ"], shape: Shape::Jwt },
    Rule {
        id: "authorization-header",
        what: "a header that logs in",
        certainty: Certainty::Likely,
        keywords: &["Bearer ", "bearer ", "Basic ", "basic ", "Token ", "Api-Token "],
        shape: Shape::Header,
    },
    Rule {
        id: "curl-login",
        what: "a command that logs in with a password",
        certainty: Certainty::Likely,
        keywords: &["curl "],
        shape: Shape::Curl,
    },
    Rule {
        id: "registry-login",
        what: "a login to a registry",
        certainty: Certainty::Likely,
        keywords: &["\"auth\""],
        shape: Shape::Login,
    },
    Rule {
        id: "url-password",
        what: "an address with a password",
        certainty: Certainty::Likely,
        keywords: &["://"],
        shape: Shape::Url,
    },
];
