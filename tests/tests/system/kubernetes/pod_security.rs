//! The levels of Pod Security: `coffer scan workload` says of each pod what a real API server says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{cluster::Cluster, command::Coffer, programs::Programs, wait};
use serde_json::{Value, json};

/// A pod of the level restricted.
fn restricted(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": {
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "app",
                "image": "app:1",
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    })
}

/// Those that are said of volumes, and of the pod and its container alike.
fn most() -> Vec<(String, Value)> {
    let volume = |source: Value| {
        let mut volume = json!({ "name": "v" });
        volume.as_object_mut().into_iter().for_each(|volume| volume.extend(source.as_object().cloned().unwrap_or_default()));
        json!([volume])
    };
    let of_pod = |name| format!("/spec/securityContext/{name}");
    let of_context = |name| format!("/spec/containers/0/securityContext/{name}");
    let init = |name: &str, context: Value| json!([{ "name": name, "image": "init:1", "securityContext": context }]);
    let mut changes: Vec<(String, Value)> = [
        ("/spec/hostPID", json!(true)),
        ("/spec/hostIPC", json!(true)),
        ("/spec/hostNetwork", json!(true)),
        ("/spec/volumes", volume(json!({ "hostPath": { "path": "/opt" } }))),
        ("/spec/volumes", volume(json!({ "nfs": { "server": "x", "path": "/" } }))),
        ("/spec/volumes", volume(json!({}))),
        ("/spec/volumes", volume(json!({ "emptyDir": {} }))),
        ("/spec/volumes", volume(json!({ "projected": { "sources": [] } }))),
        ("/spec/volumes", volume(json!({ "iscsi": { "targetPortal": "x", "iqn": "iqn.2001-04.com.example:x", "lun": 0 } }))),
        ("/spec/initContainers", init("init", json!(null))),
        ("/spec/initContainers", init("init", json!({ "privileged": true }))),
        ("/spec/initContainers", init("init", json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } }))),
        ("/metadata/annotations", json!({ "container.apparmor.security.beta.kubernetes.io/app": "unconfined" })),
        ("/metadata/annotations", json!({ "container.apparmor.security.beta.kubernetes.io/app": "runtime/default" })),
    ]
    .into_iter()
    .map(|(path, value): (&str, Value)| (path.to_owned(), value))
    .collect();
    for value in [json!({ "type": "Unconfined" }), json!({ "type": "Localhost", "localhostProfile": "x" }), json!(null)] {
        changes.push((of_pod("seccompProfile"), value.clone()));
        changes.push((of_context("seccompProfile"), value.clone()));
        changes.push((of_context("appArmorProfile"), value));
    }
    for value in [
        json!({ "type": "spc_t" }),
        json!({ "type": "container_engine_t" }),
        json!({ "user": "x" }),
        json!({ "role": "x" }),
        json!({ "level": "s0" }),
    ] {
        changes.push((of_pod("seLinuxOptions"), value.clone()));
        changes.push((of_context("seLinuxOptions"), value));
    }
    for name in [
        "kernel.shm_rmid_forced",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
        "kernel.msgmax",
        "net.ipv4.ip_local_reserved_ports",
        "net.core.somaxconn",
    ] {
        changes.push((of_pod("sysctls"), json!([{ "name": name, "value": "1" }])));
    }
    changes
}

/// Changes of such a pod: where, and what is there then.
fn changes() -> Vec<(String, Value)> {
    let of_context = |name: &str| format!("/spec/containers/0/securityContext/{name}");
    let mut changes = most();
    for add in ["SYS_ADMIN", "CHOWN", "NET_BIND_SERVICE", "NET_RAW", "ALL", "AUDIT_WRITE", "MKNOD"] {
        changes.push((of_context("capabilities"), json!({ "add": [add], "drop": ["ALL"] })));
    }
    for capabilities in [json!(null), json!({ "drop": ["CHOWN"] }), json!({ "drop": ["all"] })] {
        changes.push((of_context("capabilities"), capabilities));
    }
    for (name, value) in [
        ("privileged", json!(true)),
        ("privileged", json!(false)),
        ("allowPrivilegeEscalation", json!(true)),
        ("allowPrivilegeEscalation", json!(null)),
        ("runAsUser", json!(0)),
        ("runAsUser", json!(1)),
        ("runAsNonRoot", json!(false)),
        ("runAsNonRoot", json!(true)),
        ("procMount", json!("Default")),
    ] {
        changes.push((of_context(name), value));
    }
    for (name, value) in [("runAsUser", json!(0)), ("runAsNonRoot", json!(false)), ("runAsNonRoot", json!(null))] {
        changes.push((format!("/spec/securityContext/{name}"), value));
    }
    for (name, value) in [
        ("ports", json!([{ "containerPort": 80, "hostPort": 80 }])),
        ("ports", json!([{ "containerPort": 80 }])),
        ("livenessProbe", json!({ "httpGet": { "host": "example.com", "port": 80 } })),
        ("readinessProbe", json!({ "tcpSocket": { "host": "127.0.0.1", "port": 80 } })),
        ("startupProbe", json!({ "httpGet": { "port": 80 } })),
        ("lifecycle", json!({ "postStart": { "httpGet": { "host": "example.com", "port": 80 } } })),
        ("lifecycle", json!({ "preStop": { "exec": { "command": ["true"] } } })),
    ] {
        changes.push((format!("/spec/containers/0/{name}"), value));
    }
    changes
}

