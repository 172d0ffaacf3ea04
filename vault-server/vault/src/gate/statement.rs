//! What a verdict says, as others verify it: an in-toto statement in a DSSE envelope.
//!
//! <https://github.com/in-toto/attestation/tree/main/spec/v1>, <https://github.com/secure-systems-lab/dsse>

use serde::Serialize;

use super::record::{Scan, VerdictRecord};
use crate::Failure;

/// The type of the envelope's payload.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://coffer.dev/verdict/v1";

#[derive(Serialize)]
struct Statement<'a> {
    _type: &'static str,
    subject: [Subject<'a>; 1],
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: Predicate<'a>,
}

#[derive(Serialize)]
struct Subject<'a> {
    name: &'a str,
    digest: Sha256,
}

#[derive(Serialize)]
struct Sha256 {
    sha256: String,
}

#[derive(Serialize)]
struct Predicate<'a> {
    passed: bool,
    signer: &'a str,
    attested: u64,
    attested_by: &'a str,
    expires: u64,
    scan: &'a Scan,
}

/// The statement of a verdict: the same text each time.
///
/// # Errors
/// Fails where it cannot be written, which none is.
pub(crate) fn statement(verdict: &VerdictRecord) -> Result<String, Failure> {
    let scan = &verdict.scan;
    let statement = Statement {
        _type: STATEMENT,
        subject: [Subject { name: &scan.reference, digest: Sha256 { sha256: scan.manifest.hex() } }],
        predicate_type: PREDICATE,
        predicate: Predicate {
            passed: verdict.passed,
            signer: &verdict.signer,
            attested: verdict.attested.secs(),
            attested_by: &verdict.attested_by,
            expires: verdict.expires.secs(),
            scan,
        },
    };
    serde_json::to_string(&statement).map_err(|_| Failure::internal("a statement cannot be written"))
}

/// What is signed: the pre-authentication encoding of the envelope.
pub(crate) fn encoded(statement: &str) -> Vec<u8> {
    format!("DSSEv1 {} {PAYLOAD_TYPE} {} {statement}", PAYLOAD_TYPE.len(), statement.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use coffer_core::{clock::Timestamp, id::SignerId};

    use super::{
        super::record::{
            PackageSummary, ScanException,
            tests::{finding, scan},
        },
        *,
    };

    #[test]
    fn a_statement_never_changes() {
        let verdict = VerdictRecord {
            scan: scan(1, vec![finding("gate", "critical", "fail")]),
            passed: false,
            signer: "release".to_owned(),
            signer_id: SignerId::from_bytes([7; 16]),
            attested: Timestamp::from_secs(1_001),
            attested_by: "k8s:ci/build/scanner".to_owned(),
            expires: Timestamp::from_secs(2_000),
            signature: String::new(),
            key_version: 1,
            revoked: None,
        };
        let text = statement(&verdict).unwrap();
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        let expected = format!(
            "{{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{{\"name\":\"registry.example.com/app:1\",\"digest\":\
             {{\"sha256\":\"{one}\"}}}}],\"predicateType\":\"https://coffer.dev/verdict/v1\",\"predicate\":{{\"passed\":false,\
             \"signer\":\"release\",\"attested\":1001,\"attested_by\":\"k8s:ci/build/scanner\",\"expires\":2000,\"scan\":{{\
             \"manifest\":\"sha256:{one}\",\"config\":\"sha256:{two}\",\"reference\":\"registry.example.com/app:1\",\
             \"platform\":\"linux/amd64\",\"scanner\":\"coffer 0.1.0\",\"scanned\":1000,\"findings\":[{{\"check\":\"IMG-01\",\
             \"tier\":\"gate\",\"severity\":\"critical\",\"status\":\"fail\",\"evidence\":\"layer 2: /root/.ssh/id_ed25519, gone in \
             layer 3\"}}],\"further_findings\":0}}}}}}"
        );
        assert_eq!(text, expected);
        // What came later stands behind all that was there.
        let later = Scan {
            packages: Some(PackageSummary { count: 2, sha256: "ab".repeat(32), incomplete: true }),
            exceptions: vec![ScanException {
                check: "CVE-1".to_owned(),
                subject: String::new(),
                reason: "not reached".to_owned(),
                until: "2027-01-31".parse().unwrap(),
            }],
            ..verdict.scan.clone()
        };
        let later = statement(&VerdictRecord { scan: later, ..verdict }).unwrap();
        let (before, end) = (expected.strip_suffix("}}}").unwrap(), later.strip_suffix("}}}").unwrap());
        let added = format!(
            ",\"packages\":{{\"count\":2,\"sha256\":\"{}\",\"incomplete\":true}},\"exceptions\":[{{\"check\":\"CVE-1\",\
             \"reason\":\"not reached\",\"until\":\"2027-01-31\"}}]",
            "ab".repeat(32)
        );
        assert_eq!(end.strip_prefix(before), Some(added.as_str()));
        assert_eq!(encoded("{}"), b"DSSEv1 28 application/vnd.in-toto+json 2 {}");
    }
}
