//! `charts/coffer` as users install it: a vault that is ready without a person, kept by upgrades, rollbacks and after an uninstall.
//!
//! On a cluster of its own: only one vault can be called so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use coffer_tests::{
    cluster::Cluster,
    command::Coffer,
    leaks::Canaries,
    programs::Programs,
    wait::{self, PATIENCE},
};
use serde_json::json;
use tempfile::TempDir;

use super::{
    POD_PATIENCE, SECRET,
    injection::{chart, template},
};

/// The number of the cluster.
const NUMBER: u8 = 8;
/// Helm waits as long as this: an empty cluster has everything to pull.
const TIMEOUT: &str = "120s";
/// How long the vault is gone, in a long run.
const GONE_FOR: Duration = Duration::from_secs(10 * 60);
/// The least that Kubernetes gives a token, in seconds: its kubelet has another after four fifths of that.
const TOKEN_SECONDS: u64 = 600;

/// A cluster with a vault by the chart, and its operators.
pub(super) struct Installed {
    pub(super) cluster: Cluster,
    pub(super) ada: Coffer,
    pub(super) olga: Coffer,
    values: PathBuf,
    _folder: TempDir,
}

impl Drop for Installed {
    fn drop(&mut self) {
        drop(self.cluster.down());
    }
}

impl Installed {
    /// Nothing is installed yet; the values name the operators. The vault's own namespace has this level of Pod Security.
    pub(super) fn on(number: u8, level: &str) -> Result<Self> {
        let programs = Programs::built()?;
        let (ada, olga, folder) = (Coffer::new(programs)?, Coffer::new(programs)?, TempDir::new()?);
        let operator = |person: &Coffer, name: &str, role: &str| {
            let file = person.home().join("identity.pem").display().to_string();
            person.ok(["identity", "create", &file])?;
            let pin = person.ok(["identity", "pin", &file])?;
            Ok::<_, anyhow::Error>(json!({ "name": name, "roles": [role], "pins": [pin.trim()] }))
        };
        let operators = [operator(&ada, "ada", "admin")?, operator(&olga, "olga", "officer")?];
        let values = folder.path().join("values.json");
        fs::write(
            &values,
            json!({ "server": { "init": { "operators": operators, "serviceAccount": "shop/setup" } } }).to_string(),
        )?;
        let installed = Self { cluster: Cluster::start(number)?, ada, olga, values, _folder: folder };
        let cluster = &installed.cluster;
        cluster.push_programs(programs)?;
        for (namespace, level) in [("coffer", level), ("shop", "restricted")] {
            cluster.kubectl(["create", "namespace", namespace])?;
            cluster.kubectl(["label", "namespace", namespace, &format!("pod-security.kubernetes.io/enforce={level}")])?;
        }
        for account in ["api", "setup"] {
            cluster.kubectl(["-n", "shop", "create", "serviceaccount", account])?;
        }
        Ok(installed)
    }

    /// Installs or upgrades, and waits until all is ready.
    pub(super) fn helm(&self, action: &str, chart: &Path, more: &[&str]) -> Result<String> {
        let (chart, values) = (chart.display().to_string(), self.values.display().to_string());
        let known = [action, "coffer", &chart, "--values", &values, "--timeout", TIMEOUT];
        self.cluster.helm(known.iter().chain(more))
    }

    /// Logs both in, with what the cluster tells of the vault.
    pub(super) fn log_in(&self) -> Result<()> {
        let told = |arguments: &[&str]| self.cluster.kubectl(["-n", "coffer", "get"].iter().chain(arguments));
        let url = format!("https://{}:8200", told(&["service", "coffer", "-o", "jsonpath={.spec.clusterIP}"])?);
        let ca = told(&["configmap", "coffer-server-ca", "-o", "jsonpath={.data.ca\\.pem}"])?;
        for (person, name) in [(&self.ada, "ada"), (&self.olga, "olga")] {
            let file = |name: &str| person.home().join(name).display().to_string();
            fs::write(file("ca.pem"), &ca)?;
            let server = ["--server-name", "coffer.coffer.svc", "--ca", &file("ca.pem")];
            person.ok(["context", "set", "prod", "--address", &url].iter().chain(&server))?;
            // A service answers up to 0.1 s after its pod is ready.
            wait::until(PATIENCE, "the vault to be reached", || Ok((person.run(["status"])?.code == 0).then_some(())))?;
            person.ok(["login", "--method", "certificate", "--identity", &file("identity.pem"), name])?;
        }
        Ok(())
    }

