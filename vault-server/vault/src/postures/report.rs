//! A node's report: who may make it, whether it is the node's, and what it comes to.

use coffer_checks::{
    Report, Status, Tier,
    host::{FACTS_BYTES_MAX, HostFacts as Gathered, judge, signed_bytes},
};
use coffer_core::{
    clock::Timestamp,
    id::ClusterId,
    policy::{HostPosture, Switch},
    reason::Reason,
    session::Holder,
};
use coffer_crypto::{
    ecdsa::{self, Curve},
    hash, spki,
};

use super::record::{FactsRecord, PostureRecord};
use crate::{Authenticated, Failure, Unsealed};

/// Where the kernel says which boot it is.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// Bytes of a signature, or of a public key, at most.
const SIGNATURE_BYTES_MAX: usize = 128;

/// What a node agent sends.
pub struct PostureReport {
    /// The facts, JSON.
    pub facts: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
    /// The public key.
    pub public_key: Vec<u8>,
    /// The number of the report in its session.
    pub sequence: u64,
    /// When the facts were gathered.
    pub gathered: Timestamp,
}

impl PostureReport {
    /// Whether it is within bounds.
    ///
    /// # Errors
    /// Says which it exceeds.
    pub fn check(&self) -> Result<(), Failure> {
        if self.facts.len() > FACTS_BYTES_MAX {
            return Err(Failure::told(Reason::LimitExceeded, format!("a node's facts have at most {FACTS_BYTES_MAX} bytes")));
        }
        if self.signature.len() > SIGNATURE_BYTES_MAX || self.public_key.len() > SIGNATURE_BYTES_MAX {
            return Err(Failure::invalid("a signature, or a key, is none of P-256"));
        }
        Ok(())
    }
}

/// A report that was found to be a node's, and what it comes to.
pub struct JudgedPosture {
    pub(super) cluster: ClusterId,
    pub(super) node: String,
    pub(super) record: PostureRecord,
    pub(super) facts: FactsRecord,
}

impl JudgedPosture {
    /// The node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The posture's name.
    #[must_use]
    pub fn posture(&self) -> &str {
        &self.record.posture
    }
}

impl Unsealed {
    /// Judges a report.
    ///
    /// # Errors
    /// Fails where the caller is no node agent, the signature is not one of its key, the report is an old one, or the facts cannot be read.
    pub fn judge_posture(&self, who: &Authenticated, report: &PostureReport) -> Result<JudgedPosture, Failure> {
        let (cluster, node) = self.reporting_node(who)?;
        self.postures.change(|kept| kept.count_report(&(cluster, node.clone()), self.now()))?;
        let session = who.claims.id;
        let message = signed_bytes(session.as_bytes(), report.sequence, report.gathered.millis(), &report.facts);
        let forged = || Failure::invalid("the signature is not that of the session's key over these facts");
        let point = spki::p256_point(&report.public_key).ok_or_else(forged)?;
        if hash::sha256(&report.public_key) != who.claims.thumbprint {
            return Err(forged());
        }
        ecdsa::verify(Curve::P256, point, &message, &report.signature).map_err(|_| forged())?;

        let gathered = parsed(&report.facts)?;
        let judged = judge(&node, &gathered);
        let record = PostureRecord {
            posture: posture(&judged).name().to_owned(),
            swap: swap(&gathered).name().to_owned(),
            failing: failing(&judged),
            failed: count(&judged, Status::Fail),
            unknown: count(&judged, Status::Unknown),
            passed: count(&judged, Status::Pass),
            boot: gathered.values.of(BOOT).known().map(ToString::to_string).unwrap_or_default(),
            gathered: report.gathered,
            received: self.now(),
            digest: digest(&judged)?,
            session,
            session_began: who.claims.issued,
            sequence: report.sequence,
        };
        self.postures.look(|kept| kept.check(&(cluster, node.clone()), &record))?;
        let facts = FactsRecord {
            facts: report.facts.clone(),
            signature: report.signature.clone(),
            public_key: report.public_key.clone(),
            session,
            sequence: report.sequence,
            gathered: report.gathered,
        };
        Ok(JudgedPosture { cluster, node, record, facts })
    }

    /// The node that the caller speaks for: of a pod of the cluster's node agent, by what its token says.
    fn reporting_node(&self, who: &Authenticated) -> Result<(ClusterId, String), Failure> {
        let denied = Failure::not_found_or_denied;
        let Holder::Workload { cluster, cluster_id, namespace, service_account, pod: Some(pod), .. } = &who.claims.holder else {
            return Err(denied());
        };
        let row = self.clusters.find(cluster.as_str()).filter(|row| row.value.id == *cluster_id).ok_or_else(denied)?;
        if row.value.node_agent.is_empty() || row.value.node_agent != format!("{namespace}/{service_account}") {
            return Err(denied());
        }
        let nameless = || Failure::invalid("the token names no node: that takes Kubernetes 1.30");
        Ok((*cluster_id, pod.node.clone().filter(|node| !node.is_empty()).ok_or_else(nameless)?))
    }
}

fn parsed(facts: &[u8]) -> Result<Gathered, Failure> {
    serde_json::from_slice(facts)
        .map_err(|_| Failure::invalid("the facts cannot be read: is the node agent of the version of the server?"))
}

/// What is found in facts that are stored.
pub(super) fn judged(node: &str, facts: &[u8]) -> Result<Report, Failure> {
    Ok(judge(node, &parsed(facts)?))
}

fn of_gate(report: &Report, statuses: &[Status]) -> Vec<&'static str> {
    let of_gate = |finding: &&coffer_checks::Finding| finding.check.tier == Tier::Gate && statuses.contains(&finding.status);
    report.findings.iter().filter(of_gate).map(|finding| finding.check.id).collect()
}

fn posture(report: &Report) -> HostPosture {
    if !of_gate(report, &[Status::Fail]).is_empty() {
        return HostPosture::Failed;
    }
    // What is not known is never as good as passed.
    if of_gate(report, &[Status::Unknown]).is_empty() { HostPosture::Passed } else { HostPosture::Unknown }
}

fn failing(report: &Report) -> Vec<String> {
    let mut ids = of_gate(report, &[Status::Fail, Status::Unknown]);
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().map(str::to_owned).collect()
}

/// Swap in memory (zram) is swap, too: whoever asks for none means none.
fn swap(facts: &Gathered) -> Switch {
    match facts.swaps.known() {
        Some(swaps) if swaps.is_empty() => Switch::Off,
        Some(_) => Switch::On,
        None => Switch::Unknown,
    }
}

fn count(report: &Report, status: Status) -> u32 {
    u32::try_from(report.count(status)).unwrap_or(u32::MAX)
}

fn digest(report: &Report) -> Result<Vec<u8>, Failure> {
    let text = serde_json::to_vec(&report.findings).map_err(|_| Failure::internal("findings cannot be written"))?;
    Ok(hash::sha256(&text).to_vec())
}
