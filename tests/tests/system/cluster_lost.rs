//! A real API server that is gone and comes back, and one whose etcd is restored from a backup.
//!
//! On a cluster of its own: others would not like it.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use coffer_client::{
    Client,
    proto::{ApiServer, ClusterSettings, CreateClusterRequest, KeySource, PodCheck, key_source::Source},
};
use coffer_secret::SecretString;
use coffer_tests::{
    cluster::{Cluster, tokens},
    memory, wait,
};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use crate::vault::{ADMIN, Vault};

/// The number of the cluster.
const NUMBER: u8 = 9;
const NAME: &str = "real";
const PATH: &str = "kv/lost/secret";
/// Pods that the test makes: each gets a token of the kubelet's, and one of the test's.
const PODS_MADE: usize = 5;
/// How long anything may take that Kubernetes does.
const PATIENCE: Duration = Duration::from_secs(120);
const RIGHTS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: coffer-vault}
rules:
  - {apiGroups: [""], resources: [pods], verbs: [get, list, watch]}
  - {apiGroups: [""], resources: [namespaces], resourceNames: [kube-system], verbs: [get]}
  - {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
  - {nonResourceURLs: [/openid/v1/jwks], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: coffer-vault}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: coffer-vault}
subjects: [{kind: ServiceAccount, name: vault, namespace: shop}]
"#;

/// A vault that follows a cluster.
struct Followed {
    vault: Vault,
    cluster: Cluster,
    _token: TempDir,
}

impl Drop for Followed {
    fn drop(&mut self) {
        drop(self.cluster.down());
    }
}

impl Followed {
    async fn new() -> Result<Self> {
        // In memory, where a pod's token is: on the disk it would be found.
        let token = memory::folder()?;
        let token_file = token.path().join("token");
        let followed = Self { vault: Vault::new().await?, cluster: Cluster::start(NUMBER)?, _token: token };
        let cluster = &followed.cluster;
        cluster.kubectl(["create", "namespace", "shop"])?;
        for account in ["vault", "api"] {
            cluster.kubectl(["-n", "shop", "create", "serviceaccount", account])?;
        }
        cluster.apply(RIGHTS)?;
        let config = |path: &str| {
            cluster.kubectl(["config", "view", "--raw", "--output", &format!("jsonpath={{.clusters[0].cluster.{path}}}")])
        };
        fs::write(&token_file, cluster.kubectl(["-n", "shop", "create", "token", "vault"])?.trim())?;
        let settings = ClusterSettings {
            issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
            keys: Some(KeySource { source: Some(Source::ApiServer(true)) }),
            pod_check: PodCheck::Cache.into(),
            api_server: Some(ApiServer {
                url: config("server")?,
                ca_pem: String::from_utf8(BASE64_STANDARD.decode(config("certificate-authority-data")?)?)?,
                token_file: token_file.display().to_string(),
            }),
            ..ClusterSettings::default()
        };
        let request = CreateClusterRequest { name: NAME.to_owned(), settings: Some(settings), idempotency_key: String::new() };
        followed.vault.operator(ADMIN).await?.clusters().create_cluster(request).await?;
        followed.vault.put(PATH, "value", "lost").await?;
        followed.vault.grant_read(PATH, &format!("k8s:{NAME}/shop/api")).await?;
        Ok(followed)
    }

    /// A pod that runs, and a session of it.
    async fn pod(&self, name: &str) -> Result<Client> {
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop}}, spec: {{serviceAccountName: api, \
             containers: [{{name: c, image: '127.0.0.1:5000/busybox:1', command: [sleep, '3600']}}]}}}}"
        );
        self.cluster.apply(&pod)?;
        self.cluster.kubectl(["-n", "shop", "wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=120s"])?;
        self.session(name).await
    }

    /// A session of a pod that is there.
    async fn session(&self, name: &str) -> Result<Client> {
        let uid = self.cluster.kubectl(["-n", "shop", "get", "pod", name, "-o", "jsonpath={.metadata.uid}"])?;
        let bound = ["--bound-object-kind", "Pod", "--bound-object-name", name, "--bound-object-uid", &uid];
        let token = ["-n", "shop", "create", "token", "api", "--audience", "coffer"];
        let token = SecretString::copied_from(self.cluster.kubectl(token.iter().chain(&bound))?.trim());
        tokens::note(self.vault.server.canaries(), token.expose());
        let client = self.vault.stranger()?;
        client.login_workload("", NAME, &token).await?;
        lives(&client, name).await?;
        Ok(client)
    }

    /// Nothing that the vault or the cluster leaves has a token in it.
    fn keeps_no_token(&self) -> Result<()> {
        let canaries = self.vault.server.canaries();
        self.cluster.note_tokens(canaries)?;
        let mut search = canaries.search()?;
        let tokens = self.cluster.search(&mut search, canaries)?;
        ensure!(tokens.issued > 2 * PODS_MADE, "the API server has issued {} tokens only", tokens.issued);
        let bytes = search.end()? + self.vault.server.search()?;
        println!("searched {} MB for {} secrets; {tokens:?}", bytes / 1_000_000, canaries.count());
        Ok(())
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.cluster.kubectl(["-n", "shop", "delete", "pod", name, "--grace-period=0", "--force"]).map(drop)
    }

    /// Waits until the API server answers.
    fn answers(&self) -> Result<()> {
        wait::until(PATIENCE, "the API server to answer", || {
            Ok(self.cluster.try_kubectl(["get", "--raw", "/readyz"])?.status.success().then_some(()))
        })
    }

    /// Stops etcd and the API server, does something to etcd's data, and starts them again.
    fn with_data(&self, arguments: &[&str]) -> Result<()> {
        self.cluster.part(&["stop", "apiserver", "etcd"])?;
        let done = Command::new("cp").current_dir(self.cluster.folder()?).args(arguments).status()?;
        ensure!(done.success(), "cp {arguments:?}");
        self.cluster.part(&["start", "etcd", "apiserver"])?;
        self.answers()
    }
}

