//! An advisory in OSV's format.

use coffer_checks::Severity;
use serde::Deserialize;

use super::{
    cvss,
    import::{Entry, Read},
    span::{Event, Span, spans},
};
use crate::Ecosystem;

#[derive(Deserialize)]
struct Document {
    id: String,
    modified: Option<String>,
    withdrawn: Option<String>,
    summary: Option<String>,
    aliases: Option<Vec<String>>,
    upstream: Option<Vec<String>>,
    related: Option<Vec<String>>,
    severity: Option<Vec<Scored>>,
    affected: Option<Vec<Affected>>,
    database_specific: Option<Specific>,
}

#[derive(Deserialize)]
struct Scored {
    score: String,
}

#[derive(Deserialize, Default)]
struct Specific {
    #[serde(default)]
    severity: Option<serde_json::Value>,
    #[serde(default)]
    urgency: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Affected {
    package: Option<Named>,
    ranges: Option<Vec<Range>>,
    versions: Option<Vec<String>>,
    severity: Option<Vec<Scored>>,
    ecosystem_specific: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Named {
    ecosystem: String,
    name: String,
}

#[derive(Deserialize)]
struct Range {
    r#type: String,
    events: Vec<Happened>,
}

#[derive(Deserialize)]
struct Happened {
    introduced: Option<String>,
    fixed: Option<String>,
    last_affected: Option<String>,
}

/// Reads a document.
pub(super) fn read(bytes: &[u8]) -> Result<Read, String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    // Folders have other JSON, too.
    if value.get("id").is_none() || value.get("modified").is_none() {
        return Ok(Read::Other);
    }
    let document: Document = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if document.withdrawn.is_some() {
        return Ok(Read::Withdrawn);
    }
    let affected = document.affected.unwrap_or_default();
    let scored =
        document.severity.iter().flatten().chain(affected.iter().flat_map(|affected| affected.severity.iter().flatten()));
    let rated = |scored: &Scored| cvss::severity(&scored.score).or_else(|| word(&scored.score));
    let severity = scored.filter_map(rated).max();
    let specific = document.database_specific.unwrap_or_default();
    let of = |value: Option<serde_json::Value>| word(value.as_ref()?.as_str()?);
    let severity = severity.or_else(|| of(specific.severity)).or_else(|| of(specific.urgency));
    let urgency = |affected: &Affected| Some(affected.ecosystem_specific.as_ref()?.get("urgency")?.as_str()?.to_owned());
    let urgencies: Vec<String> = affected.iter().filter_map(urgency).collect();
    let urgent = urgencies.iter().filter_map(|urgency| word(urgency)).max();
    // Debian's word for what is no matter of security there, whatever its score is in general.
    let is_unimportant = !urgencies.is_empty() && urgencies.iter().all(|urgency| urgency == "unimportant");
    let severity = severity.or(urgent).filter(|_| !is_unimportant).or_else(|| is_unimportant.then_some(Severity::Low));
    let is_collection = document.id.starts_with("DSA-") || document.id.starts_with("DLA-");
    let parts = document.upstream.unwrap_or_default();
    let parts = if parts.is_empty() && is_collection { document.related.unwrap_or_default() } else { parts };
    let mut about: Vec<(String, String, Vec<Span>, Vec<String>)> = Vec::new();
    for affected in affected {
        let Some((Named { ecosystem, name }, (scope, kind))) =
            affected.package.and_then(|package| scope(&package.ecosystem).map(|scope| (package, scope)))
        else {
            continue;
        };
        drop(ecosystem);
        let ranges = affected.ranges.unwrap_or_default().into_iter().filter(|range| range.r#type != "GIT");
        let all: Vec<Span> = ranges.flat_map(|range| spans(kind, events(range.events))).collect();
        let is_left = |version: &String| !all.iter().any(|span| span.has(kind, version) == Some(true));
        let versions: Vec<String> = affected.versions.unwrap_or_default().into_iter().filter(is_left).collect();
        if !all.is_empty() || !versions.is_empty() {
            about.push((scope, name, all, versions));
        }
    }
    Ok(Read::Advisory(Box::new(Entry {
        id: document.id,
        aliases: document.aliases.unwrap_or_default(),
        parts,
        severity,
        summary: document.summary.unwrap_or_default(),
        changed: document.modified,
        about,
    })))
}

fn events(happened: Vec<Happened>) -> Vec<Event> {
    let each = happened.into_iter().flat_map(|event| {
        [event.introduced.map(Event::Introduced), event.fixed.map(Event::Fixed), event.last_affected.map(Event::Last)]
    });
    each.flatten().collect()
}

/// The ecosystems that are matched here: of distributions those of a release.
pub(super) fn scope(ecosystem: &str) -> Option<(String, Ecosystem)> {
    let (name, release) = ecosystem.split_once(':').unwrap_or((ecosystem, ""));
    let kind = match (name, release) {
        ("Go", _) => return Some(("Go".to_owned(), Ecosystem::Go)),
        ("crates.io", _) => return Some(("crates.io".to_owned(), Ecosystem::Rust)),
        (_, "") => return None,
        ("Debian" | "Ubuntu", _) => Ecosystem::Debian,
        ("Alpine", _) => Ecosystem::Alpine,
        _ => return None,
    };
    let release = release.strip_suffix(":LTS").unwrap_or(release);
    // What is mended for those who pay alone is not for everybody.
    (!release.contains(':')).then(|| (format!("{name}:{release}"), kind))
}

/// How bad a database says that it is.
fn word(word: &str) -> Option<Severity> {
    Some(match word.to_ascii_lowercase().trim_end_matches('*') {
        "critical" => Severity::Critical,
        "high" | "important" => Severity::High,
        "moderate" | "medium" => Severity::Medium,
        "low" | "negligible" | "unimportant" => Severity::Low,
        _ => return None,
    })
}
