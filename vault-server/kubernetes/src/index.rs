//! Which pods are alive and which are gone: rules apart from where the news comes from.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
    net::IpAddr,
    sync::Arc,
};

use crate::workload::Workload;

/// Pods of a cluster that are kept.
pub const PODS_MAX: usize = 500_000;
/// Pods that are remembered to be gone, the latest.
pub const GONE_PODS_KEPT: usize = 65_536;
/// A list that lacks more than one in so many of the known pods is not believed ...
pub const LOSS_SHARE: usize = 10;
/// ... where it lacks at least so many.
pub const LOSS_PODS_MIN: usize = 5;

/// A UID.
pub(crate) type Uid = Arc<str>;

/// What is kept of a pod.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) service_account: Box<str>,
    pub(crate) node: Option<Box<str>>,
    pub(crate) ips: Box<[IpAddr]>,
    /// For a pod that has a token for the vault.
    pub(crate) workload: Option<Arc<Workload>>,
}

/// A pod as the API server shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Observed {
    Alive(Pod),
    /// It has succeeded or failed, and will not run again.
    Ended,
}

/// What is known of a UID.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State<'a> {
    Alive(&'a Pod),
    /// It was said to be alive, and nothing more is known.
    Assumed,
    Gone,
    Unseen,
}

/// The pods of one cluster.
#[derive(Default)]
pub(crate) struct Index {
    /// The cluster's UID, once it is known.
    cluster: Option<String>,
    /// Whether another cluster answered last.
    foreign: bool,
    synced: bool,
    /// Whether the list before had no pod.
    was_empty: bool,
    pods: HashMap<Uid, Entry>,
    /// How many pods are missing.
    missing: usize,
    gone: HashSet<Uid>,
    /// The same, oldest first.
    gone_order: VecDeque<Uid>,
}

struct Entry {
    /// `None` until it was seen.
    pod: Option<Pod>,
    /// Whether a list lacked it that was not believed.
    missing: bool,
}

/// What came of a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Relisted {
    /// It was taken over; these pods are gone.
    Taken(Vec<Uid>),
    /// It is another cluster's, and was not.
    Foreign,
}

impl Index {
    /// Before the first list: `pods` are assumed to be alive.
    pub(crate) fn new(cluster: Option<String>, pods: impl IntoIterator<Item = String>) -> Self {
        let pods = pods.into_iter().map(|uid| (Uid::from(uid), Entry { pod: None, missing: false }));
        Self { cluster, pods: pods.take(PODS_MAX).collect(), ..Self::default() }
    }

    /// Takes over news of one pod. Answers with its UID where it was alive and is gone.
    pub(crate) fn apply(&mut self, uid: &str, observed: Observed) -> Option<Uid> {
        let pod = match observed {
            Observed::Ended => return self.end(uid),
            Observed::Alive(pod) => pod,
        };
        if let Some(entry) = self.pods.get_mut(uid) {
            self.missing = self.missing.saturating_sub(usize::from(entry.missing));
            *entry = Entry { pod: Some(pod), missing: false };
        } else if self.pods.len() < PODS_MAX {
            // It may be one whose loss was confirmed: then the confirmation was wrong.
            if self.gone.remove(uid) {
                self.gone_order.retain(|gone| &**gone != uid);
            }
            self.pods.insert(uid.into(), Entry { pod: Some(pod), missing: false });
        } else {
            tracing::error!("the cluster has more pods than can be kept");
        }
        None
    }

    /// What is known of a pod that has a token for the vault, however old the news is.
    pub(crate) fn workload(&self, uid: &str) -> Option<&Arc<Workload>> {
        self.pods.get(uid)?.pod.as_ref()?.workload.as_ref()
    }

