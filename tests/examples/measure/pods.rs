//! What injection costs, in a real Kubernetes with the chart as it is: the webhook's decisions, how much later an application starts, the
//! memory of the agents, what many pods cost the vault when nothing changes, and how soon a change is in all of them.
//!
//! Needs `COFFER_TEST_CLUSTER`, what `images/build` needs, `kubectl` and `helm` (tests/cluster/README.md); as root, for it looks into
//! the pods' processes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{cluster::Cluster, command::Coffer, memory, programs::Programs, wait};
use serde_json::{Value, json};

/// The number of the cluster.
const NUMBER: u8 = 7;
const PATIENCE: Duration = Duration::from_secs(300);
/// Pods that the webhook is asked about, and by how many at once.
const ASKED: usize = 600;
const ASKING: usize = 3;
/// Applications that are started with the agent, and as many without.
const STARTS: usize = 15;
/// How long nothing changes.
const IDLE: Duration = Duration::from_secs(60);
const CHANGES: usize = 100;
const SECRET: &str = "kv/shop/api";
const FILE: &str = "coffer/secrets/password";

struct Installed {
    cluster: Cluster,
    ada: Coffer,
    folder: PathBuf,
}

impl Drop for Installed {
    fn drop(&mut self) {
        drop(self.cluster.down());
    }
}

/// Measures it with so many pods.
pub(crate) fn run(pods: usize) -> Result<()> {
    let folder = memory::folder()?;
    let installed = install(folder.path())?;
    decisions(&installed)?;
    starts(&installed)?;
    many(&installed, pods)
}

fn install(folder: &Path) -> Result<Installed> {
    let programs = Programs::built()?;
    let installed = Installed { cluster: Cluster::start(NUMBER)?, ada: Coffer::new(programs)?, folder: folder.to_owned() };
    let (cluster, ada) = (&installed.cluster, &installed.ada);
    cluster.push_programs(programs)?;
    let file = |name: &str| folder.join(name).display().to_string();
    let (identity, values, ca) = (file("ada.pem"), file("values.json"), file("ca.pem"));
    ada.ok(["identity", "create", &identity])?;
    let pin = ada.ok(["identity", "pin", &identity])?;
    let operator = json!({ "name": "ada", "roles": ["admin"], "pins": [pin.trim()] });
    let officer = json!({ "name": "olga", "roles": ["officer"], "pins": [pin.trim()] });
    fs::write(&values, json!({ "server": { "init": { "operators": [operator, officer] } } }).to_string())?;
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/coffer");
    cluster.helm(["install", "coffer", chart, "--create-namespace", "--wait", "--timeout", "180s", "--values", &values])?;
    cluster.kubectl(["create", "namespace", "shop"])?;
    cluster.kubectl(["-n", "shop", "create", "serviceaccount", "api"])?;
    let told = |arguments: &[&str]| cluster.kubectl(["-n", "coffer", "get"].iter().chain(arguments));
    fs::write(&ca, told(&["configmap", "coffer-server-ca", "-o", "jsonpath={.data.ca\\.pem}"])?)?;
    let url = format!("https://{}:8200", told(&["service", "coffer", "-o", "jsonpath={.spec.clusterIP}"])?);
    ada.ok(["context", "set", "prod", "--address", &url, "--server-name", "coffer.coffer.svc", "--ca", &ca])?;
    wait::until(PATIENCE, "the vault to be reached", || Ok((ada.run(["status"])?.code == 0).then_some(())))?;
    ada.ok(["login", "--method", "certificate", "--identity", &identity, "olga"])?;
    ada.ok(["grant", "read", SECRET, "--to", "k8s:kubernetes/shop/api"])?;
    ada.ok(["login", "--method", "certificate", "--identity", &identity, "ada"])?;
    ada.ok_with(["kv", "put", SECRET, "password=-"], "0")?;
    Ok(installed)
}

fn pod(name: &str, injected: bool, command: &str) -> Value {
    let annotations = if injected {
        json!({ "coffer.dev/inject": "true", "coffer.dev/secret-password": format!("{SECRET}#password") })
    } else {
        json!({})
    };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "shop", "annotations": annotations, "labels": { "app": "measured" } },
        "spec": {
            "serviceAccountName": "api",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "securityContext": { "runAsNonRoot": true, "runAsUser": 10_001 },
            "containers": [{ "name": "app", "image": "registry.coffer.dev/busybox:1", "command": ["sh", "-c", command] }],
        },
    })
}

fn list(pods: impl Iterator<Item = Value>) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": pods.collect::<Vec<_>>() }).to_string()
}

