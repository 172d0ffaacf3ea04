use super::*;

const OSV: &str = r#"{
    "schema_version": "1.6.0", "id": "GHSA-aaaa", "modified": "2026-02-01T00:00:00Z", "aliases": ["CVE-2026-1"], "summary": "It overflows\nbadly",
    "severity": [{ "type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H" }],
    "affected": [
        { "package": { "ecosystem": "Go", "name": "example.com/x" },
          "ranges": [{ "type": "SEMVER", "events": [{ "introduced": "1.0.0" }, { "fixed": "1.2.3" }, { "introduced": "2.0.0" }, { "fixed": "2.0.1" }] },
                     { "type": "GIT", "repo": "x", "events": [{ "introduced": "0" }] }] },
        { "package": { "ecosystem": "npm", "name": "x" }, "versions": ["1"] }
    ]
}"#;

fn of(documents: &[(&str, &str)]) -> (Advisories, Imported) {
    let mut importer = Importer::new("2026-11-29".parse().unwrap());
    for (name, text) in documents {
        importer.add(name, text.as_bytes()).unwrap();
    }
    importer.finish()
}

fn names(advisories: &Advisories, ecosystem: Ecosystem, name: &str, version: &str) -> Vec<String> {
    let package = Package::new(ecosystem, name, version).unwrap();
    let debian = Distribution { id: "debian".into(), version: "12".into() };
    let found = advisories.matches(&package, Some(&debian));
    let told = |found: &Match<'_>| {
        let sure = if found.is_sure { "" } else { "?" };
        format!("{}{sure} {}", found.advisory.name(), found.fixed.unwrap_or("-"))
    };
    found.iter().map(told).collect()
}

#[test]
fn an_advisory_is_about_versions_between_its_events() {
    let (advisories, imported) = of(&[("x.json", OSV)]);
    assert_eq!(imported, Imported { advisories: 1, ..Imported::default() });
    for (version, found) in [
        ("v0.9.0", &[][..]),
        ("v1.0.0", &["CVE-2026-1 1.2.3"]),
        ("v1.2.2+incompatible", &["CVE-2026-1 1.2.3"]),
        ("v1.2.3", &[]),
        ("v2.0.1-0.20260101000000-abcdefabcdef", &["CVE-2026-1 2.0.1"]),
        ("v2.0.1", &[]),
        ("(devel)", &["CVE-2026-1? 1.2.3"]),
    ] {
        assert_eq!(names(&advisories, Ecosystem::Go, "example.com/x", version), found, "{version}");
    }
    assert!(names(&advisories, Ecosystem::Go, "example.com/y", "v1.0.0").is_empty());
    assert!(names(&advisories, Ecosystem::Rust, "example.com/x", "1.0.0").is_empty());
    let package = Package::new(Ecosystem::Go, "example.com/x", "v1.0.0").unwrap();
    let advisory = advisories.matches(&package, None)[0].advisory;
    assert_eq!((advisory.severity, advisory.summary.as_str()), (Some(Severity::Critical), "It overflowsbadly"));
    assert!(advisories.covers("Go") && !advisories.covers("npm"));
}

