//! Clusters: which there are, their keys and pods, and how they change.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use coffer_barrier::Batch;
use coffer_core::{
    clock::{Clock, Timestamp},
    id::ClusterId,
    limits::{JWKS_BYTES_MAX, KUBERNETES_NAME_BYTES_MAX},
    principal::{Name, Principal},
    reason::Reason,
};
use coffer_crypto::{jwt::KeySet, random};
use coffer_kubernetes::{ApiServer, ApiServerConfig, CacheStatus, Known, PodCache, PodState, fetch_jwks};
use tokio::sync::{broadcast::error::RecvError, watch};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    Failure, Planned, PolicyChange, Unsealed, gate,
    losses::Losses,
    operators::check_etag,
    records::{ApiServerRecord, ClusterRecord, KeySourceRecord, PodCheck},
    table::Row,
};

/// How often keys from a URL or an API server are read again.
const KEYS_KEPT: Duration = Duration::from_secs(5 * 60);
/// How long after reading keys an unknown key does not have them read again.
const KEYS_FRESH: Duration = Duration::from_secs(10);
/// Clusters of a tenant.
const CLUSTERS_MAX: usize = 256;
/// Bytes in an issuer.
const ISSUER_BYTES_MAX: usize = 1_024;

/// What is asked for in a cluster.
pub struct ClusterSettings {
    /// The issuer that tokens name.
    pub issuer: String,
    /// The audience that tokens are made for.
    pub audience: String,
    /// Where keys come from.
    pub keys: KeySourceRecord,
    /// The API server.
    pub api_server: Option<ApiServerRecord>,
    /// How pods are known to live.
    pub pod_check: PodCheck,
    /// Who may report postures of its nodes: NAMESPACE/SERVICE-ACCOUNT; empty for nobody.
    pub node_agent: String,
}

/// A cluster at work: its keys, its API server, its pods.
pub struct ClusterRuntime {
    source: KeySourceRecord,
    /// None where they could not be read yet.
    keys: ArcSwapOption<Keys>,
    reading: tokio::sync::Mutex<()>,
    api: Option<ApiServer>,
    pods: Option<PodCache>,
    _end: DropGuard,
}

struct Keys {
    set: KeySet,
    read: Timestamp,
}

impl ClusterRuntime {
    /// Reads the keys and begins to follow the pods.
    ///
    /// # Errors
    /// Fails where there are no usable keys, or they cannot be read.
    pub(crate) async fn start(
        settings: &ClusterSettings,
        clock: &dyn Clock,
        (losses, gate): (&Arc<Losses>, &Arc<gate::Changes>),
        known: Known,
    ) -> Result<Arc<Self>, Failure> {
        let api = settings.api_server.as_ref().map(connect).transpose()?;
        let text = read_keys(&settings.keys, api.as_ref()).await?;
        let set = parse_keys(&text)?;
        Ok(Self::assemble(settings, api, Some(Keys { set, read: clock.now() }), (losses, gate), known))
    }

    /// The same for a cluster that is registered already: keys that cannot be read now are read when they are needed.
    async fn resume(
        settings: &ClusterSettings,
        clock: &dyn Clock,
        (losses, gate): (&Arc<Losses>, &Arc<gate::Changes>),
        known: Known,
    ) -> Result<Arc<Self>, Failure> {
        let api = settings.api_server.as_ref().map(connect).transpose()?;
        let text = match &settings.keys {
            KeySourceRecord::Jwks(text) => Ok(text.clone()),
            source => read_keys(source, api.as_ref()).await,
        };
        match text.and_then(|text| parse_keys(&text)) {
            Ok(set) => Ok(Self::assemble(settings, api, Some(Keys { set, read: clock.now() }), (losses, gate), known)),
            Err(failure) => {
                tracing::warn!(issuer = settings.issuer, %failure, "a cluster's keys cannot be read now");
                Ok(Self::assemble(settings, api, None, (losses, gate), known))
            }
        }
    }

