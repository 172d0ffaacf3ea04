//! Databases of packages, and what a distribution says of itself.

use coffer_packages::{Database, Distribution, PACKAGE_TEXT_BYTES_MAX, purl};

pub(crate) const WORDS: &[&str] = &[
    "Package: ",
    "Version: ",
    "Source: x (1)",
    "Status: install ok installed",
    "deinstall ok config-files",
    "Architecture: amd64",
    "\n\n",
    "\n \n",
    "\r\n",
    "\nP:",
    "\nV:",
    "\no:",
    "\nA:",
    "ID=debian\n",
    "VERSION_ID=\"12\"\n",
    "\u{a0}",
    "\u{202e}",
    "\0",
];

pub(crate) fn check(input: &[u8]) {
    let distribution = Distribution::read(&String::from_utf8_lossy(input));
    let is_plain =
        |text: &str| text.len() <= PACKAGE_TEXT_BYTES_MAX && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    for database in [Database::Dpkg, Database::Apk] {
        for package in database.read(input).packages {
            let (name, version) = package.advised();
            assert!([&package.name, &package.version, name, version].into_iter().all(is_plain), "{package:?}");
            assert!(!package.name.is_empty() && !package.version.is_empty() && !name.is_empty(), "{package:?}");
            let purl = purl(&package, distribution.as_ref());
            assert!(purl.bytes().all(|byte| byte.is_ascii_graphic()), "{purl}");
            // What is a name cannot become another part of the address.
            assert!(purl.matches(['@', '?']).count() <= 2 && purl.matches('/').count() >= 2, "{purl}");
        }
    }
}
