use coffer_core::limits::{ADVISORY_ALIASES_MAX, SCAN_PACKAGE_BYTES_MAX};

use super::{
    super::{
        images::tests::verdict,
        import::NewImport,
        packages::tests::package,
        record::{
            Scan,
            tests::{digest, scan},
        },
    },
    *,
};

fn found(scope: &str, name: &str, advisory: &str, severity: &str) -> AdvisoryMatch {
    AdvisoryMatch {
        package: package(scope, name, "3.0.1"),
        advisory: advisory.to_owned(),
        aliases: vec!["DEBIAN-1".to_owned()],
        severity: severity.to_owned(),
        fixed: "3.0.2".to_owned(),
    }
}

/// An import with one match for each of these, of the image 1.
fn import(found: Vec<AdvisoryMatch>) -> NewImport {
    NewImport {
        scopes: found.iter().map(|found| (found.package.scope.clone(), ("2026-11-28".to_owned(), 7))).collect(),
        images: [(digest(1), (0..u32::try_from(found.len()).unwrap()).collect())].into(),
        matches: found,
        force: false,
    }
}

const NOW: Timestamp = Timestamp::from_secs(20_786 * 86_400 + 60);

fn known(found: Vec<AdvisoryMatch>) -> AdvisoriesRecord {
    AdvisoriesRecord::default().with(&import(found), NOW, "operator:olga", |_| true)
}

fn names(known: &AdvisoriesRecord, fail_on: &str, exceptions: Vec<ScanException>) -> Vec<String> {
    let of = verdict("release", Scan { fail_on: fail_on.to_owned(), exceptions, ..scan(1, Vec::new()) });
    known.failing(&of, NOW).matches.iter().map(|found| found.advisory.clone()).collect()
}

#[test]
fn a_verdict_fails_for_what_its_own_scan_would_have_failed_for() {
    let known = known(vec![
        found("Go", "a", "CVE-1", "medium"),
        found("Go", "b", "CVE-2", "high"),
        found("Debian:12", "c", "CVE-3", "critical"),
    ]);
    for (fail_on, expected) in
        [("", &[][..]), ("critical", &["CVE-3"]), ("high", &["CVE-3", "CVE-2"]), ("low", &["CVE-3", "CVE-2", "CVE-1"])]
    {
        assert_eq!(names(&known, fail_on, Vec::new()), expected, "{fail_on}");
    }
    let other = verdict("release", Scan { fail_on: "low".to_owned(), ..scan(2, Vec::new()) });
    assert!(known.failing(&other, NOW).matches.is_empty());
}

#[test]
fn what_somebody_bears_with_is_borne_until_its_last_day_is_over() {
    let known = known(vec![found("Debian:12", "openssl", "CVE-1", "high")]);
    let exception = |check: &str, subject: &str, until: &str| ScanException {
        check: check.to_owned(),
        subject: subject.to_owned(),
        reason: "no TLS here".to_owned(),
        until: until.parse().unwrap(),
    };
    for (check, subject, until, is_borne) in [
        ("CVE-1", "", "2026-11-29", true),
        ("DEBIAN-1", "openssl 3.0.1 (debian)", "2026-11-29", true),
        ("IMG-25", "openssl *", "2026-12-24", true),
        ("CVE-1", "", "2026-11-28", false),
        ("CVE-2", "", "2026-12-24", false),
        ("CVE-1", "openssl 3.0.2 (debian)", "2026-12-24", false),
    ] {
        let exceptions = vec![exception(check, subject, until)];
        assert_eq!(names(&known, "high", exceptions).is_empty(), is_borne, "{check} {subject} {until}");
    }
    let both = vec![exception("CVE-1", "", "2026-11-29"), exception("CVE-1", "", "2026-12-24"), exception("X", "", "2026-11-29")];
    let of = verdict("release", Scan { fail_on: "high".to_owned(), exceptions: both, ..scan(1, Vec::new()) });
    // The last of them counts, and the verdict is looked at again once its day is over.
    let until = known.failing(&of, NOW).until.unwrap();
    assert_eq!(until.secs() % 86_400, 0);
    assert_eq!(day(until), "2026-12-25");
    assert_eq!(known.failing(&of, until).matches.len(), 1);
}

#[test]
fn an_advisory_is_told_in_a_sentence() {
    let known = known(vec![found("Debian:12", "openssl", "CVE-1", "high")]);
    let one = known.matches.first().unwrap();
    assert_eq!(
        known.sentence(one),
        "advisory CVE-1 (high) in openssl 3.0.1, mended in 3.0.2, imported 2026-11-29 by operator:olga"
    );
    assert!(known.sentence(&AdvisoryMatch { fixed: String::new(), ..one.clone() }).contains("3.0.1, not mended yet, imported"));
}

