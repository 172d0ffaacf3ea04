//! SARIF 2.1.0, as code hosts and dashboards read it.

use coffer_checks::{Finding, Report, Severity, Status};
use serde_json::{Value, json};

/// The report as a SARIF log with one run: a rule for each check, a result for what fails or is unknown.
pub(super) fn rendered(report: &Report) -> String {
    let told: Vec<&Finding> =
        report.findings.iter().filter(|finding| matches!(finding.status, Status::Fail | Status::Unknown)).collect();
    let mut rules: Vec<&Finding> = Vec::new();
    for finding in &told {
        if !rules.iter().any(|rule| rule.check.id == finding.check.id) {
            rules.push(finding);
        }
    }
    let results: Vec<Value> = told.iter().map(|finding| result(report, finding)).collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "coffer",
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|finding| rule(finding)).collect::<Vec<_>>(),
            } },
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

fn rule(finding: &Finding) -> Value {
    let check = finding.check;
    json!({
        "id": check.id,
        "shortDescription": { "text": check.title },
        "fullDescription": { "text": check.why },
        "help": { "text": check.remedy },
        "defaultConfiguration": { "level": level(check.severity) },
        "properties": { "tags": check.benchmarks, "security-severity": score(check.severity) },
    })
}

fn result(report: &Report, finding: &Finding) -> Value {
    let place = if finding.subject.is_empty() { &report.target } else { &finding.subject };
    let text = match finding.evidence.is_empty() {
        true => finding.check.title.to_owned(),
        false => format!("{}: {}", finding.check.title, finding.evidence),
    };
    let mut result = json!({
        "ruleId": finding.check.id,
        "kind": if finding.status == Status::Fail { "fail" } else { "open" },
        // The standard wants no level where the kind is not `fail`.
        "level": if finding.status == Status::Fail { level(finding.check.severity) } else { "none" },
        "message": { "text": text },
        // Code hosts want a place in a file; what is looked at here is not in their repository.
        "locations": [{
            "physicalLocation": { "artifactLocation": { "uri": uri(place) } },
            "logicalLocations": [{ "fullyQualifiedName": place }],
        }],
        // By which a finding is known again in the next report.
        "partialFingerprints": { "check/v1": fingerprint(finding) },
    });
    if let (Some(exception), Some(result)) = (&finding.exception, result.as_object_mut()) {
        let suppression = json!([{ "kind": "external", "status": "accepted", "justification": exception }]);
        result.insert("suppressions".to_owned(), suppression);
    }
    result
}

fn fingerprint(finding: &Finding) -> String {
    let advisory = finding.advisory.first().map(|advisory| format!(":{advisory}")).unwrap_or_default();
    format!("{}:{}{advisory}", finding.check.id, finding.subject)
}

/// A place as a relative URI.
fn uri(place: &str) -> String {
    let mut uri = String::new();
    for byte in place.trim_start_matches('/').bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => uri.push(char::from(byte)),
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low => "note",
    }
}

/// The number by which code hosts order findings.
const fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "2.0",
    }
}

#[cfg(test)]
mod tests {
    use coffer_checks::{Check, Judgement, Tier};

    use super::*;

    static SWAP: Check = Check {
        id: "TST-01",
        title: "no swap",
        severity: Severity::High,
        tier: Tier::Gate,
        benchmarks: &["X 1"],
        why: "memory is on the disk",
        remedy: "swapoff -a",
    };

    #[test]
    fn what_fails_is_a_result_and_what_passes_is_none() {
        let findings = vec![
            Finding::about(&SWAP, "/a b", Judgement::fail("/dev/sda")),
            Finding::about(&SWAP, "b", Judgement::pass("none")),
            Finding::about(&SWAP, "c", Judgement::unknown("hidden")),
        ];
        let log: Value = serde_json::from_str(&rendered(&Report::new("host", findings))).unwrap();
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), 1);
        assert_eq!(run["tool"]["driver"]["rules"][0]["help"]["text"], "swapoff -a");
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), 2);
        assert_eq!((&results[0]["level"], &results[0]["kind"]), (&json!("error"), &json!("fail")));
        assert_eq!(results[0]["message"]["text"], "no swap: /dev/sda");
        assert_eq!(results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "a%20b");
        assert_eq!(results[0]["partialFingerprints"]["check/v1"], "TST-01:/a b");
        assert_eq!((&results[1]["level"], &results[1]["kind"]), (&json!("none"), &json!("open")));
    }

    #[test]
    fn an_exception_is_a_suppression() {
        let mut finding = Finding::new(&SWAP, Judgement::fail("/dev/sda"));
        finding.exception = Some("old disk".into());
        let log: Value = serde_json::from_str(&rendered(&Report::new("host", vec![finding]))).unwrap();
        assert_eq!(log["runs"][0]["results"][0]["suppressions"][0]["justification"], "old disk");
    }
}
