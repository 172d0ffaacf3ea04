//! Signers and verdicts as they are stored.

use std::collections::BTreeSet;

use coffer_checks::Day;
use coffer_core::{
    clock::Timestamp,
    digest::Digest,
    id::{MountId, SignerId},
};
use serde::{Deserialize, Serialize};

/// Somebody whose verdicts count.
#[derive(Clone, Serialize, Deserialize)]
pub struct SignerRecord {
    /// The id: one that is made again, or gets another key, has another.
    pub id: SignerId,
    /// The path at which its key signs: `MOUNT/sign/KEY`.
    pub key_path: String,
    /// The mount that the path began with.
    pub mount: MountId,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub created_by: String,
}

/// Something that did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFinding {
    /// The check's id.
    pub check: String,
    /// `gate`, `opt-in` or `advisory`.
    pub tier: String,
    /// `low`, `medium`, `high` or `critical`.
    pub severity: String,
    /// `fail` or `unknown`.
    pub status: String,
    /// What it is about, and what it is seen from.
    pub evidence: String,
    /// Why it is borne with; empty where nobody said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub exception: String,
}

/// What was scanned, and what came of it. Part of the statement that is signed: members are only ever added, at the end, and left
/// out of the text where they are empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// The image's manifest.
    pub manifest: Digest,
    /// Its configuration.
    pub config: Digest,
    /// The index that it was chosen from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// The manifests of all images in that index.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub index_manifests: BTreeSet<Digest>,
    /// What the image was called.
    pub reference: String,
    /// Its platform.
    pub platform: String,
    /// What scanned it.
    pub scanner: String,
    /// When, in whole seconds.
    #[serde(with = "whole_seconds")]
    pub scanned: Timestamp,
    /// The day of the advisories; empty where packages were not compared with any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advisories: String,
    /// Failures of this severity and worse count, whatever their tier; empty where only the gate tier's do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fail_on: String,
    /// What did not pass, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<ImageFinding>,
    /// How many more did not pass.
    #[serde(default)]
    pub further_findings: u32,
    /// What is signed of its packages; none where they were not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<PackageSummary>,
    /// Exceptions that later advisories can be about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<ScanException>,
}

/// What is signed of an image's packages: they themselves are kept beside the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageSummary {
    /// How many there are.
    pub count: u32,
    /// SHA-256 of their canonical text, in hexadecimal.
    pub sha256: String,
    /// Whether there are more that are not told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

/// An exception that the scan was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanException {
    /// The id of the check of packages, or a name of the advisory.
    pub check: String,
    /// What it is about, as `coffer_checks::Exception` says; empty for all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// Why it is borne with.
    pub reason: String,
    /// The last day on which it holds.
    pub until: Day,
}

mod whole_seconds {
    use coffer_core::clock::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(moment.secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp::from_secs)
    }
}

/// Who took a verdict back, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why: what was said.
    pub reason: String,
}

/// A verdict on an image.
#[derive(Clone, Serialize, Deserialize)]
pub struct VerdictRecord {
    /// What was scanned.
    pub scan: Scan,
    /// Whether it passed.
    pub passed: bool,
    /// Who signed: the name.
    pub signer: String,
    /// Who signed: the id.
    pub signer_id: SignerId,
    /// When.
    pub attested: Timestamp,
    /// Who had it signed.
    pub attested_by: String,
    /// When it ends.
    pub expires: Timestamp,
    /// The signature over the statement: base64.
    pub signature: String,
    /// The version of the signer's key.
    pub key_version: u32,
    /// Who took it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}

impl VerdictRecord {
    /// Its name among all of them.
    pub(crate) fn name(&self) -> String {
        name(&self.scan.manifest, &self.signer)
    }

    /// The first finding that made it fail.
    #[must_use]
    pub fn failure(&self) -> Option<&ImageFinding> {
        self.scan.counting().next()
    }
}

/// The name of a signer's verdict on an image.
pub(crate) fn name(manifest: &Digest, signer: &str) -> String {
    format!("{}.{signer}", manifest.hex())
}

/// Whether a text is within its limit and a line of its own.
pub(crate) fn is_plain(text: &str, most: usize) -> bool {
    text.len() <= most && !text.chars().any(char::is_control)
}

const SEVERITIES: [&str; 4] = ["low", "medium", "high", "critical"];

/// How bad a severity is; none where it is no such word.
pub(crate) fn rank(severity: &str) -> Option<usize> {
    SEVERITIES.iter().position(|word| *word == severity)
}

impl Scan {
    /// The findings that make an image fail: of the gate tier what fails or is unknown, of the others what fails and is as bad as was
    /// asked; nothing that somebody bears with.
    fn counting(&self) -> impl Iterator<Item = &ImageFinding> {
        let least = rank(&self.fail_on);
        self.findings.iter().filter(move |finding| {
            let bad_enough = least.is_some_and(|least| rank(&finding.severity) >= Some(least));
            finding.exception.is_empty() && (finding.tier == "gate" || (finding.status == "fail" && bad_enough))
        })
    }

    /// Whether the image passed.
    pub(crate) fn passed(&self) -> bool {
        self.counting().next().is_none()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn digest(byte: u8) -> Digest {
        format!("sha256:{}", format!("{byte:02x}").repeat(32)).parse().unwrap()
    }

    pub(crate) fn finding(tier: &str, severity: &str, status: &str) -> ImageFinding {
        let text = |text: &str| text.to_owned();
        let evidence = text("layer 2: /root/.ssh/id_ed25519, gone in layer 3");
        ImageFinding {
            check: text("IMG-01"),
            tier: text(tier),
            severity: text(severity),
            status: text(status),
            evidence,
            exception: text(""),
        }
    }

    pub(crate) fn scan(manifest: u8, findings: Vec<ImageFinding>) -> Scan {
        Scan {
            manifest: digest(manifest),
            config: digest(manifest + 1),
            index: None,
            index_manifests: BTreeSet::new(),
            reference: "registry.example.com/app:1".to_owned(),
            platform: "linux/amd64".to_owned(),
            scanner: "coffer 0.1.0".to_owned(),
            scanned: Timestamp::from_secs(1_000),
            advisories: String::new(),
            fail_on: String::new(),
            findings,
            further_findings: 0,
            packages: None,
            exceptions: Vec::new(),
        }
    }

    #[test]
    fn the_gate_tier_makes_an_image_fail_and_others_as_far_as_is_asked() {
        for (tier, severity, status, fail_on, passed) in [
            ("gate", "low", "fail", "", false),
            ("gate", "low", "unknown", "", false),
            ("opt-in", "critical", "fail", "", true),
            ("opt-in", "critical", "fail", "critical", false),
            ("opt-in", "high", "fail", "critical", true),
            ("advisory", "medium", "fail", "medium", false),
            ("opt-in", "critical", "unknown", "low", true),
        ] {
            let scan = Scan { fail_on: fail_on.to_owned(), ..scan(1, vec![finding(tier, severity, status)]) };
            assert_eq!(scan.passed(), passed, "{tier} {severity} {status} {fail_on}");
            let borne = ImageFinding { exception: "known".to_owned(), ..finding(tier, severity, status) };
            assert!(Scan { findings: vec![borne], ..scan }.passed());
        }
        assert!(scan(1, Vec::new()).passed());
    }
}
