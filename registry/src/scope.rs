//! Parts of registries, which are trusted or not.

use std::{fmt, str::FromStr};

use crate::{
    Reference,
    reference::{HUB, HUB_INDEX, REPOSITORY_BYTES_MAX, is_component, is_host, is_meant_as_host},
};

/// A registry, or what is below a path in it: `HOST[:PORT][/PATH]`. The host has to be the same with its port; the path ends where a part
/// of a repository's name ends, so that `a.example/team` is not `a.example/team-b`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    host: String,
    path: Option<String>,
}

/// A text is no part of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write HOST, HOST:PORT or HOST/PATH, in lower case and without a tag: docker.io/library, registry.example.com:5000/team")]
pub struct ScopeError;

impl Scope {
    /// Whether an image is in it.
    #[must_use]
    pub fn holds(&self, image: &Reference) -> bool {
        let is_below = |path: &String| {
            image.repository().strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.host == image.host() && self.path.as_ref().is_none_or(is_below)
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let (host, path) = text.split_once('/').map_or((text, None), |(host, path)| (host, Some(path)));
        // A word alone could be meant as a repository of the hub.
        if text.len() > REPOSITORY_BYTES_MAX || !is_meant_as_host(host) || !is_host(host) {
            return Err(ScopeError);
        }
        if path.is_some_and(|path| !path.split('/').all(is_component)) {
            return Err(ScopeError);
        }
        let host = if host == HUB_INDEX { HUB } else { host };
        Ok(Self { host: host.to_owned(), path: path.map(str::to_owned) })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.path.iter().try_for_each(|path| write!(f, "/{path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_in_a_scope_by_whole_words() {
        for (scope, image, holds) in [
            ("a.example", "a.example/b:1", true),
            ("a.example", "a.example:443/b", false),
            ("a.example:5000", "a.example:5000/b/c", true),
            ("a.example:5000", "a.example:50001/b", false),
            ("a.example/team", "a.example/team/app", true),
            ("a.example/team", "a.example/team", true),
            ("a.example/team", "a.example/team-b/app", false),
            ("a.example/team", "a.example/teams", false),
            ("a.example/team", "a.example/x/team", false),
            ("a.example", "a.example.evil.example/b", false),
            ("a.example", "b.example/a.example/b", false),
            ("docker.io", "busybox", true),
            ("index.docker.io/library", "busybox", true),
            ("docker.io/library", "grafana/loki", false),
            ("docker.io/grafana", "docker.io/grafana/loki", true),
            ("docker.io", "registry-1.docker.io/library/busybox", false),
            ("[::1]:5000", "[::1]:5000/b", true),
        ] {
            assert_eq!(scope.parse::<Scope>().unwrap().holds(&image.parse().unwrap()), holds, "{scope} {image}");
        }
    }

    #[test]
    fn a_scope_is_read_as_it_is_written_and_what_is_none_is_refused() {
        for text in ["a.example", "a.example:5000/b/c", "localhost/b", "docker.io/library"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        let longest = format!("a.example/{}", "b".repeat(REPOSITORY_BYTES_MAX - 10));
        assert!(longest.parse::<Scope>().is_ok());
        for text in [
            "",
            "/",
            "busybox",
            "library/busybox",
            "a.example/",
            "a.example//b",
            "a.example/b/",
            "a.example/b:1",
            "a.example/B",
            "A.example",
            "a.example/*",
            "*.example",
            "https://a.example",
            "a.example/../b",
            "a.example:0",
            &(longest + "b"),
        ] {
            assert_eq!(text.parse::<Scope>(), Err(ScopeError), "{text}");
        }
    }
}
