//! Advisories that came out after an image was attested: which of them are about which image, and which verdicts fail for that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use coffer_checks::{Day, PACKAGES_CHECK, is_about};
use coffer_core::{
    clock::Timestamp,
    digest::Digest,
    limits::{ADVISED_PAIRS_MAX, ADVISORY_IMPORTS_BYTES_MAX, ADVISORY_MATCHES_MAX, ADVISORY_SCOPES_MAX},
    reason::Reason,
};
use serde::{Deserialize, Serialize};

use super::{
    import::NewImport,
    packages::ImagePackage,
    record::{ScanException, VerdictRecord, rank},
};
use crate::{Failure, Unsealed, codec};

/// The name of the one record.
pub(super) const KNOWN: &str = "known";
const DAY_SECS: u64 = 86_400;

/// An advisory that is about a version of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AdvisoryMatch {
    /// The package.
    pub package: ImagePackage,
    /// The name that most people know.
    pub advisory: String,
    /// What others call the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// How bad it is.
    pub severity: String,
    /// The version in which it is mended; empty where none is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fixed: String,
}

/// The newest import of an ecosystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeImport {
    /// The day on which the newest advisory was changed; empty where none says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub newest: String,
    /// How many packages have advisories.
    pub packages: u64,
    /// When it was imported.
    pub imported: Timestamp,
    /// By whom.
    pub by: String,
}

/// All that is kept of imports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvisoriesRecord {
    scopes: BTreeMap<String, ScopeImport>,
    matches: Vec<AdvisoryMatch>,
    /// Which of the matches an image has, by its manifest.
    images: BTreeMap<Digest, BTreeSet<u32>>,
}

/// What makes a verdict fail that passed.
#[derive(Default)]
pub(super) struct Failing<'a> {
    /// The advisories, the worst first.
    pub(super) matches: Vec<&'a AdvisoryMatch>,
    /// When an exception ends without which there would be more.
    pub(super) until: Option<Timestamp>,
}

