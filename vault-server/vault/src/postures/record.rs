//! What is stored of postures.

use coffer_core::{
    clock::Timestamp,
    id::SessionId,
    policy::{HostPosture, Switch},
};
use serde::{Deserialize, Serialize};

/// A posture: what facts were judged to be, and which report that was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostureRecord {
    /// The name of the posture, as policies have it.
    pub posture: String,
    /// The name of how swap is.
    pub swap: String,
    /// Ids of checks of the gate tier that do not pass, in order.
    pub failing: Vec<String>,
    /// Findings that fail.
    pub failed: u32,
    /// Findings that could not be made.
    pub unknown: u32,
    /// Findings that pass.
    pub passed: u32,
    /// The boot that the facts are of.
    pub boot: String,
    /// When they were gathered, by the node's clock.
    pub gathered: Timestamp,
    /// When they came.
    pub received: Timestamp,
    /// SHA-256 of all findings.
    #[serde(with = "serde_bytes")]
    pub(super) digest: Vec<u8>,
    /// The session that they came in,
    pub(super) session: SessionId,
    /// when that began,
    pub(super) session_began: Timestamp,
    /// and the number of the report in it.
    pub(super) sequence: u64,
}

/// The facts that a posture was made of, with the node's signature.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct FactsRecord {
    #[serde(with = "serde_bytes")]
    pub(super) facts: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub(super) signature: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub(super) public_key: Vec<u8>,
    pub(super) session: SessionId,
    pub(super) sequence: u64,
    pub(super) gathered: Timestamp,
}

impl PostureRecord {
    /// The posture. One that this version does not know is unknown.
    pub(super) fn host_posture(&self) -> HostPosture {
        let known = [HostPosture::Passed, HostPosture::Failed];
        known.into_iter().find(|posture| posture.name() == self.posture).unwrap_or(HostPosture::Unknown)
    }

    pub(super) fn swap_switch(&self) -> Switch {
        let known = [Switch::On, Switch::Off];
        known.into_iter().find(|switch| switch.name() == self.swap).unwrap_or(Switch::Unknown)
    }

    /// Whether policy sees the same in both.
    pub(super) fn says_as(&self, other: &Self) -> bool {
        (&self.posture, &self.swap, &self.failing) == (&other.posture, &other.swap, &other.failing)
    }
}
