//! The gate on a cluster: an image with a key in a layer that a later one hides gets nothing, built clean and attested it does, and a verdict
//! that is taken back takes the file from the pod and its user from nobody else.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{command::Coffer, issuer::uuid, programs::Programs, wait};
use serde_json::{Value, json};

use super::{
    Deployed, POD_PATIENCE,
    injection::{ASKING, pod},
};

/// Within this a file is gone, once its image's verdict is taken back.
const WITHDRAW_TIME_MAX: Duration = Duration::from_secs(5);
const GATED: &str = "kv/gated/api";
const REQUIRE: &str = "image=pass,signed-by=release,workload=restricted";

/// A pod whose image is named by digest, and which asks for what is given on conditions.
fn asking(name: &str, image: &str) -> Value {
    let mut pod = pod(name, &[ASKING[0], ("secret-gated", "kv/gated/api#token"), ("pin-images", "true")]);
    pod["spec"]["containers"][0]["image"] = json!(image);
    pod
}

pub(super) fn images_decide(deployed: &Deployed) -> Result<()> {
    let registry = deployed.cluster.registry()?;
    let ci = signer(deployed)?;
    let token = deployed.canaries.fresh("a secret's value that is given on conditions")?;
    deployed.admin.ok_with(["kv", "put", GATED, "token=-"], &token)?;
    deployed.officer.ok(["grant", "read", GATED, "--to", "k8s:prod/shop/api", "--require", REQUIRE])?;
    let attest = |image: &str| {
        let image = format!("{registry}/{image}");
        ci.run(["scan", "image", &image, "--plain-http", "--attest", "release", "--fail-on", "none", "--stored-values"])
    };
    // The agent's own image holds the secrets as well.
    let ran = attest("coffer-agent:0.1.0")?;
    ensure!(ran.code == 0 && ran.stderr.contains("passed"), "{ran:?}");

    planted(deployed)?;
    let ran = attest("planted:1")?;
    ensure!(ran.stderr.contains("attested by release") && ran.stderr.contains("FAILED"), "{ran:?}");
    deployed.creates(&asking("gated", &format!("{registry}/planted:1")), &[])?;
    wait::until(POD_PATIENCE, "the agent to be refused", || {
        let log = deployed.cluster.try_kubectl(["-n", "shop", "logs", "gated", "-c", "coffer"])?;
        Ok(String::from_utf8_lossy(&log.stdout).contains("signed-by=release holds, which does not for this pod").then_some(()))
    })?;
    let why = deployed.officer.run(["why", "k8s:prod/shop/api", "read", GATED])?;
    let layer = "/root/id_ed25519";
    ensure!(why.code == 3 && why.stdout.contains("IMG-01 fail") && why.stdout.contains(layer), "{why:?}");
    deployed.delete("shop", "gated")?;

    a_value_that_is_stored_fails_the_image(deployed, &ci, &registry)?;

    // The same without the key: nobody has looked at it yet, and then somebody has.
    clean(deployed)?;
    let ran = attest("clean:1")?;
    ensure!(ran.code == 0 && ran.stderr.contains("passed"), "{ran:?}");
    deployed.creates(&asking("gated", &format!("{registry}/clean:1")), &[])?;
    deployed.ready("gated")?;
    let read = || deployed.in_pod("gated", &["cat", "/coffer/secrets/gated"]);
    ensure!(read()? == token);
    let pods = deployed.officer.run(["pods", "-n", "shop"])?;
    ensure!(pods.stdout.contains("restricted") && pods.stdout.contains(&format!("read {GATED}")), "{pods:?}");
    a_verdict_is_taken_back(deployed, &token)?;
    deployed.delete("shop", "gated")
}

