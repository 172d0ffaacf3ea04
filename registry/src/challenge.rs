//! How a registry wants to be logged in to: `WWW-Authenticate`.

use std::collections::BTreeMap;

/// What it wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password.
    Basic,
    /// A token, from its token service.
    Bearer {
        /// The token service.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
    },
}

impl Challenge {
    /// Reads the value of a header; nothing where it is of a kind that is not known here, or broken.
    pub(crate) fn read(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or_else(|| (header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut parameters = parameters(rest)?;
        Some(Self::Bearer { realm: parameters.remove("realm")?, service: parameters.remove("service") })
    }
}

/// `NAME="VALUE", ...`, where quotes can be left out.
fn parameters(mut rest: &str) -> Option<BTreeMap<String, String>> {
    let mut parameters = BTreeMap::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let value;
        (value, rest) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        parameters.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        rest = rest.trim_start();
        rest = if rest.is_empty() { rest } else { rest.strip_prefix(',')?.trim_start() };
    }
    Some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_or_is_none() {
        let bearer =
            |realm: &str, service: Option<&str>| Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned) };
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a,b:pull""#;
        assert_eq!(Challenge::read(hub), Some(bearer("https://auth.docker.io/token", Some("registry.docker.io"))));
        assert_eq!(Challenge::read("bearer realm=https://a/t , scope = \"x\""), Some(bearer("https://a/t", None)));
        assert_eq!(Challenge::read(r#"Basic realm="r""#), Some(Challenge::Basic));
        assert_eq!(Challenge::read("Basic"), Some(Challenge::Basic));
        for broken in
            ["", "Bearer", "Bearer x", r#"Bearer realm="a"#, r#"Bearer realm="a" service="b""#, "Negotiate", "Bearer service=a"]
        {
            assert_eq!(Challenge::read(broken), None, "{broken}");
        }
    }
}
