//! What verdicts come to for an image, and images for a pod.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use coffer_core::{
    clock::Timestamp,
    digest::Digest,
    policy::{ImageFacts, ImageVerdict},
    recent::Recent,
};
use coffer_kubernetes::Container;

use super::{advisories::AdvisoriesRecord, record::VerdictRecord};
use crate::Unsealed;

/// Images of which it is remembered what verdicts come to.
const IMAGES_REMEMBERED_MAX: usize = 4_096;

/// What the verdicts on an image come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Judged {
    pub(crate) verdict: ImageVerdict,
    /// Who has passed it.
    pub(crate) signers: BTreeSet<String>,
    /// When it was looked at last, where it has passed.
    pub(crate) scanned: Option<Timestamp>,
    /// When that may be otherwise, though nobody says anything.
    pub(crate) until: Option<Timestamp>,
    /// What else the image may be called once it runs.
    pub(crate) also: BTreeSet<Digest>,
    /// Why it has not passed, in a few words.
    pub(crate) why: String,
}

/// What was found out about images, until a verdict changes.
pub(crate) struct Images(Mutex<Known>);

struct Known {
    /// How often verdicts have changed.
    changes: u64,
    images: Recent<Digest, Arc<Judged>>,
}

impl Default for Images {
    fn default() -> Self {
        Self(Mutex::new(Known { changes: 0, images: Recent::new(IMAGES_REMEMBERED_MAX) }))
    }
}

impl Images {
    /// Verdicts have changed.
    pub(crate) fn forget(&self) {
        let mut known = self.known();
        *known = Known { changes: known.changes.wrapping_add(1), images: Recent::new(IMAGES_REMEMBERED_MAX) };
    }

    /// What is known of an image, or is found out. What is found while verdicts change may be of before, and is not kept.
    fn get(&self, digest: Digest, now: Timestamp, find: impl FnOnce() -> Judged) -> Arc<Judged> {
        let changes = {
            let known = self.known();
            match known.images.get(&digest) {
                Some(judged) if judged.until.is_none_or(|until| now < until) => return Arc::clone(judged),
                _ => known.changes,
            }
        };
        let judged = Arc::new(find());
        let mut known = self.known();
        if known.changes == changes {
            known.images.put(digest, Arc::clone(&judged));
        }
        judged
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a verdict stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It counts.
    Counts,
    /// Its time is over.
    Expired,
    /// Somebody took it back.
    Revoked,
    /// Its signer is gone, or has another key.
    Unsigned,
}

impl Standing {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counts => "counts",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Unsigned => "unsigned",
        }
    }
}

impl Unsealed {
    /// How a verdict stands.
    #[must_use]
    pub fn standing_of(&self, verdict: &VerdictRecord) -> Standing {
        let signer = self.gate.signers.find(&verdict.signer);
        if verdict.revoked.is_some() {
            Standing::Revoked
        } else if verdict.expires <= self.now() {
            Standing::Expired
        } else if signer.is_none_or(|row| row.value.id != verdict.signer_id) {
            Standing::Unsigned
        } else {
            Standing::Counts
        }
    }

    /// What the verdicts on an image come to that is named by this digest, of its manifest or an index.
    pub(super) fn judged(&self, digest: Digest) -> Arc<Judged> {
        self.gate.images.get(digest, self.now(), || self.judged_by(digest, &self.advisories(), None))
    }

    /// The same, if these advisories were known and this signer's verdict on an image (of all signers for an empty name) was taken back.
    fn judged_by(&self, digest: Digest, known: &AdvisoriesRecord, revoked: Option<(Digest, &str)>) -> Judged {
        let of = |verdict: &VerdictRecord| verdict.scan.manifest == digest || verdict.scan.index == Some(digest);
        let (rows, _) = self.gate.verdicts.page("", usize::MAX, of);
        let is_revoked = |verdict: &VerdictRecord| {
            revoked.is_some_and(|(manifest, signer)| {
                verdict.scan.manifest == manifest && (signer.is_empty() || verdict.signer == signer)
            })
        };
        let standing = |verdict| if is_revoked(verdict) { Standing::Revoked } else { self.standing_of(verdict) };
        let verdicts: Vec<_> = rows.iter().map(|(_, row)| (&*row.value, standing(&row.value))).collect();
        judge(digest, &verdicts, &Later { known, now: self.now() })
    }

