//! The node agent, as the chart installs it: it tells what is so, and sees nothing else of its node.
//!
//! On a cluster of its own: only one vault can be called so.

mod swap;

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{programs::Programs, wait};
use serde_json::{Value, json};

use super::{POD_PATIENCE, injection::chart, release::Installed};

/// The number of the cluster.
const NUMBER: u8 = 6;
const SOCKET: &str = "/run/containerd/containerd.sock";
const PODS: &str = "/var/lib/kubelet/pods";
const SECRET_TEXT: &str = "what no node agent may see";

fn findings(report: &Value) -> Vec<(String, String, String)> {
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
    let all = report["findings"].as_array().into_iter().flatten();
    all.map(|finding| (text(finding, "id"), text(finding, "subject"), text(finding, "status"))).collect()
}

/// What the vault knows of the first node.
fn known(installed: &Installed) -> Result<Value> {
    let node = format!("node-{NUMBER}");
    Ok(serde_json::from_str(&installed.ada.ok(["node", "show", &node, "--all", "-o", "json"])?)?)
}

fn says(report: &Value, id: &str, subject: &str) -> String {
    let found = findings(report).into_iter().find(|(of, about, _)| of == id && about == subject);
    found.map_or_else(|| "nothing".to_owned(), |(_, _, status)| status)
}

/// A pod that sees what the agent's does, as the same user or as root, and has a shell.
fn beside(installed: &Installed, name: &str, user: u32, script: &str) -> Result<String> {
    let cluster = &installed.cluster;
    let told = cluster.kubectl(["-n", "coffer", "get", "daemonset", "coffer-node", "-o", "jsonpath={.spec.template.spec}"])?;
    let mut spec: Value = serde_json::from_str(&told)?;
    let agent = spec["containers"][0].clone();
    spec["containers"] = json!([{
        "name": "shell",
        "image": "127.0.0.1:5000/busybox:1",
        "command": ["sh", "-c", script],
        "volumeMounts": agent["volumeMounts"],
        "securityContext": agent["securityContext"],
    }]);
    spec["securityContext"]["runAsUser"] = json!(user);
    spec["securityContext"]["runAsGroup"] = json!(user);
    spec["securityContext"]["runAsNonRoot"] = json!(user != 0);
    spec["restartPolicy"] = json!("Never");
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "coffer" }, "spec": spec });
    cluster.apply(&pod.to_string())?;
    let ended = cluster.kubectl([
        "-n",
        "coffer",
        "wait",
        "--for=jsonpath={.status.phase}=Succeeded",
        &format!("pod/{name}"),
        "--timeout=120s",
    ]);
    let said = cluster.kubectl(["-n", "coffer", "logs", name])?;
    ended.with_context(|| said.clone())?;
    Ok(said)
}

#[test]
#[ignore = "needs Kubernetes: tests/run"]
fn the_node_agent_tells_what_is_so_and_sees_nothing_else() -> Result<()> {
    let installed = Installed::on(NUMBER, "privileged")?;
    let cluster = &installed.cluster;
    swap::is_recorded(&installed)?;
    // Where somebody has a secret that is not the agent's.
    cluster.kubectl(["-n", "shop", "create", "secret", "generic", "theirs", &format!("--from-literal=text={SECRET_TEXT}")])?;
    let mut spec = super::injection::template(&["sleep", "1000000"]);
    spec["containers"][0]["volumeMounts"] = json!([{ "name": "theirs", "mountPath": "/theirs" }]);
    spec["volumes"] = json!([{ "name": "theirs", "secret": { "secretName": "theirs" } }]);
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "theirs", "namespace": "shop" }, "spec": spec });
    cluster.apply(&pod.to_string())?;
    cluster.kubectl(["-n", "shop", "wait", "--for=condition=Ready", "pod/theirs", "--timeout=120s"])?;

    // An agent is ready when the vault knows its node. Helm waits for all but `maxUnavailable`, which are none of one.
    installed.helm("install", &chart(), &["--wait", "--set", "node.enabled=true"])?;
    cluster.kubectl(["-n", "coffer", "rollout", "status", "daemonset", "coffer-node", "--timeout=120s"])?;
    installed.log_in()?;
    let list = installed.ada.ok(["node", "list"])?;
    ensure!(list.contains(&format!("node-{NUMBER}")) && list.contains("fresh"), "{list}");

    it_tells_what_the_command_finds_as_root(&installed)?;
    what_is_opened_is_told(&installed, PODS, ("0750", "0755"), "HST-52", PODS)?;
    it_sees_nothing_else(&installed)?;
    it_may_do_nothing_in_kubernetes(&installed)?;
    swap::a_node_that_begins_to_swap_takes_files_and_users_from_its_pods(&installed)
}

