//! A namespace, a service account for the vault and its rights, on a real cluster.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use coffer_kubernetes::{ApiServer, ApiServerConfig, CacheStatus, Known, PodCache};
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{Namespace, Pod, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{broadcast, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long anything may take that a test waits for: images are pulled, caches expire.
const WAIT: Duration = Duration::from_secs(60);

pub(super) struct Fixture {
    admin: Client,
    pub(super) name: String,
    pub(super) url: String,
    pub(super) ca_pem: String,
    authorities: Vec<Vec<u8>>,
    folder: TempDir,
    stop: CancellationToken,
}

impl Fixture {
    /// A namespace of its own, with a service account that may do what the vault does.
    #[expect(clippy::disallowed_methods, reason = "who runs the tests says where the cluster is")]
    pub(super) async fn new() -> Self {
        let path = std::env::var("COFFER_TEST_KUBECONFIG").expect("COFFER_TEST_KUBECONFIG is the path of a kubeconfig");
        let kubeconfig = Kubeconfig::read_from(path).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let authorities = config.root_cert.clone().unwrap();
        let fixture = Self {
            url: config.cluster_url.to_string(),
            ca_pem: authorities.iter().map(|der| pem(der)).collect(),
            authorities,
            admin: Client::try_from(config).unwrap(),
            name: format!("coffer-test-{:016x}", RandomState::new().hash_one(0)),
            folder: TempDir::new().unwrap(),
            stop: CancellationToken::new(),
        };
        fixture.prepare().await;
        fixture
    }

    async fn prepare(&self) {
        let name = &self.name;
        create::<Namespace>(&Api::all(self.admin.clone()), json!({"metadata": {"name": name}})).await;
        for account in ["vault", "nobody", "app"] {
            create::<ServiceAccount>(&self.namespaced(), json!({"metadata": {"name": account}})).await;
        }
        let rules = json!([
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]},
            {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
            {"nonResourceURLs": ["/openid/v1/jwks"], "verbs": ["get"]},
        ]);
        create::<ClusterRole>(&Api::all(self.admin.clone()), json!({"metadata": {"name": name}, "rules": rules})).await;
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "vault", "namespace": name}],
        });
        create::<ClusterRoleBinding>(&Api::all(self.admin.clone()), binding).await;
    }

    /// Lets everybody fetch the keys.
    pub(super) async fn publish_keys(&self) {
        let binding = json!({
            "metadata": {"name": format!("{}-keys", self.name)},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:service-account-issuer-discovery"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"}],
        });
        create::<ClusterRoleBinding>(&Api::all(self.admin.clone()), binding).await;
    }

    /// Lets a service account do something in the namespace.
    pub(super) async fn allow(&self, account: &str, rules: Value) {
        let name = format!("may-{account}");
        create::<Role>(&self.namespaced(), json!({"metadata": {"name": name}, "rules": rules})).await;
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": self.name}],
        });
        create::<RoleBinding>(&self.namespaced(), binding).await;
    }

    /// Whoever shows this token.
    pub(super) fn holder_of(&self, token: &str) -> Client {
        let mut config = Config::new(self.url.parse().unwrap());
        config.root_cert = Some(self.authorities.clone());
        config.auth_info.token = Some(token.to_owned().into());
        Client::try_from(config).unwrap()
    }

    /// The API server as a service account sees it, at another address where that is given.
    pub(super) async fn api(&self, account: &str, url: Option<&str>) -> ApiServer {
        let token_file = self.folder.path().join(format!("token-{account}"));
        fs::write(&token_file, self.token(account, json!({})).await).unwrap();
        self.server(url, Some(token_file))
    }

    pub(super) fn server(&self, url: Option<&str>, token_file: Option<PathBuf>) -> ApiServer {
        let url = Some(url.unwrap_or(&self.url).to_owned());
        ApiServer::new(&ApiServerConfig { url, ca_pem: Some(self.ca_pem.clone()), token_file }).unwrap()
    }

    /// A token of a service account; `spec` says for what.
    pub(super) async fn token(&self, account: &str, spec: Value) -> String {
        let mut request = json!({"audiences": [], "expirationSeconds": 600});
        request.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let request: TokenRequest = serde_json::from_value(json!({"metadata": {}, "spec": request})).unwrap();
        let accounts: Api<ServiceAccount> = self.namespaced();
        accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap().status.unwrap().token.unwrap()
    }

    /// A pod of the account `app`; answers with its UID. It waits for ever to be given a node, or runs a command and ends.
    pub(super) async fn pod(&self, name: &str, command: Option<&[&str]>) -> String {
        let gates = if command.is_none() { json!([{"name": "coffer.dev/never"}]) } else { json!([]) };
        let container = json!({"name": "c", "image": "127.0.0.1:5000/busybox:1", "command": command.unwrap_or(&["true"])});
        let pod = json!({
            "metadata": {"name": name},
            "spec": {
                "serviceAccountName": "app", "schedulingGates": gates, "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0, "containers": [container],
            },
        });
        create::<Pod>(&self.namespaced(), pod).await.metadata.uid.unwrap()
    }

    pub(super) async fn delete_pod(&self, name: &str) {
        let pods: Api<Pod> = self.namespaced();
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    /// A cache that is up to date.
    pub(super) async fn synced(&self, url: Option<&str>) -> PodCache {
        let cache = self.watch(url, Known::default()).await;
        until("it is synced", || cache.status() == CacheStatus::Synced).await;
        cache
    }

    pub(super) async fn watch(&self, url: Option<&str>, known: Known) -> PodCache {
        self.api("vault", url).await.watch_pods(&TaskTracker::new(), self.stop.clone(), "coffer", known)
    }

    pub(super) fn namespaced<K: kube::Resource<Scope = kube::core::NamespaceResourceScope>>(&self) -> Api<K>
    where
        K::DynamicType: Default,
    {
        Api::namespaced(self.admin.clone(), &self.name)
    }

    /// Takes away what was made.
    pub(super) async fn remove(self) {
        self.stop.cancel();
        let now = DeleteParams::default().grace_period(0);
        Api::<Namespace>::all(self.admin.clone()).delete(&self.name, &now).await.unwrap();
        Api::<ClusterRole>::all(self.admin.clone()).delete(&self.name, &now).await.unwrap();
        let bindings = Api::<ClusterRoleBinding>::all(self.admin.clone());
        for name in [self.name.clone(), format!("{}-keys", self.name)] {
            // The second one is there in one test only.
            drop(bindings.delete(&name, &now).await);
        }
    }
}

async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// Waits until a condition holds.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within the deadline");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until this pod is told to be gone; other tests' pods come and go, too.
pub(super) async fn gone(events: &mut broadcast::Receiver<std::sync::Arc<str>>, uid: &str) {
    let told = async { while &*events.recv().await.unwrap() != uid {} };
    timeout(WAIT, told).await.expect("within the deadline");
}

pub(super) fn deadline() -> Instant {
    Instant::now() + WAIT
}

/// A TCP proxy to the API server that can be cut.
pub(super) struct Proxy {
    pub(super) url: String,
    pub(super) open: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

pub(super) async fn proxy(url: &str) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let server = url.strip_prefix("https://").unwrap().trim_end_matches('/').to_owned();
    let open = watch::Sender::new(true);
    let seen = open.subscribe();
    let tasks = JoinSet::from_iter([async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let (mut seen, server) = (seen.clone(), server.clone());
            connections.spawn(async move {
                let Ok(mut server) = TcpStream::connect(server).await else { return };
                tokio::select! {
                    _ = seen.wait_for(|open| !open) => {}
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                }
            });
        }
    }]);
    Proxy { url: address, open, _tasks: tasks }
}
