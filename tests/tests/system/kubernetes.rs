//! The main job on a real Kubernetes, with the manifests of `examples/` as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{Client, Identity, Options};
use coffer_secret::SecretString;
use coffer_tests::{
    cluster::Cluster,
    command::Coffer,
    leaks::Canaries,
    programs::Programs,
    wait::{self, PATIENCE},
};
use serde_json::Value;

const SECRET: &str = "kv/shop/api";
/// A pod is pulled, scheduled and started, on a machine that has much else to do.
const POD_PATIENCE: Duration = Duration::from_secs(120);
/// Within this a change is in the pod's file.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(1);

/// A vault in the cluster, set up as `examples/server/README.md` says, and its operators.
struct Deployed {
    cluster: Cluster,
    admin: Coffer,
    officer: Coffer,
    shares: Vec<String>,
    /// What nobody but its owner may find anywhere.
    canaries: Canaries,
    ca: PathBuf,
    url: String,
}

fn example(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples")).join(path)
}

fn applied(cluster: &Cluster, path: &str) -> Result<()> {
    cluster.kubectl(["apply".as_ref(), "-f".as_ref(), example(path).as_os_str()]).map(drop)
}

impl Deployed {
    fn new() -> Result<Self> {
        let (cluster, programs) = (Cluster::of_this_run()?, Programs::built()?);
        cluster.push_programs(programs)?;
        applied(&cluster, "server")?;
        let state = "jsonpath={.status.containerStatuses[0].state}";
        wait::until(POD_PATIENCE, "the server's pod to run", || {
            let output = cluster.try_kubectl(["-n", "coffer", "get", "pod", "coffer-0", "-o", state])?;
            Ok(String::from_utf8_lossy(&output.stdout).contains("running").then_some(()))
        })?;
        let fruits = wait::until(PATIENCE, "the server to be initialised", || {
            let output =
                cluster.try_kubectl(["-n", "coffer", "exec", "coffer-0", "--", "coffer", "operator", "init", "-o", "json"])?;
            Ok(output.status.success().then(|| serde_json::from_slice::<Value>(&output.stdout)).transpose()?)
        })?;
        let shares: Vec<String> = serde_json::from_value(fruits["shares"].clone())?;
        let canaries = Canaries::default();
        for share in &shares {
            canaries.add("a share", share);
        }
        let service = cluster.kubectl(["-n", "coffer", "get", "service", "coffer", "-o", "jsonpath={.spec.clusterIP}"])?;
        let admin = Coffer::new(programs)?;
        let ca = admin.home().join("ca.pem");
        fs::write(&ca, cluster.kubectl(["-n", "coffer", "exec", "coffer-0", "--", "cat", "/var/lib/coffer/tls/ca.pem"])?)?;
        let mut deployed = Self {
            cluster,
            admin,
            officer: Coffer::new(programs)?,
            shares,
            canaries,
            ca,
            url: format!("https://{service}:8200"),
        };
        deployed.unseal()?;
        deployed.let_in(fruits["bootstrap_credential"].as_str().context("there is a credential")?)?;
        Ok(deployed)
    }

    /// Hands in shares, and waits until the pod is ready.
    fn unseal(&self) -> Result<()> {
        for share in self.shares.iter().take(3) {
            let unseal = ["-n", "coffer", "exec", "-i", "coffer-0", "--", "coffer", "operator", "unseal", "-"];
            self.cluster.kubectl_with(unseal, share)?;
        }
        self.cluster.kubectl(["-n", "coffer", "wait", "--for=condition=Ready", "pod/coffer-0", "--timeout=60s"]).map(drop)
    }

    fn let_in(&mut self, credential: &str) -> Result<()> {
        self.canaries.add("the bootstrap credential", credential);
        let bootstrap = Coffer::new(Programs::built()?)?;
        let ca = self.ca.to_str().context("a plain path")?;
        for person in [&bootstrap, &self.admin, &self.officer] {
            let server = ["--server-name", "coffer.coffer.svc", "--ca", ca];
            person.ok(["context", "set", "prod", "--address", &self.url].into_iter().chain(server))?;
        }
        // A service answers up to 0.1 s after its pod is ready.
        wait::until(PATIENCE, "the vault to be reached", || Ok((self.admin.run(["status"])?.code == 0).then_some(())))?;
        bootstrap.ok_with(["login", "--method", "bootstrap", "--credential-file", "-"], credential)?;
        for (name, role, person) in [("ada", "admin", &self.admin), ("olga", "officer", &self.officer)] {
            let password = self.canaries.fresh("a password")?;
            bootstrap.ok_with(["user", "create", name, "--role", role, "--password-file", "-"], &password)?;
            person.ok_with(["login", name, "--password-file", "-"], &password)?;
        }
        let issuer = "https://kubernetes.default.svc.cluster.local";
        self.admin.ok(["cluster", "create", "prod", "--issuer", issuer, "--api-server"]).map(drop)
    }

