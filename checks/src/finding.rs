//! What was found.

use std::fmt;

use serde::Serialize;

use crate::{Check, Severity};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It does not hold.
    Fail,
    /// It could not be found out: never as good as a pass.
    Unknown,
    /// It holds.
    Pass,
    /// There is nothing here that it could be about.
    NotApplicable,
}

impl Status {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Unknown => "unknown",
            Self::Pass => "pass",
            Self::NotApplicable => "not_applicable",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a check makes of facts: how it came out, and what that is seen from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// How it came out.
    pub status: Status,
    /// What it is seen from: a setting and its value, a file and its mode; where it is unknown, why. Never text of a secret.
    pub evidence: String,
}

impl Judgement {
    /// It holds.
    #[must_use]
    pub fn pass(evidence: impl Into<String>) -> Self {
        Self { status: Status::Pass, evidence: evidence.into() }
    }

    /// It does not hold.
    #[must_use]
    pub fn fail(evidence: impl Into<String>) -> Self {
        Self { status: Status::Fail, evidence: evidence.into() }
    }

    /// It could not be found out.
    #[must_use]
    pub fn unknown(why: impl Into<String>) -> Self {
        Self { status: Status::Unknown, evidence: why.into() }
    }

    /// There is nothing here that it could be about.
    #[must_use]
    pub fn not_applicable(why: impl Into<String>) -> Self {
        Self { status: Status::NotApplicable, evidence: why.into() }
    }
}

/// A check that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check.
    #[serde(flatten)]
    pub check: &'static Check,
    /// What in particular it is about: a container, a file in a layer; empty for the whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// How it came out.
    pub status: Status,
    /// The advisory that it is seen from, by all of its names; the first is the one that most people know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub advisory: Vec<String>,
    /// What that is seen from. Never text of a secret.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub evidence: String,
    /// Why it is borne with, where somebody has said so: it fails all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
}

impl Finding {
    /// A finding about the whole.
    #[must_use]
    pub fn new(check: &'static Check, judgement: Judgement) -> Self {
        Self::about(check, String::new(), judgement)
    }

    /// A finding about something in particular.
    #[must_use]
    pub fn about(check: &'static Check, subject: impl Into<String>, judgement: Judgement) -> Self {
        let Judgement { status, evidence } = judgement;
        Self { check, subject: subject.into(), status, advisory: Vec::new(), evidence, exception: None }
    }

    /// Whether it fails, and nobody has said that it may.
    #[must_use]
    pub const fn counts(&self) -> bool {
        matches!(self.status, Status::Fail) && self.exception.is_none()
    }
}

/// Everything that was found about one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was looked at: an image's reference, a host, a manifest.
    pub target: String,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// A report: what fails comes first, and of that the worst.
    #[must_use]
    pub fn new(target: impl Into<String>, mut findings: Vec<Finding>) -> Self {
        findings.sort_by(|a, b| {
            (a.status, std::cmp::Reverse(a.check.severity), a.check.id, &a.subject).cmp(&(
                b.status,
                std::cmp::Reverse(b.check.severity),
                b.check.id,
                &b.subject,
            ))
        });
        Self { target: target.into(), findings }
    }

    /// The worst failure that nobody has said may be.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().filter(|finding| finding.counts()).map(|finding| finding.check.severity).max()
    }

    /// How many came out like this.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.findings.iter().filter(|finding| finding.status == status).count()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Tier;

    pub(crate) static SWAP: Check = Check {
        id: "TST-01",
        title: "no swap",
        severity: Severity::High,
        tier: Tier::Gate,
        benchmarks: &["X 1"],
        why: "memory is on the disk",
        remedy: "swapoff -a",
    };
    static PTRACE: Check = Check {
        id: "TST-02",
        title: "no tracing",
        severity: Severity::Critical,
        tier: Tier::OptIn,
        benchmarks: &[],
        why: "memory can be read",
        remedy: "sysctl",
    };

    #[test]
    fn what_fails_comes_first_and_the_worst_of_it() {
        let report = Report::new(
            "host",
            vec![
                Finding::new(&SWAP, Judgement::pass("none")),
                Finding::new(&PTRACE, Judgement::unknown("no such file")),
                Finding::about(&SWAP, "b", Judgement::fail("/dev/sdb")),
                Finding::about(&SWAP, "a", Judgement::fail("/dev/sda")),
                Finding::new(&PTRACE, Judgement::fail("0")),
            ],
        );
        let order: Vec<_> =
            report.findings.iter().map(|finding| (finding.check.id, finding.subject.as_str(), finding.status)).collect();
        assert_eq!(
            order,
            [
                ("TST-02", "", Status::Fail),
                ("TST-01", "a", Status::Fail),
                ("TST-01", "b", Status::Fail),
                ("TST-02", "", Status::Unknown),
                ("TST-01", "", Status::Pass),
            ]
        );
        assert_eq!((report.worst(), report.count(Status::Fail)), (Some(Severity::Critical), 3));
    }

    #[test]
    fn what_is_unknown_does_not_fail_and_does_not_pass() {
        let report = Report::new("host", vec![Finding::new(&SWAP, Judgement::unknown("hidden"))]);
        assert_eq!((report.worst(), report.count(Status::Pass)), (None, 0));
    }

    #[test]
    fn a_finding_is_told_with_all_of_its_check() {
        let json = serde_json::to_value(Finding::about(&SWAP, "a", Judgement::fail("/dev/sda"))).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "id": "TST-01", "title": "no swap", "severity": "high", "tier": "gate", "benchmarks": ["X 1"],
                "why": "memory is on the disk", "remedy": "swapoff -a", "subject": "a", "status": "fail", "evidence": "/dev/sda",
            })
        );
    }
}
