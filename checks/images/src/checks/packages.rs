//! What is installed: known flaws, whether anybody still mends them, and how old it is.

use std::collections::{BTreeMap, BTreeSet};

use coffer_checks::{Check, Day, Finding, Judgement, PACKAGES_CHECK, Severity, Tier};
use coffer_packages::{Advisories, Ecosystem, Match, Package, SUPPORT_TABLE_DAY, scope};

use super::Against;
use crate::facts::Facts;

/// Findings about advisories, at most.
pub const VULNERABILITIES_MAX: usize = 10_000;
/// Days after which an image is old.
pub const AGE_DAYS_MAX: u32 = 180;
/// A day before there were images: a builder that makes the same image again writes no real one.
const FIRST_DAY: u32 = 15_000;
/// Names of what one finding is about, at most.
const NAMES_MAX: usize = 5;

/// One check with the severity of whatever advisory it fails for.
const fn vulnerable(severity: Severity) -> Check {
    Check {
        id: PACKAGES_CHECK,
        title: "no package with a known vulnerability",
        severity,
        tier: Tier::OptIn,
        benchmarks: &["CIS-Docker-1.6.0 4.4"],
        why: "Whoever comes in through it reads what the pod was given. A finding has its advisory's severity; medium where that has none.",
        remedy: "update the package, or the base image that it comes with, and build the image anew",
    }
}

static VULNERABLE: [Check; 4] =
    [vulnerable(Severity::Low), vulnerable(Severity::Medium), vulnerable(Severity::High), vulnerable(Severity::Critical)];
/// The severity where an advisory has none.
static UNRATED: &Check = &VULNERABLE[1];

static SUPPORTED: Check = Check {
    id: "IMG-24",
    title: "a distribution that gets security updates",
    severity: Severity::Medium,
    tier: Tier::OptIn,
    benchmarks: &["CIS-Docker-1.6.0 4.4"],
    why: "What is found in it from now on is never mended, and advisories may not even name it.",
    remedy: "a base image of a later release",
};

static FRESH: Check = Check {
    id: "IMG-22",
    title: "made not long ago",
    severity: Severity::Low,
    tier: Tier::Advisory,
    benchmarks: &["CIS-Docker-1.6.0 4.4"],
    why: "What was found in its packages since is not mended in it.",
    remedy: "build it anew every month",
};

pub(super) fn catalogue() -> impl Iterator<Item = &'static Check> {
    [&FRESH, &SUPPORTED, UNRATED].into_iter()
}

pub(super) fn judge(facts: &Facts, against: &Against<'_>) -> Vec<Finding> {
    let mut findings = vec![Finding::new(&FRESH, fresh(facts, against)), Finding::new(&SUPPORTED, supported(facts, against))];
    findings.extend(match against.advisories {
        Some(advisories) => matched(facts, advisories),
        None => vec![Finding::new(UNRATED, unmatched(facts))],
    });
    findings
}

fn fresh(facts: &Facts, against: &Against<'_>) -> Judgement {
    let created = facts.config.created.as_deref().and_then(|created| created.get(..10)?.parse::<Day>().ok());
    let real = created.and_then(|day| Some((day, day.number().filter(|number| *number >= FIRST_DAY)?)));
    match (real, against.today.and_then(Day::number)) {
        (Some((day, made)), Some(today)) if today.saturating_sub(made) > AGE_DAYS_MAX => {
            Judgement::fail(format!("it was made on {day}"))
        }
        (Some((day, _)), Some(_)) => Judgement::pass(format!("it was made on {day}")),
        (None, _) => Judgement::unknown("it does not say when it was made"),
        (_, None) => Judgement::unknown("what day it is is not known"),
    }
}

fn supported(facts: &Facts, against: &Against<'_>) -> Judgement {
    let Some(distribution) = &facts.distribution else {
        return match facts.unread_layers() {
            0 => Judgement::not_applicable("it is made of no distribution that is named"),
            layers => Judgement::unknown(format!("{layers} layers were not read whole")),
        };
    };
    match (distribution.supported_until(), against.today) {
        (Some(until), Some(today)) if until < today => Judgement::fail(format!("{distribution} got its last updates on {until}")),
        (Some(until), Some(_)) => Judgement::pass(format!("{distribution} gets updates until {until}")),
        (None, _) => Judgement::unknown(format!("{distribution} is not in the table of {SUPPORT_TABLE_DAY}")),
        (_, None) => Judgement::unknown("what day it is is not known"),
    }
}

