//! Manifests, which whoever deploys has written.

use coffer_checks::workload::{Level, judge, level, pods};

pub(crate) const WORDS: &[&str] = &[
    "\"kind\":\"Pod\"",
    "\"kind\":\"PodList\"",
    "\"kind\":\"CronJob\"",
    "\"items\":[",
    "\"spec\":{",
    "\"template\":",
    "\"jobTemplate\":",
    "\"containers\":[",
    "\"initContainers\":[",
    "\"ephemeralContainers\":[",
    "\"securityContext\":{",
    "\"privileged\":true",
    "\"capabilities\":{\"add\":[\"ALL\"]}",
    "\"hostPath\":{\"path\":\"//../\"}",
    "\"seccompProfile\":{\"type\":\"Unconfined\"}",
    "\"env\":[",
    "null",
    "1e400",
];

pub(crate) fn check(input: &[u8]) {
    let Ok(object) = serde_json::from_slice(input) else { return };
    let Ok(found) = pods(&object) else { return };
    let report = judge("manifest", &found);
    for (name, pod) in &found {
        let says = |id: &str| {
            report.findings.iter().any(|finding| finding.check.id == id && finding.subject == *name && finding.counts())
        };
        let is_privileged = level(pod) == Level::Privileged;
        assert!(!is_privileged || says("POD-37"), "{name}");
    }
}