    /// What images would come to, if these advisories were known and this signer's verdict on an image was taken back. What is found is
    /// remembered as long as this is.
    pub(super) fn assuming<'a>(
        &'a self,
        known: Option<&'a AdvisoriesRecord>,
        revoked: Option<(Digest, &'a str)>,
    ) -> impl Fn(Digest) -> Arc<Judged> + use<'a> {
        let (now_known, found) = (self.advisories(), RefCell::new(BTreeMap::new()));
        move |digest| {
            let find = || Arc::new(self.judged_by(digest, known.unwrap_or(&now_known), revoked));
            Arc::clone(found.borrow_mut().entry(digest).or_insert_with(find))
        }
    }

    /// What is known of an image that a container asks for, and of the one that it runs.
    pub(super) fn judged_container(&self, container: &Container) -> Judged {
        container_by(container, &|digest| self.judged(digest))
    }
}

/// Says what the verdicts on an image come to.
pub(super) type Judge<'a> = &'a dyn Fn(Digest) -> Arc<Judged>;

/// What is known of an image that a container asks for, and of the one that it runs.
pub(super) fn container_by(container: &Container, judge: Judge<'_>) -> Judged {
    let unknown = |why: String| Judged { why, ..Judged::default() };
    let Some(digest) = Digest::in_reference(&container.image) else {
        return unknown(format!("{} is not named by its digest", container.image));
    };
    let judged = judge(digest);
    if container.running.is_empty() {
        return (*judged).clone();
    }
    match Digest::in_reference(&container.running) {
        Some(running) if running == digest || judged.also.contains(&running) => (*judged).clone(),
        Some(running) => Judged {
            verdict: ImageVerdict::Failed,
            why: format!("{running} runs, which is not what {} names", container.image),
            ..Judged::default()
        },
        None => unknown(format!("the node calls what runs {:?}, which is no digest", container.running)),
    }
}

/// What the images of all containers come to.
pub(super) fn facts_by(containers: &[Container], judge: Judge<'_>) -> ImageFacts {
    let judged = all(containers.iter().map(|container| container_by(container, judge)));
    ImageFacts {
        verdict: judged.verdict,
        pinned: containers.iter().all(|container| Digest::in_reference(&container.image).is_some()),
        signers: judged.signers,
        scanned: judged.scanned,
        until: judged.until,
    }
}

/// What came out after images were attested.
struct Later<'a> {
    known: &'a AdvisoriesRecord,
    now: Timestamp,
}

/// What verdicts come to that are about a manifest, or about images of an index.
fn judge(digest: Digest, verdicts: &[(&VerdictRecord, Standing)], later: &Later<'_>) -> Judged {
    let judge_manifest = |verdicts: &[(&VerdictRecord, Standing)]| judge_manifest(verdicts, later);
    let of = |manifest: &Digest| -> Vec<_> {
        verdicts.iter().filter(|(verdict, _)| verdict.scan.manifest == *manifest).copied().collect()
    };
    let direct = of(&digest);
    if !direct.is_empty() || verdicts.is_empty() {
        return judge_manifest(&direct);
    }
    // An index is as good as each image in it: which of them runs is the node's choice.
    let manifests: BTreeSet<_> = verdicts.iter().flat_map(|(verdict, _)| verdict.scan.index_manifests.iter().copied()).collect();
    let mut each = BTreeMap::new();
    for manifest in &manifests {
        let mut judged = judge_manifest(&of(manifest));
        if judged.verdict == ImageVerdict::Unknown && manifests.len() > 1 {
            judged.why = format!("{} for {manifest}, one of the {} images of the index", judged.why, manifests.len());
        }
        each.insert(*manifest, judged);
    }
    let mut judged = all(each.into_values());
    judged.also.extend(manifests);
    judged
}