/// What keeps the list of packages from being whole.
fn gaps(facts: &Facts) -> Option<String> {
    let unread = facts.unread_layers();
    if unread > 0 {
        return Some(format!("{unread} layers were not read whole"));
    }
    let (path, why) = facts.unread_packages.iter().next()?;
    let more = facts.unread_packages.len() - 1;
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Some(if path.is_empty() { format!("{why}{more}") } else { format!("{path}: {why}{more}") })
}

fn unmatched(facts: &Facts) -> Judgement {
    match (facts.packages.len(), gaps(facts)) {
        (0, None) => Judgement::not_applicable("it has no package of a kind that is known here"),
        (0, Some(gap)) => Judgement::unknown(gap),
        (count, _) => Judgement::unknown(format!("{count} packages, and no advisories to compare them with: --advisories FILE")),
    }
}

/// What is told as one: packages from one source, in one version.
type Built<'a> = (Ecosystem, &'a str, &'a str);

fn matched(facts: &Facts, advisories: &Advisories) -> Vec<Finding> {
    let distribution = facts.distribution.as_ref();
    let mut built: BTreeMap<Built<'_>, Vec<&Package>> = BTreeMap::new();
    for package in facts.packages.keys() {
        let (name, version) = package.advised();
        built.entry((package.ecosystem, name, version)).or_default().push(package);
    }
    let mut findings = Vec::new();
    for ((ecosystem, name, version), packages) in &built {
        let Some(first) = packages.first() else { continue };
        let from = match ecosystem {
            Ecosystem::Debian | Ecosystem::Alpine => distribution.map_or(ecosystem.as_str(), |distribution| &distribution.id),
            Ecosystem::Go | Ecosystem::Rust => ecosystem.as_str(),
        };
        for found in advisories.matches(first, distribution) {
            if findings.len() >= VULNERABILITIES_MAX {
                let more = format!("there are more than {VULNERABILITIES_MAX}");
                findings.push(Finding::new(UNRATED, Judgement::unknown(more)));
                return findings;
            }
            findings.push(finding(format!("{name} {version} ({from})"), name, packages, &found, facts));
        }
    }
    let is_clean = findings.is_empty();
    let unsure: Vec<Finding> = unsure(facts, advisories).collect();
    if is_clean && unsure.is_empty() {
        let count = facts.packages.len();
        let made = advisories.newest.unwrap_or(advisories.made);
        findings.push(Finding::new(
            UNRATED,
            match count {
                0 => Judgement::not_applicable("it has no package of a kind that is known here"),
                _ => Judgement::pass(format!("{count} packages, and no advisory up to {made} is about them")),
            },
        ));
    }
    findings.extend(unsure);
    findings
}

fn finding(subject: String, name: &str, packages: &[&Package], found: &Match<'_>, facts: &Facts) -> Finding {
    let advisory = found.advisory;
    let known = advisory.name();
    let own = if known == advisory.id { String::new() } else { format!(" ({})", advisory.id) };
    let fixed = found.fixed.map_or_else(|| "not mended yet".to_owned(), |fixed| format!("fixed in {fixed}"));
    let names: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let places = packages.iter().filter_map(|package| facts.packages.get(*package)).flatten().map(String::as_str);
    let held: Vec<&str> = match packages.first().map(|package| package.ecosystem) {
        Some(Ecosystem::Go | Ecosystem::Rust) => places.take(NAMES_MAX).collect(),
        _ => names.into_iter().filter(|one| *one != name).take(NAMES_MAX).collect(),
    };
    let within = if held.is_empty() { String::new() } else { format!("; in {}", held.join(", ")) };
    let about = if advisory.summary.is_empty() { String::new() } else { format!(": {}", advisory.summary) };
    let judgement = match found.is_sure {
        true => Judgement::fail(format!("{known}{own} {fixed}{within}{about}")),
        false => Judgement::unknown(format!(
            "{known}{own} may be about it, but its version has no place in their order{within}{about}"
        )),
    };
    let severity = advisory.rated();
    let check = VULNERABLE.iter().find(|check| check.severity == severity).unwrap_or(UNRATED);
    let others = advisory.names().filter(|name| *name != known).map(str::to_owned);
    let advisory = std::iter::once(known.to_owned()).chain(others).collect();
    Finding { advisory, ..Finding::about(check, subject, judgement) }
}