    fn assemble(
        settings: &ClusterSettings,
        api: Option<ApiServer>,
        keys: Option<Keys>,
        (losses, gate): (&Arc<Losses>, &Arc<gate::Changes>),
        known: Known,
    ) -> Arc<Self> {
        let (end, tasks) = (CancellationToken::new(), TaskTracker::new());
        let follow = settings.pod_check != PodCheck::None;
        let pods = api.as_ref().filter(|_| follow).map(|api| api.watch_pods(&tasks, end.clone(), &settings.audience, known));
        if let Some(pods) = &pods {
            tasks.spawn(tell_losses(pods.clone(), Arc::clone(losses), end.clone()));
            tasks.spawn(tell_workloads(pods.workload_changes(), Arc::clone(gate), end.clone()));
        }
        Arc::new(Self {
            source: settings.keys.clone(),
            keys: ArcSwapOption::new(keys.map(Arc::new)),
            reading: tokio::sync::Mutex::new(()),
            api,
            pods,
            _end: end.drop_guard(),
        })
    }

    /// The API server, where one is to be asked.
    #[must_use]
    pub const fn api(&self) -> Option<&ApiServer> {
        self.api.as_ref()
    }

    /// The pods, where they are followed.
    #[must_use]
    pub const fn pods(&self) -> Option<&PodCache> {
        self.pods.as_ref()
    }

    /// Ids of the keys in use.
    #[must_use]
    pub fn key_ids(&self) -> Vec<String> {
        let keys = self.keys.load();
        keys.as_ref().map(|keys| keys.set.key_ids().into_iter().map(str::to_owned).collect()).unwrap_or_default()
    }

    /// Does something with the keys, which are read again before where they are old.
    pub(crate) async fn with_keys<T>(&self, clock: &dyn Clock, use_keys: impl FnOnce(Option<&KeySet>) -> T) -> T {
        if self.older_than(KEYS_KEPT, clock) {
            self.read_again(clock, KEYS_KEPT).await;
        }
        use_keys(self.keys.load().as_ref().map(|keys| &keys.set))
    }

    /// Reads the keys again, for a token with an unknown one; not where that was done just now.
    pub(crate) async fn look_for_new_keys(&self, clock: &dyn Clock) {
        self.read_again(clock, KEYS_FRESH).await;
    }

    fn older_than(&self, age: Duration, clock: &dyn Clock) -> bool {
        self.keys.load().as_ref().is_none_or(|keys| clock.now().since(keys.read) >= age)
    }

    async fn read_again(&self, clock: &dyn Clock, age: Duration) {
        if matches!(self.source, KeySourceRecord::Jwks(_)) {
            return;
        }
        let _one_at_a_time = self.reading.lock().await;
        if !self.older_than(age, clock) {
            return;
        }
        match read_keys(&self.source, self.api.as_ref()).await.and_then(|text| parse_keys(&text)) {
            Ok(set) => self.keys.store(Some(Arc::new(Keys { set, read: clock.now() }))),
            Err(failure) => tracing::warn!(%failure, "a cluster's keys cannot be read; the last ones stay in use"),
        }
    }
}

/// Tells watches that pods went, so that their sessions are looked at again.
async fn tell_losses(pods: PodCache, losses: Arc<Losses>, end: CancellationToken) {
    let mut gone = pods.subscribe();
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            told = gone.recv() => match told {
                Ok(pod) => losses.tell_gone(pod),
                Err(RecvError::Lagged(_)) => losses.tell_others(),
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// Tells that pods are made of something else than before.
async fn tell_workloads(mut changes: watch::Receiver<u64>, gate: Arc<gate::Changes>, end: CancellationToken) {
    while end.run_until_cancelled(changes.changed()).await.is_some_and(|changed| changed.is_ok()) {
        gate.tell();
    }
}

fn connect(record: &ApiServerRecord) -> Result<ApiServer, Failure> {
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    let config = ApiServerConfig {
        url: given(&record.url),
        ca_pem: given(&record.ca_pem),
        token_file: given(&record.token_file).map(PathBuf::from),
    };
    ApiServer::new(&config).map_err(|error| {
        tracing::warn!(%error, "an API server cannot be used");
        Failure::new(Reason::KeysUnreachable, "the API server cannot be used: check URL, CA and token file")
    })
}

async fn read_keys(source: &KeySourceRecord, api: Option<&ApiServer>) -> Result<String, Failure> {
    let unreachable = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, "a cluster's keys cannot be read");
        Failure::new(Reason::KeysUnreachable, "the cluster's keys cannot be read from there; the server's log says why")
    };
    match source {
        KeySourceRecord::Jwks(text) => Ok(text.clone()),
        KeySourceRecord::Url { url, ca_pem } => {
            let ca = (!ca_pem.is_empty()).then_some(ca_pem.as_str());
            fetch_jwks(url, ca).await.map_err(|error| unreachable(&error))
        }
        KeySourceRecord::ApiServer => {
            let api = api.ok_or_else(|| Failure::invalid("keys from the API server need an API server"))?;
            api.jwks().await.map_err(|error| unreachable(&error))
        }
    }
}