/// What the verdicts on one image come to.
fn judge_manifest(verdicts: &[(&VerdictRecord, Standing)], later: &Later<'_>) -> Judged {
    let counting: Vec<_> =
        verdicts.iter().filter(|(_, standing)| *standing == Standing::Counts).map(|(verdict, _)| *verdict).collect();
    let also =
        verdicts.iter().flat_map(|(verdict, _)| [Some(verdict.scan.manifest), Some(verdict.scan.config)]).flatten().collect();
    let failing: Vec<_> = counting.iter().map(|verdict| later.known.failing(verdict, later.now)).collect();
    let ends = failing.iter().filter_map(|failing| failing.until);
    let until = counting.iter().map(|verdict| verdict.expires).chain(ends).min();
    let judged = Judged { until, also, ..Judged::default() };
    if let Some(failed) = counting.iter().find(|verdict| !verdict.passed) {
        return Judged { verdict: ImageVerdict::Failed, why: failure(failed), ..judged };
    }
    if let Some(worst) = failing.iter().find_map(|failing| failing.matches.first()) {
        return Judged { verdict: ImageVerdict::Failed, why: later.known.sentence(worst), ..judged };
    }
    if counting.is_empty() {
        return Judged {
            why: verdicts.first().map_or_else(|| "no verdict".to_owned(), |(verdict, why)| lapsed(verdict, *why)),
            ..judged
        };
    }
    Judged {
        verdict: ImageVerdict::Passed,
        signers: counting.iter().map(|verdict| verdict.signer.clone()).collect(),
        scanned: counting.iter().map(|verdict| verdict.scan.scanned).max(),
        ..judged
    }
}

fn failure(verdict: &VerdictRecord) -> String {
    let finding = verdict.failure();
    let what = finding.map(|finding| format!("{} {}: {}", finding.check, finding.status, finding.evidence)).unwrap_or_default();
    format!("failed, says {}: {what}", verdict.signer)
}

fn lapsed(verdict: &VerdictRecord, standing: Standing) -> String {
    match (standing, &verdict.revoked) {
        (Standing::Revoked, Some(revocation)) => {
            format!("the verdict of {} was taken back by {}: {}", verdict.signer, revocation.by, revocation.reason)
        }
        (Standing::Expired, _) => format!("the verdict of {} has expired", verdict.signer),
        _ => format!("the signer {} is gone, or has another key", verdict.signer),
    }
}

