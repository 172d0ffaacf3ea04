//! What a node says of itself decides what its pods have: it begins to swap, and their files and their users of a database go. So does what
//! a pod is: a privileged one gets nothing that asks for `restricted`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use coffer_tests::wait;
use serde_json::json;

use super::super::{POD_PATIENCE, database::Databases, injection::template, release::Installed};

/// Within this what asks for a node without swap is gone, once that swaps.
const WITHDRAW_TIME_MAX: Duration = Duration::from_secs(5);
/// What the kernel says where nothing is swapped to, and a line more.
const NONE: &str = "Filename Type Size Used Priority";
const SWAP: &str = "/dev/sda2 partition 1048572 0 -2";
/// Where the node's list of swaps is kept.
const RECORDED: &str = "/var/lib/swaps";
const GATED: &str = "kv/prod/payments";
const CREDENTIAL: &str = "database/creds/orders";
/// Where the application has its files, as the node sees them.
const FILES: &str = "volumes/kubernetes.io~empty-dir/coffer-secrets";

/// To swap for real would make the whole machine swap, and all other tests with it: the node's list of swaps is a file, which can be written.
pub(super) fn is_recorded(installed: &Installed) -> Result<()> {
    says(installed, &[NONE])?;
    installed.cluster.on_node(&["mount", "--bind", RECORDED, "/proc/swaps"]).map(drop)
}

fn says(installed: &Installed, lines: &[&str]) -> Result<()> {
    let script =
        format!("printf '%s\\n' {} > {RECORDED}", lines.iter().map(|line| format!("'{line}'")).collect::<Vec<_>>().join(" "));
    installed.cluster.on_node(&["sh", "-c", &script]).map(drop)
}

pub(super) fn a_node_that_begins_to_swap_takes_files_and_users_from_its_pods(installed: &Installed) -> Result<()> {
    let (cluster, ada, olga) = (&installed.cluster, &installed.ada, &installed.olga);
    let databases = Databases { cluster, admin: ada };
    databases.start()?;
    databases.connect(["1h", "2h"])?;
    ada.ok_with(["kv", "put", GATED, "token=-"], SECRET)?;
    for path in [GATED, CREDENTIAL] {
        olga.ok(["grant", "read", path, "--to", "k8s:kubernetes/shop/api", "--require", "swap=off,workload=restricted"])?;
    }
    let asks = json!({
        "coffer.dev/inject": "true",
        "coffer.dev/secret-token": format!("{GATED}#token"),
        "coffer.dev/credential-user": CREDENTIAL,
    });
    let metadata = json!({ "name": "held", "namespace": "shop", "annotations": asks });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template(&["sleep", "1000000"]) });
    cluster.apply(&pod.to_string())?;
    cluster.kubectl(["-n", "shop", "wait", "--for=condition=Ready", "pod/held", "--timeout=120s"])?;
    let uid = cluster.kubectl(["-n", "shop", "get", "pod", "held", "-o", "jsonpath={.metadata.uid}"])?;
    let file = |name: &str| cluster.on_node(&["cat", &format!("/var/lib/kubelet/pods/{uid}/{FILES}/{name}")]);
    ensure!(file("token")? == SECRET && !file("user")?.is_empty());
    let user = databases.users()?;
    ensure!(user.lines().count() == 1, "{user}");

    says(installed, &[NONE, SWAP])?;
    let swaps = Instant::now();
    wait::until(POD_PATIENCE, "the files to go", || Ok((file("token").is_err() && file("user").is_err()).then_some(())))?;
    let files = swaps.elapsed();
    wait::until(POD_PATIENCE, "the user to go", || Ok(databases.users()?.is_empty().then_some(())))?;
    let users = swaps.elapsed();
    println!("the node began to swap: the files were gone after {files:?}, the user of the database after {users:?}");
    ensure!(files < WITHDRAW_TIME_MAX && users < WITHDRAW_TIME_MAX, "{files:?}, {users:?}");
    let why = olga.run(["why", "k8s:kubernetes/shop/api", "read", GATED])?;
    ensure!(why.code == 3 && why.stdout.contains("swap=off"), "{why:?}");

    says(installed, &[NONE])?;
    wait::until(POD_PATIENCE, "the files to come back", || Ok(file("token").is_ok_and(|text| text == SECRET).then_some(())))?;
    wait::until(POD_PATIENCE, "another user", || {
        let users = databases.users()?;
        Ok((!users.is_empty() && users != user && file("user").is_ok()).then_some(()))
    })?;
    a_privileged_pod_is_refused(installed)
}

/// What is in the path, and what no privileged pod may have.
const SECRET: &str = "for confined pods alone";

/// Its node, its account and its grant are as good as the other's.
fn a_privileged_pod_is_refused(installed: &Installed) -> Result<()> {
    let (cluster, olga) = (&installed.cluster, &installed.olga);
    cluster.kubectl(["create", "namespace", "ops"])?;
    cluster.kubectl(["-n", "ops", "create", "serviceaccount", "api"])?;
    let principal = "k8s:kubernetes/ops/api";
    olga.ok(["grant", "read", GATED, "--to", principal, "--require", "swap=off,workload=restricted"])?;
    let mut spec = template(&["sleep", "1000000"]);
    spec["containers"][0]["securityContext"] = json!({ "privileged": true });
    let asks = json!({ "coffer.dev/inject": "true", "coffer.dev/secret-token": format!("{GATED}#token") });
    let metadata = json!({ "name": "privileged", "namespace": "ops", "annotations": asks });
    cluster.apply(&json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }).to_string())?;
    wait::until(POD_PATIENCE, "the agent to be refused", || {
        let log = cluster.try_kubectl(["-n", "ops", "logs", "privileged", "-c", "coffer"])?;
        Ok(String::from_utf8_lossy(&log.stdout).contains("workload=restricted").then_some(()))
    })?;
    let why = olga.run(["why", principal, "read", GATED])?;
    ensure!(why.code == 3 && why.stdout.contains("workload=restricted") && why.stdout.contains("privileged"), "{why:?}");
    let phase = cluster.kubectl(["-n", "ops", "get", "pod", "privileged", "-o", "jsonpath={.status.phase}"])?;
    ensure!(phase == "Pending", "{phase}");
    let pods = olga.run(["pods", "-n", "ops"])?;
    ensure!(pods.code == 0 && pods.stdout.contains("privileged"), "{pods:?}");
    Ok(())
}
