//! Packages of images: told with an attestation, signed as the digest of their text, and kept beside the verdict.

use std::collections::BTreeSet;

use coffer_barrier::{Batch, Expect, RecordKey};
use coffer_core::{
    limits::{SCAN_PACKAGE_BYTES_MAX, SCAN_PACKAGES_BYTES_MAX, SCAN_PACKAGES_MAX, SCAN_WORD_BYTES_MAX},
    reason::Reason,
};
use coffer_crypto::hash::sha256;
use coffer_secret::SecretBytes;

use super::record::{PackageSummary, VerdictRecord};
use crate::{Failure, Unsealed};

/// A package, as advisories name it. In the order of its line in the canonical text, for no letter of it comes before a tab.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct ImagePackage {
    /// Where it comes from, as OSV writes it: `Debian:12`, `Go`.
    pub scope: String,
    /// Its name, or that of its source.
    pub name: String,
    /// The version of that; empty where it does not tell.
    pub version: String,
}

impl ImagePackage {
    /// Whether its texts are within their limits, and nothing that would change how a line is read.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let plain = |text: &str, most: usize| text.len() <= most && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        let named = !self.scope.is_empty() && !self.name.is_empty();
        named
            && plain(&self.scope, SCAN_WORD_BYTES_MAX)
            && plain(&self.name, SCAN_PACKAGE_BYTES_MAX)
            && plain(&self.version, SCAN_PACKAGE_BYTES_MAX)
    }

    /// How reports name it: exceptions are about that.
    pub(super) fn subject(&self) -> String {
        let from = match self.scope.as_str() {
            "crates.io" => "rust".to_owned(),
            scope => scope.split(':').next().unwrap_or_default().to_ascii_lowercase(),
        };
        format!("{} {} ({from})", self.name, self.version)
    }
}

/// The packages of an image, within their limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageList {
    packages: BTreeSet<ImagePackage>,
    incomplete: bool,
}

impl PackageList {
    /// From what was told, in any order.
    ///
    /// # Errors
    /// Fails where there are too many, or one is no package.
    pub fn new(told: Vec<ImagePackage>, incomplete: bool) -> Result<Self, Failure> {
        if told.len() > SCAN_PACKAGES_MAX {
            let message = format!("a scan tells at most {SCAN_PACKAGES_MAX} packages, and that there are more (incomplete)");
            return Err(Failure::told(Reason::LimitExceeded, message));
        }
        if !told.iter().all(ImagePackage::is_plain) {
            let message = format!(
                "a package has a scope of 1 to {SCAN_WORD_BYTES_MAX} bytes, a name of 1 to {SCAN_PACKAGE_BYTES_MAX} and a version of at most as many, without spaces"
            );
            return Err(Failure::told(Reason::InvalidArgument, message));
        }
        let list = Self { packages: told.into_iter().collect(), incomplete };
        if list.text().len() > SCAN_PACKAGES_BYTES_MAX {
            let message =
                format!("the packages of a scan have at most {SCAN_PACKAGES_BYTES_MAX} bytes, with a byte behind each text");
            return Err(Failure::told(Reason::LimitExceeded, message));
        }
        Ok(list)
    }

    /// The canonical text.
    fn text(&self) -> String {
        self.packages.iter().map(|ImagePackage { scope, name, version }| format!("{scope}\t{name}\t{version}\n")).collect()
    }

    /// From the canonical text, as it was kept.
    fn read(text: &str, incomplete: bool) -> Result<Self, Failure> {
        let package = |line: &str| {
            let mut texts = line.split('\t').map(str::to_owned);
            Some(ImagePackage { scope: texts.next()?, name: texts.next()?, version: texts.next()? })
        };
        let packages = text.lines().map(package).collect::<Option<_>>();
        packages
            .map(|packages| Self { packages, incomplete })
            .ok_or_else(|| Failure::internal("a list of packages cannot be read"))
    }

    /// What is signed of it.
    #[must_use]
    pub fn summary(&self) -> PackageSummary {
        let digest = sha256(self.text().as_bytes());
        let count = u32::try_from(self.packages.len()).unwrap_or(u32::MAX);
        PackageSummary { count, sha256: hex::encode(digest), incomplete: self.incomplete }
    }

    /// The packages, in the order of the canonical text.
    pub fn packages(&self) -> impl Iterator<Item = &ImagePackage> {
        self.packages.iter()
    }

    /// Whether there are more.
    #[must_use]
    pub const fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    pub(super) fn has(&self, package: &ImagePackage) -> bool {
        self.packages.contains(package)
    }
}

impl Unsealed {
    fn packages_key(&self, verdict: &str) -> Result<RecordKey, Failure> {
        self.gate.packages.child(verdict).map_err(|_| Failure::internal("a verdict's name is too long"))
    }