/// The scan is given no value, and says where one is.
fn a_value_that_is_stored_fails_the_image(deployed: &Deployed, ci: &Coffer, registry: &str) -> Result<()> {
    // In an image, it is no secret that may be nowhere.
    let value = format!("a1B2c3D4-{}", uuid()?);
    deployed.admin.ok_with(["kv", "put", "kv/team/api", "token=-"], &value)?;
    let file = deployed.admin.home().join("settings.yaml");
    fs::write(&file, format!("name: api\ntoken: \"{value}\"\n"))?;
    deployed.cluster.push("stored:1", "FROM 127.0.0.1:5000/busybox:1\nCOPY settings.yaml /app/\n", &[&file])?;
    let image = format!("{registry}/stored:1");
    let scan = ["scan", "image", &image, "--plain-http", "--attest", "release", "--fail-on", "none"];
    let ran = ci.run(scan)?;
    ensure!(ran.stderr.contains("passed") && !ran.stdout.contains("IMG-10"), "nobody has asked: {ran:?}");
    let ran = ci.run(scan.into_iter().chain(["--stored-values"]))?;
    ensure!(ran.stderr.contains("FAILED") && !ran.stdout.contains(&value), "{ran:?}");
    ensure!(ran.stdout.contains("/app/settings.yaml") && ran.stdout.contains("a value that the vault stores, line 2"), "{ran:?}");
    deployed.admin.ok(["kv", "delete", "kv/team/api"]).map(drop)
}

/// Somebody who attests, and does nothing else.
fn signer(deployed: &Deployed) -> Result<Coffer> {
    let (admin, officer) = (&deployed.admin, &deployed.officer);
    admin.ok(["mount", "create", "transit", "--engine", "transit"])?;
    admin.ok(["transit", "key", "create", "release", "--type", "ed25519"])?;
    officer.ok(["signer", "set", "release", "--key", "transit/sign/release"])?;
    let password = deployed.canaries.fresh("a password")?;
    admin.ok_with(["user", "create", "ci", "--password-file", "-"], &password)?;
    officer.ok(["grant", "use", "transit/sign/release", "--to", "operator:ci"])?;
    let ci = Coffer::new(Programs::built()?)?;
    let ca = deployed.ca.to_str().context("a plain path")?;
    let server = ["--address", deployed.url.as_str(), "--server-name", "coffer.coffer.svc", "--ca", ca];
    ci.ok(["context", "set", "prod"].into_iter().chain(server))?;
    ci.ok_with(["login", "ci", "--password-file", "-"], &password)?;
    Ok(ci)
}

/// An image with a key in a layer, and another above that deletes it.
fn planted(deployed: &Deployed) -> Result<()> {
    let key = deployed.admin.home().join("id_ed25519");
    let path = key.to_str().context("a plain path")?;
    let made = std::process::Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out", path]).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let base = "FROM 127.0.0.1:5000/busybox:1\nCOPY id_ed25519 /root/\n";
    deployed.cluster.push("planted-base:1", base, &[&key])?;
    deployed.cluster.push("planted:1", "FROM 127.0.0.1:5000/planted-base:1\nRUN rm /root/id_ed25519\n", &[])
}

fn clean(deployed: &Deployed) -> Result<()> {
    let file = deployed.admin.home().join("clean");
    fs::write(&file, "nothing to hide")?;
    deployed.cluster.push("clean:1", "FROM 127.0.0.1:5000/busybox:1\nCOPY clean /\n", &[&file])
}

/// The file goes from the pod, which runs on, and comes back.
fn a_verdict_is_taken_back(deployed: &Deployed, token: &str) -> Result<()> {
    let image = ["-n", "shop", "get", "pod", "gated", "-o", "jsonpath={.spec.containers[0].image}"];
    let image = deployed.cluster.kubectl(image)?;
    let uid = deployed.uid("shop", "gated")?;
    let file = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/coffer-secrets/gated");
    let on_node = || deployed.cluster.on_node(&["cat", &file]);
    ensure!(on_node()? == token);
    deployed.officer.ok(["verdict", "revoke", &image, "--reason", "tried", "--yes"])?;
    let revoked = Instant::now();
    wait::until(POD_PATIENCE, "the file to go", || Ok(on_node().is_err().then_some(())))?;
    let took = revoked.elapsed();
    println!("the file was gone {took:?} after its image's verdict");
    ensure!(took < WITHDRAW_TIME_MAX, "it took {took:?}");
    ensure!(deployed.in_pod("gated", &["ls", "/coffer/secrets/gated"]).is_err(), "the application has it still");
    let why = deployed.officer.run(["why", "k8s:prod/shop/api", "read", GATED])?;
    ensure!(why.stdout.contains("taken back by operator:olga: tried"), "{why:?}");
    deployed.officer.ok(["verdict", "revoke", &image, "--undo", "--yes"])?;
    wait::until(POD_PATIENCE, "the file to come back", || Ok(on_node().is_ok_and(|found| found == token).then_some(())))
}
