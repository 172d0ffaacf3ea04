//! `coffer scan image --attest`: the result of a scan, signed in the vault.

use std::{collections::BTreeSet, time::Duration};

use coffer_checks::{Day, Exception, Finding, Report, Status};
use coffer_client::proto::{AttestImageRequest, ImageFinding, Scan, ScanException, Verdict};
use coffer_images::Facts;

use super::packages;
use crate::{
    app::{App, answer, part},
    exit::Exit,
    failure::{Failure, Result},
    output::rfc3339,
};

/// Findings that a verdict tells, at most: the vault takes no more.
const FINDINGS_MAX: usize = 64;
/// Exceptions that a verdict tells, at most.
const EXCEPTIONS_MAX: usize = 64;
/// Bytes of an exception's check or advisory in a verdict, at most.
const EXCEPTION_CHECK_BYTES_MAX: usize = 64;
/// Bytes of what a finding is seen from, of an exception and of a reference, at most.
const TEXT_BYTES_MAX: usize = 512;

/// What is asked for.
pub(super) struct Asked<'a> {
    pub(super) signer: &'a str,
    pub(super) ttl: Option<Duration>,
    /// The least severity that makes the image fail; empty for the gate tier alone.
    pub(super) fail_on: &'static str,
    /// The day of the advisories that packages were compared with.
    pub(super) advisories: Option<Day>,
    /// Exceptions that later advisories can be about.
    pub(super) exceptions: Vec<Exception>,
}

/// Has the vault sign what was found, and says what it came to.
pub(super) async fn attest(app: &App, asked: &Asked<'_>, facts: &Facts, report: &Report) -> Result<Verdict> {
    let vault = app.vault()?;
    let scan = scan(app, asked, facts, report)?;
    let attempt = vault.attempt(format!("attest {} as {}", report.target, asked.signer)).of("coffer signer list,");
    let ttl_seconds = asked.ttl.map_or(0, |ttl| ttl.as_secs());
    let packages = packages::list(facts);
    let told = packages.packages.len();
    if packages.incomplete {
        app.out.note(&format!(
            "{told} packages are told, and there are more that cannot be read or have no place in the list: a later advisory about those is \
             not noticed"
        ));
    }
    let request = AttestImageRequest { signer: asked.signer.to_owned(), scan: Some(scan), ttl_seconds, packages: Some(packages) };
    let answer = answer(&attempt, vault.client.gate().attest_image(request).await)?.into_inner();
    let verdict = part(&attempt, answer.verdict)?;
    let manifest = verdict.scan.as_ref().map(|scan| scan.manifest.as_str()).unwrap_or_default();
    app.out.note(&format!(
        "attested by {}: {} {}, until {}",
        verdict.signer,
        manifest,
        if verdict.passed { "passed" } else { "FAILED" },
        rfc3339(verdict.expires.as_ref()).unwrap_or_default()
    ));
    Ok(verdict)
}

fn scan(app: &App, asked: &Asked<'_>, facts: &Facts, report: &Report) -> Result<Scan> {
    let (Some(manifest), Some(config)) = (&facts.manifest, &facts.config_digest) else {
        return Err(Failure::new(Exit::Usage, "an archive of docker save has no manifest, which a verdict is about")
            .next("attest the image in its registry: coffer scan image HOST/REPOSITORY@DIGEST --attest SIGNER"));
    };
    let bad: Vec<_> = report.findings.iter().filter(|finding| matches!(finding.status, Status::Fail | Status::Unknown)).collect();
    let told = ordered(&bad, asked.fail_on).into_iter().take(FINDINGS_MAX).map(told);
    let told: Vec<_> = told.collect();
    // An index that is not told whole says nothing.
    let index_images: BTreeSet<String> = facts.index_images.iter().map(ToString::to_string).collect();
    let index = facts.index.as_ref().filter(|_| index_images.contains(&manifest.to_string()));
    Ok(Scan {
        manifest: manifest.to_string(),
        config: config.to_string(),
        index_manifests: if index.is_some() { index_images.into_iter().collect() } else { Vec::new() },
        index: index.map(ToString::to_string).unwrap_or_default(),
        reference: cut(&report.target),
        platform: [&facts.config.os, &facts.config.architecture].map(|word| word.as_deref().unwrap_or("unknown")).join("/"),
        scanner: concat!("coffer ", env!("CARGO_PKG_VERSION")).to_owned(),
        scanned: Some(prost_types::Timestamp { seconds: app.out.view.now.as_second(), nanos: 0 }),
        advisories: asked.advisories.map(|day| day.to_string()).unwrap_or_default(),
        fail_on: asked.fail_on.to_owned(),
        further_findings: u32::try_from(bad.len() - told.len()).unwrap_or(u32::MAX),
        findings: told,
        packages: None,
        exceptions: exceptions(asked)?,
    })
}