fn parse_keys(text: &str) -> Result<KeySet, Failure> {
    if text.len() > JWKS_BYTES_MAX {
        return Err(Failure::told(Reason::LimitExceeded, format!("a key set has at most {JWKS_BYTES_MAX} bytes")));
    }
    KeySet::parse(text).map_err(|error| Failure::told(Reason::KeysInvalid, error.to_string()))
}

/// All clusters at work.
pub(crate) type Runtimes = Arc<RwLock<BTreeMap<ClusterId, Arc<ClusterRuntime>>>>;

impl Unsealed {
    /// One cluster.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub fn cluster(&self, name: &Name) -> Result<Row<ClusterRecord>, Failure> {
        self.clusters.find(name.as_str()).ok_or_else(|| Failure::new(Reason::NotFound, "there is no cluster of this name"))
    }

    /// A page of clusters behind a name, and whether there are more.
    pub fn clusters(&self, after: &str, limit: usize) -> (Vec<(String, Row<ClusterRecord>)>, bool) {
        self.clusters.page(after, limit, |_| true)
    }

    /// The cluster at work.
    #[must_use]
    pub fn runtime(&self, id: ClusterId) -> Option<Arc<ClusterRuntime>> {
        self.runtimes.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// How the pod cache of a cluster stands, in a word: see `Cluster.pod_cache` of the API.
    #[must_use]
    pub fn pod_cache(&self, id: ClusterId) -> &'static str {
        match self.runtime(id).and_then(|runtime| runtime.pods().map(PodCache::status)) {
            None => "none",
            Some(CacheStatus::Syncing) => "syncing",
            Some(CacheStatus::Synced) => "synced",
            Some(CacheStatus::Stale) => "stale",
            Some(CacheStatus::AwaitingConfirmation { .. }) => "confirm",
        }
    }

    /// Plans a cluster, new (`etag` is `None`) or changed, whose runtime has been started.
    ///
    /// # Errors
    /// Fails where a new one's name is taken, a changed one is not there or has another etag, or a limit is exceeded.
    pub fn put_cluster(
        &self,
        name: &Name,
        settings: &ClusterSettings,
        runtime: Arc<ClusterRuntime>,
        etag: Option<&str>,
    ) -> Result<Planned<Row<ClusterRecord>>, Failure> {
        settings.check()?;
        let row = self.clusters.find(name.as_str());
        let mut record = settings.record(self.now())?;
        match (&row, etag) {
            (Some(_), None) => return Err(Failure::new(Reason::AlreadyExists, "there is a cluster of this name already")),
            (Some(row), Some(etag)) => {
                check_etag(row, etag)?;
                (record.id, record.created) = (row.value.id, row.value.created);
            }
            (None, Some(_)) => return Err(Failure::new(Reason::NotFound, "there is no cluster of this name")),
            (None, None) if self.clusters.len() >= CLUSTERS_MAX => {
                return Err(Failure::told(Reason::LimitExceeded, format!("there are {CLUSTERS_MAX} clusters already")));
            }
            (None, None) => {}
        }
        let id = record.id;
        let answer = Row { value: Arc::new(record.clone()), version: row.map_or(0, |row| row.version) + 1 };
        let mut batch = Batch::default();
        let put = self.clusters.put(&mut batch, name.as_str(), record)?;
        let runtimes = Arc::clone(&self.runtimes);
        let start = Box::new(move || {
            runtimes.write().unwrap_or_else(PoisonError::into_inner).insert(id, runtime);
        });
        Ok(Planned { batch, answer, then: vec![put, start], policy: PolicyChange::Other })
    }

    /// Plans that a cluster is forgotten: its workloads' sessions and grants hold no longer.
    ///
    /// # Errors
    /// Fails where there is none of this name, the etag is another state's, or tokens of it were made that are to be ended.
    pub async fn delete_cluster(&self, name: &Name, etag: &str) -> Result<Planned<()>, Failure> {
        let row = self.cluster(name)?;
        check_etag(&row, etag)?;
        if self.has_tokens_of(row.value.id).await? {
            let message = "leases need the cluster for their tokens to be ended: coffer lease revoke --path MOUNT";
            return Err(Failure::new(Reason::Conflict, message));
        }
        let mut batch = Batch::default();
        let mut then: Vec<_> = self.clusters.delete(&mut batch, name.as_str())?.into_iter().collect();
        let (runtimes, id) = (Arc::clone(&self.runtimes), row.value.id);
        then.push(Box::new(move || {
            runtimes.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        }));
        Ok(Planned { batch, answer: (), then, policy: PolicyChange::Other })
    }

    /// Confirms that pods which went missing in an implausible number are gone; answers how many.
    ///
    /// # Errors
    /// Fails where there is no such cluster.
    pub fn confirm_pod_loss(&self, name: &Name) -> Result<usize, Failure> {
        let row = self.cluster(name)?;
        Ok(self.runtime(row.value.id).and_then(|runtime| runtime.pods().map(PodCache::confirm_loss)).unwrap_or(0))
    }

    /// What is known about a pod; `None` where nobody is asked.
    pub(crate) fn pod_state(&self, cluster: ClusterId, uid: &str) -> Option<PodState> {
        self.runtime(cluster)?.pods().map(|pods| pods.pod(uid))
    }

    /// Sets registered clusters to work.
    pub(crate) async fn resume_clusters(&self) -> Result<(), Failure> {
        for (name, row) in self.clusters.all() {
            let record = (*row.value).clone();
            let id = record.id;
            let settings = ClusterSettings {
                issuer: record.issuer,
                audience: record.audience,
                keys: record.keys,
                api_server: record.api_server,
                pod_check: record.pod_check,
                node_agent: record.node_agent,
            };
            let follow = settings.pod_check != PodCheck::None;
            let known = if follow { self.known_pods(id).await? } else { Known::default() };
            match ClusterRuntime::resume(&settings, &*self.clock, (&self.session_losses, &self.gate.changes), known).await {
                Ok(runtime) => {
                    self.runtimes.write().unwrap_or_else(PoisonError::into_inner).insert(id, runtime);
                }
                Err(failure) => {
                    tracing::error!(cluster = name, %failure, "a cluster cannot be used: its workloads cannot log in")
                }
            }
        }
        Ok(())
    }
}

