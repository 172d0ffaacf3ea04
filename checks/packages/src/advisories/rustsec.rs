//! An advisory in RustSec's own format: TOML in a fence, and prose.
//!
//! It names the versions that are *not* meant, as requirements of Cargo's; what is between them is.

use std::cmp::Ordering;

use serde::Deserialize;

use super::{
    cvss,
    import::{Entry, Read},
    span::Span,
};
use crate::{Ecosystem, compare};

#[derive(Deserialize)]
struct Document {
    advisory: About,
    versions: Versions,
}

#[derive(Deserialize)]
struct About {
    id: String,
    package: String,
    date: String,
    #[serde(default)]
    aliases: Vec<String>,
    cvss: Option<String>,
    withdrawn: Option<toml::Value>,
    informational: Option<String>,
}

#[derive(Deserialize)]
struct Versions {
    #[serde(default)]
    patched: Vec<String>,
    #[serde(default)]
    unaffected: Vec<String>,
}

/// Reads a document.
pub(super) fn read(text: &str) -> Result<Read, String> {
    let Some((text, prose)) = text.trim_start().strip_prefix("```toml").and_then(|rest| rest.split_once("\n```")) else {
        return Ok(Read::Other);
    };
    let Document { advisory, versions } = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    if advisory.withdrawn.is_some() {
        return Ok(Read::Withdrawn);
    }
    // What is about Rust itself is about no crate: the one that is called like it is another.
    if !advisory.id.starts_with("RUSTSEC-") {
        return Ok(Read::Other);
    }
    // Not a vulnerability: that nobody keeps a crate well, or that it could be used wrongly.
    if advisory.informational.is_some() {
        return Ok(Read::Informational);
    }
    let unaffected = versions.patched.iter().chain(&versions.unaffected);
    let unaffected = unaffected.map(|requirement| allowed(requirement).ok_or_else(|| format!("no requirement: {requirement}")));
    let spans = between(unaffected.collect::<Result<_, _>>()?);
    let title = prose.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default();
    Ok(Read::Advisory(Box::new(Entry {
        id: advisory.id,
        aliases: advisory.aliases,
        parts: Vec::new(),
        severity: advisory.cvss.as_deref().and_then(cvss::severity),
        summary: title.to_owned(),
        changed: Some(advisory.date),
        about: if spans.is_empty() { Vec::new() } else { vec![("crates.io".to_owned(), advisory.package, spans, Vec::new())] },
    })))
}

/// A version, and whether it is within.
type Edge = (String, bool);

/// Versions from one to another; where there is no edge, without an end.
#[derive(Debug, Clone, Default, PartialEq)]
struct Allowed {
    low: Option<Edge>,
    high: Option<Edge>,
}

fn order(one: &str, other: &str) -> Ordering {
    compare(Ecosystem::Rust, one, other).unwrap_or(Ordering::Equal)
}

/// What a requirement allows: comparators with commas between.
fn allowed(requirement: &str) -> Option<Allowed> {
    requirement.split(',').try_fold(Allowed::default(), |all, comparator| {
        let Allowed { low, high } = compared(comparator.trim())?;
        let narrower = |one: Option<Edge>, other: Option<Edge>, wanted: Ordering| match (one, other) {
            (Some(one), Some(other)) => {
                let order = order(&one.0, &other.0);
                Some(if order == wanted || order.is_eq() && !one.1 { one } else { other })
            }
            (one, other) => one.or(other),
        };
        Some(Allowed { low: narrower(all.low, low, Ordering::Greater), high: narrower(all.high, high, Ordering::Less) })
    })
}

fn compared(comparator: &str) -> Option<Allowed> {
    if comparator == "*" {
        return Some(Allowed::default());
    }
    let end = comparator.find(|letter: char| letter.is_ascii_digit())?;
    let (sign, version) = comparator.split_at_checked(end)?;
    let version = version.trim();
    let bare = version.trim_end_matches(".*").trim_end_matches(".x");
    let sign = if bare.len() == version.len() { sign.trim() } else { "~" };
    compare(Ecosystem::Rust, bare, bare)?;
    let numbers = bare.split(['-', '+']).next()?.split('.').count();
    let (whole, exact) = (full(bare), numbers == 3);
    // The first version past those that begin alike in so many numbers; what comes before its release is past them, too.
    let past = |kept: usize| next(bare, kept).map(|version| (format!("{version}-0"), false));
    let (low, high) = match sign {
        ">=" => (Some((whole, true)), None),
        ">" if exact => (Some((whole, false)), None),
        ">" => (Some((next(bare, numbers)?, true)), None),
        "<" => (None, Some((whole, false))),
        "<=" if exact => (None, Some((whole, true))),
        "<=" => (None, Some(past(numbers)?)),
        "=" | "==" if exact => (Some((whole.clone(), true)), Some((whole, true))),
        "=" | "==" => (Some((whole, true)), Some(past(numbers)?)),
        "~" => (Some((whole, true)), Some(past(numbers.min(2))?)),
        "^" | "" => {
            // The first number that is not 0 stays, or all that are written.
            let first = bare.split(['.', '-', '+']).take(numbers).position(|number| !number.trim_start_matches('0').is_empty());
            (Some((whole, true)), Some(past(first.map_or(numbers, |first| first + 1))?))
        }
        _ => return None,
    };
    Some(Allowed { low, high })
}