/// As root on the node; without, some of it is unknown, and nothing passes that does not.
fn it_tells_what_the_command_finds_as_root(installed: &Installed) -> Result<()> {
    let program = Programs::built()?.coffer();
    let program = program.to_str().context("a plain path")?;
    let told = installed.cluster.on_node(&[program, "scan", "host", "--all", "--fail-on", "none", "-o", "json"])?;
    let (by_root, by_agent) = (serde_json::from_str::<Value>(&told)?, known(installed)?);
    println!("as root:\n{:?}\nby the agent:\n{:?}", findings(&by_root), findings(&by_agent));
    for (id, subject, status) in findings(&by_agent) {
        let root = says(&by_root, &id, &subject);
        ensure!(status != "pass" || root == "pass", "{id} {subject}: {status}, and {root} as root");
    }
    for id in ["HST-01", "HST-06", "HST-16", "HST-32"] {
        ensure!(says(&by_agent, id, "") == says(&by_root, id, "") && says(&by_agent, id, "") != "unknown", "{id}");
    }
    ensure!(says(&by_agent, "HST-52", PODS) == "pass", "{}", says(&by_agent, "HST-52", PODS));
    // On these nodes the runtime's folder is a mount of its own, which is not there: that is unknown, and not as if there were no runtime.
    ensure!(says(&by_agent, "HST-55", SOCKET) == "unknown", "{}", says(&by_agent, "HST-55", SOCKET));
    // It has the runtime's folder mounted itself: that is not told of others.
    ensure!(findings(&by_agent).iter().all(|(id, _, status)| id != "HST-56" || status != "fail"), "HST-56 fails");
    ensure!(by_agent["assurance"] == "self-reported" && by_agent["boot_id"] != "", "{by_agent}");
    Ok(())
}

fn what_is_opened_is_told(installed: &Installed, path: &str, (usual, open): (&str, &str), id: &str, subject: &str) -> Result<()> {
    let told = |expected: &str| {
        wait::until(POD_PATIENCE, &format!("{id} to be {expected}"), || {
            Ok((says(&known(installed)?, id, subject) == expected).then_some(()))
        })
    };
    installed.cluster.on_node(&["chmod", open, path])?;
    let found = told("fail");
    installed.cluster.on_node(&["chmod", usual, path])?;
    found?;
    told("pass")
}

fn it_sees_nothing_else(installed: &Installed) -> Result<()> {
    let script = format!(
        "ls /host /host/var /host/var/lib; \
         for path in {PODS} /root /home /var/lib/containerd /var/log /etc/shadow /etc/ssh/ssh_host_ed25519_key /proc/1/environ /proc/1/root/etc; do \
           if [ -r /host$path ]; then echo readable: $path; fi; done; \
         if [ -w /host{SOCKET} ]; then echo the socket opens; fi; \
         grep -rl '{SECRET_TEXT}' /host/var /host/run 2>/dev/null; \
         touch /host/etc/x /host/run/x /host/var/lib/kubelet/x 2>&1 | grep -c 'Read-only'; echo end"
    );
    let said = beside(installed, "nobody", 65_532, &script)?;
    ensure!(said.lines().next() == Some("/host:") && said.trim_end().ends_with("3\nend"), "{said}");
    ensure!(!said.contains("readable: ") && !said.contains("the socket opens") && !said.contains("/theirs"), "{said}");
    for name in ["etc", "proc", "run", "sys", "var", "lib", "kubelet"] {
        ensure!(said.lines().any(|line| line == name), "no {name}: {said}");
    }
    ensure!(!said.lines().any(|line| matches!(line, "root" | "home" | "containerd" | "log" | "usr")), "{said}");
    // Not even root there sees what is mounted into other pods.
    let script = format!(
        "ls -d /host{PODS}/*/volumes/*/* | grep theirs; grep -r '{SECRET_TEXT}' /host/var /host/run 2>/dev/null; echo end"
    );
    let said = beside(installed, "root", 0, &script)?;
    ensure!(said.contains("kubernetes.io~secret/theirs"), "the volume is not there to be seen: {said}");
    ensure!(!said.contains(SECRET_TEXT) && said.trim_end().ends_with("end"), "{said}");
    Ok(())
}

fn it_may_do_nothing_in_kubernetes(installed: &Installed) -> Result<()> {
    let may = |verb: &str, kind: &str| {
        let account = "--as=system:serviceaccount:coffer:coffer-node";
        let output = installed.cluster.try_kubectl(["auth", "can-i", verb, kind, account, "--all-namespaces"])?;
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&output.stdout).trim() == "yes")
    };
    for (verb, kind) in
        [("get", "secrets"), ("list", "pods"), ("get", "nodes"), ("create", "serviceaccounts/token"), ("get", "configmaps")]
    {
        ensure!(!may(verb, kind)?, "it may {verb} {kind}");
    }
    Ok(())
}
