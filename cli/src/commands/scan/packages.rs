//! The packages of an image, as a verdict tells them.

use std::collections::BTreeSet;

use coffer_client::proto::{ImagePackage, PackageList};
use coffer_images::Facts;
use coffer_packages::scope;

/// Packages that a verdict tells, at most: the vault takes no more.
const PACKAGES_MAX: usize = 8_192;
/// Bytes of a package's name, and of its version, at most.
const PACKAGE_BYTES_MAX: usize = 256;
/// Bytes of all of them, with one behind each text, at most.
const PACKAGES_BYTES_MAX: usize = 768 << 10;
/// Bytes of an ecosystem's name, at most.
const SCOPE_BYTES_MAX: usize = 64;

/// The packages by the names that advisories know them by, each once, as many as there is room for.
pub(super) fn list(facts: &Facts) -> PackageList {
    let distribution = facts.distribution.as_ref();
    let (mut named, mut incomplete) = (BTreeSet::new(), facts.unread_layers() > 0 || !facts.unread_packages.is_empty());
    for package in facts.packages.keys() {
        let (name, version) = package.advised();
        match scope(package.ecosystem, distribution).filter(|scope| scope.len() <= SCOPE_BYTES_MAX) {
            Some(scope) if name.len().max(version.len()) <= PACKAGE_BYTES_MAX => {
                named.insert((scope, name, version));
            }
            // No advisory can be about it, for nobody knows of which release it is.
            _ => incomplete = true,
        }
    }
    let (mut packages, mut bytes) = (Vec::new(), 0);
    for (scope, name, version) in named {
        bytes += scope.len() + name.len() + version.len() + 3;
        if packages.len() >= PACKAGES_MAX || bytes > PACKAGES_BYTES_MAX {
            incomplete = true;
            break;
        }
        packages.push(ImagePackage { scope, name: name.to_owned(), version: version.to_owned() });
    }
    PackageList { packages, incomplete }
}

#[cfg(test)]
mod tests {
    use coffer_packages::{Distribution, Ecosystem, Package, Source};

    use super::*;

    fn facts(packages: impl IntoIterator<Item = Package>) -> Facts {
        Facts {
            packages: packages.into_iter().map(|package| (package, Vec::new())).collect(),
            distribution: Some(Distribution { id: "debian".into(), version: "12".into() }),
            ..Facts::default()
        }
    }

    fn package(ecosystem: Ecosystem, name: &str, version: &str) -> Package {
        Package::new(ecosystem, name, version).unwrap()
    }

    #[test]
    fn packages_are_told_as_advisories_name_them_each_once() {
        let mut library = package(Ecosystem::Debian, "libssl3", "3.0.1+b1");
        library.source = Some(Source { name: "openssl".into(), version: "3.0.1".into() });
        let told = list(&facts([
            library,
            package(Ecosystem::Debian, "openssl", "3.0.1"),
            package(Ecosystem::Go, "example.com/x", "v1.0.0"),
            package(Ecosystem::Rust, "libc", "0.2.1"),
        ]));
        let told_as: Vec<_> =
            told.packages.iter().map(|package| format!("{} {} {}", package.scope, package.name, package.version)).collect();
        assert_eq!(told_as, ["Debian:12 openssl 3.0.1", "Go example.com/x v1.0.0", "crates.io libc 0.2.1"]);
        assert!(!told.incomplete);
    }

    #[test]
    fn what_is_not_told_is_said_to_be_missing() {
        let one = || package(Ecosystem::Debian, "a", "1");
        assert!(list(&Facts { distribution: None, ..facts([one()]) }).incomplete);
        assert!(list(&Facts { unread_packages: [("/x".into(), "y".into())].into(), ..facts([one()]) }).incomplete);
        let many = |count: usize| list(&facts((0..count).map(|number| package(Ecosystem::Go, &number.to_string(), "1"))));
        assert_eq!((many(PACKAGES_MAX).packages.len(), many(PACKAGES_MAX).incomplete), (PACKAGES_MAX, false));
        assert_eq!((many(PACKAGES_MAX + 1).packages.len(), many(PACKAGES_MAX + 1).incomplete), (PACKAGES_MAX, true));
        let named = |bytes: usize| list(&facts([package(Ecosystem::Go, &"x".repeat(bytes), "1")]));
        assert_eq!((named(PACKAGE_BYTES_MAX).packages.len(), named(PACKAGE_BYTES_MAX + 1).packages.len()), (1, 0));
        assert!(named(PACKAGE_BYTES_MAX + 1).incomplete);
        let of = |bytes: usize| {
            list(&Facts {
                distribution: Some(Distribution { id: "debian".into(), version: "1".repeat(bytes) }),
                ..facts([one()])
            })
        };
        let beside = "Debian:".len();
        assert_eq!((of(SCOPE_BYTES_MAX - beside).packages.len(), of(SCOPE_BYTES_MAX - beside + 1).packages.len()), (1, 0));
        // A line has 128 bytes, the last as many as are asked for.
        let lines = PACKAGES_BYTES_MAX / 128;
        let line = |number: usize, version: usize| package(Ecosystem::Go, &format!("{number:0>120}"), &"1".repeat(version));
        let full = |last: usize| list(&facts((0..lines).map(|number| line(number, if number + 1 == lines { last } else { 3 }))));
        assert_eq!((full(3).packages.len(), full(3).incomplete), (lines, false));
        assert_eq!((full(4).packages.len(), full(4).incomplete), (lines - 1, true));
    }
}