impl ClusterSettings {
    /// What is stored of a new one.
    pub(crate) fn record(&self, created: Timestamp) -> Result<ClusterRecord, Failure> {
        let id = random::bytes().map_err(|_| Failure::internal("no random numbers"))?;
        Ok(ClusterRecord {
            id: ClusterId::from_bytes(id),
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            keys: self.keys.clone(),
            api_server: self.api_server.clone(),
            pod_check: self.pod_check,
            node_agent: self.node_agent.clone(),
            created,
        })
    }

    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.issuer.is_empty() || self.issuer.len() > ISSUER_BYTES_MAX {
            return Err(Failure::told(Reason::InvalidArgument, format!("an issuer has 1 to {ISSUER_BYTES_MAX} bytes")));
        }
        if self.audience.is_empty() || self.audience.len() > KUBERNETES_NAME_BYTES_MAX {
            let message = format!("an audience has 1 to {KUBERNETES_NAME_BYTES_MAX} bytes");
            return Err(Failure::told(Reason::InvalidArgument, message));
        }
        if self.pod_check != PodCheck::None && self.api_server.is_none() {
            return Err(Failure::invalid("checking pods needs an API server"));
        }
        if !self.node_agent.is_empty() && format!("k8s:cluster/{}", self.node_agent).parse::<Principal>().is_err() {
            return Err(Failure::invalid(
                "the node agent is NAMESPACE/SERVICE-ACCOUNT, or nothing where nobody reports postures",
            ));
        }
        Ok(())
    }
}