impl AdvisoriesRecord {
    /// The advisories for which a verdict fails: those for which its own scan would have failed.
    pub(super) fn failing(&self, verdict: &VerdictRecord, now: Timestamp) -> Failing<'_> {
        let Some(least) = rank(&verdict.scan.fail_on) else { return Failing::default() };
        let of_image = self.images.get(&verdict.scan.manifest).into_iter().flatten();
        let of_image = of_image.filter_map(|place| self.matches.get(usize::try_from(*place).ok()?));
        let mut failing = Failing::default();
        for found in of_image.filter(|found| rank(&found.severity) >= Some(least)) {
            match borne_until(&verdict.scan.exceptions, found).filter(|until| now < *until) {
                Some(until) => failing.until = Some(failing.until.map_or(until, |other| other.min(until))),
                None => failing.matches.push(found),
            }
        }
        failing.matches.sort_by(|one, other| rank(&other.severity).cmp(&rank(&one.severity)).then_with(|| one.cmp(other)));
        failing
    }

    /// An advisory in a sentence.
    pub(super) fn sentence(&self, found: &AdvisoryMatch) -> String {
        let AdvisoryMatch { package: ImagePackage { scope, name, version }, advisory, severity, fixed, .. } = found;
        let mended = if fixed.is_empty() { "not mended yet".to_owned() } else { format!("mended in {fixed}") };
        let (day, by) = self.scopes.get(scope).map_or((String::new(), ""), |import| (day(import.imported), import.by.as_str()));
        format!("advisory {advisory} ({severity}) in {name} {version}, {mended}, imported {day} by {by}")
    }

    /// The same with what a new import says in place of what was known of its ecosystems, for images that are still there.
    pub(super) fn with(&self, new: &NewImport, imported: Timestamp, by: &str, is_there: impl Fn(&Digest) -> bool) -> Self {
        let mut scopes = self.scopes.clone();
        scopes.extend(new.scopes.iter().map(|(scope, (newest, packages))| {
            (scope.clone(), ScopeImport { newest: newest.clone(), packages: *packages, imported, by: by.to_owned() })
        }));
        let mut of_image: BTreeMap<&Digest, BTreeSet<&AdvisoryMatch>> = BTreeMap::new();
        for (matches, images, is_new) in [(&self.matches, &self.images, false), (&new.matches, &new.images, true)] {
            for (image, places) in images.iter().filter(|(image, _)| is_there(image)) {
                let found = places.iter().filter_map(|place| matches.get(usize::try_from(*place).ok()?));
                let found = found.filter(|found| is_new || !new.scopes.contains_key(&found.package.scope));
                of_image.entry(image).or_default().extend(found);
            }
        }
        let matches: BTreeSet<&AdvisoryMatch> = of_image.values().flatten().copied().collect();
        let places: BTreeMap<&AdvisoryMatch, u32> = matches.iter().copied().zip(0..).collect();
        let images = of_image.into_iter().filter(|(_, found)| !found.is_empty());
        let images =
            images.map(|(image, found)| (*image, found.into_iter().filter_map(|found| places.get(found).copied()).collect()));
        Self { scopes, images: images.collect(), matches: matches.into_iter().cloned().collect() }
    }

    /// Sees that it is not more than is kept.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let pairs: usize = self.images.values().map(BTreeSet::len).sum();
        let bytes = codec::encode(self)?.len();
        let is_over = self.scopes.len() > ADVISORY_SCOPES_MAX
            || self.matches.len() > ADVISORY_MATCHES_MAX
            || pairs > ADVISED_PAIRS_MAX
            || bytes > ADVISORY_IMPORTS_BYTES_MAX;
        if is_over {
            let (matches, scopes) = (self.matches.len(), self.scopes.len());
            return Err(Failure::told(
                Reason::LimitExceeded,
                format!(
                    "there would be {matches} advisories about packages of images, {pairs} about images, of {scopes} ecosystems, {bytes} bytes: \
                     {ADVISORY_MATCHES_MAX}, {ADVISED_PAIRS_MAX}, {ADVISORY_SCOPES_MAX} and {ADVISORY_IMPORTS_BYTES_MAX} are the limits; \
                     take back the verdicts on images that have most of them (coffer verdict revoke), or scan and attest those anew"
                ),
            ));
        }
        Ok(())
    }

    /// Imports by ecosystem, each with how many matches and images it has.
    pub fn imports(&self) -> impl Iterator<Item = (&str, &ScopeImport, usize, usize)> {
        self.scopes.iter().map(|(scope, import)| {
            let is_of = |place: &u32| {
                let found = usize::try_from(*place).ok().and_then(|place| self.matches.get(place));
                found.is_some_and(|found| found.package.scope == *scope)
            };
            let matches = self.matches.iter().filter(|found| found.package.scope == *scope).count();
            (scope.as_str(), import, matches, self.images.values().filter(|places| places.iter().any(is_of)).count())
        })
    }
}

/// Until when somebody bears with an advisory, if anybody does.
fn borne_until(exceptions: &[ScanException], found: &AdvisoryMatch) -> Option<Timestamp> {
    let subject = found.package.subject();
    let covers = |exception: &&ScanException| {
        let named =
            exception.check == PACKAGES_CHECK || exception.check == found.advisory || found.aliases.contains(&exception.check);
        named && (exception.subject.is_empty() || is_about(&exception.subject, &subject))
    };
    exceptions.iter().filter(covers).filter_map(|exception| end_of(exception.until)).max()
}

/// The moment in which a day is over.
fn end_of(day: Day) -> Option<Timestamp> {
    Some(Timestamp::from_secs((u64::from(day.number()?) + 1) * DAY_SECS))
}

fn day(moment: Timestamp) -> String {
    let number = u32::try_from(moment.secs() / DAY_SECS).ok();
    number.and_then(Day::of_number).map(|day| day.to_string()).unwrap_or_default()
}

impl Unsealed {
    /// What is known of advisories that came out later.
    #[must_use]
    pub fn advisories(&self) -> Arc<AdvisoriesRecord> {
        self.gate.advisories.find(KNOWN).map(|row| row.value).unwrap_or_default()
    }

    /// Advisories for which a verdict fails that passed, each in a sentence, the worst first.
    #[must_use]
    pub fn failing_for(&self, verdict: &VerdictRecord) -> Vec<String> {
        let known = self.advisories();
        let failing = if verdict.passed { known.failing(verdict, self.now()).matches } else { Vec::new() };
        failing.into_iter().map(|found| known.sentence(found)).collect()
    }
}

#[cfg(test)]
mod tests;