    fn in_server(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(["-n", "coffer", "exec", "coffer-0", "--", "coffer"].iter().chain(arguments))
    }

    /// Makes a pod with two annotations, and gives what is in its file.
    fn injected(&self, name: &str) -> Result<String> {
        let annotations = json!({ "coffer.dev/inject": "true", "coffer.dev/secret-password": format!("{SECRET}#password") });
        let metadata = json!({ "name": name, "namespace": "shop", "annotations": annotations });
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template(&["sleep", "1000000"]) });
        self.cluster.apply(&pod.to_string())?;
        self.cluster.kubectl(["-n", "shop", "wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=120s"])?;
        self.read(name)
    }

    fn read(&self, pod: &str) -> Result<String> {
        self.cluster.kubectl(["-n", "shop", "exec", pod, "-c", "app", "--", "cat", "/coffer/secrets/password"])
    }

    /// Makes a pod as another one is, whose token lasts as short as it can.
    fn with_short_token(&self, name: &str, like: &str) -> Result<()> {
        let told = self.cluster.kubectl(["-n", "shop", "get", "pod", like, "-o", "json"])?;
        let mut pod: serde_json::Value = serde_json::from_str(&told)?;
        let annotations = pod["metadata"]["annotations"].take();
        pod["metadata"] = json!({ "name": name, "namespace": "shop", "annotations": annotations });
        pod["status"].take();
        let mut volumes = pod["spec"]["volumes"].as_array_mut().into_iter().flatten();
        let token = volumes.find(|volume| volume["name"] == "coffer-token").context("there is a token")?;
        token["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] = json!(TOKEN_SECONDS);
        self.cluster.apply(&pod.to_string())?;
        self.cluster.kubectl(["-n", "shop", "wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=120s"]).map(drop)
    }

    /// Sees that a pod's file is there for so long, where the node has it: the API server would log each look through it.
    fn keeps_its_file(&self, pod: &str, time: Duration) -> Result<()> {
        let uid = self.cluster.kubectl(["-n", "shop", "get", "pod", pod, "-o", "jsonpath={.metadata.uid}"])?;
        let file = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/coffer-secrets/password");
        let (before, began) = (self.cluster.on_node(&["cat", &file])?, Instant::now());
        wait::until(time + PATIENCE, "the time to be over", || {
            ensure!(self.cluster.on_node(&["cat", &file])? == before, "the file is another after {:?}", began.elapsed());
            Ok((began.elapsed() >= time).then_some(()))
        })
    }

    /// Changes the secret, and waits until a pod that was there all the while has it.
    fn change_arrives(&self, pod: &str, password: &str) -> Result<()> {
        self.ada.ok_with(["kv", "put", SECRET, "password=-"], password)?;
        wait::until(POD_PATIENCE, "the change to arrive", || Ok((self.read(pod)? == password).then_some(())))
    }
}

/// The chart of the commit before, where it installs a vault; this one where it does not, or there is none.
fn chart_before(folder: &Path) -> Result<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let git = |arguments: &[&str]| Command::new("git").arg("-C").arg(&top).args(arguments).output();
    let archived = git(&["archive", "--format=tar", "HEAD^", "charts/coffer"])?;
    if !archived.status.success() {
        return Ok(chart());
    }
    let tar = folder.join("before.tar");
    fs::write(&tar, &archived.stdout)?;
    let unpacked = Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(folder).status()?;
    ensure!(unpacked.success(), "the chart of the commit before cannot be unpacked");
    let before = folder.join("charts/coffer");
    Ok(if before.join("templates/server").is_dir() { before } else { chart() })
}

