//! Attesting: the result of a scan, signed and kept.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use coffer_core::{action::Action, clock::Timestamp, policy::Resource, principal::Name, reason::Reason};
use coffer_proto::v1::{self as proto, AttestImageRequest, AttestImageResponse};
use coffer_secret::SecretBytes;
use coffer_vault::{Failure, ImageFinding, Item, NewVerdict, PackageList, Planned, Scan, ScanException, TransitPath};

use super::{convert, digest, verdict};
use crate::{
    pipeline::{Call, Operation, permit},
    rpc::{self, Rpc},
};

/// The result of a scan, as the vault keeps it.
fn scan(scan: proto::Scan) -> Result<Scan, Failure> {
    let scanned = scan.scanned.and_then(|scanned| u64::try_from(scanned.seconds).ok());
    let finding = |finding: proto::ImageFinding| ImageFinding {
        check: finding.check,
        tier: finding.tier,
        severity: finding.severity,
        status: finding.status,
        evidence: finding.evidence,
        exception: finding.exception,
    };
    Ok(Scan {
        manifest: digest(&scan.manifest)?,
        config: digest(&scan.config)?,
        index: if scan.index.is_empty() { None } else { Some(digest(&scan.index)?) },
        index_manifests: scan.index_manifests.iter().map(|text| digest(text)).collect::<Result<_, _>>()?,
        reference: scan.reference,
        platform: scan.platform,
        scanner: scan.scanner,
        scanned: Timestamp::from_secs(scanned.ok_or_else(|| Failure::invalid("a scan has a time at which it was made"))?),
        advisories: scan.advisories,
        fail_on: scan.fail_on,
        findings: scan.findings.into_iter().map(finding).collect(),
        further_findings: scan.further_findings,
        packages: None,
        exceptions: scan.exceptions.into_iter().map(exception).collect::<Result<_, _>>()?,
    })
}

fn exception(told: proto::ScanException) -> Result<ScanException, Failure> {
    let until = told.until.parse().map_err(|_| Failure::invalid("the last day of an exception is written like 2027-01-31"))?;
    Ok(ScanException { check: told.check, subject: told.subject, reason: told.reason, until })
}

/// An exception on the wire.
fn wire_exception(exception: &ScanException) -> proto::ScanException {
    proto::ScanException {
        check: exception.check.clone(),
        subject: exception.subject.clone(),
        reason: exception.reason.clone(),
        until: exception.until.to_string(),
    }
}

/// The result of a scan, on the wire.
pub(super) fn wire(scan: &Scan) -> proto::Scan {
    let finding = |finding: &ImageFinding| proto::ImageFinding {
        check: finding.check.clone(),
        tier: finding.tier.clone(),
        severity: finding.severity.clone(),
        status: finding.status.clone(),
        evidence: finding.evidence.clone(),
        exception: finding.exception.clone(),
    };
    proto::Scan {
        manifest: scan.manifest.to_string(),
        config: scan.config.to_string(),
        index: scan.index.map(|index| index.to_string()).unwrap_or_default(),
        index_manifests: scan.index_manifests.iter().map(ToString::to_string).collect(),
        reference: scan.reference.clone(),
        platform: scan.platform.clone(),
        scanner: scan.scanner.clone(),
        scanned: convert::time(scan.scanned),
        advisories: scan.advisories.clone(),
        fail_on: scan.fail_on.clone(),
        findings: scan.findings.iter().map(finding).collect(),
        further_findings: scan.further_findings,
        packages: scan.packages.as_ref().map(|packages| proto::PackageSummary {
            count: packages.count,
            sha256: packages.sha256.clone(),
            incomplete: packages.incomplete,
        }),
        exceptions: scan.exceptions.iter().map(wire_exception).collect(),
    }
}

/// What is signed.
struct Message(SecretBytes);

impl Item for Message {
    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// The path of a signer's key, for whoever may use it.
pub(super) fn may_attest(call: &mut Call, signer: &Name) -> Result<TransitPath, Failure> {
    // Whether there is such a signer is nobody's business who may not sign for it.
    let signer = call.vault.signer(signer).map_err(|_| Failure::not_found_or_denied())?;
    let path = TransitPath::of_key(&signer.key_path, "sign")?;
    permit(call, Action::Use, &Resource::Path(path.path.clone()))?;
    Ok(path)
}

pub(super) struct Attest(NewVerdict);

#[async_trait]
impl Operation for Attest {
    type Request = AttestImageRequest;
    type Response = AttestImageResponse;
    const RPC: Rpc = rpc::ATTEST_IMAGE;
    const CHANGES_VAULT: bool = true;

    fn parse(request: AttestImageRequest) -> Result<Self, Failure> {
        let told = request.scan.ok_or_else(|| Failure::new(Reason::InvalidArgument, "there is no scan to be signed"))?;
        let lifetime = (request.ttl_seconds > 0).then(|| Duration::from_secs(request.ttl_seconds));
        let packages = request.packages.map(|list| {
            let told = list.packages.into_iter().map(convert::image_package).collect();
            PackageList::new(told, list.incomplete)
        });
        let new =
            NewVerdict { signer: convert::name(&request.signer)?, scan: scan(told)?, packages: packages.transpose()?, lifetime };
        new.check()?;
        Ok(Self(new))
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("signer".to_owned(), self.0.signer.to_string()),
            ("manifest".to_owned(), self.0.scan.manifest.to_string()),
        ])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<AttestImageResponse>, Failure> {
        let path = may_attest(call, &self.0.signer)?;
        let unsigned = call.vault.new_verdict(&call.who.caller, &self.0)?;
        let message = [Message(SecretBytes::from(unsigned.message()?))];
        let sign = |key: &coffer_vault::transit::TransitKey, message: &Message| key.sign(0, message.0.expose());
        let signed = call.vault.use_transit_key(&path, &message, &mut call.record, sign).await?;
        let (version, signature) = signed.into_iter().next().ok_or_else(|| Failure::internal("nothing was signed"))??;
        let planned = call.vault.put_verdict(unsigned, version, &signature).await?;
        call.record.detail("passed", planned.answer.passed);
        if let Some(packages) = &planned.answer.scan.packages {
            call.record.detail("packages", packages.count);
        }
        let told = verdict(&call.vault, &planned.answer)?;
        Ok(planned.map(|_| AttestImageResponse { verdict: Some(told) }))
    }
}
