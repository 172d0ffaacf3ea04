//! Postures of nodes: what node agents report is judged here, kept as long as it is new enough, and told to policy.
//!
//! The newest of each node is in memory, where each decision looks. The store has it for the time after a restart: written with the
//! report where the judgement is another or the node was booted, else a while later, many at once. That nodes fall silent is noticed
//! by the upkeep below; how many may do so at once is in `kept`.

mod kept;
mod record;
mod report;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use coffer_barrier::{Barrier, Batch, Expect, RecordKey};
use coffer_core::{
    clock::Timestamp,
    id::{ClusterId, TenantId},
    limits::{NODES_PER_CLUSTER_MAX, POSTURE_FINDINGS_MAX},
    policy::HostFacts,
    principal::Name,
    reason::Reason,
};
use tokio::sync::Notify;

pub use self::{
    kept::PostureState,
    record::PostureRecord,
    report::{JudgedPosture, PostureReport},
};
use self::{
    kept::{Kept, Key, Why},
    record::FactsRecord,
};
use crate::{Failure, Planned, PolicyChange, Record, Unsealed, codec, unsealed::directory};

/// Where a tenant's postures are, and the facts that they were made of.
const POSTURES: &str = "posture";
const FACTS: &str = "posture-facts";
/// How often it is looked whether nodes have fallen silent.
const SILENCE_LOOK: Duration = Duration::from_secs(1);
/// Postures that are written again, or erased, in one transaction.
const AT_ONCE: usize = 32;

/// A posture as it is shown.
pub struct PostureInfo {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// Whether it counts.
    pub state: PostureState,
    /// What is known.
    pub record: PostureRecord,
    /// When that is too long ago.
    pub expires: Timestamp,
}

/// A posture with what was found.
pub struct PostureFindings {
    /// The posture.
    pub posture: PostureInfo,
    /// What was found, the worst first.
    pub findings: Vec<coffer_checks::Finding>,
    /// Findings that are left out.
    pub left_out: usize,
}

/// The postures of a vault at work.
#[derive(Default)]
pub(crate) struct Postures {
    kept: RwLock<Kept>,
    /// Tells that what policy sees of a node is another.
    changed: Notify,
}

impl Postures {
    /// Reads what is stored.
    pub(crate) async fn load(barrier: &Barrier, tenant: TenantId) -> Result<Arc<Self>, Failure> {
        let top = directory(tenant, POSTURES)?;
        let mut kept = Kept::default();
        for child in barrier.children(&top).await?.iter() {
            let Ok(bytes) = <[u8; 16]>::try_from(child.name.as_slice()) else {
                return Err(Failure::internal("a directory of postures is of no cluster"));
            };
            let of_cluster = below(&top, bytes)?;
            for (node, record) in barrier.children_records(&of_cluster).await? {
                let node = String::from_utf8(node).map_err(|_| Failure::internal("a node's name is not text"))?;
                kept.stored((ClusterId::from_bytes(bytes), node), codec::decode(record.value.expose())?);
            }
        }
        Ok(Arc::new(Self { kept: RwLock::new(kept), changed: Notify::new() }))
    }

    fn look<T>(&self, look: impl FnOnce(&Kept) -> T) -> T {
        look(&self.kept.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        change(&mut self.kept.write().unwrap_or_else(PoisonError::into_inner))
    }
}

fn below(key: &RecordKey, name: impl AsRef<[u8]>) -> Result<RecordKey, Failure> {
    key.child(name).map_err(|_| Failure::internal("a posture's name is not one"))
}

impl Unsealed {
    /// What is known of a node, while that is new enough.
    pub(crate) fn host_facts(&self, cluster: ClusterId, node: &str) -> Option<HostFacts> {
        let now = self.now();
        self.postures.look(|kept| kept.facts(cluster, node, now))
    }