#[test]
fn an_import_replaces_what_was_known_of_its_ecosystems_and_of_no_others() {
    let before = known(vec![found("Go", "a", "CVE-1", "high"), found("Debian:12", "b", "CVE-2", "high")]);
    let after = before.with(&import(vec![found("Go", "c", "CVE-3", "high")]), NOW, "operator:olga", |_| true);
    assert_eq!(names(&after, "high", Vec::new()), ["CVE-2", "CVE-3"]);
    // One that knows of nothing any more heals, and the same import again changes nothing.
    let nothing =
        NewImport { matches: Vec::new(), images: BTreeMap::new(), ..import(vec![found("Debian:12", "b", "CVE-2", "high")]) };
    let healed = after.with(&nothing, NOW, "operator:olga", |_| true);
    assert_eq!(names(&healed, "high", Vec::new()), ["CVE-3"]);
    assert_eq!(healed.with(&nothing, NOW, "operator:olga", |_| true), healed);
    let counts: Vec<_> = healed.imports().map(|(scope, _, matches, images)| (scope, matches, images)).collect();
    assert_eq!(counts, [("Debian:12", 0, 0), ("Go", 1, 1)]);
    // An image that has no verdict any more is forgotten.
    let gone = after.with(&nothing, NOW, "operator:olga", |image| *image != digest(1));
    assert!(gone.images.is_empty() && gone.matches.is_empty());
}

fn reason(new: &NewImport) -> Option<Reason> {
    new.check().err().map(|failure| failure.reason)
}

#[test]
fn an_import_is_taken_up_to_its_limits() {
    let one = || found("Go", "a", "CVE-1", "high");
    let many = |count: usize| (0..count).map(|number| found("Go", &number.to_string(), "CVE-1", "high")).collect::<Vec<_>>();
    assert_eq!(reason(&import(many(ADVISORY_MATCHES_MAX))), None);
    assert_eq!(reason(&import(many(ADVISORY_MATCHES_MAX + 1))), Some(Reason::LimitExceeded));
    let scopes = |count: usize| NewImport {
        scopes: (0..count).map(|number| (number.to_string(), (String::new(), 0))).collect(),
        ..NewImport::default()
    };
    assert_eq!(reason(&scopes(ADVISORY_SCOPES_MAX)), None);
    assert_eq!(reason(&scopes(ADVISORY_SCOPES_MAX + 1)), Some(Reason::LimitExceeded));
    assert_eq!(reason(&scopes(0)), Some(Reason::InvalidArgument));
    let pairs = |more: u32| {
        let each = u32::try_from(ADVISORY_MATCHES_MAX).unwrap();
        let images = u8::try_from(ADVISED_PAIRS_MAX / ADVISORY_MATCHES_MAX).unwrap();
        let mut new = import(many(ADVISORY_MATCHES_MAX));
        new.images = (1..=images).map(|image| (digest(image), (0..each).collect())).collect();
        new.images.insert(digest(200), (0..more).collect());
        new
    };
    assert_eq!(reason(&pairs(0)), None);
    assert_eq!(reason(&pairs(1)), Some(Reason::LimitExceeded));
    let aliases = |count: usize| AdvisoryMatch { aliases: vec!["X-1".to_owned(); count], ..one() };
    let fixed = |bytes: usize| AdvisoryMatch { fixed: "1".repeat(bytes), ..one() };
    for right in [aliases(ADVISORY_ALIASES_MAX), fixed(SCAN_PACKAGE_BYTES_MAX), fixed(0)] {
        assert_eq!(reason(&import(vec![right])), None);
    }
    for wrong in [
        aliases(ADVISORY_ALIASES_MAX + 1),
        fixed(SCAN_PACKAGE_BYTES_MAX + 1),
        AdvisoryMatch { severity: "bad".to_owned(), ..one() },
        AdvisoryMatch { advisory: String::new(), ..one() },
        AdvisoryMatch { advisory: "a\nb".to_owned(), ..one() },
        AdvisoryMatch { package: package("Go", "a b", "1"), ..one() },
    ] {
        assert_eq!(reason(&import(vec![wrong.clone()])), Some(Reason::InvalidArgument), "{wrong:?}");
    }
    let foreign = NewImport { scopes: [("Debian:12".to_owned(), (String::new(), 0))].into(), ..import(vec![one()]) };
    assert_eq!(reason(&foreign), Some(Reason::InvalidArgument));
    let missing = NewImport { images: [(digest(1), [1].into())].into(), ..import(vec![one()]) };
    assert_eq!(reason(&missing), Some(Reason::InvalidArgument));
    let no_day = NewImport { scopes: [("Go".to_owned(), ("soon".to_owned(), 0))].into(), ..import(vec![one()]) };
    assert_eq!(reason(&no_day), Some(Reason::InvalidArgument));
}

#[test]
fn what_is_kept_of_imports_has_its_limit_in_bytes() {
    // Records of CBOR grow by a byte with a letter more of the last text.
    let of = |last: usize| {
        let long =
            |number: usize| AdvisoryMatch { fixed: "1".repeat(200), ..found("Go", &format!("{number:0>200}"), "CVE-1", "high") };
        let mut found: Vec<_> = (0..2_000).map(long).collect();
        found.extend((0..last).map(|number| AdvisoryMatch { aliases: Vec::new(), fixed: String::new(), ..found_short(number) }));
        known(found)
    };
    fn found_short(number: usize) -> AdvisoryMatch {
        found("Go", &format!("x{number:0>30}"), "CVE-1", "low")
    }
    let bytes = |known: &AdvisoriesRecord| codec::encode(known).unwrap().len();
    let (mut low, mut high) = (0, 6_000);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if bytes(&of(middle)) <= ADVISORY_IMPORTS_BYTES_MAX { low = middle } else { high = middle }
    }
    assert!(of(low).check().is_ok() && bytes(&of(low)) > ADVISORY_IMPORTS_BYTES_MAX - 1_024);
    assert_eq!(of(high).check().unwrap_err().reason, Reason::LimitExceeded);
}