#[test]
#[ignore = "needs Kubernetes: tests/run"]
fn helm_installs_a_vault_that_is_ready_and_keeps_what_it_has() -> Result<()> {
    let (installed, canaries) = (Installed::on(NUMBER, "restricted")?, Canaries::default());
    let (cluster, folder) = (&installed.cluster, TempDir::new()?);
    installed.helm("install", &chart_before(folder.path())?, &["--wait"])?;
    installed.log_in()?;
    let registered = installed.ada.ok(["cluster", "list"])?;
    ensure!(registered.contains("kubernetes") && registered.contains("synced"), "{registered}");
    let told = installed.in_server(&["status"])?;
    ensure!(told.contains("static key"), "{told}");

    a_service_account_creates_an_operator_once(&installed)?;

    let first = canaries.fresh("a secret's value")?;
    installed.ada.ok_with(["kv", "put", SECRET, "password=-"], &first)?;
    installed.olga.ok(["grant", "read", SECRET, "--to", "k8s:kubernetes/shop/api"])?;
    ensure!(installed.injected("first")? == first, "the first pod reads something else");
    the_key_is_nowhere_else(cluster)?;

    // The pod stays, and hears of changes after the server has been made anew: by an upgrade, by going back.
    installed.helm("upgrade", &chart(), &["--wait", "--set", "server.logLevel=debug"])?;
    installed.log_in()?;
    installed.change_arrives("first", &canaries.fresh("a secret's value")?)?;
    cluster.helm(["rollback", "coffer", "1", "--wait", "--timeout", TIMEOUT])?;
    installed.log_in()?;
    installed.change_arrives("first", &canaries.fresh("a secret's value")?)?;

    // Taken away and installed again it is the same vault, for its volume and its key stay.
    cluster.helm(["uninstall", "coffer", "--wait", "--timeout", TIMEOUT])?;
    installed.helm("install", &chart(), &["--wait"])?;
    installed.log_in()?;
    let last = canaries.fresh("a secret's value")?;
    installed.change_arrives("first", &last)?;
    ensure!(installed.injected("second")? == last, "the second pod reads something else");

    applications_keep_their_files_while_the_vault_is_gone(&installed, &canaries)?;
    whoever_is_in_the_pod_lets_somebody_in(&installed)?;
    shares_take_the_place_of_the_key(&installed)?;
    installed.change_arrives("second", &canaries.fresh("a secret's value")?)?;
    no_secret_is_left(cluster, &canaries)
}

/// The injector is made anew meanwhile, and so is the account of the pods: which is another one, of the same name.
fn applications_keep_their_files_while_the_vault_is_gone(installed: &Installed, canaries: &Canaries) -> Result<()> {
    let cluster = &installed.cluster;
    let scale = |replicas: &str| {
        cluster.kubectl(["-n", "coffer", "scale", "statefulset", "coffer", &format!("--replicas={replicas}")]).map(drop)
    };
    scale("0")?;
    cluster.kubectl(["-n", "coffer", "wait", "--for=delete", "pod/coffer-0", "--timeout=60s"])?;
    cluster.kubectl(["-n", "coffer", "rollout", "restart", "deployment", "coffer-injector"])?;
    cluster.kubectl(["-n", "coffer", "rollout", "status", "deployment", "coffer-injector", "--timeout=120s"])?;
    installed.keeps_its_file("second", if crate::long() { GONE_FOR } else { Duration::ZERO })?;
    scale("1")?;
    cluster.kubectl(["-n", "coffer", "rollout", "status", "statefulset", "coffer", "--timeout=120s"])?;
    installed.log_in()?;
    installed.change_arrives("second", &canaries.fresh("a secret's value")?)?;

    let last = installed.read("second")?;
    if crate::long() {
        installed.with_short_token("short", "second")?;
    }
    cluster.kubectl(["-n", "shop", "delete", "serviceaccount", "api"])?;
    cluster.kubectl(["-n", "shop", "create", "serviceaccount", "api"])?;
    ensure!(installed.injected("third")? == last, "a pod of the new account reads something else");
    installed.change_arrives("third", &canaries.fresh("a secret's value")?)?;
    // Pods of the account of before have it until their tokens end, and with tokens of the new one from then on: nobody does anything.
    ensure!([&last, &installed.read("third")?].contains(&&installed.read("second")?), "the file is gone with the account");
    if crate::long() {
        let now = installed.read("third")?;
        wait::until(PATIENCE, "the change to arrive", || Ok((installed.read("short")? == now).then_some(())))?;
        installed.keeps_its_file("short", Duration::from_secs(TOKEN_SECONDS))?;
        installed.change_arrives("short", &canaries.fresh("a secret's value")?)?;
    }
    cluster.kubectl(["-n", "shop", "delete", "pod", "second", "--grace-period=0", "--force"])?;
    installed.injected("second").map(drop)
}

