//! Whose verdicts count, and the verdicts.

use std::{sync::Arc, time::Duration};

use coffer_barrier::Batch;
use coffer_core::{
    digest::Digest,
    id::SignerId,
    limits::{
        ATTESTATION_LIFETIME_DEFAULT, ATTESTATION_LIFETIME_MAX, FINDING_BYTES_MAX, IMAGE_FINDINGS_MAX, INDEX_IMAGES_MAX,
        REFERENCE_BYTES_MAX, SCAN_AHEAD_MAX, SCAN_EXCEPTIONS_MAX, SCAN_WORD_BYTES_MAX, SIGNERS_MAX, VERDICTS_MAX,
    },
    policy::Caller,
    principal::Name,
    reason::Reason,
};
use coffer_crypto::random;

use super::{
    packages::PackageList,
    record::{Revocation, Scan, ScanException, SignerRecord, VerdictRecord, is_plain, name, rank},
    statement::{encoded, statement},
};
use crate::{Engine, Failure, Planned, PolicyChange, TransitPath, Unsealed, table::Change};

/// What is asked to be signed.
pub struct NewVerdict {
    /// The signer.
    pub signer: Name,
    /// What was scanned.
    pub scan: Scan,
    /// Its packages; none where they were not told.
    pub packages: Option<PackageList>,
    /// How long it counts; `None` for [`ATTESTATION_LIFETIME_DEFAULT`].
    pub lifetime: Option<Duration>,
}

impl NewVerdict {
    /// Checks that it is within all limits.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Failure> {
        let refused = |what: String| Err(Failure::told(Reason::InvalidArgument, what));
        let Scan { index, index_manifests, reference, platform, scanner, advisories, fail_on, findings, manifest, .. } =
            &self.scan;
        if findings.len() > IMAGE_FINDINGS_MAX || index_manifests.len() > INDEX_IMAGES_MAX {
            let message = format!("a scan has at most {IMAGE_FINDINGS_MAX} findings and {INDEX_IMAGES_MAX} images of an index");
            return Err(Failure::told(Reason::LimitExceeded, message));
        }
        if index.is_some() != index_manifests.contains(manifest) {
            return refused("an index is told with all its images, and the image is one of them".to_owned());
        }
        if !is_plain(reference, REFERENCE_BYTES_MAX)
            || [platform, scanner, advisories].iter().any(|text| !is_plain(text, SCAN_WORD_BYTES_MAX))
        {
            let message = format!(
                "a reference has at most {REFERENCE_BYTES_MAX} bytes, platform, scanner and advisories {SCAN_WORD_BYTES_MAX}; no control characters"
            );
            return refused(message);
        }
        if !fail_on.is_empty() && rank(fail_on).is_none() {
            return refused("fail_on is low, medium, high, critical, or empty".to_owned());
        }
        for finding in findings {
            let word = is_plain(&finding.check, SCAN_WORD_BYTES_MAX) && !finding.check.is_empty();
            let known = rank(&finding.severity).is_some()
                && ["gate", "opt-in", "advisory"].contains(&finding.tier.as_str())
                && ["fail", "unknown"].contains(&finding.status.as_str());
            if !word || !known {
                return refused("a finding has a check, a tier, a severity and a status, each one of their words".to_owned());
            }
            if !is_plain(&finding.evidence, FINDING_BYTES_MAX) || !is_plain(&finding.exception, FINDING_BYTES_MAX) {
                return refused(format!(
                    "evidence and exceptions have at most {FINDING_BYTES_MAX} bytes, and no control characters"
                ));
            }
        }
        check_exceptions(&self.scan.exceptions)?;
        match self.lifetime {
            Some(lifetime) if lifetime.is_zero() || lifetime > ATTESTATION_LIFETIME_MAX => {
                refused(format!("a verdict counts for 1 to {} seconds", ATTESTATION_LIFETIME_MAX.as_secs()))
            }
            _ => Ok(()),
        }
    }
}

fn check_exceptions(exceptions: &[ScanException]) -> Result<(), Failure> {
    if exceptions.len() > SCAN_EXCEPTIONS_MAX {
        let message = format!("a scan tells at most {SCAN_EXCEPTIONS_MAX} exceptions that later advisories can be about");
        return Err(Failure::told(Reason::LimitExceeded, message));
    }
    let is_one = |exception: &ScanException| {
        !exception.check.is_empty()
            && is_plain(&exception.check, SCAN_WORD_BYTES_MAX)
            && is_plain(&exception.subject, FINDING_BYTES_MAX)
            && is_plain(&exception.reason, FINDING_BYTES_MAX)
    };
    if exceptions.iter().all(is_one) {
        return Ok(());
    }
    let message = format!(
        "an exception has a check or an advisory of 1 to {SCAN_WORD_BYTES_MAX} bytes, a subject and a reason of at most {FINDING_BYTES_MAX}, without control characters"
    );
    Err(Failure::told(Reason::InvalidArgument, message))
}