/// What cannot be told of packages that advisories say nothing about.
fn unsure(facts: &Facts, advisories: &Advisories) -> impl Iterator<Item = Finding> {
    let ecosystems: BTreeSet<Ecosystem> = facts.packages.keys().map(|package| package.ecosystem).collect();
    let distribution = facts.distribution.as_ref();
    let uncovered = ecosystems.into_iter().filter_map(move |ecosystem| match scope(ecosystem, distribution) {
        Some(scope) if advisories.covers(&scope) => None,
        Some(scope) => Some((scope.clone(), format!("the advisories have nothing about {scope}"))),
        None => {
            let of = distribution.map_or_else(|| "no release that is named".to_owned(), ToString::to_string);
            Some((ecosystem.to_string(), format!("its packages are of {of}, and whose advisories are about them is not known")))
        }
    });
    let uncovered = uncovered.map(|(subject, why)| Finding::about(UNRATED, subject, Judgement::unknown(why)));
    uncovered.chain(gaps(facts).map(|gap| Finding::new(UNRATED, Judgement::unknown(gap))))
}

#[cfg(test)]
mod tests {
    use coffer_checks::{Exception, Exceptions, Report, Status};
    use coffer_packages::{Distribution, Importer, Source};

    use super::*;
    use crate::facts::{LayerFacts, Outcome};

    fn facts(packages: &[(Ecosystem, &str, &str)]) -> Facts {
        let layer = LayerFacts { name: "x".into(), outcome: Outcome::Read, files: 1, bytes: 1, is_partial: false };
        let package = |(ecosystem, name, version): &(_, &str, &str)| Package::new(*ecosystem, name, version).unwrap();
        Facts {
            layers: vec![layer],
            packages: packages.iter().map(|one| (package(one), vec!["/app".to_owned()])).collect(),
            distribution: Some(Distribution { id: "debian".into(), version: "12".into() }),
            ..Facts::default()
        }
    }