fn changed(mut pod: Value, (path, value): &(String, Value)) -> Result<Value> {
    let (parent, name) = path.rsplit_once('/').context("a path")?;
    pod.pointer_mut(parent).with_context(|| format!("{parent} is not there"))?[name] = value.clone();
    Ok(pod)
}

#[test]
#[ignore = "needs Kubernetes: tests/run"]
fn pods_are_of_the_levels_that_the_api_server_says() -> Result<()> {
    let cluster = Cluster::of_this_run()?;
    let (changes, mut pods) = (changes(), vec![restricted("pod-0")]);
    for (number, change) in changes.iter().enumerate() {
        pods.push(changed(restricted(&format!("one-{number}")), change)?);
        // And each with another, far from it in the list.
        for step in [7, 19, 31] {
            let other = &changes[(number + step) % changes.len()];
            pods.push(changed(changed(restricted(&format!("two-{number}-{step}")), change)?, other)?);
        }
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("pods.json");
    fs::write(&file, json!({ "apiVersion": "v1", "kind": "List", "items": pods }).to_string())?;
    let file = file.to_str().context("a path")?;

    let mut admitted = BTreeMap::new();
    for level in ["privileged", "baseline", "restricted"] {
        let namespace = format!("level-{level}");
        cluster.apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}, labels: {{pod-security.kubernetes.io/enforce: {level}}}}}}}"
        ))?;
        wait::until(Duration::from_secs(60), "the service account", || {
            Ok(cluster.try_kubectl(["-n", &namespace, "get", "serviceaccount", "default"])?.status.success().then_some(()))
        })?;
        let output = cluster.try_kubectl(["-n", &namespace, "create", "--dry-run=server", "-o", "name", "-f", file])?;
        let names = String::from_utf8(output.stdout)?;
        let names: BTreeSet<String> = names.lines().filter_map(|line| line.strip_prefix("pod/")).map(str::to_owned).collect();
        admitted.insert(level, names);
        cluster.kubectl(["delete", "namespace", &namespace, "--wait=false"])?;
    }
    // Some are no pods at all.
    let valid = &admitted["privileged"];
    ensure!(valid.len() * 10 > pods.len() * 8 && valid.len() > 150, "{} of {} are valid", valid.len(), pods.len());

    let coffer = Coffer::new(Programs::built()?)?;
    let ran = coffer.run(["scan", "workload", "-f", file, "--all", "-o", "json", "--fail-on", "none"])?;
    ensure!(ran.code == 0, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout)?;
    let mut compared = 0;
    for finding in report["findings"].as_array().context("findings")? {
        let level = match finding["id"].as_str() {
            Some("POD-37") => "baseline",
            Some("POD-38") => "restricted",
            _ => continue,
        };
        let name = finding["subject"].as_str().and_then(|subject| subject.strip_prefix("Pod ")).context("a subject")?;
        if valid.contains(name) {
            compared += 1;
            let said = (finding["status"] == "pass", admitted[level].contains(name));
            let pod = pods.iter().find(|pod| pod["metadata"]["name"] == name);
            ensure!(said.0 == said.1, "{name}, {level}: coffer and the API server say {said:?} of {pod:?}");
        }
    }
    ensure!(compared == 2 * valid.len(), "{compared} of {}", 2 * valid.len());
    println!(
        "{} pods, {} of them baseline and {} restricted",
        valid.len(),
        admitted["baseline"].len(),
        admitted["restricted"].len()
    );
    Ok(())
}
