//! The newest posture of each node, and when it is too old.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use coffer_core::{
    clock::Timestamp,
    id::ClusterId,
    limits::{POSTURE_HELD_MAX, POSTURE_LIFETIME, POSTURE_REPORTS_PER_MINUTE_MAX},
    policy::HostFacts,
    reason::Reason,
};

use super::record::PostureRecord;
use crate::Failure;

/// How old the posture in the store may be.
const WRITTEN_AGE_MAX: Duration = Duration::from_secs(2 * 60);
/// Of how many nodes one may fall silent before it is implausible.
const SILENT_PART: usize = 10;
/// How long a decision may count on a posture that is looked at again then.
const LOOKED_AT_AGAIN: Duration = Duration::from_secs(1);
/// In what time reports are counted.
const MINUTE: Duration = Duration::from_secs(60);

/// A node: its cluster, and its name there.
pub(super) type Key = (ClusterId, String);

/// Whether a posture counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostureState {
    /// It is new enough.
    Fresh,
    /// Its time is over, and so is that of too many others: it counts all the same.
    Held,
    /// Its time is over.
    Lost,
}

/// Why a posture is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The node fell silent.
    Silent,
    /// Many did, and a person said that it is so, or too much time went by.
    Confirmed,
    /// The cluster is gone, or nobody may report any more.
    Unwanted,
}

impl Why {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Confirmed => "confirmed",
            Self::Unwanted => "unwanted",
        }
    }
}

struct Node {
    record: PostureRecord,
    /// What the store has: when the posture that it has was received.
    written: Timestamp,
    lost: Option<(Timestamp, Why)>,
    /// Whether the store has it still, though it is lost.
    erasable: bool,
}

/// Reports of a node in the minute that began then.
struct Reports {
    began: Timestamp,
    count: u32,
}

/// All nodes.
#[derive(Default)]
pub(super) struct Kept {
    nodes: BTreeMap<Key, Node>,
    reports: BTreeMap<Key, Reports>,
    waiting: BTreeSet<ClusterId>,
}

/// What a look for silent nodes has found.
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Missed {
    /// Whether a posture counts no longer.
    pub(super) any: bool,
    /// Clusters that wait for a person since now.
    pub(super) waiting: Vec<ClusterId>,
}

/// When a posture is too old that came then.
pub(super) fn expires(received: Timestamp) -> Timestamp {
    received.plus(POSTURE_LIFETIME)
}

/// When it is too old even where it is held.
fn ends(received: Timestamp) -> Timestamp {
    expires(received).plus(POSTURE_HELD_MAX)
}

impl Node {
    fn is_over(&self, now: Timestamp) -> bool {
        self.lost.is_none() && expires(self.record.received) <= now
    }

    /// Lost by silence, so lately that it counts with others.
    fn went_lately(&self, now: Timestamp) -> bool {
        self.lost.is_some_and(|(at, why)| why == Why::Silent && now.since(at) < POSTURE_LIFETIME)
    }

    fn lose(&mut self, now: Timestamp, why: Why) {
        self.lost = Some((now, why));
        self.erasable = true;
    }
}

impl Kept {
    /// Takes note of what the store had.
    pub(super) fn stored(&mut self, key: Key, record: PostureRecord) {
        let written = record.received;
        self.nodes.insert(key, Node { record, written, lost: None, erasable: false });
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.nodes.keys()
    }

    pub(super) fn knows(&self, key: &Key) -> bool {
        self.nodes.contains_key(key)
    }

    fn of(&self, cluster: ClusterId) -> impl Iterator<Item = (&Key, &Node)> {
        self.nodes.range((cluster, String::new())..).take_while(move |(key, _)| key.0 == cluster)
    }

    /// How many nodes of a cluster are known.
    pub(super) fn nodes(&self, cluster: ClusterId) -> usize {
        self.of(cluster).count()
    }

    /// What policy sees of a node.
    pub(super) fn facts(&self, cluster: ClusterId, node: &str, now: Timestamp) -> Option<HostFacts> {
        let node = self.nodes.get(&(cluster, node.to_owned()))?;
        let record = &node.record;
        // The second look is for a clock that jumps, and for an upkeep that does not run.
        if node.lost.is_some() || ends(record.received) <= now {
            return None;
        }
        Some(HostFacts {
            posture: record.host_posture(),
            swap: record.swap_switch(),
            failing: record.failing.clone(),
            until: expires(record.received).max(now.plus(LOOKED_AT_AGAIN)),
        })
    }

    /// A posture as it is shown.
    pub(super) fn shown(&self, key: &Key, now: Timestamp) -> Option<(PostureRecord, PostureState)> {
        let node = self.nodes.get(key)?;
        let state = match node.lost {
            Some(_) => PostureState::Lost,
            None if ends(node.record.received) <= now => PostureState::Lost,
            None if node.is_over(now) => PostureState::Held,
            None => PostureState::Fresh,
        };
        Some((node.record.clone(), state))
    }

    /// Counts a report before it is looked into.
    pub(super) fn count_report(&mut self, key: &Key, now: Timestamp) -> Result<(), Failure> {
        self.reports.retain(|_, reports| now.since(reports.began) < MINUTE);
        let reports = self.reports.entry(key.clone()).or_insert(Reports { began: now, count: 0 });
        if reports.count >= POSTURE_REPORTS_PER_MINUTE_MAX {
            let message = format!("a node reports at most {POSTURE_REPORTS_PER_MINUTE_MAX} times a minute");
            return Err(Failure::told(Reason::Busy, message));
        }
        reports.count += 1;
        Ok(())
    }