    /// The pods that have a token for the vault.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = (&Uid, &Pod, &Arc<Workload>)> {
        let pods = self.pods.iter().filter_map(|(uid, entry)| Some((uid, entry.pod.as_ref()?)));
        pods.filter_map(|(uid, pod)| Some((uid, pod, pod.workload.as_ref()?)))
    }

    /// Takes over that one pod was deleted. Answers with its UID where it was alive.
    pub(crate) fn delete(&mut self, uid: &str) -> Option<Uid> {
        self.end(uid)
    }

    /// Takes over a whole list, as far as it is believed.
    pub(crate) fn relist(&mut self, cluster: &str, pods: Vec<(String, Observed)>) -> Relisted {
        if self.cluster.as_deref().is_some_and(|known| known != cluster) {
            self.foreign = true;
            return Relisted::Foreign;
        }
        self.cluster = Some(cluster.to_owned());
        self.foreign = false;
        let listed_nothing = pods.is_empty();
        let listed: HashSet<&str> = pods.iter().map(|(uid, _)| uid.as_str()).collect();
        let lost: Vec<Uid> = self.pods.keys().filter(|uid| !listed.contains(&***uid)).cloned().collect();
        // Those that are missing already stay so, and what a second list lacks in addition joins them.
        let suspicious = self.missing > 0
            || (!self.pods.is_empty() && pods.is_empty())
            || (lost.len() >= LOSS_PODS_MIN && lost.len().saturating_mul(LOSS_SHARE) > self.pods.len());
        let mut gone = Vec::new();
        for uid in lost {
            if suspicious {
                self.miss(&uid);
            } else {
                gone.extend(self.end(&uid));
            }
        }
        for (uid, observed) in pods {
            gone.extend(self.apply(&uid, observed));
        }
        // One answer without a pod, the first, would end the sessions that were issued before this process began: it takes two.
        self.synced |= !listed_nothing || self.was_empty;
        self.was_empty = listed_nothing;
        Relisted::Taken(gone)
    }

    /// Believes what was not believed: missing pods are gone, and another cluster is the one to watch, once it was listed.
    pub(crate) fn confirm_loss(&mut self) -> Vec<Uid> {
        let all = mem::take(&mut self.foreign);
        if all {
            self.cluster = None;
            self.synced = false;
        }
        let lost: Vec<Uid> = self.pods.iter().filter(|(_, entry)| all || entry.missing).map(|(uid, _)| Uid::clone(uid)).collect();
        lost.iter().filter_map(|uid| self.end(uid)).collect()
    }

    pub(crate) fn state(&self, uid: &str) -> State<'_> {
        match self.pods.get(uid) {
            Some(Entry { pod: Some(pod), .. }) => State::Alive(pod),
            Some(Entry { pod: None, .. }) => State::Assumed,
            None if self.gone.contains(uid) => State::Gone,
            None => State::Unseen,
        }
    }

    /// How many pods wait for a confirmation that they are gone; `None` where nothing does.
    pub(crate) fn awaiting(&self) -> Option<usize> {
        if self.foreign { Some(self.pods.len()) } else { Some(self.missing).filter(|missing| *missing > 0) }
    }

    pub(crate) fn pods(&self) -> usize {
        self.pods.len()
    }

    pub(crate) const fn synced(&self) -> bool {
        self.synced
    }

    pub(crate) fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    fn miss(&mut self, uid: &str) {
        if let Some(entry) = self.pods.get_mut(uid)
            && !mem::replace(&mut entry.missing, true)
        {
            self.missing = self.missing.saturating_add(1);
        }
    }

    fn end(&mut self, uid: &str) -> Option<Uid> {
        let (uid, was_alive) = match self.pods.remove_entry(uid) {
            Some((uid, entry)) => {
                self.missing = self.missing.saturating_sub(usize::from(entry.missing));
                (uid, true)
            }
            None => (uid.into(), false),
        };
        if self.gone.insert(Uid::clone(&uid)) {
            self.gone_order.push_back(Uid::clone(&uid));
            if self.gone_order.len() > GONE_PODS_KEPT
                && let Some(oldest) = self.gone_order.pop_front()
            {
                self.gone.remove(&oldest);
            }
        }
        was_alive.then_some(uid)
    }
}

#[cfg(test)]
mod tests;
