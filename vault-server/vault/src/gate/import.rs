//! Imports of advisories: what is asked for, what it comes to, and when somebody has to say that it is meant.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use coffer_barrier::Batch;
use coffer_checks::Day;
use coffer_core::{
    digest::Digest,
    limits::{
        ADVISED_PAIRS_MAX, ADVISORY_ALIASES_MAX, ADVISORY_MATCHES_MAX, ADVISORY_SCOPES_MAX, SCAN_PACKAGE_BYTES_MAX,
        SCAN_WORD_BYTES_MAX, VERDICTS_MAX,
    },
    policy::{Caller, ImageVerdict},
    reason::Reason,
};

use super::{
    advisories::{AdvisoriesRecord, AdvisoryMatch, KNOWN},
    images::{Judge, facts_by},
    packages::ImagePackage,
    record::{VerdictRecord, is_plain, rank},
};
use crate::{Failure, Planned, Unsealed};

/// So few running pods whose images pass may all fail for one import, unasked.
const PODS_UNASKED_MAX: usize = 3;

/// What is asked to be imported.
#[derive(Debug, Clone, Default)]
pub struct NewImport {
    /// The ecosystems that the advisories are of, each with the day of the newest and how many packages have any.
    pub scopes: BTreeMap<String, (String, u64)>,
    /// Advisories about packages of images.
    pub matches: Vec<AdvisoryMatch>,
    /// Which of them an image has, by its manifest.
    pub images: BTreeMap<Digest, BTreeSet<u32>>,
    /// Whether it goes on though more than half of the pods that pass would not.
    pub force: bool,
}

impl NewImport {
    /// Checks that it is within all limits.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Failure> {
        let refused = |what: String| Err(Failure::told(Reason::InvalidArgument, what));
        if self.scopes.is_empty() {
            return refused("an import says which ecosystems it has advisories of".to_owned());
        }
        let pairs: usize = self.images.values().map(BTreeSet::len).sum();
        if self.scopes.len() > ADVISORY_SCOPES_MAX
            || self.matches.len() > ADVISORY_MATCHES_MAX
            || self.images.len() > VERDICTS_MAX
            || pairs > ADVISED_PAIRS_MAX
        {
            return Err(Failure::told(
                Reason::LimitExceeded,
                format!(
                    "an import has at most {ADVISORY_SCOPES_MAX} ecosystems, {ADVISORY_MATCHES_MAX} advisories about packages, \
                     {VERDICTS_MAX} images and {ADVISED_PAIRS_MAX} advisories about images"
                ),
            ));
        }
        let is_scope = |(scope, (newest, _)): (&String, &(String, u64))| {
            !scope.is_empty() && is_plain(scope, SCAN_WORD_BYTES_MAX) && (newest.is_empty() || newest.parse::<Day>().is_ok())
        };
        if !self.scopes.iter().all(is_scope) {
            return refused(format!(
                "an ecosystem has a name of 1 to {SCAN_WORD_BYTES_MAX} bytes, and its newest advisory a day"
            ));
        }
        for found in &self.matches {
            let names = [&found.advisory].into_iter().chain(&found.aliases);
            let is_named = names.clone().all(|name| !name.is_empty() && is_plain(name, SCAN_WORD_BYTES_MAX));
            let is_known = self.scopes.contains_key(&found.package.scope) && rank(&found.severity).is_some();
            let is_short = found.aliases.len() <= ADVISORY_ALIASES_MAX && is_plain(&found.fixed, SCAN_PACKAGE_BYTES_MAX);
            if !is_named || !is_known || !is_short || !found.package.is_plain() {
                return refused(format!(
                    "an advisory has names of 1 to {SCAN_WORD_BYTES_MAX} bytes, at most {ADVISORY_ALIASES_MAX} beside the first, a severity, a \
                     package of an ecosystem of the import, and a version of at most {SCAN_PACKAGE_BYTES_MAX} bytes that mends it"
                ));
            }
        }
        let is_there = |place: &u32| usize::try_from(*place).is_ok_and(|place| place < self.matches.len());
        if !self.images.values().flatten().all(is_there) {
            return refused("an image has an advisory that is not in the list".to_owned());
        }
        Ok(())
    }
}

/// What an import comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Verdicts that pass but for an advisory.
    pub verdicts_failing: usize,
    /// Running pods whose images passed before.
    pub pods_passing: usize,
    /// How many of those do not any more.
    pub pods_failing: usize,
}

