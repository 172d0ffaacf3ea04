//! Advisories, as others write them.

use coffer_packages::{Advisories, Distribution, Ecosystem, Importer, Package};

pub(crate) const WORDS: &[&str] = &[
    "\"introduced\":\"0\"",
    "\"fixed\":\"1.2.3\"",
    "\"last_affected\":\"1.0\"",
    "\"withdrawn\":\"2026-01-01\"",
    "\"ecosystem\":\"Go\"",
    "\"ecosystem\":\"crates.io\"",
    "\"ecosystem\":\"Debian:12\"",
    "\"ecosystem\":\"Alpine:v3.20\"",
    "\"versions\":[\"1.0.0\"]",
    "\"type\":\"SEMVER\"",
    "\"score\":\"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H\"",
    "\"aliases\":[\"CVE-2026-1\"]",
    "patched = [\">= 1.0.0, < 2\"]",
    "unaffected = [\"^0.3\"]",
    "informational = \"notice\"",
    "\n```\n",
    "# ",
    "null",
    "[",
    "{",
];

pub(crate) fn check(input: &[u8]) {
    drop(Advisories::read(input));
    for name in ["x.json", "x.md"] {
        let mut importer = Importer::new("2026-01-01".parse().expect("a day"));
        if importer.add(name, input).is_err() {
            continue;
        }
        let (advisories, imported) = importer.finish();
        assert_eq!(imported.advisories, advisories.len());
        assert_eq!(imported.advisories + imported.withdrawn + imported.informational + imported.others, 1);
        let mut file = Vec::new();
        advisories.write(&mut file).expect("memory can be written");
        assert_eq!(Advisories::read(&file).as_ref().ok(), Some(&advisories), "it is read differently");
        let distributions =
            [("debian", "12"), ("alpine", "3.20")].map(|(id, version)| Distribution { id: id.into(), version: version.into() });
        for ecosystem in Ecosystem::ALL {
            for (name, version) in [("x", "1.0.0"), ("openssl", "3.0.1"), ("example.com/x", "(devel)")] {
                let package = Package::new(*ecosystem, name, version).expect("a package");
                for distribution in distributions.iter().map(Some).chain([None]) {
                    assert!(advisories.matches(&package, distribution).len() <= 1, "one advisory is told once");
                }
            }
        }
    }
}