async fn lives(client: &Client, name: &str) -> Result<()> {
    client.kv_get(PATH, 0).await.with_context(|| format!("the session of {name} has ended, which lives"))?;
    Ok(())
}

/// Waits until a session ends.
async fn ends(client: &Client, name: &str) -> Result<Duration> {
    let begin = Instant::now();
    loop {
        match client.kv_get(PATH, 0).await {
            Ok(_) => ensure!(begin.elapsed() < PATIENCE, "the session of {name} outlives its pod"),
            Err(error) => {
                ensure!(error.reason() == "SESSION_INVALID", "{error:?}");
                return Ok(begin.elapsed());
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kubernetes: tests/run"]
async fn an_api_server_that_was_gone_or_restored_from_a_backup_is_followed_again() -> Result<()> {
    let followed = Followed::new().await?;
    let (living, dies, dies_later) =
        (followed.pod("living").await?, followed.pod("dies").await?, followed.pod("dies-later").await?);

    followed.cluster.part(&["stop", "apiserver"])?;
    lives(&living, "living").await?;
    lives(&dies, "dies").await?;
    followed.cluster.part(&["start", "apiserver"])?;
    followed.answers()?;
    followed.delete("dies")?;
    println!("gone and back: the session ended {:?} after its pod", ends(&dies, "dies").await?);
    lives(&living, "living").await?;
    a_node_takes_the_sessions_of_its_pods_along(&followed).await?;
    lives(&living, "living").await?;

    // The backup has no pod that comes now, and has one that goes.
    followed.with_data(&["-a", "etcd", "etcd-backup"])?;
    let since = followed.pod("since").await?;
    let marker = followed.pod("marker").await?;
    for number in 0..50 {
        followed.cluster.kubectl(["-n", "shop", "create", "configmap", &format!("number-{number}")])?;
    }
    followed.delete("marker")?;
    ends(&marker, "marker").await?;
    fs::rename(followed.cluster.folder()?.join("etcd-backup"), followed.cluster.folder()?.join("etcd-of-before"))?;
    followed.cluster.part(&["stop", "apiserver", "etcd"])?;
    fs::remove_dir_all(followed.cluster.folder()?.join("etcd"))?;
    followed.with_data(&["-a", "etcd-of-before", "etcd"])?;

    println!("restored: the session of a pod that is not in the backup ended after {:?}", ends(&since, "since").await?);
    lives(&living, "living").await?;
    lives(&dies_later, "dies-later").await?;
    followed.delete("dies-later")?;
    println!("restored: the session ended {:?} after its pod", ends(&dies_later, "dies-later").await?);
    lives(&living, "living").await?;
    followed.keeps_no_token()
}

/// A node that nobody runs: nobody but Kubernetes itself ends its pods. Not after a restored backup: the controllers
/// miss what happens until the cluster's version is past the one that they knew.
async fn a_node_takes_the_sessions_of_its_pods_along(followed: &Followed) -> Result<()> {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: stranded, namespace: shop}, spec: {serviceAccountName: api, nodeName: lost, \
               containers: [{name: c, image: '127.0.0.1:5000/busybox:1'}]}}";
    followed.cluster.apply("{apiVersion: v1, kind: Node, metadata: {name: lost}}")?;
    followed.cluster.apply(pod)?;
    let stranded = followed.session("stranded").await?;
    lives(&stranded, "stranded").await?;
    followed.cluster.kubectl(["delete", "node", "lost"])?;
    println!("the session ended {:?} after its pod's node", ends(&stranded, "stranded").await?);
    Ok(())
}