/// What several images come to: each must have passed.
fn all(images: impl Iterator<Item = Judged>) -> Judged {
    images
        .reduce(|mut sum, image| {
            let worse = |verdict| match verdict {
                ImageVerdict::Failed => 2,
                ImageVerdict::Unknown => 1,
                ImageVerdict::Passed => 0,
            };
            if worse(image.verdict) > worse(sum.verdict) {
                (sum.verdict, sum.why) = (image.verdict, image.why);
            }
            sum.signers.retain(|signer| image.signers.contains(signer));
            sum.scanned = sum.scanned.zip(image.scanned).map(|(a, b)| a.min(b));
            sum.until = [sum.until, image.until].into_iter().flatten().min();
            sum.also.extend(image.also);
            sum
        })
        .unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use coffer_core::id::SignerId;

    use super::{
        super::record::{
            Revocation, Scan,
            tests::{digest, finding, scan},
        },
        *,
    };

    pub(in crate::gate) fn verdict(signer: &str, scan: Scan) -> VerdictRecord {
        VerdictRecord {
            passed: scan.passed(),
            scan,
            signer: signer.to_owned(),
            signer_id: SignerId::from_bytes([1; 16]),
            attested: Timestamp::from_secs(1_000),
            attested_by: "operator:ci".to_owned(),
            expires: Timestamp::from_secs(2_000),
            signature: String::new(),
            key_version: 1,
            revoked: None,
        }
    }

    fn judged(digest: Digest, verdicts: &[VerdictRecord]) -> Judged {
        let standing = |verdict: &VerdictRecord| if verdict.revoked.is_some() { Standing::Revoked } else { Standing::Counts };
        let later = Later { known: &AdvisoriesRecord::default(), now: Timestamp::from_secs(1_500) };
        judge(digest, &verdicts.iter().map(|verdict| (verdict, standing(verdict))).collect::<Vec<_>>(), &later)
    }

    #[test]
    fn an_image_has_passed_where_somebody_says_so_and_nobody_says_otherwise() {
        let (good, bad) = (scan(1, Vec::new()), scan(1, vec![finding("gate", "high", "fail")]));
        let passed = judged(digest(1), &[verdict("release", good.clone()), verdict("build", good.clone())]);
        assert_eq!((passed.verdict, passed.scanned), (ImageVerdict::Passed, Some(Timestamp::from_secs(1_000))));
        assert_eq!(passed.signers, ["build".to_owned(), "release".to_owned()].into());
        let failed = judged(digest(1), &[verdict("release", good.clone()), verdict("build", bad)]);
        assert_eq!((failed.verdict, failed.signers.len()), (ImageVerdict::Failed, 0));
        assert_eq!(failed.why, "failed, says build: IMG-01 fail: layer 2: /root/.ssh/id_ed25519, gone in layer 3");
        assert_eq!(judged(digest(1), &[]).why, "no verdict");
        let revocation = Revocation { by: "operator:o".to_owned(), at: Timestamp::from_secs(1_500), reason: "a CVE".to_owned() };
        let revoked = judged(digest(1), &[VerdictRecord { revoked: Some(revocation), ..verdict("release", good) }]);
        assert_eq!(revoked.verdict, ImageVerdict::Unknown);
        assert_eq!(revoked.why, "the verdict of release was taken back by operator:o: a CVE");
    }

    #[test]
    fn what_is_found_while_verdicts_change_is_not_kept() {
        let (images, now) = (Images::default(), Timestamp::from_secs(1_000));
        let why = |why: &str| Judged { why: why.to_owned(), ..Judged::default() };
        let before = images.get(digest(1), now, || {
            images.forget();
            why("of before")
        });
        assert_eq!(before.why, "of before");
        assert_eq!(images.get(digest(1), now, || why("of now")).why, "of now");
        assert_eq!(images.get(digest(1), now, || why("asked again")).why, "of now");
        let until = Some(Timestamp::from_secs(1_001));
        images.get(digest(2), now, || Judged { until, ..why("for a second") });
        assert_eq!(images.get(digest(2), Timestamp::from_secs(1_001), || why("later")).why, "later");
    }

    #[test]
    fn an_index_has_passed_where_each_of_its_images_has() {
        let of = |manifest: u8, findings| {
            let (index, index_manifests) = (Some(digest(9)), [digest(1), digest(3)].into());
            verdict("release", Scan { index, index_manifests, ..scan(manifest, findings) })
        };
        let one = judged(digest(9), &[of(1, Vec::new())]);
        assert_eq!(one.verdict, ImageVerdict::Unknown);
        assert!(one.why.contains("one of the 2 images"), "{}", one.why);
        let both = judged(digest(9), &[of(1, Vec::new()), of(3, Vec::new())]);
        assert_eq!(both.verdict, ImageVerdict::Passed);
        assert_eq!(both.also, [digest(1), digest(2), digest(3), digest(4)].into());
        assert_eq!(judged(digest(1), &[of(1, Vec::new())]).verdict, ImageVerdict::Passed);
        let bad = judged(digest(9), &[of(1, Vec::new()), of(3, vec![finding("gate", "high", "unknown")])]);
        assert_eq!(bad.verdict, ImageVerdict::Failed);
    }
}
