//! The main job on a real Kubernetes, with the manifests of `examples/` as they are.

mod access;
mod chart;
mod database;
mod doctor;
mod gate;
mod injection;
mod node;
mod pki;
mod pod_security;
mod release;
mod scan;

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{Client, Identity, Options};
use coffer_secret::SecretString;
use coffer_tests::{
    cluster::{Cluster, tokens},
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
    /// Logs of pods, most of which are gone: of which, and what was in them.
    logs: RefCell<Vec<(String, String)>>,
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
        fs::write(&ca, cluster.kubectl(["-n", "coffer", "exec", "coffer-0", "--", "coffer", "operator", "ca"])?)?;
        let mut deployed = Self {
            cluster,
            admin,
            officer: Coffer::new(programs)?,
            shares,
            canaries,
            logs: RefCell::default(),
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

    /// A client with a session of the pod's, by a cluster's name: whoever has its token can have one.
    async fn session_of(&self, pod: &str, registered: &str) -> Result<Client> {
        let uid = self.uid("shop", pod)?;
        let bound = ["--bound-object-kind", "Pod", "--bound-object-name", pod, "--bound-object-uid", &uid];
        let token = ["-n", "shop", "create", "token", "api", "--audience", "coffer"];
        let token = self.cluster.kubectl(token.iter().chain(&bound))?;
        tokens::note(&self.canaries, token.trim());
        let mut options = Options::new(self.url.clone(), Identity::generate()?);
        options.ca = Some(self.ca.clone());
        options.server_name = Some("coffer.coffer.svc".to_owned());
        let client = Client::connect(options)?;
        client.login_workload("", registered, &SecretString::copied_from(token.trim())).await?;
        if let Some(token) = client.session_token() {
            self.canaries.add("a session's token", token.expose());
        }
        Ok(client)
    }

    fn uid(&self, namespace: &str, pod: &str) -> Result<String> {
        self.cluster.kubectl(["-n", namespace, "get", "pod", pod, "-o", "jsonpath={.metadata.uid}"])
    }

    /// Ends a pod at once; its log is kept.
    fn delete(&self, namespace: &str, pod: &str) -> Result<()> {
        self.keep_log(namespace, pod)?;
        self.cluster.kubectl(["-n", namespace, "delete", "pod", pod, "--grace-period=0", "--force"]).map(drop)
    }

    /// Keeps what a pod has said: each container that has begun.
    fn keep_log(&self, namespace: &str, pod: &str) -> Result<()> {
        let names = "jsonpath={.spec.initContainers[*].name} {.spec.containers[*].name}";
        let (names, mut log) = (self.cluster.kubectl(["-n", namespace, "get", "pod", pod, "-o", names])?, String::new());
        for container in names.split_whitespace() {
            let output = self.cluster.try_kubectl(["-n", namespace, "logs", pod, "-c", container])?;
            log.push_str(&String::from_utf8_lossy(&output.stdout));
        }
        ensure!(!log.is_empty(), "{pod} has no log");
        self.logs.borrow_mut().push((pod.to_owned(), log));
        Ok(())
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
        self.cluster.kubectl(&wait).with_context(|| {
            let told = |arguments: &[&str]| self.cluster.kubectl(arguments).unwrap_or_default();
            let log = told(&["-n", "shop", "logs", pod, "--all-containers"]);
            format!("{}\n{log}", told(&["-n", "shop", "describe", "pod", pod]))
        })?;
        Ok(())
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        self.cluster.uninstall();
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
        deployed.delete("shop", pod)?;
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
    database::a_pod_has_a_user_of_its_own(&deployed)?;
    pki::a_pod_has_a_certificate_of_its_own(&deployed)?;
    injection::pods_are_injected(&deployed)?;
    a_restart_keeps_the_data(&deployed)?;
    tokens_are_reviewed(&deployed).await?;
    nothing_is_left_in_the_cluster(&deployed)
}

fn changes_follow(deployed: &Deployed) -> Result<()> {
    let uid = deployed.uid("shop", "api")?;
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
    let client = deployed.session_of("api", "prod").await?;
    client.kv_get(SECRET, 0).await?;
    deployed.delete("shop", "api")?;
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
    let before = deployed.uid("coffer", "coffer-0")?;
    deployed.keep_log("coffer", "coffer-0")?;
    // From here on server and agents say all that they can.
    let settings = fs::read_to_string(example("server/server.yaml"))?;
    cluster.apply(&replaced(&settings, "level = \"info\"", "level = \"trace\"")?)?;
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
    // New pods get their files from the store as it was.
    deployed.delete("shop", "api-init")?;
    for (file, pod, mode) in [("pod/init.yaml", "api-init", "init"), ("pod/sidecar.yaml", "api", "sidecar")] {
        let (as_it_is, talks) = (format!("args: [{mode}, "), format!("args: [{mode}, --log-level, trace, "));
        cluster.apply(&replaced(&fs::read_to_string(example(file))?, &as_it_is, &talks)?)?;
        deployed.ready(pod)?;
    }
    Ok(())
}

fn replaced(text: &str, old: &str, new: &str) -> Result<String> {
    ensure!(text.matches(old).count() == 1, "{old:?} is not there once");
    Ok(text.replace(old, new))
}

/// A login of which the API server is asked, and one of which it is not.
async fn tokens_are_reviewed(deployed: &Deployed) -> Result<()> {
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let create = ["cluster", "create", "reviewed", "--issuer", issuer, "--api-server", "--pod-check", "token-review"];
    deployed.admin.ok(create)?;
    deployed.session_of("api", "reviewed").await?;
    deployed.session_of("api", "prod").await.map(drop)
}

/// The token of each pod is in memory, and among those that are looked for.
fn tokens_of_pods_are_in_memory(deployed: &Deployed) -> Result<()> {
    let cluster = &deployed.cluster;
    for (namespace, pod) in [("coffer", "coffer-0"), ("shop", "api"), ("shop", "api-init")] {
        let volumes = format!("/var/lib/kubelet/pods/{}/volumes/kubernetes.io~projected", deployed.uid(namespace, pod)?);
        let files = cluster.on_node(&["find", &volumes, "-name", "token", "-type", "f"])?;
        ensure!(files.lines().count() == 1, "{pod} has other tokens than one: {files}");
        for file in files.lines() {
            let filesystem = cluster.on_node(&["stat", "-f", "-c", "%T", file])?;
            ensure!(filesystem.trim() == "tmpfs", "{file} is on {filesystem}");
            ensure!(deployed.canaries.has(cluster.on_node(&["cat", file])?), "the token of {pod} is not looked for");
        }
    }
    Ok(())
}

/// No secret is in anything that Kubernetes knows, or in what it keeps on disks: objects, requests, etcd, logs, images.
fn nothing_is_left_in_the_cluster(deployed: &Deployed) -> Result<()> {
    let begin = Instant::now();
    deployed.cluster.note_tokens(&deployed.canaries)?;
    tokens_of_pods_are_in_memory(deployed)?;
    let mut search = deployed.canaries.search()?;
    for (namespace, pod) in [("coffer", "coffer-0"), ("shop", "api"), ("shop", "api-init")] {
        deployed.keep_log(namespace, pod)?;
    }
    let mut talkative = 0;
    for (pod, log) in deployed.logs.borrow().iter() {
        let place = format!("a log of {pod}");
        search.text(&place, format!("{log}\n{}", search.control()))?;
        search.take_control(&place)?;
        talkative += usize::from(log.contains("TRACE"));
    }
    ensure!(talkative == 3, "{talkative} pods have said all that they can");
    let tokens = deployed.cluster.search(&mut search, &deployed.canaries)?;
    // What must be in the API server's log was seen there: one for each pod at least, and what was reviewed.
    ensure!(tokens.issued >= 3 && tokens.reviewed >= 1, "the API server's log has {tokens:?}");
    let (bytes, secrets) = (search.end()?, deployed.canaries.count());
    println!("searched {} MB for {secrets} secrets in {:?}; {tokens:?}", bytes / 1_000_000, begin.elapsed());
    Ok(())
}