    fn put(&self, password: &str) -> Result<()> {
        self.admin.ok_with(["kv", "put", SECRET, "user=shop", "password=-"], password).map(drop)
    }

    fn in_pod(&self, pod: &str, command: &[&str]) -> Result<String> {
        self.cluster.kubectl(["-n", "shop", "exec", pod, "-c", "app", "--"].iter().chain(command))
    }

    /// A client with a session of the pod's: whoever has its token can have one.
    async fn session_of(&self, pod: &str) -> Result<Client> {
        let uid = self.cluster.kubectl(["-n", "shop", "get", "pod", pod, "-o", "jsonpath={.metadata.uid}"])?;
        let bound = ["--bound-object-kind", "Pod", "--bound-object-name", pod, "--bound-object-uid", &uid];
        let token = ["-n", "shop", "create", "token", "api", "--audience", "coffer"];
        let token = self.cluster.kubectl(token.iter().chain(&bound))?;
        let mut options = Options::new(self.url.clone(), Identity::generate()?);
        options.ca = Some(self.ca.clone());
        options.server_name = Some("coffer.coffer.svc".to_owned());
        let client = Client::connect(options)?;
        client.login_workload("", "prod", &SecretString::copied_from(token.trim())).await?;
        if let Some(token) = client.session_token() {
            self.canaries.add("a session's token", token.expose());
        }
        Ok(client)
    }

    /// Waits until the agent's log of a pod that may not start says why.
    fn refused(&self, pod: &str) -> Result<String> {
        wait::until(POD_PATIENCE, "the agent to be refused", || {
            let output = self.cluster.try_kubectl(["-n", "shop", "logs", pod, "-c", "coffer"])?;
            let log = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok((log.contains(SECRET) && log.contains("not permitted")).then_some(log))
        })
    }