#[test]
fn what_was_taken_back_or_is_no_advisory_is_counted_and_let_be() {
    let withdrawn = OSV.replace("\"aliases\"", "\"withdrawn\": \"2026-03-01T00:00:00Z\", \"aliases\"");
    let (advisories, imported) = of(&[("x.json", &withdrawn), ("package.json", r#"{"name":"x"}"#), ("README.md", "# Read me")]);
    assert!(advisories.is_empty());
    assert_eq!(imported, Imported { withdrawn: 1, others: 2, ..Imported::default() });
    let mut importer = Importer::new("2026-11-29".parse().unwrap());
    assert!(importer.add("x.json", b"{").is_err());
    assert!(importer.add("x.json", br#"{"id":"X","modified":"x","affected":7}"#).is_err());
    assert!(importer.add("x.md", b"```toml\n[advisory]\n```\n").is_err());
    assert!(Importer::wants("a/x.json") && Importer::wants("x.md") && !Importer::wants("x.toml"));
}

#[test]
fn a_distribution_s_advisories_are_about_sources_of_its_release() {
    let document = |id: &str, more: &str, fixed: &str| {
        format!(
            r#"{{ "id": "{id}", "modified": "2026-01-01", {more} "affected": [
            {{ "package": {{ "ecosystem": "Debian:12", "name": "openssl" }}, "ecosystem_specific": {{ "urgency": "not yet assigned" }},
               "ranges": [{{ "type": "ECOSYSTEM", "events": [{{ "introduced": "0" }}, {{ "fixed": "{fixed}" }}] }}] }},
            {{ "package": {{ "ecosystem": "Debian:11", "name": "openssl" }}, "versions": ["9"] }},
            {{ "package": {{ "ecosystem": "Ubuntu:Pro:18.04:LTS", "name": "openssl" }}, "versions": ["9"] }},
            {{ "package": {{ "ecosystem": "Ubuntu:22.04:LTS", "name": "openssl" }}, "versions": ["9"] }}] }}"#
        )
    };
    let documents = [
        ("1.json", document("DEBIAN-CVE-2026-1", r#""upstream": ["CVE-2026-1"],"#, "3.0.2-1")),
        ("2.json", document("DEBIAN-CVE-2026-2", r#""upstream": ["CVE-2026-2"],"#, "3.0.3-1")),
        ("3.json", document("DSA-1-1", r#""upstream": ["CVE-2026-1", "CVE-2026-2"],"#, "3.0.3-1")),
        ("4.json", document("DSA-2-1", r#""related": ["CVE-2026-2", "CVE-2026-3"],"#, "3.0.4-1")),
    ];
    let (advisories, _) = of(&documents.each_ref().map(|(name, text)| (*name, text.as_str())));
    let mut package = Package::new(Ecosystem::Debian, "libssl3", "9").unwrap();
    package.source = Some(crate::Source { name: "openssl".into(), version: "3.0.1-1".into() });
    let found = |package: &Package, id: &str, version: &str| {
        let distribution = Distribution { id: id.into(), version: version.into() };
        let found = advisories.matches(package, Some(&distribution));
        found.iter().map(|found| format!("{} {}", found.advisory.name(), found.fixed.unwrap_or("-"))).collect::<Vec<_>>()
    };
    assert_eq!(found(&package, "debian", "12"), ["CVE-2026-1 3.0.2-1", "CVE-2026-2 3.0.3-1", "DSA-2-1 3.0.4-1"]);
    assert!(found(&package, "debian", "11").is_empty() && found(&package, "debian", "").is_empty());
    package.source = Some(crate::Source { name: "openssl".into(), version: "9".into() });
    assert_eq!(found(&package, "debian", "11").len(), 3);
    assert_eq!(found(&package, "ubuntu", "22.04").len(), 3);
    assert!(advisories.matches(&package, None).is_empty());
}

#[test]
fn one_flaw_is_told_once_whatever_it_is_called() {
    let again = OSV.replace("GHSA-aaaa", "GO-2026-0001").replace("[\"CVE-2026-1\"]", "[\"CVE-2026-1\", \"GHSA-aaaa\"]");
    let (advisories, _) = of(&[("x.json", OSV), ("y.json", &again), ("z.json", OSV)]);
    assert_eq!(advisories.len(), 2);
    assert_eq!(names(&advisories, Ecosystem::Go, "example.com/x", "v1.0.0"), ["CVE-2026-1 1.2.3"]);
    // The one that says how bad it is stands for all.
    let unrated = again.replace("CVSS:3.1", "CVSS:4.0").replace("GO-2026-0001", "A-1");
    let (advisories, _) = of(&[("y.json", &unrated), ("x.json", OSV)]);
    let package = Package::new(Ecosystem::Go, "example.com/x", "v1.0.0").unwrap();
    let found = advisories.matches(&package, None);
    assert_eq!((found.len(), found[0].advisory.severity), (1, Some(Severity::Critical)));
}

#[test]
fn advisories_of_rustsec_are_read_as_they_are_written() {
    let text = "```toml\n[advisory]\nid = \"RUSTSEC-2026-0001\"\npackage = \"x\"\ndate = \"2026-04-01\"\naliases = [\"CVE-2026-9\"]\n\
        cvss = \"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H\"\n\n[versions]\npatched = [\">= 1.2.0\"]\nunaffected = [\"< 1.0.0\"]\n```\n\n# It stops\n\nOften.\n";
    let (advisories, _) = of(&[("x.md", text)]);
    for (version, found) in
        [("0.9.0", &[][..]), ("1.0.0", &["CVE-2026-9 1.2.0"]), ("1.2.0-beta.1", &["CVE-2026-9 1.2.0"]), ("1.2.0", &[])]
    {
        assert_eq!(names(&advisories, Ecosystem::Rust, "x", version), found, "{version}");
    }
    assert_eq!(advisories.newest.map(|day| day.to_string()).as_deref(), Some("2026-04-01"));
    for (word, imported) in [
        ("informational = \"unmaintained\"", Imported { informational: 1, ..Imported::default() }),
        ("withdrawn = \"2026-05-01\"", Imported { withdrawn: 1, ..Imported::default() }),
    ] {
        assert_eq!(of(&[("x.md", &text.replace("cvss =", &format!("{word}\n# cvss =")))]).1, imported);
    }
}

#[test]
fn a_file_has_all_that_was_put_in_and_is_the_same_again() {
    let (advisories, _) = of(&[("x.json", OSV)]);
    let written = |advisories: &Advisories| {
        let mut out = Vec::new();
        advisories.write(&mut out).unwrap();
        out
    };
    let bytes = written(&advisories);
    let read = Advisories::read(&bytes).unwrap();
    assert_eq!(read, advisories);
    assert_eq!(written(&read), bytes);
}

#[test]
fn a_summary_is_cut_at_its_limit() {
    let long = |chars: usize| {
        let (advisories, _) = of(&[("x.json", &OSV.replace("It overflows\\nbadly", &"x".repeat(chars)))]);
        advisories.advisories[0].summary.len()
    };
    assert_eq!(long(SUMMARY_CHARS_MAX), SUMMARY_CHARS_MAX);
    assert_eq!(long(SUMMARY_CHARS_MAX + 1), SUMMARY_CHARS_MAX);
}

#[test]
fn severity_is_that_of_the_score_or_else_of_the_word() {
    let severity = |from: &str, to: &str| of(&[("x.json", &OSV.replace(from, to))]).0.advisories[0].severity;
    let specific = r#""database_specific": { "severity": "MODERATE" }, "affected""#;
    assert_eq!(severity("\"affected\"", specific), Some(Severity::Critical));
    assert_eq!(severity("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "CVSS:4.0/AV:N"), None);
    let urgency =
        r#""package": { "ecosystem": "Go", "name": "example.com/x" }, "ecosystem_specific": { "urgency": "unimportant" }"#;
    assert_eq!(severity(r#""package": { "ecosystem": "Go", "name": "example.com/x" }"#, urgency), Some(Severity::Low));
    assert_eq!(severity("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "high"), Some(Severity::High));
    let unscored = OSV.replace("CVSS:3.1", "CVSS:4.0").replace("\"affected\"", specific);
    assert_eq!(of(&[("x.json", &unscored)]).0.advisories[0].severity, Some(Severity::Medium));
}