/// Not in any object, nor in the API server's log, etcd, images, volumes, logs of pods, arguments and environment of processes.
fn no_secret_is_left(cluster: &Cluster, canaries: &Canaries) -> Result<()> {
    cluster.note_tokens(canaries)?;
    let mut search = canaries.search()?;
    let tokens = cluster.search(&mut search, canaries)?;
    ensure!(tokens.issued >= 3, "the API server's log has {tokens:?}");
    let bytes = search.end()?;
    println!("searched {} MB for {} secrets; {tokens:?}", bytes / 1_000_000, canaries.count());
    Ok(())
}

/// With the token of its pod, and no other account's; a second time it is refused.
fn a_service_account_creates_an_operator_once(installed: &Installed) -> Result<()> {
    let pod = |name: &str, account: &str| {
        // There is no shell in the image: one container logs in, and the next one uses the session.
        let vault = ["coffer", "--address", "https://coffer.coffer.svc:8200", "--ca", "/ca/ca.pem"];
        let log_in = ["login", "--method", "bootstrap", "--credential-file", "/token/token"];
        let pin = "0".repeat(64);
        let create = ["user", "create", name, "--role", "auditor", "--pin", &pin];
        let mut spec = template(&[]);
        spec["serviceAccountName"] = json!(account);
        spec["restartPolicy"] = json!("Never");
        let mut container = spec["containers"][0].take();
        container["image"] = json!("registry.coffer.dev/coffer-server:0.1.0");
        container["env"] = json!([{ "name": "HOME", "value": "/home" }]);
        let mounts = [("home", "/home"), ("token", "/token"), ("ca", "/ca")];
        container["volumeMounts"] = mounts.map(|(name, path)| json!({ "name": name, "mountPath": path })).into();
        let step = |name: &str, command: &[&str]| {
            let mut step = container.clone();
            step["name"] = json!(name);
            step["command"] = vault.iter().chain(command).copied().collect();
            step
        };
        spec["initContainers"] = json!([step("login", &log_in)]);
        spec["containers"] = json!([step("create", &create)]);
        let token = json!({ "serviceAccountToken": { "audience": "coffer", "path": "token", "expirationSeconds": 3600 } });
        spec["volumes"] = json!([
            { "name": "home", "emptyDir": { "medium": "Memory" } },
            { "name": "token", "projected": { "sources": [token] } },
            { "name": "ca", "configMap": { "name": "vault-ca" } },
        ]);
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "shop" }, "spec": spec }).to_string()
    };
    let cluster = &installed.cluster;
    let ca = format!("--from-file=ca.pem={}", installed.ada.home().join("ca.pem").display());
    cluster.kubectl(["-n", "shop", "create", "configmap", "vault-ca", &ca])?;
    for (name, account, phase) in [("another", "api", "Failed"), ("setup", "setup", "Succeeded"), ("again", "setup", "Failed")] {
        cluster.apply(&pod(name, account))?;
        let wait = format!("--for=jsonpath={{.status.phase}}={phase}");
        let ended = cluster.kubectl(["-n", "shop", "wait", &wait, &format!("pod/{name}"), "--timeout=60s"]);
        let told = cluster.kubectl(["-n", "shop", "logs", name, "-c", "login"])?;
        ended.with_context(|| told.clone())?;
        ensure!(phase == "Succeeded" || told.contains("refused"), "{name}: {told}");
    }
    let operators = installed.ada.ok(["user", "list"])?;
    ensure!(operators.contains("setup") && !operators.contains("another") && !operators.contains("again"), "{operators}");
    Ok(())
}