impl Imported {
    /// Whether it is so much that somebody has to say that it is meant.
    const fn is_much(&self) -> bool {
        self.pods_passing > PODS_UNASKED_MAX && self.pods_failing * 2 > self.pods_passing
    }
}

impl Unsealed {
    /// Sees that each image has the packages that it is said to have, as a signer signed them. An image that has no verdict any more
    /// is let be.
    ///
    /// # Errors
    /// Fails where one has not, or the store does.
    pub async fn check_import(&self, new: &NewImport) -> Result<(), Failure> {
        let mut verdicts: BTreeMap<Digest, Vec<Arc<VerdictRecord>>> = BTreeMap::new();
        for (_, row) in self.gate.verdicts.all() {
            verdicts.entry(row.value.scan.manifest).or_default().push(row.value);
        }
        for (image, places) in &new.images {
            let Some(of_image) = verdicts.get(image) else { continue };
            let mut lists = Vec::new();
            for verdict in of_image {
                lists.extend(self.packages_of(verdict).await?);
            }
            let found = places.iter().filter_map(|place| new.matches.get(usize::try_from(*place).ok()?));
            if let Some(other) = found.map(|found| &found.package).find(|package| !lists.iter().any(|list| list.has(package))) {
                let ImagePackage { scope, name, version } = other;
                let message = format!("no signer has signed that {image} has {name} {version} of {scope}");
                return Err(Failure::told(Reason::InvalidArgument, message));
            }
        }
        Ok(())
    }

    /// What would be known after an import.
    ///
    /// # Errors
    /// Fails where that is too much.
    pub(super) fn imported(&self, by: &str, new: &NewImport) -> Result<AdvisoriesRecord, Failure> {
        let there: BTreeSet<Digest> = self.gate.verdicts.all().into_iter().map(|(_, row)| row.value.scan.manifest).collect();
        let next = self.advisories().with(new, self.now(), by, |image| there.contains(image));
        next.check()?;
        Ok(next)
    }

    /// Plans an import.
    ///
    /// # Errors
    /// Fails where there are too many advisories about images, or more than half of the pods that pass would not, and nobody said that
    /// it is meant.
    pub fn import_advisories(&self, caller: &Caller, new: &NewImport) -> Result<Planned<Imported>, Failure> {
        let next = self.imported(&caller.principal.to_string(), new)?;
        let comes_to = self.comes_to(&next);
        if comes_to.is_much() && !new.force {
            let Imported { pods_passing, pods_failing, .. } = comes_to;
            return Err(Failure::told(
                Reason::Conflict,
                format!(
                    "{pods_failing} of {pods_passing} running pods whose images pass would not pass any more, which is more than half: \
                     look at them (--dry-run), and say --force if it is meant"
                ),
            ));
        }
        let mut batch = Batch::default();
        let put = self.gate.advisories.put(&mut batch, KNOWN, next)?;
        Ok(self.verdicts_planned(batch, vec![put], comes_to))
    }

    fn comes_to(&self, next: &AdvisoriesRecord) -> Imported {
        let now = self.now();
        let fails = |verdict: &VerdictRecord| verdict.passed && !next.failing(verdict, now).matches.is_empty();
        let verdicts_failing = self.gate.verdicts.all().iter().filter(|(_, row)| fails(&row.value)).count();
        let (before, after) = (self.assuming(None, None), self.assuming(Some(next), None));
        let (mut pods_passing, mut pods_failing) = (0, 0);
        for (_, _, pod) in self.workloads() {
            let passes = |judge: Judge<'_>| facts_by(&pod.workload.containers, judge).verdict == ImageVerdict::Passed;
            if passes(&before) {
                pods_passing += 1;
                pods_failing += usize::from(!passes(&after));
            }
        }
        Imported { verdicts_failing, pods_passing, pods_failing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_few_pods_may_fail_unasked_and_no_more() {
        let is_much = |pods_passing, pods_failing| Imported { verdicts_failing: 1, pods_passing, pods_failing }.is_much();
        assert!(!is_much(PODS_UNASKED_MAX, PODS_UNASKED_MAX));
        assert!(is_much(PODS_UNASKED_MAX + 1, PODS_UNASKED_MAX + 1));
        assert!(!is_much(4, 2) && is_much(4, 3));
        assert!(!is_much(0, 0));
    }
}