    fn ready(&self, pod: &str) -> Result<()> {
        let wait = ["-n", "shop", "wait", "--for=condition=Ready", &format!("pod/{pod}"), "--timeout=120s"].map(str::to_owned);
        self.cluster
            .kubectl(&wait)
            .with_context(|| self.cluster.kubectl(["-n", "shop", "describe", "pod", pod]).unwrap_or_default())?;
        Ok(())
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        for namespace in ["shop", "coffer"] {
            drop(self.cluster.try_kubectl([
                "delete",
                "namespace",
                namespace,
                "--ignore-not-found",
                "--force",
                "--grace-period=0",
            ]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kubernetes: tests/run"]
async fn a_pod_reads_its_secret_from_memory_and_loses_it_with_its_life() -> Result<()> {
    let deployed = Deployed::new()?;
    let cluster = &deployed.cluster;
    applied(cluster, "pod/shop.yaml")?;
    let from_file = format!("--from-file=ca.pem={}", deployed.ca.display());
    cluster.kubectl(["-n", "shop", "create", "configmap", "coffer-ca", &from_file])?;
    wait::until(PATIENCE, "the default service account", || {
        Ok(cluster.try_kubectl(["-n", "shop", "get", "serviceaccount", "default"])?.status.success().then_some(()))
    })?;
    let first = deployed.canaries.fresh("a secret's first value")?;
    deployed.put(&first)?;

    // Without a grant neither pod starts, and each says why.
    for (file, pod) in [("pod/init.yaml", "api-init"), ("pod/sidecar.yaml", "api")] {
        applied(cluster, file)?;
        let log = deployed.refused(pod)?;
        ensure!(!log.contains(&first), "the log has the secret in it");
        let phase = cluster.kubectl(["-n", "shop", "get", "pod", pod, "-o", "jsonpath={.status.phase}"])?;
        ensure!(phase == "Pending", "{pod} is {phase}");
        cluster.kubectl(["-n", "shop", "delete", "pod", pod, "--grace-period=0", "--force"])?;
    }

    // With it both do: the file is in memory, for the application alone.
    deployed.officer.ok(["grant", "read", SECRET, "--to", "k8s:prod/shop/api"])?;
    for (file, pod) in [("pod/init.yaml", "api-init"), ("pod/sidecar.yaml", "api")] {
        applied(cluster, file)?;
        deployed.ready(pod)?;
        ensure!(deployed.in_pod(pod, &["cat", "/coffer/secrets/password"])? == first, "{pod} reads something else");
        let mounts = deployed.in_pod(pod, &["cat", "/proc/mounts"])?;
        let mount = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/coffer/secrets")).context("it is mounted")?;
        ensure!(mount.starts_with("tmpfs ") && mount.contains(" ro,"), "{pod}: {mount}");
        let mode =
            deployed.in_pod(pod, &["stat", "-L", "-c", "%a %u", "/coffer/secrets/password", "/coffer/secrets/database.env"])?;
        ensure!(mode == "400 10001\n400 10001\n", "{pod}: {mode}");
        ensure!(deployed.in_pod(pod, &["ls", "/var/run/secrets"]).is_err(), "the application has a token");
    }
    changes_follow(&deployed)?;
    sessions_end_with_the_pod(&deployed).await?;
    a_restart_keeps_the_data(&deployed)?;
    nothing_is_left_in_the_cluster(&deployed)
}

fn changes_follow(deployed: &Deployed) -> Result<()> {
    let uid = deployed.cluster.kubectl(["-n", "shop", "get", "pod", "api", "-o", "jsonpath={.metadata.uid}"])?;
    // Read on the node: `kubectl exec` alone takes a good part of a second.
    let file = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/secrets/password");
    let mut times = Vec::new();
    for _ in 0..3 {
        let password = deployed.canaries.fresh("a secret's next value")?;
        deployed.put(&password)?;
        let written = Instant::now();
        wait::until(PATIENCE, "the file to follow", || {
            Ok((deployed.cluster.on_node(&["cat", &file])? == password).then_some(()))
        })?;
        times.push(written.elapsed());
        ensure!(deployed.in_pod("api", &["cat", "/coffer/secrets/password"])? == password, "the application sees another");
    }
    times.sort();
    ensure!(times[1] < CHANGE_TIME_MAX, "changes took {times:?}");
    println!("changes took {times:?}");
    Ok(())
}

async fn sessions_end_with_the_pod(deployed: &Deployed) -> Result<()> {
    let client = deployed.session_of("api").await?;
    client.kv_get(SECRET, 0).await?;
    deployed.cluster.kubectl(["-n", "shop", "delete", "pod", "api", "--grace-period=0", "--force"])?;
    let deleted = Instant::now();
    let reason = loop {
        match client.kv_get(SECRET, 0).await {
            Err(error) => break error.detail().reason.clone(),
            Ok(_) => ensure!(deleted.elapsed() < PATIENCE, "the session outlives its pod"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    println!("the session ended {:?} after its pod", deleted.elapsed());
    ensure!(reason == "SESSION_INVALID", "{reason}");
    Ok(())
}

fn a_restart_keeps_the_data(deployed: &Deployed) -> Result<()> {
    let cluster = &deployed.cluster;
    let uid = || cluster.kubectl(["-n", "coffer", "get", "pod", "coffer-0", "-o", "jsonpath={.metadata.uid}"]);
    let before = uid()?;
    cluster.kubectl(["-n", "coffer", "delete", "pod", "coffer-0"])?;
    wait::until(POD_PATIENCE, "the server's pod to run again", || {
        let path = "jsonpath={.metadata.uid} {.status.containerStatuses[0].state}";
        let output = cluster.try_kubectl(["-n", "coffer", "get", "pod", "coffer-0", "-o", path])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((!text.contains(&before) && text.contains("running")).then_some(()))
    })?;
    wait::until(PATIENCE, "the server to be sealed", || {
        let status = cluster.try_kubectl(["-n", "coffer", "exec", "coffer-0", "--", "coffer", "status"])?;
        Ok((status.status.code() == Some(5)).then_some(()))
    })?;
    deployed.unseal()?;
    // The pod that was left has its files all along; a new one gets them from the store as it was.
    applied(cluster, "pod/sidecar.yaml")?;
    deployed.ready("api")
}

/// No secret is in anything that Kubernetes knows, or in what it keeps on disks: objects, requests, etcd, logs, images.
fn nothing_is_left_in_the_cluster(deployed: &Deployed) -> Result<()> {
    let (begin, mut search) = (Instant::now(), deployed.canaries.search()?);
    for pod in ["coffer/coffer-0", "shop/api", "shop/api-init"] {
        let (namespace, name) = pod.split_once('/').context("a pod is in a namespace")?;
        let log = deployed.cluster.kubectl(["-n", namespace, "logs", name, "--all-containers"])?;
        search.text(&format!("the log of {pod}"), log)?;
    }
    deployed.cluster.search(&mut search)?;
    let (bytes, secrets) = (search.end()?, deployed.canaries.count());
    println!("searched {} MB for {secrets} secrets in {:?}", bytes / 1_000_000, begin.elapsed());
    Ok(())
}
