//! A package, and the names that others have for it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes of a package's name or version, at most: paths of Go's modules are the longest.
pub const PACKAGE_TEXT_BYTES_MAX: usize = 512;

/// Where packages come from. Each has its own order of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// dpkg: Debian, Ubuntu and what is made of them.
    Debian,
    /// apk: Alpine.
    Alpine,
    /// Modules of Go, and its standard library under the name `stdlib`.
    Go,
    /// Crates.
    Rust,
}

impl Ecosystem {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Debian, Self::Alpine, Self::Go, Self::Rust];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Alpine => "alpine",
            Self::Go => "go",
            Self::Rust => "rust",
        }
    }
}

impl fmt::Display for Ecosystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a package was built from, where that has another name or version: advisories of distributions are about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The name.
    #[serde(rename = "n")]
    pub name: String,
    /// The version.
    #[serde(rename = "v")]
    pub version: String,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Package {
    /// Where it comes from.
    #[serde(rename = "e")]
    pub ecosystem: Ecosystem,
    /// The name.
    #[serde(rename = "n")]
    pub name: String,
    /// The version; `(devel)` where a program of Go's does not tell.
    #[serde(rename = "v", default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// What it was built from, where that is named otherwise.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The processor that it is for, as its ecosystem calls it.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
}

impl Package {
    /// A package; none where a text of it is no name, or longer than [`PACKAGE_TEXT_BYTES_MAX`].
    #[must_use]
    pub fn new(ecosystem: Ecosystem, name: &str, version: &str) -> Option<Self> {
        (!name.is_empty() && is_text(name) && is_text(version)).then(|| Self {
            ecosystem,
            name: name.to_owned(),
            version: version.to_owned(),
            source: None,
            architecture: None,
        })
    }

    /// The name and version by which advisories know it.
    #[must_use]
    pub fn advised(&self) -> (&str, &str) {
        self.source.as_ref().map_or((&self.name, &self.version), |source| (&source.name, &source.version))
    }
}

/// Whether it is short, and nothing that would change how a line is read.
pub(crate) fn is_text(text: &str) -> bool {
    text.len() <= PACKAGE_TEXT_BYTES_MAX && !text.chars().any(|letter| letter.is_control() || letter.is_whitespace())
}

/// A distribution, as `os-release` names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Distribution {
    /// Its name: `debian`.
    pub id: String,
    /// Its release: `12`, `22.04`, `3.20`. Empty where it has none, as Debian's testing.
    pub version: String,
}

impl Distribution {
    /// From the text of `os-release`. Of Alpine's releases, the branch that gets its own packages.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.trim().split_once('='));
            let value = lines.find(|(key, _)| *key == name)?.1.trim().trim_matches(['"', '\'']);
            (!value.is_empty() && is_text(value)).then(|| value.to_owned())
        };
        let id = value("ID")?;
        let version = value("VERSION_ID").unwrap_or_default();
        let version = match id.as_str() {
            "alpine" => version.split('.').take(2).collect::<Vec<_>>().join("."),
            _ => version,
        };
        Some(Self { id, version })
    }

    /// What OSV calls the packages of this ecosystem here.
    #[must_use]
    pub fn scope(&self) -> Option<String> {
        let Self { id, version } = self;
        match id.as_str() {
            _ if version.is_empty() => None,
            "debian" => Some(format!("Debian:{version}")),
            "ubuntu" => Some(format!("Ubuntu:{version}")),
            "alpine" => Some(format!("Alpine:v{version}")),
            _ => None,
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version.is_empty() {
            true => f.write_str(&self.id),
            false => write!(f, "{}:{}", self.id, self.version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_packages_have_a_limit() {
        let named = |bytes: usize| Package::new(Ecosystem::Go, &"x".repeat(bytes), "1");
        assert!(named(PACKAGE_TEXT_BYTES_MAX).is_some());
        assert!(named(PACKAGE_TEXT_BYTES_MAX + 1).is_none());
        assert!(named(0).is_none());
        assert!(Package::new(Ecosystem::Go, "x", "1\n2").is_none());
        assert!(Package::new(Ecosystem::Go, "x", "").is_some());
    }

    #[test]
    fn distributions_are_named_as_osv_names_them() {
        for (text, named, scope) in [
            ("NAME=x\nID=debian\nVERSION_ID=\"12\"\n", "debian:12", Some("Debian:12")),
            ("ID=debian\n", "debian", None),
            ("ID=ubuntu\nVERSION_ID=\"22.04\"", "ubuntu:22.04", Some("Ubuntu:22.04")),
            ("ID=alpine\nVERSION_ID=3.20.3", "alpine:3.20", Some("Alpine:v3.20")),
            ("ID='wolfi'\nVERSION_ID=20230201", "wolfi:20230201", None),
        ] {
            let distribution = Distribution::read(text).unwrap();
            assert_eq!((distribution.to_string().as_str(), distribution.scope().as_deref()), (named, scope), "{text}");
        }
        assert_eq!(Distribution::read("NAME=x\n"), None);
        assert_eq!(Distribution::read("ID=a b\n"), None);
    }
}