/// Processes of this machine, on which nodes are namespaces, by the name of their program.
fn processes(program: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        if line.split('\0').next().is_some_and(|first| first.ends_with(program)) {
            found.push(id);
        }
    }
    ensure!(!found.is_empty(), "no process {program}");
    Ok(found)
}

/// Processor time of processes, user's and system's, in microseconds: Linux counts a hundred a second.
fn processor_us(ids: &[u32]) -> Result<u64> {
    let one = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        let rest = stat.rsplit(')').next().context("a process has a state")?;
        let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok::<_, anyhow::Error>(ticks * 10_000)
    };
    ids.iter().map(one).sum()
}

/// Pods that nobody makes: the API server asks the webhook about them all the same.
fn decisions(installed: &Installed) -> Result<()> {
    let file = installed.folder.join("pods.json");
    fs::write(&file, list((0..ASKED / ASKING).map(|number| pod(&format!("asked-{number}"), true, "sleep 1"))))?;
    let ask = || -> Result<Child> {
        let mut kubectl = Command::new("kubectl");
        kubectl
            .env("KUBECONFIG", installed.cluster.kubeconfig())
            .args(["create", "--dry-run=server", "-o", "name", "-f"])
            .arg(&file);
        Ok(kubectl.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?)
    };
    let injectors = processes("coffer-injector")?;
    let (before, used, began) = (buckets(installed)?, processor_us(&injectors)?, Instant::now());
    let asking = (0..ASKING).map(|_| ask()).collect::<Result<Vec<_>>>()?;
    for mut child in asking {
        ensure!(child.wait()?.success(), "a pod is refused");
    }
    let (took, used) = (began.elapsed(), processor_us(&injectors)? - used);
    let after = buckets(installed)?;
    let counts: Vec<(f64, f64)> = after
        .iter()
        .map(|(bound, count)| (*bound, count - before.iter().find(|(of, _)| of == bound).map_or(0.0, |(_, was)| *was)))
        .collect();
    let all = counts.last().context("there is a count")?.1;
    let within =
        |share: f64| counts.iter().find(|(_, count)| *count >= all * share).map_or(f64::INFINITY, |(bound, _)| bound * 1e3);
    println!(
        "webhook                  {all} pods, {:.0} a second: p50 <= {} ms, p99 <= {} ms, {:.0} us of processor time each",
        all / took.as_secs_f64(),
        within(0.5),
        within(0.99),
        used as f64 / all
    );
    Ok(())
}

/// The webhook's histogram, of all of its pods: upper bounds in seconds, and how many were within.
fn buckets(installed: &Installed) -> Result<Vec<(f64, f64)>> {
    let selector = "app.kubernetes.io/component=injector";
    let names =
        installed.cluster.kubectl(["-n", "coffer", "get", "pods", "-l", selector, "-o", "jsonpath={.items[*].metadata.name}"])?;
    let mut sums: Vec<(f64, f64)> = Vec::new();
    for name in names.split_whitespace() {
        let path = format!("/api/v1/namespaces/coffer/pods/https:{name}:8443/proxy/metrics");
        for line in installed.cluster.kubectl(["get", "--raw", &path])?.lines() {
            let Some(rest) = line.strip_prefix("coffer_injector_review_duration_seconds_bucket{le=\"") else { continue };
            let (bound, count) = rest.split_once("\"} ").context("a bucket has a bound")?;
            let (bound, count) = (bound.replace("+Inf", "inf").parse::<f64>()?, count.parse::<f64>()?);
            match sums.iter_mut().find(|(of, _)| *of == bound) {
                Some((_, sum)) => *sum += count,
                None => sums.push((bound, count)),
            }
        }
    }
    Ok(sums)
}

/// Seconds since the machine was started: pods count as we do.
fn uptime() -> Result<f64> {
    Ok(fs::read_to_string("/proc/uptime")?.split(' ').next().context("a time")?.parse()?)
}

/// A pod whose application waits for a sidecar that does nothing: what Kubernetes itself takes for that.
fn idle_sidecar(name: &str, command: &str) -> Value {
    let mut pod = pod(name, false, command);
    pod["spec"]["initContainers"] = json!([{
        "name": "idle",
        "image": "registry.coffer.dev/busybox:1",
        "command": ["sleep", "1000000"],
        "restartPolicy": "Always",
        "startupProbe": { "exec": { "command": ["true"] }, "periodSeconds": 1 },
    }]);
    pod
}