/// A verdict that is to be signed, and the packages that are kept beside it.
pub struct Unsigned(VerdictRecord, Option<PackageList>);

impl Unsigned {
    /// What is to be signed.
    ///
    /// # Errors
    /// Fails where it cannot be written.
    pub fn message(&self) -> Result<Vec<u8>, Failure> {
        statement(&self.0).map(|statement| encoded(&statement))
    }
}

impl Unsealed {
    /// The signers, by name.
    #[must_use]
    pub fn signers(&self) -> Vec<(String, Arc<SignerRecord>)> {
        self.gate.signers.all().into_iter().map(|(name, row)| (name, row.value)).collect()
    }

    /// One signer.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub fn signer(&self, name: &Name) -> Result<Arc<SignerRecord>, Failure> {
        let none = || Failure::told(Reason::NotFound, format!("there is no signer {name}"));
        Ok(self.gate.signers.find(name.as_str()).ok_or_else(none)?.value)
    }

    /// Plans a signer, new or with another key.
    ///
    /// # Errors
    /// Fails where there is no such key, or there are too many signers.
    pub async fn put_signer(&self, caller: &Caller, name: &Name, key_path: &str) -> Result<Planned<Arc<SignerRecord>>, Failure> {
        let path = TransitPath::of_key(key_path, "sign")?;
        let mount = self.mount_of(&path.path, Engine::Transit)?;
        if !self.transit_key(&path).await?.kind.signs() {
            return Err(Failure::invalid("the key of a signer is of the type ed25519, ecdsa-p256 or ecdsa-p384"));
        }
        if self.gate.signers.find(name.as_str()).is_none() && self.gate.signers.len() >= SIGNERS_MAX {
            return Err(Failure::told(Reason::LimitExceeded, format!("there are {SIGNERS_MAX} signers already")));
        }
        let record = SignerRecord {
            id: SignerId::from_bytes(random::bytes().map_err(|_| Failure::internal("no random numbers"))?),
            key_path: path.path.as_str().to_owned(),
            mount,
            created: self.now(),
            created_by: caller.principal.to_string(),
        };
        let (mut batch, answer) = (Batch::default(), Arc::new(record.clone()));
        let put = self.gate.signers.put(&mut batch, name.as_str(), record)?;
        Ok(self.verdicts_planned(batch, vec![put], answer))
    }

    /// Plans that a signer goes.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub fn delete_signer(&self, name: &Name) -> Result<Planned<()>, Failure> {
        self.signer(name)?;
        let mut batch = Batch::default();
        let then = self.gate.signers.delete(&mut batch, name.as_str())?.into_iter().collect();
        Ok(self.verdicts_planned(batch, then, ()))
    }

    /// A verdict as it is to be signed.
    ///
    /// # Errors
    /// Fails where there is no such signer, it has a newer verdict on the image or one that was taken back, or the scan is of the future.
    pub fn new_verdict(&self, caller: &Caller, new: &NewVerdict) -> Result<Unsigned, Failure> {
        self.time_is_right()?;
        let (signer, now) = (self.signer(&new.signer)?, self.now());
        // A key of another mount of the same name is another's.
        let path = TransitPath::of_key(&signer.key_path, "sign")?;
        if self.mount_of(&path.path, Engine::Transit)? != signer.mount {
            return Err(Failure::told(
                Reason::Conflict,
                format!("the mount of the signer's key was made anew: coffer signer set {}", new.signer),
            ));
        }
        if new.scan.scanned > now.plus(SCAN_AHEAD_MAX) {
            return Err(Failure::invalid("the scan is of a time to come: set the clock of the machine that scanned"));
        }
        if let Some(row) = self.gate.verdicts.find(&name(&new.scan.manifest, new.signer.as_str())) {
            if row.value.revoked.is_some() {
                let message = "the signer's verdict on this image was taken back: an officer gives it back with coffer verdict revoke --undo";
                return Err(Failure::new(Reason::Conflict, message));
            }
            if row.value.scan.scanned > new.scan.scanned && row.value.signer_id == signer.id {
                return Err(Failure::new(Reason::Conflict, "the signer has a verdict on this image from a later scan"));
            }
        }
        let verdict = VerdictRecord {
            passed: new.scan.passed(),
            scan: Scan { packages: new.packages.as_ref().map(PackageList::summary), ..new.scan.clone() },
            signer: new.signer.to_string(),
            signer_id: signer.id,
            attested: now,
            attested_by: caller.principal.to_string(),
            expires: now.plus(new.lifetime.unwrap_or(ATTESTATION_LIFETIME_DEFAULT)),
            signature: String::new(),
            key_version: 0,
            revoked: None,
        };
        Ok(Unsigned(verdict, new.packages.clone()))
    }

    /// Plans a verdict, with the signature that the engine transit made.
    ///
    /// # Errors
    /// Fails where there are too many, or the store does.
    pub async fn put_verdict(
        &self,
        unsigned: Unsigned,
        key_version: u32,
        signature: &str,
    ) -> Result<Planned<Arc<VerdictRecord>>, Failure> {
        let signature = signature.rsplit_once(':').map_or(signature, |(_, signature)| signature).to_owned();
        let record = VerdictRecord { signature, key_version, ..unsigned.0 };
        let (mut batch, mut then) = (Batch::default(), Vec::new());
        if self.gate.verdicts.find(&record.name()).is_none() {
            self.make_room(&mut batch, &mut then)?;
        }
        self.put_packages(&mut batch, &record.name(), unsigned.1.as_ref()).await?;
        let answer = Arc::new(record.clone());
        then.push(self.gate.verdicts.put(&mut batch, &record.name(), record)?);
        Ok(self.verdicts_planned(batch, then, answer))
    }

    /// Rides along with a new verdict: a few that have expired leave the store.
    fn make_room(&self, batch: &mut Batch, then: &mut Vec<Change>) -> Result<(), Failure> {
        const AT_ONCE: usize = 8;
        let now = self.now();
        let (expired, _) = self.gate.verdicts.page("", AT_ONCE, |verdict| verdict.expires <= now);
        if self.gate.verdicts.len() >= VERDICTS_MAX.saturating_add(expired.len()) {
            return Err(Failure::told(Reason::LimitExceeded, format!("there are {VERDICTS_MAX} verdicts already")));
        }
        for (name, _) in &expired {
            then.extend(self.gate.verdicts.delete(batch, name)?);
            self.drop_packages(batch, name)?;
        }
        Ok(())
    }

    /// A page of verdicts behind a name, those about this digest, and whether there are more.
    pub fn verdicts(&self, digest: Option<Digest>, after: &str, limit: usize) -> (Vec<(String, Arc<VerdictRecord>)>, bool) {
        let (page, more) = self.gate.verdicts.page(after, limit, |VerdictRecord { scan, .. }| {
            digest.is_none_or(|digest| scan.manifest == digest || scan.config == digest || scan.index == Some(digest))
        });
        (page.into_iter().map(|(name, row)| (name, row.value)).collect(), more)
    }

    /// A page of the verdicts that have not expired, behind a name, and whether there are more.
    #[must_use]
    pub fn lasting_verdicts(&self, after: &str, limit: usize) -> (Vec<(String, Arc<VerdictRecord>)>, bool) {
        let now = self.now();
        let (page, more) = self.gate.verdicts.page(after, limit, |verdict| verdict.expires > now);
        (page.into_iter().map(|(name, row)| (name, row.value)).collect(), more)
    }

    /// The statement of a verdict, as it was signed.
    ///
    /// # Errors
    /// Fails where it cannot be written.
    pub fn statement_of(&self, verdict: &VerdictRecord) -> Result<String, Failure> {
        statement(verdict)
    }

    /// Plans that verdicts on an image are taken back, or given back; of one signer or of all.
    ///
    /// # Errors
    /// Fails where there is none, or the reason is too long.
    pub fn revoke_verdicts(
        &self,
        caller: &Caller,
        (manifest, signer): (Digest, &str),
        reason: &str,
        undo: bool,
    ) -> Result<Planned<usize>, Failure> {
        if !is_plain(reason, FINDING_BYTES_MAX) {
            let message = format!("a reason has at most {FINDING_BYTES_MAX} bytes, and no control characters");
            return Err(Failure::told(Reason::InvalidArgument, message));
        }
        let (rows, _) = self.gate.verdicts.page("", SIGNERS_MAX, |verdict| {
            verdict.scan.manifest == manifest
                && (signer.is_empty() || verdict.signer == signer)
                && verdict.revoked.is_some() == undo
        });
        if rows.is_empty() {
            let what = if undo { "was taken back" } else { "counts" };
            return Err(Failure::told(Reason::NotFound, format!("no such verdict on this image {what}")));
        }
        let revocation = Revocation { by: caller.principal.to_string(), at: self.now(), reason: reason.to_owned() };
        let (mut batch, mut then) = (Batch::default(), Vec::new());
        for (name, row) in &rows {
            let revoked = (!undo).then(|| revocation.clone());
            then.push(self.gate.verdicts.put(&mut batch, name, VerdictRecord { revoked, ..(*row.value).clone() })?);
        }
        Ok(self.verdicts_planned(batch, then, rows.len()))
    }

    /// What is planned, after which images are judged anew.
    pub(super) fn verdicts_planned<T>(&self, batch: Batch, mut then: Vec<Change>, answer: T) -> Planned<T> {
        let (images, changes) = (Arc::clone(&self.gate.images), Arc::clone(&self.gate.changes));
        then.push(Box::new(move || {
            images.forget();
            changes.tell();
        }));
        Planned { batch, answer, then, policy: PolicyChange::None }
    }
}
