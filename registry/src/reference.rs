//! What images are called.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use crate::Digest;

/// Bytes of a repository's name, as registries have it.
pub(crate) const REPOSITORY_BYTES_MAX: usize = 255;
/// Bytes of a tag, as registries have it.
const TAG_BYTES_MAX: usize = 128;
/// Bytes of a host and its port: a DNS name, `:` and a port.
const HOST_BYTES_MAX: usize = 259;
/// The registry of names that say none, and what else it is called.
pub(crate) const HUB: &str = "docker.io";
pub(crate) const HUB_INDEX: &str = "index.docker.io";
/// Where its images without an owner are.
const LIBRARY: &str = "library";
/// The tag where none is said.
const LATEST: &str = "latest";

/// The name of an image, `HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]`, read as the kubelet reads it: `busybox` is
/// `docker.io/library/busybox:latest`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no name of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The registry.
    #[error("the registry is no HOST or HOST:PORT in lower case")]
    Host,
    /// The repository.
    #[error("the repository has words of a-z and 0-9, with '.', '_', '__', '-' or '/' between them, and 255 bytes at most")]
    Repository,
    /// The tag.
    #[error("a tag has letters, digits, '_', '.' and '-', does not begin with '.' or '-', and has 128 bytes at most")]
    Tag,
    /// The digest.
    #[error("a digest is sha256: and 64 hexadecimal digits in lower case")]
    Digest,
}

impl Reference {
    /// The registry: a host, and its port where one is said.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository in the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. There is none where there is a digest, and nothing but that was said.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    #[must_use]
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Another image of the same repository, by its tag.
    ///
    /// # Errors
    /// [`ReferenceError::Tag`].
    pub fn tagged(&self, tag: &str) -> Result<Self, ReferenceError> {
        match is_tag(tag) {
            true => Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }),
            false => Err(ReferenceError::Tag),
        }
    }

    /// The same image by this digest. The tag stays, for people: with a digest beside it, it decides nothing.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest.parse().map_err(|_| ReferenceError::Digest)?)),
            None => (text, None),
        };
        let (host, rest) = match named.split_once('/') {
            Some((host, rest)) if is_meant_as_host(host) => (host, rest),
            _ => (HUB, named),
        };
        let host = if host == HUB_INDEX { HUB } else { host };
        if !is_host(host) {
            return Err(ReferenceError::Host);
        }
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        let repository = match host == HUB && !repository.contains('/') {
            true => format!("{LIBRARY}/{repository}"),
            false => repository.to_owned(),
        };
        if host.len() + 1 + repository.len() > REPOSITORY_BYTES_MAX || !repository.split('/').all(is_component) {
            return Err(ReferenceError::Repository);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag);
        }
        let tag = tag.or_else(|| digest.is_none().then_some(LATEST)).map(str::to_owned);
        Ok(Self { host: host.to_owned(), repository, tag, digest })
    }
}

