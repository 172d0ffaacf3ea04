//! Checks of what a pod is asked to be, before it runs and while it does.
//!
//! The levels of Pod Security are judged as the API server of Kubernetes 1.34 does (`pod-security-admission`, version `latest`), so that
//! a level that is demanded here means what it means there. More checks are ours: about what could take a secret out of the pod.

use std::fmt;

pub use k8s_openapi::api::core::v1::Pod;

use crate::{Check, Finding, Judgement, Report, Severity, Tier};

mod baseline;
mod container;
mod exposure;
mod manifest;
mod restricted;

pub use manifest::{MANIFEST_PODS_MAX, ManifestError, pods};

/// A level of Pod Security.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Anything goes.
    Privileged,
    /// Nothing that is known to lead out of a container.
    Baseline,
    /// As little as an application needs.
    Restricted,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

/// A check of pods.
pub(crate) struct PodCheck {
    /// What it is about.
    about: Check,
    /// What fails, one text for each; nothing where it passes.
    failures: fn(&Pod) -> Vec<String>,
}

/// What the level baseline wants, and what restricted wants beside it.
static BASELINE: &[PodCheck] = baseline::CHECKS;
static RESTRICTED: &[PodCheck] = restricted::CHECKS;

static IS_BASELINE: Check = Check {
    id: "POD-37",
    title: "the pod is of the Pod Security level baseline, or better",
    severity: Severity::High,
    tier: Tier::OptIn,
    benchmarks: &[],
    why: "A pod that is not can reach the node, and every secret on it.",
    remedy: "see the checks that fail; kubectl label namespace NAMESPACE pod-security.kubernetes.io/enforce=baseline keeps others out",
};
static IS_RESTRICTED: Check = Check {
    id: "POD-38",
    title: "the pod is of the Pod Security level restricted",
    severity: Severity::Medium,
    tier: Tier::OptIn,
    benchmarks: &[],
    why: "What an application does not need, somebody who breaks into it uses.",
    remedy: "see the checks that fail; kubectl label namespace NAMESPACE pod-security.kubernetes.io/enforce=restricted keeps others out",
};

fn families() -> impl Iterator<Item = &'static PodCheck> {
    [BASELINE, RESTRICTED, exposure::CHECKS].into_iter().flatten()
}

/// Every check of pods.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    families().map(|check| &check.about).chain([&IS_BASELINE, &IS_RESTRICTED])
}

/// The level of Pod Security that a pod is of.
#[must_use]
pub fn level(pod: &Pod) -> Level {
    let passes = |checks: &[PodCheck]| checks.iter().all(|check| (check.failures)(pod).is_empty());
    match (passes(BASELINE), passes(RESTRICTED)) {
        (false, _) => Level::Privileged,
        (true, false) => Level::Baseline,
        (true, true) => Level::Restricted,
    }
}

/// Judges pods, each under a name: `Deployment shop/api`.
#[must_use]
pub fn judge(target: &str, pods: &[(String, Pod)]) -> Report {
    Report::new(target, pods.iter().flat_map(|(name, pod)| judged(name, pod)).collect())
}

fn judged(name: &str, pod: &Pod) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in families() {
        let failures = (check.failures)(pod);
        if failures.is_empty() {
            findings.push(Finding::about(&check.about, name, Judgement::pass(String::new())));
        }
        findings.extend(failures.into_iter().map(|failure| Finding::about(&check.about, name, Judgement::fail(failure))));
    }
    let level = level(pod);
    for (check, least) in [(&IS_BASELINE, Level::Baseline), (&IS_RESTRICTED, Level::Restricted)] {
        let evidence = format!("it is {level}");
        let judgement = if level >= least { Judgement::pass(evidence) } else { Judgement::fail(evidence) };
        findings.push(Finding::about(check, name, judgement));
    }
    findings
}

#[cfg(test)]
mod tests;
