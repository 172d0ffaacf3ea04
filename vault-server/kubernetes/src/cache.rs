//! The pods of a cluster, for whoever asks.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use tokio::{
    sync::{Notify, broadcast, watch},
    time::{Instant, timeout_at},
};

use crate::{
    index::{Index, Observed, Relisted, State, Uid},
    workload::Workload,
};

/// How old the API server's last sign of life may be before its pods count as unknown.
pub const STALE_SECS_MAX: u64 = 60;
/// Events that a subscriber may be behind before it is told that it missed some.
pub const GONE_EVENTS_KEPT: usize = 4_096;

/// What was known before the cache began: from whatever outlives the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The cluster's UID.
    pub cluster_uid: Option<String>,
    /// UIDs of pods that were alive and matter: the first [`crate::PODS_MAX`] of them. One that the first list lacks is
    /// gone, and that is told, unless so many are that they have to be confirmed.
    pub pods: Vec<String>,
}

/// What is known of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodState {
    /// It exists and has neither succeeded nor failed.
    Alive {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its service account.
        service_account: String,
        /// The node that it was given to, once it was.
        node: Option<String>,
        /// Its addresses, once it has any. With `hostNetwork` they are its node's.
        ips: Vec<IpAddr>,
    },
    /// It was alive, and was deleted, or has succeeded or failed.
    Gone,
    /// The cache is up to date and has never seen it alive: it ended before the cache began and was not among the
    /// [`Known`], or it is newer than the news (see [`PodCache::wait_for`]).
    Unseen,
    /// The cache cannot tell: it has no list yet, or no news for [`STALE_SECS_MAX`].
    Unknown,
}

/// A pod that has a token for the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodWorkload {
    /// Its UID.
    pub uid: Arc<str>,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its service account.
    pub service_account: String,
    /// The node that it was given to, once it was.
    pub node: Option<String>,
    /// What it is made of.
    pub workload: Arc<Workload>,
}

/// How the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// There is no list yet.
    Syncing,
    /// It is up to date.
    Synced,
    /// It had no news for [`STALE_SECS_MAX`].
    Stale,
    /// So many pods are missing at once, or another cluster answers, that nobody is taken for gone until
    /// [`PodCache::confirm_loss`] or until they are back.
    AwaitingConfirmation {
        /// How many.
        missing: usize,
    },
}

/// The pods of a cluster. Cheap to clone; all clones are one cache.
#[derive(Clone)]
pub struct PodCache(Arc<Shared>);

struct Shared {
    index: RwLock<Index>,
    /// The API server's last sign of life.
    heard: Mutex<Option<Instant>>,
    changed: watch::Sender<()>,
    gone: broadcast::Sender<Arc<str>>,
    /// Counts what pods with a token for the vault have become.
    workloads: watch::Sender<u64>,
    confirmed: Notify,
}

impl PodCache {
    pub(crate) fn new(known: Known) -> Self {
        Self(Arc::new(Shared {
            index: RwLock::new(Index::new(known.cluster_uid, known.pods)),
            heard: Mutex::new(None),
            changed: watch::Sender::new(()),
            gone: broadcast::Sender::new(GONE_EVENTS_KEPT),
            workloads: watch::Sender::new(0),
            confirmed: Notify::new(),
        }))
    }

    /// What is known of a pod, by its UID.
    #[must_use]
    pub fn pod(&self, uid: &str) -> PodState {
        let index = self.index();
        match index.state(uid) {
            // That does not change any more, however old the news is.
            State::Gone => PodState::Gone,
            _ if !index.synced() || !self.fresh() => PodState::Unknown,
            State::Assumed => PodState::Unknown,
            State::Unseen => PodState::Unseen,
            State::Alive(pod) => PodState::Alive {
                namespace: pod.namespace.to_string(),
                name: pod.name.to_string(),
                service_account: pod.service_account.to_string(),
                node: pod.node.as_deref().map(str::to_owned),
                ips: pod.ips.to_vec(),
            },
        }
    }