/// Not in a template, nor in what Helm keeps of a release, nor in any other object.
fn the_key_is_nowhere_else(cluster: &Cluster) -> Result<()> {
    let secret = cluster.kubectl(["-n", "coffer", "get", "secret", "coffer-seal-key", "-o", "jsonpath={.data.key}"])?;
    let key = String::from_utf8(BASE64_STANDARD.decode(&secret)?)?;
    ensure!(key.len() == 64, "a key has 64 digits");
    ensure!(!cluster.helm(["get", "all", "coffer"])?.contains(&key), "Helm keeps the key");
    let objects = cluster.every_object()?;
    ensure!(objects.matches(&secret).count() == 1 && !objects.contains(&key), "the key is in another object");
    Ok(())
}

/// Where a key file seals the vault, the local socket is as good as a quorum; from elsewhere it is not.
fn whoever_is_in_the_pod_lets_somebody_in(installed: &Installed) -> Result<()> {
    let fruits: serde_json::Value = serde_json::from_str(&installed.in_server(&["operator", "recover", "-o", "json"])?)?;
    let credential = fruits["bootstrap_credential"].as_str().context("there is a credential")?;
    installed.ada.ok_with(["login", "--method", "bootstrap", "--credential-file", "-"], credential)?;
    installed.ada.ok_with(["user", "create", "eve", "--role", "auditor", "--password-file", "-"], "a password of eve")?;
    let refused = installed.olga.run(["operator", "recover"])?;
    ensure!(refused.code != 0 && !refused.stdout.contains("coffer-bootstrap"), "{refused:?}");
    installed.log_in()
}

fn shares_take_the_place_of_the_key(installed: &Installed) -> Result<()> {
    let cluster = &installed.cluster;
    installed.ada.ok(["operator", "rekey", "start", "--shares", "3", "--threshold", "2"])?;
    // Only from the local socket, and shares of the vault that it has none of are nothing.
    let elsewhere = installed.ada.run(["operator", "rekey", "submit"])?;
    ensure!(elsewhere.code != 0 && elsewhere.stdout.is_empty(), "{elsewhere:?}");
    let made: serde_json::Value = serde_json::from_str(&installed.in_server(&["operator", "rekey", "submit", "-o", "json"])?)?;
    let shares: Vec<String> = serde_json::from_value(made["shares"].clone())?;
    let in_force = installed.ada.ok_with(["operator", "rekey", "submit", "-"], &shares.join("\n"))?;
    ensure!(in_force.contains("in force") && in_force.contains("shamir"), "{in_force}");

    installed.helm("upgrade", &chart(), &["--set", "server.seal.type=shamir"])?;
    cluster.kubectl(["-n", "coffer", "delete", "secret", "coffer-seal-key"])?;
    wait::until(POD_PATIENCE, "the new pod to wait for shares", || {
        let told = cluster.try_kubectl(["-n", "coffer", "exec", "coffer-0", "--", "coffer", "status", "-o", "json"])?;
        let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
        Ok((told["sealed"] == true).then_some(()))
    })?;
    let unseal = ["-n", "coffer", "exec", "-i", "coffer-0", "--", "coffer", "operator", "unseal", "-"];
    cluster.kubectl_with(unseal, &shares.join("\n"))?;
    cluster.kubectl(["-n", "coffer", "wait", "--for=condition=Ready", "pod/coffer-0", "--timeout=60s"])?;
    installed.log_in()
}
