//! Figures of a vault, for whoever watches over it: counts and durations, never names but those of clusters.

use std::sync::atomic::Ordering;

use coffer_audit::log::Figures as AuditFigures;
use coffer_core::measure::Counter;
use coffer_kubernetes::PodCache;

use crate::{Unsealed, Vault, login::PASSWORD_PLACES};

/// How the policies were asked.
#[derive(Default)]
pub(crate) struct Decisions {
    pub(crate) remembered: Counter,
    pub(crate) made: Counter,
}

/// What a vault can be told by, whatever its state.
pub struct VaultFigures {
    /// Whether it is initialised.
    pub initialised: bool,
    /// Those of the vault at work; none while it is sealed.
    pub unsealed: Option<UnsealedFigures>,
}

/// Figures of a vault at work.
pub struct UnsealedFigures {
    /// The audit log's.
    pub audit: AuditFigures,
    /// Watches under way.
    pub watchers: usize,
    /// Operators' sessions that are stored, those included that have expired just now.
    pub operator_sessions: usize,
    /// Grants.
    pub grants: usize,
    /// Leases.
    pub leases: u64,
    /// Leases that somebody should look at, of those that were tried since the vault was unsealed.
    pub leases_stuck: usize,
    /// Credentials that were ended.
    pub endings: u64,
    /// Tries to end one that failed.
    pub endings_failed: u64,
    /// Decisions that were remembered.
    pub decisions_remembered: u64,
    /// Decisions that were made.
    pub decisions_made: u64,
    /// Password checks under way or waiting.
    pub password_checks: usize,
    /// Clusters.
    pub clusters: Vec<ClusterFigures>,
    /// How far the clock is behind the latest time that the vault has seen, in milliseconds.
    pub clock_behind_millis: u64,
}

/// Figures of a cluster.
pub struct ClusterFigures {
    /// Its name.
    pub name: String,
    /// Pods that are known, where they are followed.
    pub pods: Option<usize>,
    /// How the pod cache stands: see `Cluster.pod_cache` of the API.
    pub pod_cache: &'static str,
}

impl Vault {
    /// Figures for whoever watches over the vault.
    #[must_use]
    pub fn figures(&self) -> VaultFigures {
        let unsealed = self.unsealed().ok();
        VaultFigures { initialised: self.initialised(), unsealed: unsealed.map(|vault| vault.figures()) }
    }
}

impl Unsealed {
    fn figures(&self) -> UnsealedFigures {
        let clusters = self.clusters.all().into_iter().map(|(name, row)| {
            let pods = self.runtime(row.value.id).and_then(|runtime| runtime.pods().map(PodCache::pods));
            ClusterFigures { name, pods, pod_cache: self.pod_cache(row.value.id) }
        });
        UnsealedFigures {
            audit: self.log.figures(),
            watchers: self.watchers.count(),
            operator_sessions: self.sessions.len(),
            grants: self.grants.len(),
            leases: self.leases.load(Ordering::Relaxed),
            leases_stuck: self.endings.stuck(),
            endings: self.endings.ended.count(),
            endings_failed: self.endings.failed.count(),
            decisions_remembered: self.decisions.remembered.count(),
            decisions_made: self.decisions.made.count(),
            password_checks: PASSWORD_PLACES.saturating_sub(self.password_queue.available_permits()),
            clusters: clusters.collect(),
            clock_behind_millis: u64::try_from(self.clock_behind().as_millis()).unwrap_or(u64::MAX),
        }
    }
}
