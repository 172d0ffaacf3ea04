//! How long a user of a database outlives its pod: from the moment that the pod's deletion is asked for to the end of the user's
//! session, in a real Kubernetes and a real PostgreSQL.
//!
//! Needs `COFFER_TEST_CLUSTER` and `kubectl` (tests/cluster/README.md). The pods are never scheduled: no kubelet takes part.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use coffer_client::{
    Client,
    proto::{ApiServer, ClusterSettings, CreateClusterRequest, KeySource, PodCheck, key_source::Source},
};
use coffer_secret::SecretString;
use coffer_tests::{cluster::Cluster, memory, postgres::Postgres, process::Process, wait};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    databases::{CREDENTIALS, issue, postgres, use_postgres},
    vault::Vault,
};

/// The number of the cluster.
const NUMBER: u8 = 7;
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether sessions are over.
const LOOK: Duration = Duration::from_millis(2);
/// Pods that stay, of whom nothing is wanted.
const OTHERS: usize = 30;
const RIGHTS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: coffer-vault}
rules:
  - {apiGroups: [''], resources: [pods], verbs: [get, list, watch]}
  - {apiGroups: [''], resources: [namespaces], resourceNames: [kube-system], verbs: [get]}
  - {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
  - {nonResourceURLs: [/openid/v1/jwks], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: coffer-vault}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: coffer-vault}
subjects: [{kind: ServiceAccount, name: vault, namespace: shop}]
";

/// A cluster, taken away at the end.
struct Followed {
    cluster: Cluster,
    _token: TempDir,
}

impl Drop for Followed {
    fn drop(&mut self) {
        drop(self.cluster.down());
    }
}

/// Measures it for so many pods that are deleted one after the other, and as many at once.
pub(crate) async fn run(pods: usize) -> Result<()> {
    let vault = Vault::start().await?;
    let postgres = postgres()?;
    use_postgres(&vault, &postgres).await?;
    let followed = follow(&vault).await?;
    vault.grant_to("k8s:real/shop/api", &["read"], CREDENTIALS).await?;
    make(&followed.cluster, "other", OTHERS)?;

    let mut took = Vec::new();
    let mut sessions = sessions(&vault, &followed.cluster, &postgres, "one", pods).await?;
    for (number, session) in sessions.iter_mut().enumerate() {
        let began = Instant::now();
        let pod = format!("one-{number}");
        followed.cluster.kubectl(["-n", "shop", "delete", "pod", &pod, "--grace-period=0", "--force", "--wait=false"])?;
        took.push(over(session, began).await?);
    }
    tell("one after the other", took);

    let mut sessions = self::sessions(&vault, &followed.cluster, &postgres, "burst", pods).await?;
    let began = Instant::now();
    let deleting = {
        let cluster = followed.cluster.clone();
        // One request: kubectl would take its time for a hundred.
        let all = "/api/v1/namespaces/shop/pods?labelSelector=group%3Dburst&gracePeriodSeconds=0";
        tokio::task::spawn_blocking(move || cluster.kubectl(["delete", "--raw", all]).map(|_| began.elapsed()))
    };
    let mut took = Vec::new();
    while !sessions.is_empty() {
        ensure!(began.elapsed() < PATIENCE, "{} sessions are left", sessions.len());
        let mut left = Vec::new();
        for mut session in sessions {
            if session.ended()?.is_some() { took.push(began.elapsed()) } else { left.push(session) }
        }
        sessions = left;
        sleep(LOOK).await;
    }
    println!("the API server had deleted {pods} after {:.0} ms", deleting.await??.as_secs_f64() * 1e3);
    tell("all at once", took);
    // The user goes right after its session.
    let users = "SELECT count(*) FROM pg_roles WHERE starts_with(rolname, 'cf')";
    wait::until(PATIENCE, "all users to end", || Ok((postgres.sql(users)? == "0").then_some(())))?;
    Ok(())
}

fn tell(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: usize| took[(took.len() * share).div_ceil(100).saturating_sub(1)].as_secs_f64() * 1_000.0;
    println!(
        "{what:<24} {:>5} p50 {:.0} ms, p90 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
        took.len(),
        at(50),
        at(90),
        at(99),
        at(100)
    );
}

async fn over(session: &mut Process, began: Instant) -> Result<Duration> {
    while session.ended()?.is_none() {
        ensure!(began.elapsed() < PATIENCE, "a session outlives its pod");
        sleep(LOOK).await;
    }
    Ok(began.elapsed())
}

fn make(cluster: &Cluster, name: &str, count: usize) -> Result<()> {
    let pod = |number| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}-{number}, namespace: shop, labels: {{group: {name}}}}}, spec: {{serviceAccountName: api, \
             schedulerName: nobody, containers: [{{name: c, image: 'none', command: [sleep]}}]}}}}"
        )
    };
    cluster.apply(&(0..count).map(pod).collect::<Vec<_>>().join("\n---\n"))
}

/// Sessions of as many pods, each with a user of its own.
async fn sessions(vault: &Vault, cluster: &Cluster, postgres: &Postgres, name: &str, count: usize) -> Result<Vec<Process>> {
    make(cluster, name, count)?;
    let log = vault.server.folder().join("sessions.log");
    let mut sessions = Vec::new();
    for number in 0..count {
        let pod = format!("{name}-{number}");
        let uid = cluster.kubectl(["-n", "shop", "get", "pod", &pod, "-o", "jsonpath={.metadata.uid}"])?;
        let client = log_in(vault, cluster, &pod, &uid).await?;
        let (user, password, _) = issue(&client, 0).await?;
        let mut session = postgres.client(Some((&user, &password)));
        sessions.push(Process::start(session.args(["-c", "SELECT pg_sleep(3600)"]), &log)?);
    }
    wait::until(PATIENCE, "all sessions", || {
        let open = "SELECT count(*) FROM pg_stat_activity WHERE starts_with(usename, 'cf') AND state = 'active'";
        Ok((postgres.sql(open)?.parse::<usize>()? == count).then_some(()))
    })?;
    Ok(sessions)
}

async fn log_in(vault: &Vault, cluster: &Cluster, pod: &str, uid: &str) -> Result<Client> {
    let bound = ["--bound-object-kind", "Pod", "--bound-object-name", pod, "--bound-object-uid", uid];
    let token = ["-n", "shop", "create", "token", "api", "--audience", "coffer"];
    let token = SecretString::copied_from(cluster.kubectl(token.iter().chain(&bound))?.trim());
    let client = vault.stranger()?;
    client.login_workload("", "real", &token).await.with_context(|| format!("{pod} logs in"))?;
    Ok(client)
}

/// Has the vault follow a cluster's pods.
async fn follow(vault: &Vault) -> Result<Followed> {
    let token = memory::folder()?;
    let token_file = token.path().join("token");
    let followed = Followed { cluster: Cluster::start(NUMBER)?, _token: token };
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
    let request = CreateClusterRequest { name: "real".to_owned(), settings: Some(settings), idempotency_key: String::new() };
    vault.admin().clusters().create_cluster(request).await?;
    Ok(followed)
}
