//! Advisories by package, from files of OSV's format (ossf.github.io/osv-schema) and of RustSec's.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use coffer_checks::{Day, Severity};
use serde::{Deserialize, Serialize};

use crate::{Distribution, Ecosystem, Package, compare};

mod cvss;
mod file;
mod import;
mod osv;
mod rustsec;
mod span;

pub use file::{FILE_BYTES_MAX, FileError, UNPACKED_BYTES_MAX};
pub use import::{ADVISORIES_MAX, ADVISORY_BYTES_MAX, ImportError, Imported, Importer};
pub use span::Span;

/// Characters of an advisory's summary that are kept.
pub const SUMMARY_CHARS_MAX: usize = 160;

/// An advisory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advisory {
    /// Its id: `RUSTSEC-2023-0006`.
    #[serde(rename = "i")]
    pub id: String,
    /// What others call the same.
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// What a distribution has put into one advisory: ids of its parts.
    #[serde(rename = "u", default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// How bad it is, where somebody says so.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// What it is about, in a line.
    #[serde(rename = "t", default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
}

impl Advisory {
    /// The name that most people know: that of a CVE, where it has one.
    #[must_use]
    pub fn name(&self) -> &str {
        let one_part = self.parts.as_slice().first().filter(|_| self.parts.len() == 1);
        self.names().chain(one_part.map(String::as_str)).find(|name| name.starts_with("CVE-")).unwrap_or(&self.id)
    }

    /// How bad it is; medium where nobody says so.
    #[must_use]
    pub fn rated(&self) -> Severity {
        self.severity.unwrap_or(Severity::Medium)
    }

    /// The id, and what others call the same.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.id.as_str()).chain(self.aliases.iter().map(String::as_str))
    }
}

/// What an advisory says of one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// Which advisory.
    #[serde(rename = "i")]
    advisory: usize,
    /// The versions that it is about.
    #[serde(rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    spans: Vec<Span>,
    /// Versions that are in none of those.
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    versions: Vec<String>,
}

/// Many advisories, by what they are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advisories {
    /// The day on which they were put together.
    pub made: Day,
    /// The day on which the newest of them was changed.
    pub newest: Option<Day>,
    advisories: Vec<Advisory>,
    /// By ecosystem, as OSV names it with its release, and package.
    scopes: BTreeMap<String, BTreeMap<String, Vec<About>>>,
}

/// An advisory that is about a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match<'a> {
    /// The advisory.
    pub advisory: &'a Advisory,
    /// The first version in which it is mended, of those that come after.
    pub fixed: Option<&'a str>,
    /// Whether that is sure: a version that has no place in the order could be meant.
    pub is_sure: bool,
}

impl Advisories {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.advisories.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.advisories.is_empty()
    }

    /// How many packages have advisories, by ecosystem as OSV names it.
    pub fn packages(&self) -> impl Iterator<Item = (&str, usize)> {
        self.scopes.iter().map(|(scope, packages)| (scope.as_str(), packages.len()))
    }

    /// Whether anything is known about packages of this ecosystem, so that no advisory means that none is known.
    #[must_use]
    pub fn covers(&self, scope: &str) -> bool {
        self.scopes.contains_key(scope)
    }

    /// The advisories about a package, each once, by name.
    #[must_use]
    pub fn matches(&self, package: &Package, distribution: Option<&Distribution>) -> Vec<Match<'_>> {
        let (name, version) = package.advised();
        scope(package.ecosystem, distribution).map_or_else(Vec::new, |scope| self.matches_in(&scope, name, version))
    }

    /// The same for a package by the name and version that advisories know it by, of a scope as [`scope`] gives it.
    #[must_use]
    pub fn matches_in(&self, scope: &str, name: &str, version: &str) -> Vec<Match<'_>> {
        let Some((_, ecosystem)) = osv::scope(scope) else { return Vec::new() };
        let about = self.scopes.get(scope).and_then(|packages| packages.get(name));
        let found = about.into_iter().flatten().filter_map(|about| {
            let advisory = self.advisories.get(about.advisory)?;
            about.is_about(ecosystem, version).map(|is_sure| Match {
                advisory,
                fixed: about.fixed_after(ecosystem, version),
                is_sure,
            })
        });
        once(found.collect())
    }
}

/// What OSV calls where a package comes from; none where no release of the distribution is known.
#[must_use]
pub fn scope(ecosystem: Ecosystem, distribution: Option<&Distribution>) -> Option<String> {
    match ecosystem {
        Ecosystem::Debian | Ecosystem::Alpine => distribution?.scope(),
        Ecosystem::Go => Some("Go".to_owned()),
        Ecosystem::Rust => Some("crates.io".to_owned()),
    }
}

/// Each once: of those that are one by their names the first, and no collection whose parts are there.
fn once(mut found: Vec<Match<'_>>) -> Vec<Match<'_>> {
    // The one that knows how bad it is comes first.
    let key = |found: &Match<'_>| (!found.is_sure, Reverse(found.advisory.severity));
    found.sort_by(|one, other| one.advisory.name().cmp(other.advisory.name()).then_with(|| key(one).cmp(&key(other))));
    let mut named: BTreeSet<&str> = BTreeSet::new();
    let mut kept: Vec<Match<'_>> = Vec::new();
    let (collections, single): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| found.advisory.parts.len() > 1);
    for found in single.into_iter().chain(collections) {
        let advisory = found.advisory;
        let is_known = advisory.names().chain([advisory.name()]).any(|name| named.contains(name));
        let has_known_parts = advisory.parts.len() > 1 && advisory.parts.iter().all(|part| named.contains(part.as_str()));
        named.extend(advisory.names().chain(advisory.parts.iter().map(String::as_str)));
        if is_known || has_known_parts {
            // Another may know in which version it was mended.
            let same = kept.iter_mut().find(|kept| kept.advisory.name() == advisory.name());
            same.into_iter().for_each(|kept| kept.fixed = kept.fixed.or(found.fixed));
        } else {
            kept.push(found);
        }
    }
    kept.sort_by(|one, other| one.advisory.name().cmp(other.advisory.name()));
    kept
}

impl About {
    /// Whether it is about this version: surely, perhaps, or not.
    fn is_about(&self, ecosystem: Ecosystem, version: &str) -> Option<bool> {
        let spans = || self.spans.iter().map(|span| span.has(ecosystem, version));
        if self.versions.iter().any(|listed| listed == version) || spans().any(|is| is == Some(true)) {
            return Some(true);
        }
        spans().any(|is| is.is_none()).then_some(false)
    }

    fn fixed_after(&self, ecosystem: Ecosystem, version: &str) -> Option<&str> {
        let fixed = self.spans.iter().filter_map(|span| span.fixed.as_deref());
        let later = fixed.filter(|fixed| compare(ecosystem, fixed, version).is_none_or(std::cmp::Ordering::is_gt));
        later.min_by(|one, other| compare(ecosystem, one, other).unwrap_or(std::cmp::Ordering::Equal))
    }
}

#[cfg(test)]
mod tests;