    fn advisories(count: usize) -> Advisories {
        let mut importer = Importer::new("2026-11-29".parse().unwrap());
        for number in 0..count {
            let text = format!(
                r#"{{ "id": "DEBIAN-CVE-2026-{number}", "modified": "2026-10-01", "upstream": ["CVE-2026-{number}"], "summary": "It leaks",
                "severity": [{{ "type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N" }}], "affected": [
                {{ "package": {{ "ecosystem": "Debian:12", "name": "openssl" }},
                   "ranges": [{{ "type": "ECOSYSTEM", "events": [{{ "introduced": "0" }}, {{ "fixed": "3.0.2" }}] }}] }},
                {{ "package": {{ "ecosystem": "Go", "name": "example.com/x" }},
                   "ranges": [{{ "type": "SEMVER", "events": [{{ "introduced": "0" }}] }}] }}] }}"#
            );
            importer.add("x.json", text.as_bytes()).unwrap();
        }
        importer.finish().0
    }

    fn told(facts: &Facts, advisories: Option<&Advisories>) -> Vec<(Status, String, String)> {
        let against = Against { advisories, today: Some("2026-11-29".parse().unwrap()), trust: None };
        let findings = judge(facts, &against).into_iter().filter(|finding| finding.check.id == "IMG-25");
        findings.map(|finding| (finding.status, finding.subject, finding.evidence)).collect()
    }

    #[test]
    fn a_vulnerable_package_is_told_with_what_mends_it_and_how_bad_it_is() {
        let mut facts = facts(&[(Ecosystem::Debian, "openssl", "3.0.1"), (Ecosystem::Go, "example.com/x", "v1.0.0")]);
        let mut library = Package::new(Ecosystem::Debian, "libssl3", "3.0.1+b1").unwrap();
        library.source = Some(Source { name: "openssl".into(), version: "3.0.1".into() });
        facts.packages.insert(library, Vec::new());
        let advisories = advisories(1);
        let fail = |subject: &str, evidence: &str| (Status::Fail, subject.to_owned(), evidence.to_owned());
        assert_eq!(
            told(&facts, Some(&advisories)),
            [
                fail("openssl 3.0.1 (debian)", "CVE-2026-0 (DEBIAN-CVE-2026-0) fixed in 3.0.2; in libssl3: It leaks"),
                fail("example.com/x v1.0.0 (go)", "CVE-2026-0 (DEBIAN-CVE-2026-0) not mended yet; in /app: It leaks"),
            ]
        );
        let against = Against { advisories: Some(&advisories), ..Against::default() };
        let mut report = Report::new("image", judge(&facts, &against));
        assert_eq!(report.worst(), Some(Severity::High));
        let exception = |check: &str, subject: &str| Exception {
            check: check.into(),
            subject: Some(subject.into()),
            reason: "x".into(),
            owner: "x".into(),
            until: "2027-01-01".parse().unwrap(),
        };
        let exceptions = vec![exception("IMG-25", "openssl *"), exception("CVE-2026-0", "example.com/x *")];
        Exceptions { exceptions }.apply(&mut report, "2026-11-29".parse().unwrap());
        assert_eq!(report.worst(), None);
    }

    #[test]
    fn what_is_not_known_never_passes() {
        let advisories = advisories(1);
        let clean = [(Ecosystem::Debian, "openssl", "3.0.2"), (Ecosystem::Go, "example.com/y", "v1.0.0")];
        let statuses = |facts: &Facts| told(facts, Some(&advisories)).into_iter().map(|(status, ..)| status).collect::<Vec<_>>();
        assert_eq!(statuses(&facts(&clean)), [Status::Pass]);
        assert_eq!(statuses(&facts(&[])), [Status::NotApplicable]);
        assert_eq!(statuses(&facts(&[(Ecosystem::Rust, "x", "1.0.0")])), [Status::Unknown]);
        assert_eq!(statuses(&facts(&[(Ecosystem::Go, "example.com/x", "(devel)")])), [Status::Fail], "all versions are meant");
        assert_eq!(statuses(&Facts { distribution: None, ..facts(&clean) }), [Status::Unknown]);
        assert_eq!(statuses(&Facts { unread_packages: [("/x".into(), "y".into())].into(), ..facts(&clean) }), [Status::Unknown]);
        let cut = LayerFacts { name: "x".into(), outcome: Outcome::Unread("y".into()), files: 0, bytes: 0, is_partial: false };
        assert_eq!(statuses(&Facts { layers: vec![cut], ..facts(&clean) }), [Status::Unknown]);
        assert_eq!(told(&facts(&clean), None)[0].0, Status::Unknown);
        assert_eq!(told(&facts(&[]), None)[0].0, Status::NotApplicable);
    }

    #[test]
    fn vulnerabilities_past_the_limit_are_counted_as_more() {
        let facts = facts(&[(Ecosystem::Debian, "openssl", "3.0.1")]);
        let of = |count: usize| {
            let told = told(&facts, Some(&advisories(count)));
            (told.len(), told.last().unwrap().0)
        };
        assert_eq!(of(VULNERABILITIES_MAX), (VULNERABILITIES_MAX, Status::Fail));
        assert_eq!(of(VULNERABILITIES_MAX + 1), (VULNERABILITIES_MAX + 1, Status::Unknown));
    }

    #[test]
    fn an_image_is_old_by_its_own_word() {
        let status = |created: &str, today: &str| {
            let mut facts = facts(&[]);
            facts.config.created = Some(created.to_owned());
            let against = Against { today: today.parse().ok(), ..Against::default() };
            judge(&facts, &against).iter().find(|finding| finding.check.id == "IMG-22").unwrap().status
        };
        assert_eq!(status("2026-06-02T10:00:00Z", "2026-11-29"), Status::Pass);
        assert_eq!(status("2026-06-01T10:00:00Z", "2026-11-29"), Status::Fail);
        assert_eq!(status("2027-01-01T00:00:00Z", "2026-11-29"), Status::Pass);
        assert_eq!(status("1970-01-01T00:00:00Z", "2026-11-29"), Status::Unknown);
        assert_eq!(status("", "2026-11-29"), Status::Unknown);
        assert_eq!(status("2026-06-01T10:00:00Z", ""), Status::Unknown);
    }

    #[test]
    fn a_distribution_is_judged_by_the_day() {
        let status = |version: &str, day: &str| {
            let mut facts = facts(&[]);
            facts.distribution = (!version.is_empty()).then(|| Distribution { id: "debian".into(), version: version.into() });
            let against = Against { today: day.parse().ok(), ..Against::default() };
            judge(&facts, &against).iter().find(|finding| finding.check.id == "IMG-24").unwrap().status
        };
        assert_eq!(status("12", "2028-06-30"), Status::Pass);
        assert_eq!(status("12", "2028-07-01"), Status::Fail);
        assert_eq!(status("99", "2026-01-01"), Status::Unknown);
        assert_eq!(status("12", ""), Status::Unknown);
        assert_eq!(status("", "2026-01-01"), Status::NotApplicable);
    }
}