    /// Whether there has been a list, which pods that live are in.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.index().synced()
    }

    /// What a pod is made of that has a token for the vault, as it was seen last, however long ago: a pod does not become
    /// another because the API server is away.
    #[must_use]
    pub fn workload(&self, uid: &str) -> Option<Arc<Workload>> {
        self.index().workload(uid).cloned()
    }

    /// All pods that have a token for the vault, in no order.
    #[must_use]
    pub fn workloads(&self) -> Vec<PodWorkload> {
        let index = self.index();
        let pods = index.workloads().map(|(uid, pod, workload)| PodWorkload {
            uid: Uid::clone(uid),
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            service_account: pod.service_account.to_string(),
            node: pod.node.as_deref().map(str::to_owned),
            workload: Arc::clone(workload),
        });
        pods.collect()
    }

    /// Tells each time when pods with a token for the vault are others than they were.
    #[must_use]
    pub fn workload_changes(&self) -> watch::Receiver<u64> {
        self.0.workloads.subscribe()
    }

    /// What is known of a pod, once it was seen alive or gone, or at the deadline. For pods that may be newer than the
    /// news.
    pub async fn wait_for(&self, uid: &str, deadline: Instant) -> PodState {
        let mut changed = self.0.changed.subscribe();
        loop {
            let state = self.pod(uid);
            if !matches!(state, PodState::Unseen | PodState::Unknown)
                || !matches!(timeout_at(deadline, changed.changed()).await, Ok(Ok(())))
            {
                return state;
            }
        }
    }

    /// How the cache is.
    #[must_use]
    pub fn status(&self) -> CacheStatus {
        let index = self.index();
        match index.awaiting() {
            Some(missing) => CacheStatus::AwaitingConfirmation { missing },
            None if !index.synced() => CacheStatus::Syncing,
            None if !self.fresh() => CacheStatus::Stale,
            None => CacheStatus::Synced,
        }
    }

    /// How many pods are known, those included that were not seen yet.
    #[must_use]
    pub fn pods(&self) -> usize {
        self.index().pods()
    }

    /// The UID of the cluster, once it is known: to be kept for [`Known`].
    #[must_use]
    pub fn cluster_uid(&self) -> Option<String> {
        self.index().cluster().map(str::to_owned)
    }

    /// Takes the missing pods for gone, and another cluster for the one to watch. Answers with how many pods that were.
    pub fn confirm_loss(&self) -> usize {
        let gone = self.index_mut().confirm_loss();
        let count = gone.len();
        self.tell(gone);
        self.0.confirmed.notify_one();
        count
    }

    /// The UIDs of pods as they go. Who falls behind by more than [`GONE_EVENTS_KEPT`] is told, and has to ask for each
    /// pod of its own.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<str>> {
        self.0.gone.subscribe()
    }

    pub(crate) fn relist(&self, cluster: &str, pods: Vec<(String, Observed)>) -> bool {
        let relisted = self.index_mut().relist(cluster, pods);
        match relisted {
            Relisted::Taken(gone) => {
                self.heard();
                self.tell(gone);
                self.tell_workloads();
                true
            }
            Relisted::Foreign => {
                self.tell([]);
                false
            }
        }
    }

    pub(crate) fn apply(&self, uid: &str, observed: Observed) {
        let (gone, changed) = {
            let mut index = self.index_mut();
            let before = index.workload(uid).cloned();
            let gone = index.apply(uid, observed);
            (gone, before.as_ref() != index.workload(uid))
        };
        self.tell(gone);
        if changed {
            self.tell_workloads();
        }
    }

    pub(crate) fn delete(&self, uid: &str) {
        let gone = self.index_mut().delete(uid);
        self.tell(gone);
    }

    /// Notes that the API server showed itself, and with it that nothing else has happened.
    pub(crate) fn heard(&self) {
        *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Waits until a loss is confirmed.
    pub(crate) async fn confirmed(&self) {
        self.0.confirmed.notified().await;
    }

    fn tell(&self, gone: impl IntoIterator<Item = Uid>) {
        for uid in gone {
            // There may be no subscriber.
            drop(self.0.gone.send(uid));
        }
        self.0.changed.send_replace(());
    }

    fn tell_workloads(&self) {
        self.0.workloads.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn fresh(&self) -> bool {
        let heard = *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|heard| heard.elapsed() <= Duration::from_secs(STALE_SECS_MAX))
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.0.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.0.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{CacheStatus, Duration, GONE_EVENTS_KEPT, Instant, Known, Observed, PodCache, PodState, STALE_SECS_MAX};
    use std::sync::Arc;

    use coffer_checks::workload::Level;

    use crate::{
        index::Pod,
        workload::{Container, Workload},
    };
    use tokio::{sync::broadcast::error::RecvError, time::advance};

    fn alive() -> Observed {
        Observed::Alive(Pod {
            namespace: "prod".into(),
            name: "api-1".into(),
            service_account: "api".into(),
            node: Some("n".into()),
            ips: Box::from(["10.0.0.1".parse().unwrap()]),
            workload: None,
        })
    }

    fn synced() -> PodCache {
        let cache = PodCache::new(Known::default());
        assert!(cache.relist("c", vec![("u-1".into(), alive())]));
        cache
    }

    #[tokio::test(start_paused = true)]
    async fn a_cache_without_a_list_knows_nothing() {
        let cache = PodCache::new(Known { cluster_uid: None, pods: vec!["u-1".into()] });
        assert_eq!(cache.status(), CacheStatus::Syncing);
        assert_eq!(cache.pod("u-1"), PodState::Unknown);
        assert_eq!(cache.pod("u-2"), PodState::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn news_keep_the_cache_fresh_and_silence_makes_it_stale() {
        let cache = synced();
        let alive = PodState::Alive {
            namespace: "prod".into(),
            name: "api-1".into(),
            service_account: "api".into(),
            node: Some("n".into()),
            ips: vec!["10.0.0.1".parse().unwrap()],
        };
        advance(Duration::from_secs(STALE_SECS_MAX)).await;
        assert_eq!((cache.pod("u-1"), cache.status()), (alive.clone(), CacheStatus::Synced));
        advance(Duration::from_millis(1)).await;
        assert_eq!((cache.pod("u-1"), cache.status()), (PodState::Unknown, CacheStatus::Stale));
        assert_eq!(cache.pod("u-2"), PodState::Unknown);
        cache.heard();
        assert_eq!((cache.pod("u-1"), cache.pod("u-2")), (alive, PodState::Unseen));
        cache.delete("u-1");
        advance(Duration::from_secs(STALE_SECS_MAX + 1)).await;
        assert_eq!(cache.pod("u-1"), PodState::Gone, "that does not change");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_is_newer_than_the_news_is_waited_for() {
        let cache = synced();
        let deadline = Instant::now() + Duration::from_secs(5);
        let (state, ()) = tokio::join!(cache.wait_for("u-2", deadline), async {
            tokio::task::yield_now().await;
            cache.apply("u-3", alive());
            tokio::task::yield_now().await;
            cache.apply("u-2", alive());
        });
        assert!(matches!(state, PodState::Alive { .. }));
        assert!(Instant::now() < deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_at_the_deadline_and_for_the_gone_at_once() {
        let cache = synced();
        cache.delete("u-1");
        let deadline = Instant::now() + Duration::from_secs(5);
        assert_eq!(cache.wait_for("u-1", deadline).await, PodState::Gone);
        assert!(Instant::now() < deadline);
        assert_eq!(cache.wait_for("u-2", deadline).await, PodState::Unseen);
        assert_eq!(Instant::now(), deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn subscribers_hear_of_every_pod_that_goes_once() {
        let cache = PodCache::new(Known { cluster_uid: Some("c".into()), pods: vec!["u-0".into()] });
        let mut gone = cache.subscribe();
        cache.relist("c", vec![("u-1".into(), alive()), ("u-2".into(), alive())]);
        cache.apply("u-1", Observed::Ended);
        cache.delete("u-1");
        cache.delete("u-2");
        for uid in ["u-0", "u-1", "u-2"] {
            assert_eq!(&*gone.recv().await.unwrap(), uid);
        }
        assert!(gone.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_that_is_too_slow_is_told() {
        let cache = synced();
        let mut gone = cache.subscribe();
        for number in 0..=GONE_EVENTS_KEPT {
            cache.apply(&format!("u-{number}"), alive());
            cache.delete(&format!("u-{number}"));
        }
        assert!(matches!(gone.recv().await, Err(RecvError::Lagged(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_pod_is_made_of_outlives_the_news_and_is_told_when_it_changes() {
        let of = |image: &str| {
            let container = Container { name: "app".to_owned(), image: image.to_owned(), running: String::new() };
            let workload = Workload { level: Level::Restricted, containers: vec![container] };
            let Observed::Alive(pod) = alive() else { panic!("it lives") };
            Observed::Alive(Pod { workload: Some(Arc::new(workload)), ..pod })
        };
        let cache = synced();
        let mut changes = cache.workload_changes();
        cache.apply("u-1", alive());
        assert!(!changes.has_changed().unwrap(), "it has no token");
        for (image, changed) in [("a", true), ("a", false), ("b", true)] {
            cache.apply("u-2", of(image));
            assert_eq!(changes.has_changed().unwrap(), changed, "{image}");
            changes.mark_unchanged();
        }
        advance(Duration::from_secs(STALE_SECS_MAX + 1)).await;
        assert_eq!(cache.workload("u-2").unwrap().containers[0].image, "b");
        let pods = cache.workloads();
        assert_eq!(pods.iter().map(|pod| (&*pod.uid, pod.name.as_str())).collect::<Vec<_>>(), [("u-2", "api-1")]);
        cache.delete("u-2");
        assert!(cache.workload("u-2").is_none() && cache.workload("u-1").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_told_when_it_is_confirmed() {
        let cache = PodCache::new(Known::default());
        cache.relist("c", (0..10).map(|number| (format!("u-{number}"), alive())).collect());
        let mut gone = cache.subscribe();
        cache.relist("c", vec![]);
        assert_eq!(cache.status(), CacheStatus::AwaitingConfirmation { missing: 10 });
        assert!(matches!(cache.pod("u-0"), PodState::Alive { .. }));
        assert!(gone.try_recv().is_err());
        assert_eq!(cache.confirm_loss(), 10);
        assert_eq!((0..10).filter(|_| gone.try_recv().is_ok()).count(), 10);
        assert_eq!((cache.pod("u-0"), cache.status()), (PodState::Gone, CacheStatus::Synced));
    }

    #[tokio::test(start_paused = true)]
    async fn another_cluster_is_no_sign_of_life() {
        let cache = synced();
        advance(Duration::from_secs(STALE_SECS_MAX)).await;
        assert!(!cache.relist("other", vec![]));
        assert_eq!(cache.status(), CacheStatus::AwaitingConfirmation { missing: 1 });
        advance(Duration::from_secs(1)).await;
        assert_eq!(cache.pod("u-1"), PodState::Unknown);
        assert_eq!(cache.cluster_uid().as_deref(), Some("c"));
    }
}
