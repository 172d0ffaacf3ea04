//! `coffer scan host` on a node that runs: what it says is so, and what is opened is found.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{cluster::Cluster, programs::Programs};
use serde_json::Value;

const SOCKET: &str = "/run/containerd/containerd.sock";
const PODS: &str = "/var/lib/kubelet/pods";

struct Report(Vec<Value>);

impl Report {
    /// What is found on the first node.
    fn of(cluster: &Cluster) -> Result<Self> {
        let program = Programs::built()?.coffer();
        let program = program.to_str().context("a plain path")?;
        let json = cluster.on_node(&[program, "scan", "host", "--all", "--fail-on", "none", "-o", "json"])?;
        let report: Value = serde_json::from_str(&json)?;
        Ok(Self(report["findings"].as_array().context("there are findings")?.clone()))
    }

    fn says(&self, check: &str, status: &str, evidence: &str) -> Result<()> {
        let of_check: Vec<_> = self.0.iter().filter(|finding| finding["id"] == check).collect();
        let is_it = |finding: &&Value| {
            let text = format!(
                "{} {}",
                finding["subject"].as_str().unwrap_or_default(),
                finding["evidence"].as_str().unwrap_or_default()
            );
            finding["status"] == status && text.contains(evidence)
        };
        ensure!(of_check.iter().any(is_it), "{check} is not {status} with {evidence}: {of_check:#?}");
        Ok(())
    }
}

/// Opens a file of the node for a moment, and sees that it is found, and not any more once it is as before.
fn opened(cluster: &Cluster, path: &str, (usual, open): (&str, &str), check: &str) -> Result<()> {
    Report::of(cluster)?.says(check, "pass", path)?;
    cluster.on_node(&["chmod", open, path])?;
    let found = Report::of(cluster).and_then(|report| report.says(check, "fail", path));
    cluster.on_node(&["chmod", usual, path])?;
    found?;
    Report::of(cluster)?.says(check, "pass", path)
}

#[test]
#[ignore = "needs Kubernetes: tests/run"]
fn a_node_that_runs_is_told_as_it_is() -> Result<()> {
    let cluster = Cluster::of_this_run()?;
    let report = Report::of(&cluster)?;
    // The kubelet's file is named by a path that is relative to its folder.
    report.says("HST-71", "pass", "authentication.anonymous.enabled is false (/")?;
    report.says("HST-72", "pass", "authorization.mode is Webhook (/")?;
    report.says("HST-73", "pass", "pki/ca.crt")?;
    report.says("HST-74", "pass", "readOnlyPort is 0 (the default)")?;
    report.says("HST-86", "pass", "NodeRestriction is on, and the modes of authorization are Node,RBAC")?;
    report.says("HST-54", "pass", "containerd at /run/containerd/containerd.sock")?;
    report.says("HST-57", "fail", ":5000/hosts.toml has it without TLS")?;
    report.says("HST-89", "fail", "not so: clients come by TLS")?;
    let swaps = fs::read_to_string("/proc/swaps")?;
    if swaps.lines().count() == 1 {
        report.says("HST-01", "pass", "nothing is swapped to")?;
        report.says("HST-82", "pass", "failSwapOn is false (/")?;
    }
    let has_yama = fs::exists("/proc/sys/kernel/yama/ptrace_scope")?;
    if !has_yama {
        report.says("HST-07", "unknown", "there is no /proc/sys/kernel/yama/ptrace_scope")?;
    }
    opened(&cluster, SOCKET, ("0660", "0666"), "HST-55")?;
    opened(&cluster, PODS, ("0750", "0755"), "HST-52")
}

#[test]
#[ignore = "needs Kubernetes: tests/run"]
fn a_pod_with_the_runtime_s_socket_and_a_volume_of_secrets_are_found() -> Result<()> {
    let cluster = Cluster::of_this_run()?;
    let pod = |name: &str, volume: &str, spec: &Value| {
        let pod = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "default" },
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "app", "image": "127.0.0.1:5000/busybox:1", "command": ["sleep", "1000000"],
                    "volumeMounts": [{ "name": volume, "mountPath": "/seen" }],
                }],
                "volumes": [spec],
            },
        });
        cluster.apply(&pod.to_string())
    };
    let pods = ["scan-socket", "scan-secrets"];
    // A folder above the socket, under another name.
    pod(pods[0], "runtime", &serde_json::json!({ "name": "runtime", "hostPath": { "path": "/run/containerd" } }))?;
    pod(pods[1], "coffer-secrets", &serde_json::json!({ "name": "coffer-secrets", "emptyDir": { "medium": "Memory" } }))?;
    let seen = pods.iter().try_for_each(|pod| {
        cluster.kubectl(["wait", "--for=condition=Ready", &format!("pod/{pod}"), "--timeout=120s"]).map(drop)
    });
    let found = seen.and_then(|()| {
        let report = Report::of(&cluster)?;
        report.says("HST-56", "fail", "has it at /seen/containerd.sock")?;
        let uid = cluster.kubectl(["get", "pod", pods[1], "-o", "jsonpath={.metadata.uid}"])?;
        report.says("HST-04", "pass", &format!("pod {uid} tmpfs"))
    });
    for pod in pods {
        cluster.kubectl(["delete", "pod", pod, "--wait=true", "--timeout=60s"])?;
    }
    found
}