/// Whether what is before the first slash is a host rather than a repository of the hub.
pub(crate) fn is_meant_as_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Whether a text is a host, with a port or without.
pub(crate) fn is_host(text: &str) -> bool {
    if text.len() > HOST_BYTES_MAX {
        return false;
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let Some((address, port)) = bracketed.split_once(']') else { return false };
        let is_lower = !address.bytes().any(|byte| byte.is_ascii_uppercase());
        return is_lower
            && address.parse::<Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(allowed) && !label.starts_with('-') && !label.ends_with('-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Whether a text is a part of a repository's name: words, with one separator between them.
pub(crate) fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let words_end = |text: &str| text.bytes().next().is_some_and(is_word) && text.bytes().last().is_some_and(is_word);
    let mut separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_separator = |between: &str| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-');
    words_end(text) && separators.all(is_separator)
}

fn is_tag(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    !text.is_empty() && text.len() <= TAG_BYTES_MAX && text.bytes().all(allowed) && !text.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_read_as_the_kubelet_reads_them() {
        let by_digest = format!("a.example/b@{DIGEST}");
        let by_both = format!("a.example:5000/b/c:1@{DIGEST}");
        let short = format!("busybox@{DIGEST}");
        for (text, whole) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("grafana/loki", "docker.io/grafana/loki:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
            ("localhost/b:T_a.g-1", "localhost/b:T_a.g-1"),
            ("localhost:5000/b", "localhost:5000/b:latest"),
            ("ghcr.io/a/b__c-d.e--f", "ghcr.io/a/b__c-d.e--f:latest"),
            ("[2001:db8::1]:5000/b", "[2001:db8::1]:5000/b:latest"),
            ("198.51.100.2:5000/b", "198.51.100.2:5000/b:latest"),
            (&short, &format!("docker.io/library/busybox@{DIGEST}")),
            (&by_digest, &by_digest),
            (&by_both, &by_both),
        ] {
            let read: Reference = text.parse().unwrap();
            assert_eq!(read.to_string(), whole, "{text}");
            assert_eq!(whole.parse(), Ok(read), "{whole}");
        }
    }

    #[test]
    fn another_tag_is_of_the_same_repository_alone() {
        let image: Reference = format!("a.example/b/c:1@{DIGEST}").parse().unwrap();
        assert_eq!(image.tagged("sha256-0.sig").unwrap().to_string(), "a.example/b/c:sha256-0.sig");
        for tag in ["", ".a", "a/b", "a@b", &"t".repeat(TAG_BYTES_MAX + 1)] {
            assert_eq!(image.tagged(tag), Err(ReferenceError::Tag), "{tag}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_by_its_part() {
        let digest = |digest: &str| format!("a.example/b@{digest}");
        let hub = |length: usize| format!("{HUB}/a/{}", "b".repeat(length - HUB.len() - 3));
        assert!(hub(REPOSITORY_BYTES_MAX).parse::<Reference>().is_ok());
        let tag = |length: usize| format!("b:{}", "t".repeat(length));
        assert!(tag(TAG_BYTES_MAX).parse::<Reference>().is_ok());
        for (text, part) in [
            ("", ReferenceError::Repository),
            ("A.example/b", ReferenceError::Host),
            ("Busybox/b", ReferenceError::Host),
            ("a..example/b", ReferenceError::Host),
            ("-a.example/b", ReferenceError::Host),
            ("a.example:/b", ReferenceError::Host),
            ("a.example:0/b", ReferenceError::Host),
            ("a.example:65536/b", ReferenceError::Host),
            ("a.example:+1/b", ReferenceError::Host),
            ("user:password.x/b", ReferenceError::Host),
            ("[::g]:1/b", ReferenceError::Host),
            ("https://a.example/b", ReferenceError::Host),
            (&format!("{}.example/b", "a".repeat(HOST_BYTES_MAX)), ReferenceError::Host),
            ("a.example/", ReferenceError::Repository),
            ("a.example//b", ReferenceError::Repository),
            ("a.example/b/", ReferenceError::Repository),
            ("a.example/../b", ReferenceError::Repository),
            ("a.example/b.-c", ReferenceError::Repository),
            ("a.example/b___c", ReferenceError::Repository),
            ("a.example/b?c", ReferenceError::Repository),
            ("a.example/B", ReferenceError::Repository),
            (" busybox", ReferenceError::Repository),
            (&hub(REPOSITORY_BYTES_MAX + 1), ReferenceError::Repository),
            ("b:", ReferenceError::Tag),
            ("b:.t", ReferenceError::Tag),
            ("b:t:u", ReferenceError::Tag),
            ("b:t/u", ReferenceError::Host),
            ("b:t\n", ReferenceError::Tag),
            (&tag(TAG_BYTES_MAX + 1), ReferenceError::Tag),
            (&digest("sha256:1"), ReferenceError::Digest),
            (&digest(&format!("{DIGEST}@{DIGEST}")), ReferenceError::Digest),
            (&digest(""), ReferenceError::Digest),
        ] {
            assert_eq!(text.parse::<Reference>(), Err(part), "{text:?}");
        }
    }
}