    /// Whether a report is newer than the one before it.
    pub(super) fn check(&self, key: &Key, new: &PostureRecord) -> Result<(), Failure> {
        let Some(Node { record: old, .. }) = self.nodes.get(key) else { return Ok(()) };
        let is_newer = match old.session == new.session {
            true => new.sequence > old.sequence,
            // Another session is another pod's, or the same pod's after its login.
            false => new.session_began >= old.session_began,
        };
        let stale = || Failure::invalid("this report, or a newer one of the node, was taken before");
        if is_newer { Ok(()) } else { Err(stale()) }
    }

    /// Whether a report is to be written: it says something else than the one before it.
    pub(super) fn is_new(&self, key: &Key, new: &PostureRecord) -> bool {
        let same = |node: &Node| {
            node.lost.is_none() && node.record.digest == new.digest && node.record.boot == new.boot && node.record.says_as(new)
        };
        !self.nodes.get(key).is_some_and(same)
    }

    /// Takes a report that says what the one before it did.
    pub(super) fn refresh(&mut self, key: &Key, record: &PostureRecord) {
        if let Some(node) = self.nodes.get_mut(key) {
            node.record = record.clone();
        }
    }

    /// Takes a report that is written.
    pub(super) fn take(&mut self, key: Key, record: PostureRecord) {
        let written = record.received;
        self.nodes.insert(key, Node { record, written, lost: None, erasable: false });
    }

    /// Looks for nodes that fell silent. A few lose their postures; of too many at once they are held. `reports` says of a cluster whether
    /// anybody may report its nodes; nothing where there is no such cluster.
    pub(super) fn miss(&mut self, now: Timestamp, reports: impl Fn(ClusterId) -> Option<bool>) -> Missed {
        let mut missed = Missed::default();
        let clusters: BTreeSet<ClusterId> = self.nodes.keys().map(|key| key.0).collect();
        for cluster in clusters {
            let over = self.of(cluster).filter(|(_, node)| node.is_over(now)).count();
            let lately = self.of(cluster).filter(|(_, node)| node.went_lately(now)).count();
            let alive = self.of(cluster).filter(|(_, node)| node.lost.is_none()).count();
            let plausible = ((alive + lately) / SILENT_PART).max(1);
            let is_held = reports(cluster) == Some(true) && over + lately > plausible;
            let is_gone = reports(cluster).is_none();
            for (_, node) in self.nodes.range_mut((cluster, String::new())..).take_while(|(key, _)| key.0 == cluster) {
                let why = match reports(cluster) {
                    _ if node.lost.is_some() => continue,
                    None => Why::Unwanted,
                    Some(_) if !node.is_over(now) => continue,
                    Some(false) => Why::Unwanted,
                    Some(true) if is_held && ends(node.record.received) > now => continue,
                    Some(true) if is_held => Why::Confirmed,
                    Some(true) => Why::Silent,
                };
                node.lose(now, why);
                missed.any = true;
            }
            if !is_held {
                self.waiting.remove(&cluster);
            } else if self.waiting.insert(cluster) {
                missed.waiting.push(cluster);
            }
            // What is lost is shown for an hour, and then forgotten; at once with its cluster.
            self.nodes.retain(|key, node| {
                let is_old = node.lost.is_some_and(|(at, _)| is_gone || now.since(at) >= POSTURE_HELD_MAX);
                key.0 != cluster || !is_old || node.erasable
            });
        }
        missed
    }

    /// Takes silent nodes of a cluster for lost.
    pub(super) fn confirm(&mut self, cluster: ClusterId, now: Timestamp) -> usize {
        let over: Vec<Key> = self.of(cluster).filter(|(_, node)| node.is_over(now)).map(|(key, _)| key.clone()).collect();
        for key in &over {
            if let Some(node) = self.nodes.get_mut(key) {
                node.lose(now, Why::Confirmed);
            }
        }
        self.waiting.remove(&cluster);
        over.len()
    }

    /// Postures that are to be written again: the store's would end too soon.
    pub(super) fn due(&self, now: Timestamp, limit: usize) -> Vec<(Key, PostureRecord)> {
        let is_due = |node: &Node| {
            node.lost.is_none() && node.record.received > node.written && now.since(node.written) >= WRITTEN_AGE_MAX
        };
        let due = self.nodes.iter().filter(|(_, node)| is_due(node));
        due.take(limit).map(|(key, node)| (key.clone(), node.record.clone())).collect()
    }

    /// Takes note of what the store has.
    pub(super) fn written<'a>(&mut self, written: impl Iterator<Item = (&'a Key, Timestamp)>) {
        for (key, received) in written {
            if let Some(node) = self.nodes.get_mut(key) {
                node.written = received;
            }
        }
    }

    /// Postures that are lost, and still in the store.
    pub(super) fn erasable(&self, limit: usize) -> Vec<(Key, Why)> {
        let lost = |(key, node): (&Key, &Node)| Some((key.clone(), node.lost.filter(|_| node.erasable)?.1));
        self.nodes.iter().filter_map(lost).take(limit).collect()
    }

    /// Takes note that the store has it no longer.
    pub(super) fn erased(&mut self, key: &Key) {
        if let Some(node) = self.nodes.get_mut(key).filter(|node| node.lost.is_some()) {
            node.erasable = false;
        }
    }
}

#[cfg(test)]
mod tests;
