//! Putting advisories together.

use std::collections::{BTreeMap, BTreeSet};

use coffer_checks::{Day, Severity};

use super::{About, Advisories, Advisory, SUMMARY_CHARS_MAX, Span, osv, rustsec};

/// Bytes of one advisory's document, at most.
pub const ADVISORY_BYTES_MAX: usize = 16 << 20;
/// Advisories that are put together, at most.
pub const ADVISORIES_MAX: usize = 1_000_000;

/// An advisory as it was read.
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) aliases: Vec<String>,
    pub(super) parts: Vec<String>,
    pub(super) severity: Option<Severity>,
    pub(super) summary: String,
    pub(super) changed: Option<String>,
    /// Ecosystem, package, spans, further versions.
    pub(super) about: Vec<(String, String, Vec<Span>, Vec<String>)>,
}

/// What a document came to.
pub(super) enum Read {
    Advisory(Box<Entry>),
    Withdrawn,
    /// It tells of no vulnerability.
    Informational,
    /// It is no advisory.
    Other,
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// It cannot be read.
    #[error("{name} is no advisory that can be read: {why}")]
    Document {
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
    /// It is larger than any.
    #[error("{0} is larger than {ADVISORY_BYTES_MAX} bytes")]
    TooLarge(String),
    /// There are more than are put together.
    #[error("there are more than {ADVISORIES_MAX} advisories")]
    TooMany,
}

/// How many documents came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Advisories that can be about what is found in images.
    pub advisories: usize,
    /// Those that were taken back.
    pub withdrawn: usize,
    /// Those that tell of no vulnerability.
    pub informational: usize,
    /// Those about packages of other ecosystems, and what is no advisory.
    pub others: usize,
}

/// Puts advisories together.
#[derive(Debug)]
pub struct Importer {
    all: Advisories,
    ids: BTreeSet<String>,
    imported: Imported,
    max: usize,
}

impl Importer {
    /// Begins, today.
    #[must_use]
    pub const fn new(today: Day) -> Self {
        let all = Advisories { made: today, newest: None, advisories: Vec::new(), scopes: BTreeMap::new() };
        Self {
            all,
            ids: BTreeSet::new(),
            imported: Imported { advisories: 0, withdrawn: 0, informational: 0, others: 0 },
            max: ADVISORIES_MAX,
        }
    }

    /// Whether a file of this name is worth reading, by its end.
    #[must_use]
    pub fn wants(name: &str) -> bool {
        [".json", ".md"].iter().any(|end| name.ends_with(end))
    }

    /// Adds a document: OSV's JSON, or RustSec's markdown. What is no advisory is counted and let be; what is there already, too.
    ///
    /// # Errors
    /// Where it is an advisory and cannot be read: to leave it out would be to say that there is none.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImportError> {
        if bytes.len() > ADVISORY_BYTES_MAX {
            return Err(ImportError::TooLarge(name.to_owned()));
        }
        let wrong = |why: String| ImportError::Document { name: name.to_owned(), why };
        let read = match std::str::from_utf8(bytes) {
            Ok(text) if name.ends_with(".md") => rustsec::read(text),
            Err(error) if name.ends_with(".md") => Err(error.to_string()),
            _ => osv::read(bytes),
        };
        match read.map_err(wrong)? {
            Read::Advisory(entry) if entry.about.is_empty() || self.ids.contains(&entry.id) => self.imported.others += 1,
            Read::Advisory(entry) => self.take(*entry)?,
            Read::Withdrawn => self.imported.withdrawn += 1,
            Read::Informational => self.imported.informational += 1,
            Read::Other => self.imported.others += 1,
        }
        Ok(())
    }

    fn take(&mut self, entry: Entry) -> Result<(), ImportError> {
        if self.all.advisories.len() >= self.max {
            return Err(ImportError::TooMany);
        }
        let Entry { id, mut aliases, parts, severity, summary, changed, about } = entry;
        aliases.retain(|alias| *alias != id);
        let day = changed.and_then(|changed| changed.get(..10)?.parse::<Day>().ok());
        self.all.newest = self.all.newest.max(day);
        self.ids.insert(id.clone());
        let summary = summary.chars().filter(|letter| !letter.is_control()).take(SUMMARY_CHARS_MAX).collect();
        let advisory = self.all.advisories.len();
        self.all.advisories.push(Advisory { id, aliases, parts, severity, summary });
        for (scope, name, spans, versions) in about {
            self.all.scopes.entry(scope).or_default().entry(name).or_default().push(About { advisory, spans, versions });
        }
        self.imported.advisories += 1;
        Ok(())
    }

    /// What there is, and what it was made of.
    #[must_use]
    pub fn finish(self) -> (Advisories, Imported) {
        (self.all, self.imported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn importer() -> Importer {
        Importer::new("2026-11-29".parse().unwrap())
    }

    #[test]
    fn documents_are_taken_up_to_their_limit() {
        let text = |bytes: usize| {
            let frame = r#"{"id":"X-1","modified":"2026-01-01","details":""}"#;
            frame.replace("\"\"}", &format!("\"{}\"}}", "x".repeat(bytes - frame.len())))
        };
        assert_eq!(importer().add("x.json", text(ADVISORY_BYTES_MAX).as_bytes()), Ok(()));
        assert_eq!(
            importer().add("x.json", text(ADVISORY_BYTES_MAX + 1).as_bytes()),
            Err(ImportError::TooLarge("x.json".into()))
        );
    }

    #[test]
    fn advisories_are_taken_up_to_their_limit() {
        let mut importer = Importer { max: 2, ..importer() };
        let document = |number: usize| {
            format!(
                r#"{{"id":"X-{number}","modified":"2026-01-01","affected":[{{"package":{{"ecosystem":"Go","name":"x"}},"versions":["1"]}}]}}"#
            )
        };
        assert_eq!(importer.add("1.json", document(1).as_bytes()), Ok(()));
        assert_eq!(importer.add("2.json", document(2).as_bytes()), Ok(()));
        assert_eq!(importer.add("again.json", document(2).as_bytes()), Ok(()));
        assert_eq!(importer.add("3.json", document(3).as_bytes()), Err(ImportError::TooMany));
    }
}