    /// Rides along with a verdict: its packages, in place of those of the one before.
    pub(super) async fn put_packages(&self, batch: &mut Batch, verdict: &str, list: Option<&PackageList>) -> Result<(), Failure> {
        let key = self.packages_key(verdict)?;
        let there = self.barrier.get(&key).await?;
        match (list, &there) {
            (Some(list), there) => {
                batch.put(key, Expect::unchanged(there.as_ref()), SecretBytes::from(list.text().into_bytes()));
            }
            (None, Some(record)) => {
                batch.delete(key, Expect::Version(record.version));
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// Rides along with a verdict that goes.
    pub(super) fn drop_packages(&self, batch: &mut Batch, verdict: &str) -> Result<(), Failure> {
        batch.delete(self.packages_key(verdict)?, Expect::Any);
        Ok(())
    }

    /// The packages of a verdict's image; none where they were not told.
    ///
    /// # Errors
    /// Fails where the store does, or they are not those that were signed.
    pub async fn packages_of(&self, verdict: &VerdictRecord) -> Result<Option<PackageList>, Failure> {
        let Some(summary) = &verdict.scan.packages else { return Ok(None) };
        // A verdict that was given anew meanwhile has others: they are asked for again.
        let record = self.barrier.get(&self.packages_key(&verdict.name())?).await?.ok_or_else(Failure::conflict)?;
        let text = std::str::from_utf8(record.value.expose()).map_err(|_| Failure::internal("a list of packages is no text"))?;
        let list = PackageList::read(text, summary.incomplete)?;
        if list.summary() == *summary { Ok(Some(list)) } else { Err(Failure::conflict()) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::gate) fn package(scope: &str, name: &str, version: &str) -> ImagePackage {
        ImagePackage { scope: scope.to_owned(), name: name.to_owned(), version: version.to_owned() }
    }

    fn reason(told: Vec<ImagePackage>) -> Option<Reason> {
        PackageList::new(told, false).err().map(|failure| failure.reason)
    }

    #[test]
    fn a_list_has_one_text_however_it_was_told() {
        let told = || {
            vec![package("Go", "b", "v1"), package("Debian:12", "a", "2:1-1"), package("Go", "a", ""), package("Go", "b", "v1")]
        };
        let list = PackageList::new(told(), true).unwrap();
        assert_eq!(list.text(), "Debian:12\ta\t2:1-1\nGo\ta\t\nGo\tb\tv1\n");
        assert_eq!(PackageList::new(told().into_iter().rev().collect(), true).unwrap(), list);
        assert_eq!(PackageList::read(&list.text(), true).unwrap(), list);
        let summary = list.summary();
        assert_eq!((summary.count, summary.incomplete), (3, true));
        assert_eq!(summary.sha256, "eaad843ec4e1526076d7d82ca172c83a06c7d3ebf6e1be869a009f2a7df58815");
        assert!(PackageList::read("Go\ta\n", true).is_err());
    }

    #[test]
    fn lists_are_taken_up_to_their_limits() {
        let many = |count: usize| (0..count).map(|number| package("Go", &number.to_string(), "1")).collect();
        assert_eq!(reason(many(SCAN_PACKAGES_MAX)), None);
        assert_eq!(reason(many(SCAN_PACKAGES_MAX + 1)), Some(Reason::LimitExceeded));
        let named = |bytes: usize| vec![package("Go", &"x".repeat(bytes), "1")];
        let of = |bytes: usize| vec![package("Go", "x", &"1".repeat(bytes))];
        let from = |bytes: usize| vec![package(&"x".repeat(bytes), "x", "1")];
        for told in [named(SCAN_PACKAGE_BYTES_MAX), of(SCAN_PACKAGE_BYTES_MAX), from(SCAN_WORD_BYTES_MAX), of(0)] {
            assert_eq!(reason(told), None);
        }
        for told in
            [named(SCAN_PACKAGE_BYTES_MAX + 1), of(SCAN_PACKAGE_BYTES_MAX + 1), from(SCAN_WORD_BYTES_MAX + 1), named(0), from(0)]
        {
            assert_eq!(reason(told), Some(Reason::InvalidArgument));
        }
        for wrong in ["a b", "a\tb", "a\nb", "\u{7f}"] {
            assert_eq!(reason(vec![package("Go", wrong, "1")]), Some(Reason::InvalidArgument), "{wrong:?}");
        }
        // 256 bytes a line, with what is between the texts; the last as long as there is room for.
        let full = |last: usize| {
            let lines = SCAN_PACKAGES_BYTES_MAX / 256;
            let line = |number: usize| package("Go", &format!("{number:0>248}"), &"1".repeat(if number == 0 { last } else { 3 }));
            (0..lines).map(line).collect::<Vec<_>>()
        };
        assert_eq!(PackageList::new(full(3), false).unwrap().text().len(), SCAN_PACKAGES_BYTES_MAX);
        assert_eq!(reason(full(4)), Some(Reason::LimitExceeded));
    }

    #[test]
    fn a_package_is_named_as_reports_name_it() {
        for (scope, subject) in [
            ("Debian:12", "x 1 (debian)"),
            ("Alpine:v3.20", "x 1 (alpine)"),
            ("Ubuntu:22.04", "x 1 (ubuntu)"),
            ("Go", "x 1 (go)"),
            ("crates.io", "x 1 (rust)"),
        ] {
            assert_eq!(package(scope, "x", "1").subject(), subject);
        }
    }
}