fn starts(installed: &Installed) -> Result<()> {
    let command = "cut -d' ' -f1 /proc/uptime; sleep 1000000";
    let mut took = [const { Vec::new() }; 3];
    for number in 0..STARTS {
        let pods =
            [("agent", true), ("plain", false)].map(|(kind, injected)| pod(&format!("{kind}-{number}"), injected, command));
        let [agent, plain] = pods;
        for (pod, took) in [agent, idle_sidecar(&format!("idle-{number}"), command), plain].iter().zip(&mut took) {
            let name = pod["metadata"]["name"].as_str().context("a pod has a name")?;
            installed.cluster.apply(&pod.to_string())?;
            let accepted = uptime()?;
            let began = wait::until(PATIENCE, "the application to start", || {
                let told = installed.cluster.try_kubectl(["-n", "shop", "logs", name, "-c", "app"])?;
                Ok(String::from_utf8_lossy(&told.stdout).trim().parse::<f64>().ok())
            })?;
            took.push((began - accepted) * 1e3);
            installed.cluster.kubectl(["-n", "shop", "delete", "pod", name, "--grace-period=0", "--force"])?;
        }
    }
    let [agent, idle, plain] = took.map(|mut took| {
        took.sort_by(f64::total_cmp);
        took[took.len() / 2]
    });
    println!(
        "an application starts    after {agent:.0} ms with the agent, {idle:.0} with a sidecar that does nothing, {plain:.0} alone"
    );
    Ok(())
}

fn many(installed: &Installed, pods: usize) -> Result<()> {
    installed.cluster.apply(&list((0..pods).map(|number| pod(&format!("many-{number}"), true, "sleep 1000000"))))?;
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    installed.cluster.kubectl(["-n", "shop", "wait", "--for=condition=Ready", "pod", "-l", "app=measured", &timeout])?;
    let (agents, server) = (processes("coffer-agent")?, processes("coffer-server")?);
    ensure!(agents.len() == pods, "{} agents", agents.len());
    let mut memory = agents.iter().map(|id| pss_kib(*id)).collect::<Result<Vec<_>>>()?;
    memory.sort_unstable();
    println!("an agent's memory        of {pods}: PSS p50 {} KiB, max {} KiB", memory[pods / 2], memory[pods - 1]);

    let (used, agents_used) = (processor_us(&server)?, processor_us(&agents)?);
    sleep(IDLE);
    let share = |used: u64| used as f64 / IDLE.as_secs_f64() / 1e4;
    println!(
        "when nothing changes     the vault takes {:.2} % of a core, all agents {:.2} %",
        share(processor_us(&server)? - used),
        share(processor_us(&agents)? - agents_used)
    );

    let files: Vec<PathBuf> = agents.iter().map(|id| format!("/proc/{id}/root/{FILE}").into()).collect();
    changes(installed, &files, 0, "")?;
    let restarts = [["rollout", "restart"], ["rollout", "status"]];
    for restart in restarts {
        installed.cluster.kubectl(["-n", "coffer"].iter().chain(&restart).chain(&["statefulset/coffer"]))?;
    }
    wait::until(PATIENCE, "the vault to be back", || Ok((installed.ada.run(["status"])?.code == 0).then_some(())))?;
    let identity = installed.folder.join("ada.pem").display().to_string();
    installed.ada.ok(["login", "--method", "certificate", "--identity", &identity, "ada"])?;
    changes(installed, &files, CHANGES, ", right after a restart of the vault")
}

/// Changes the secret so often, and looks when each change is in all files.
fn changes(installed: &Installed, files: &[PathBuf], before: usize, when: &str) -> Result<()> {
    let mut took = Vec::new();
    for number in before + 1..=before + CHANGES {
        let value = number.to_string();
        installed.ada.ok_with(["kv", "put", SECRET, "password=-"], &value)?;
        let (acknowledged, mut left) = (Instant::now(), files.to_vec());
        while !left.is_empty() {
            ensure!(acknowledged.elapsed() < PATIENCE, "{} files are left", left.len());
            left.retain(|file| {
                let arrived = fs::read(file).is_ok_and(|found| found == value.as_bytes());
                if arrived {
                    took.push(acknowledged.elapsed());
                }
                !arrived
            });
            sleep(Duration::from_millis(2));
        }
    }
    took.sort();
    let at = |share: usize| took[(took.len() * share).div_ceil(100).saturating_sub(1)].as_secs_f64() * 1e3;
    println!(
        "a change is in {} pods   p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms from its acknowledgement{when}",
        files.len(),
        at(50),
        at(99),
        at(100)
    );
    Ok(())
}

fn pss_kib(id: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("the kernel counts it")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