    /// Plans that a posture is taken. Nothing is written where it is judged as the one before it was.
    ///
    /// # Errors
    /// Fails where there are too many nodes, or a newer report was taken meanwhile.
    pub async fn take_posture(&self, judged: &JudgedPosture) -> Result<Planned<Timestamp>, Failure> {
        let key: Key = (judged.cluster, judged.node.clone());
        let now = self.now();
        let mut record = judged.record.clone();
        record.received = now;
        let (is_known, is_new) = self.postures.look::<Result<_, Failure>>(|kept| {
            kept.check(&key, &record)?;
            let is_known = kept.knows(&key);
            if !is_known && kept.nodes(key.0) >= NODES_PER_CLUSTER_MAX {
                let message = format!("a cluster has at most {NODES_PER_CLUSTER_MAX} nodes that report");
                return Err(Failure::told(Reason::LimitExceeded, message));
            }
            Ok((is_known, kept.is_new(&key, &record)))
        })?;
        let expires = kept::expires(now);
        if !is_new {
            self.postures.change(|kept| kept.refresh(&key, &record));
            return Ok(Planned::read(expires));
        }
        if !is_known {
            tracing::info!(node = judged.node, "a node has reported that was not known");
        }
        let mut batch = Batch::default();
        self.put(&mut batch, POSTURES, &key, &record).await?;
        self.put(&mut batch, FACTS, &key, &judged.facts).await?;
        let postures = Arc::clone(&self.postures);
        let take = Box::new(move || {
            postures.change(|kept| kept.take(key, record));
            postures.changed.notify_one();
        });
        Ok(Planned { batch, answer: expires, then: vec![take], policy: PolicyChange::None })
    }

    /// A page of postures behind `CLUSTER/NODE`, and whether there are more.
    pub fn postures(&self, cluster: Option<&Name>, after: &str, limit: usize) -> (Vec<PostureInfo>, bool) {
        let (now, names) = (self.now(), self.cluster_names());
        let mut keys: Vec<(String, Key)> = self.postures.look(|kept| {
            let named = kept.keys().filter_map(|key| {
                let name = names.iter().find(|(_, id)| *id == key.0).map(|(name, _)| name)?;
                let wanted = cluster.is_none_or(|cluster| cluster.as_str() == name);
                wanted.then(|| (format!("{name}/{}", key.1), key.clone()))
            });
            named.filter(|(place, _)| place.as_str() > after).collect()
        });
        keys.sort_unstable();
        let more = keys.len() > limit;
        keys.truncate(limit);
        let infos = keys.into_iter().filter_map(|(place, key)| self.info(place.split('/').next()?, &key, now)).collect();
        (infos, more)
    }

    /// One posture, judged anew.
    ///
    /// # Errors
    /// Fails where the node is not known.
    pub async fn posture(&self, cluster: &Name, node: &str) -> Result<PostureFindings, Failure> {
        let absent = || Failure::new(Reason::NotFound, "no such node has reported");
        let key: Key = (self.cluster(cluster)?.value.id, node.to_owned());
        let posture = self.info(cluster.as_str(), &key, self.now()).ok_or_else(absent)?;
        let stored = self.barrier.get(&self.place(FACTS, &key)?).await?.ok_or_else(absent)?;
        let stored: FactsRecord = codec::decode(stored.value.expose())?;
        let mut findings = report::judged(node, &stored.facts)?.findings;
        let left_out = findings.len().saturating_sub(POSTURE_FINDINGS_MAX);
        findings.truncate(POSTURE_FINDINGS_MAX);
        Ok(PostureFindings { posture, findings, left_out })
    }

    /// Takes the postures of silent nodes for lost, of which there are implausibly many; answers how many.
    ///
    /// # Errors
    /// Fails where there is no such cluster.
    pub fn confirm_posture_loss(&self, cluster: &Name) -> Result<usize, Failure> {
        let (id, now) = (self.cluster(cluster)?.value.id, self.now());
        let lost = self.postures.change(|kept| kept.confirm(id, now));
        if lost > 0 {
            self.postures.changed.notify_one();
        }
        Ok(lost)
    }