/// With all three numbers.
fn full(version: &str) -> String {
    let (release, rest) = version.find(['-', '+']).and_then(|at| version.split_at_checked(at)).unwrap_or((version, ""));
    let missing = 3_usize.saturating_sub(release.split('.').count());
    format!("{release}{}{rest}", ".0".repeat(missing))
}

/// The first version that differs in the first so many numbers.
fn next(version: &str, kept: usize) -> Option<String> {
    let release = version.split(['-', '+']).next()?;
    let mut numbers: Vec<u64> = release.split('.').take(kept).map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let last = numbers.last_mut()?;
    *last = last.checked_add(1)?;
    numbers.resize(3, 0);
    Some(numbers.iter().map(u64::to_string).collect::<Vec<_>>().join("."))
}

/// What is between what is allowed.
fn between(mut allowed: Vec<Allowed>) -> Vec<Span> {
    allowed.sort_by(|one, other| match (&one.low, &other.low) {
        (None, other) => {
            if other.is_none() {
                Ordering::Equal
            } else {
                Ordering::Less
            }
        }
        (Some(_), None) => Ordering::Greater,
        (Some(one), Some(other)) => order(&one.0, &other.0).then_with(|| other.1.cmp(&one.1)),
    });
    // Where what is meant begins; the flag says that the version itself is not meant.
    let (mut spans, mut begin): (Vec<Span>, Option<Edge>) = (Vec::new(), None);
    for Allowed { low, high } in allowed {
        if let Some((version, is_within)) = low {
            let is_gap = begin.as_ref().is_none_or(|begin| match order(&begin.0, &version) {
                Ordering::Less => true,
                Ordering::Equal => !begin.1 && !is_within,
                Ordering::Greater => false,
            });
            if is_gap {
                let (from, is_open) = begin.clone().map_or((None, false), |(version, is_open)| (Some(version), is_open));
                let (fixed, last) = if is_within { (Some(version), None) } else { (None, Some(version)) };
                spans.push(Span { from, is_open, fixed, last });
            }
        }
        let Some(high) = high else { return spans };
        let is_later = begin.as_ref().is_none_or(|begin| order(&high.0, &begin.0).then_with(|| high.1.cmp(&begin.1)).is_gt());
        if is_later {
            begin = Some(high);
        }
    }
    let (from, is_open) = begin.map_or((None, false), |(version, is_open)| (Some(version), is_open));
    spans.push(Span { from, is_open, fixed: None, last: None });
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_meant(unaffected: &[&str], version: &str) -> bool {
        let spans = between(unaffected.iter().map(|requirement| allowed(requirement).unwrap()).collect());
        spans.iter().any(|span| span.has(Ecosystem::Rust, version) == Some(true))
    }

    #[test]
    fn versions_that_no_requirement_allows_are_meant() {
        for (unaffected, meant, others) in [
            (&[][..], &["0.0.1", "9.0.0"][..], &[][..]),
            (&[">= 0.9.1"], &["0.9.0", "0.9.1-rc1"], &["0.9.1", "1.0.0"]),
            (&["> 0.9.1"], &["0.9.1"], &["0.9.2"]),
            (&[">= 1.2.3", "< 0.5.0"], &["0.5.0", "1.2.2"], &["0.4.9", "1.2.3"]),
            (&["<= 0.5.0", ">= 1"], &["0.5.1", "0.9.9"], &["0.5.0", "1.0.0"]),
            (&["^0.5.3", ">= 0.6.2"], &["0.5.2", "0.6.0-alpha", "0.6.0", "0.6.1"], &["0.5.3", "0.5.9", "0.6.2"]),
            (&["^1.4", ">= 3"], &["1.3.9", "2.0.0", "2.9.9"], &["1.4.0", "1.99.0", "3.0.0"]),
            (&["~1.4.2", "= 2.0.1"], &["1.4.1", "1.5.0", "2.0.0", "2.0.2"], &["1.4.2", "1.4.9", "2.0.1"]),
            (&[">= 1.0, < 1.1", ">= 2.0.0"], &["0.9.0", "1.1.0"], &["1.0.0", "1.0.9", "2.0.0"]),
            (&["0.0.3"], &["0.0.2", "0.0.4"], &["0.0.3"]),
            (&["1.2.*"], &["1.1.9", "1.3.0"], &["1.2.0", "1.2.9"]),
            (&["> 1.2", "<= 0.3"], &["0.4.0", "1.2.9"], &["0.3.7", "1.3.0"]),
            (&["*"], &[], &["1.0.0"]),
        ] {
            for version in meant {
                assert!(is_meant(unaffected, version), "{unaffected:?}: {version}");
            }
            for version in others {
                assert!(!is_meant(unaffected, version), "{unaffected:?}: {version}");
            }
        }
        for wrong in ["", "x", "!= 1.0.0", ">= 1.0.0 < 2", "99999999999999999999"] {
            assert_eq!(allowed(wrong), None, "{wrong}");
        }
    }
}