/// Exceptions as a verdict tells them.
fn exceptions(asked: &Asked<'_>) -> Result<Vec<ScanException>> {
    if asked.exceptions.len() > EXCEPTIONS_MAX {
        let count = asked.exceptions.len();
        return Err(Failure::usage(format!("{count} exceptions are about packages, and a verdict tells {EXCEPTIONS_MAX}"))
            .next("mend some of what they are for, or write one for several: a subject may end with *"));
    }
    let told = |exception: &Exception| {
        let subject = exception.subject.clone().unwrap_or_default();
        if exception.check.len() > EXCEPTION_CHECK_BYTES_MAX || subject.len() > TEXT_BYTES_MAX {
            let (check, bytes) = (cut(&exception.check), TEXT_BYTES_MAX);
            let what = format!("the exception for {check} is too long for a verdict");
            let why = format!("check has at most {EXCEPTION_CHECK_BYTES_MAX} bytes there, and subject {bytes}");
            return Err(Failure::usage(what).why(why));
        }
        let reason = cut(&format!("{} ({})", exception.reason, exception.owner));
        Ok(ScanException { check: exception.check.clone(), subject, reason, until: exception.until.to_string() })
    };
    asked.exceptions.iter().map(told).collect()
}

/// Those first that make the image fail: none of them is left out for others.
fn ordered<'a>(findings: &[&'a Finding], fail_on: &str) -> Vec<&'a Finding> {
    let least = fail_on.parse().ok();
    let counts = |finding: &&Finding| {
        let bad_enough = finding.status == Status::Fail && least.is_some_and(|least| finding.check.severity >= least);
        finding.exception.is_none() && (finding.check.tier == coffer_checks::Tier::Gate || bad_enough)
    };
    let (first, rest): (Vec<_>, Vec<_>) = findings.iter().copied().partition(counts);
    first.into_iter().chain(rest).collect()
}

fn told(finding: &Finding) -> ImageFinding {
    let about = [finding.subject.as_str(), finding.evidence.as_str()];
    let evidence = about.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
    ImageFinding {
        check: finding.check.id.to_owned(),
        tier: finding.check.tier.to_string(),
        severity: finding.check.severity.to_string(),
        status: finding.status.to_string(),
        evidence: cut(&evidence),
        exception: finding.exception.as_deref().map(cut).unwrap_or_default(),
    }
}

/// As much of a text as a verdict takes, in one line.
fn cut(text: &str) -> String {
    let mut short = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if short.len() + c.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        short.push(c);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(exceptions: Vec<Exception>) -> Asked<'static> {
        Asked { signer: "release", ttl: None, fail_on: "high", advisories: None, exceptions }
    }

    #[test]
    fn exceptions_are_told_up_to_their_limits() {
        let one = |check: usize, subject: usize| Exception {
            check: "C".repeat(check),
            subject: Some("s".repeat(subject)),
            reason: "r".repeat(TEXT_BYTES_MAX + 1),
            owner: "o".into(),
            until: "2027-01-31".parse().unwrap(),
        };
        let told = |exceptions| super::exceptions(&asked(exceptions)).ok();
        assert_eq!(told(vec![one(1, 1); EXCEPTIONS_MAX]).map(|told| told.len()), Some(EXCEPTIONS_MAX));
        assert!(told(vec![one(1, 1); EXCEPTIONS_MAX + 1]).is_none());
        assert!(told(vec![one(EXCEPTION_CHECK_BYTES_MAX, TEXT_BYTES_MAX)]).is_some());
        assert!(told(vec![one(EXCEPTION_CHECK_BYTES_MAX + 1, 1)]).is_none());
        assert!(told(vec![one(1, TEXT_BYTES_MAX + 1)]).is_none());
        assert_eq!(told(vec![one(1, 1)]).unwrap()[0].reason.len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn texts_are_cut_between_characters_and_stay_in_one_line() {
        assert_eq!(cut("a\nb"), "a b");
        assert_eq!(cut(&"a".repeat(TEXT_BYTES_MAX + 1)).len(), TEXT_BYTES_MAX);
        let long = "a".to_owned() + &"\u{e9}".repeat(TEXT_BYTES_MAX);
        assert_eq!(cut(&long).len(), TEXT_BYTES_MAX - 1);
    }
}