    fn info(&self, cluster: &str, key: &Key, now: Timestamp) -> Option<PostureInfo> {
        let (record, state) = self.postures.look(|kept| kept.shown(key, now))?;
        let expires = kept::expires(record.received);
        Some(PostureInfo { cluster: cluster.to_owned(), node: key.1.clone(), state, record, expires })
    }

    fn cluster_names(&self) -> Vec<(String, ClusterId)> {
        self.clusters.all().into_iter().map(|(name, row)| (name, row.value.id)).collect()
    }

    fn place(&self, directory_name: &str, (cluster, node): &Key) -> Result<RecordKey, Failure> {
        below(&below(&directory(self.tenant.id, directory_name)?, cluster.as_bytes())?, node)
    }

    async fn put<T: serde::Serialize>(&self, batch: &mut Batch, directory: &str, key: &Key, record: &T) -> Result<(), Failure> {
        let place = self.place(directory, key)?;
        let stored = self.barrier.get(&place).await?;
        batch.put(place, Expect::unchanged(stored.as_ref()), codec::encode(record)?);
        Ok(())
    }

    /// Looks after postures until the vault is sealed.
    pub(crate) async fn keep_postures(&self) {
        let mut interval = tokio::time::interval(SILENCE_LOOK);
        loop {
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = self.postures.changed.notified() => self.gate_changed(),
                _ = interval.tick() => {
                    self.miss_silent_nodes();
                    if let Err(failure) = self.write_postures().await {
                        tracing::warn!(%failure, "postures of nodes cannot be written; trying again");
                    }
                }
            }
        }
    }

    fn miss_silent_nodes(&self) {
        let now = self.now();
        let clusters: Vec<(ClusterId, bool)> =
            self.clusters.all().into_iter().map(|(_, row)| (row.value.id, !row.value.node_agent.is_empty())).collect();
        let reports = |id| clusters.iter().find(|(of, _)| *of == id).map(|(_, reports)| *reports);
        let missed = self.postures.change(|kept| kept.miss(now, reports));
        for id in &missed.waiting {
            tracing::error!(
                cluster = %id,
                "so many nodes fell silent at once that their postures are held, for an hour at most: where they are really gone, \
                 coffer node confirm CLUSTER"
            );
        }
        if missed.any {
            self.gate_changed();
        }
    }

    /// Writes postures again whose time in the store is running out, and erases those that are lost.
    async fn write_postures(&self) -> Result<(), Failure> {
        let now = self.now();
        let look = || self.postures.look(|kept| (kept.due(now, AT_ONCE), kept.erasable(AT_ONCE)));
        let (due, lost) = look();
        if due.is_empty() && lost.is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.change().await;
        // A report may have been taken meanwhile, which the store has.
        let (due, lost) = look();
        if !due.is_empty() {
            // Nothing changes by it but for how long it counts after a restart: no record is made of that.
            let mut batch = Batch::default();
            for (key, record) in &due {
                self.put(&mut batch, POSTURES, key, record).await?;
            }
            self.barrier.commit(batch).await?;
            self.postures.change(|kept| kept.written(due.iter().map(|(key, record)| (key, record.received))));
        }
        for (key, why) in lost {
            self.erase(&key, why).await?;
        }
        Ok(())
    }

    async fn erase(&self, key: &Key, why: Why) -> Result<(), Failure> {
        let mut batch = Batch::default();
        for directory in [POSTURES, FACTS] {
            let place = self.place(directory, key)?;
            if let Some(stored) = self.barrier.get(&place).await? {
                batch.delete(place, Expect::Version(stored.version));
            }
        }
        let record = Record::event("posture_lost", self.now())?
            .detailed("cluster", key.0)
            .detailed("node", &key.1)
            .detailed("why", why.name());
        let stored = self.write(batch, &record).await?;
        self.postures.change(|kept| kept.erased(key));
        self.append_written(stored).await
    }
}
