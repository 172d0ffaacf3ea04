//! `coffer doctor --kubernetes`: in a cluster that is well, and with one thing after another broken.

use std::{env, ffi::OsString, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::wait;
use serde_json::{Value, json};

use super::{
    Deployed, POD_PATIENCE, SECRET,
    injection::{ASKING, pod},
};

const WEBHOOK: &str = "mutatingwebhookconfiguration/coffer-injector";
const BINDING: &str = "validatingadmissionpolicybinding/coffer-injector";

/// What the doctor said, and how it ended.
struct Said {
    code: i32,
    checks: Vec<Value>,
}

impl Said {
    fn has(&self, name: &str, state: &str, words: &str) -> bool {
        self.remedy(name, state, words).is_some()
    }

    /// What is to be done about a finding.
    fn remedy(&self, name: &str, state: &str, words: &str) -> Option<&str> {
        let mut checks = self.checks.iter();
        let is_it = |check: &&Value| {
            check["name"] == name && check["state"] == state && check["found"].as_str().is_some_and(|found| found.contains(words))
        };
        checks.find(is_it).map(|check| check["next"].as_str().unwrap_or_default())
    }

    fn wants(&self, name: &str, words: &str, remedy: &str) -> Result<()> {
        let next = self.remedy(name, "fail", words).with_context(|| format!("{name}, {words}: {:#?}", self.checks))?;
        ensure!(self.code == 7 && next.contains(remedy), "{}: {next}", self.code);
        Ok(())
    }

    /// The names of what is broken.
    fn broken(&self) -> Vec<&str> {
        self.checks.iter().filter(|check| check["state"] == "fail").filter_map(|check| check["name"].as_str()).collect()
    }
}

impl Deployed {
    /// As the officer, who may see clusters and have decisions explained.
    fn doctor(&self) -> Result<Said> {
        self.doctor_with(self.cluster.kubeconfig(), env::var_os("PATH").unwrap_or_default(), &[])
    }

    fn doctor_with(&self, kubeconfig: &Path, path: OsString, more: &[&str]) -> Result<Said> {
        let mut command = self.officer.command();
        command.args(["doctor", "--kubernetes", "-o", "json"]).args(more).env("KUBECONFIG", kubeconfig).env("PATH", path);
        let output = command.output()?;
        let said: Value =
            serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let checks = said["checks"].as_array().context("there are checks")?.clone();
        Ok(Said { code: output.status.code().context("the command was killed")?, checks })
    }

    /// Waits until nothing is broken.
    fn is_well(&self) -> Result<Said> {
        let mut last = Vec::new();
        wait::until(POD_PATIENCE, "the cluster to be well", || {
            let said = self.doctor()?;
            last.clone_from(&said.checks);
            Ok((said.code == 0).then_some(said))
        })
        .with_context(|| format!("{last:#?}"))
    }

    /// Does what the doctor said.
    fn does(&self, remedy: &str) -> Result<()> {
        let done = Command::new("sh").args(["-ec", remedy]).env("KUBECONFIG", self.cluster.kubeconfig()).output()?;
        ensure!(done.status.success(), "{remedy}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// An object as it was made, to be made again.
    fn kept(&self, name: &str) -> Result<Value> {
        let mut kept: Value = serde_json::from_str(&self.cluster.kubectl(["get", name, "-o", "json"])?)?;
        let metadata = kept["metadata"].as_object_mut().context("it has a name")?;
        metadata.retain(|name, _| ["name", "labels", "annotations"].contains(&name.as_str()));
        Ok(kept)
    }
}

/// The injector is there, and so is the pod `asks`.
pub(super) fn the_doctor_names_what_is_broken(deployed: &Deployed) -> Result<()> {
    let said = deployed.is_well()?;
    for name in ["kubectl", "cluster clock", "webhook", "admission policy", "injection", "agent", "vault CA", "cluster", "grant"]
    {
        ensure!(said.has(name, "ok", ""), "{name}: {:#?}", said.checks);
    }
    // Certificates last so short here that one may be about to be renewed.
    ensure!(said.has("webhook CA", "ok", "") || said.has("webhook CA", "warn", ""), "{:#?}", said.checks);
    a_missing_grant_is_named(deployed)?;
    a_wrong_ca_is_named(deployed)?;
    what_may_not_be_seen_is_said(deployed)?;
    an_injector_that_is_away_is_named(deployed)?;
    deployed.is_well().map(drop)
}

fn a_missing_grant_is_named(deployed: &Deployed) -> Result<()> {
    let principal = "k8s:prod/shop/api";
    let grant = format!("coffer grant read {SECRET} --to {principal}");
    deployed.officer.ok(["revoke", "read", SECRET, "--from", principal])?;
    let said = deployed.doctor()?;
    said.wants("grant", &format!("{principal} may not read {SECRET}"), &grant)?;
    ensure!(said.broken() == ["grant"], "{:#?}", said.checks);
    // A pod that is made now does not start, and its agent says why.
    deployed.creates(&pod("late", &ASKING), &[])?;
    wait::until(POD_PATIENCE, "the agent to say why", || {
        Ok(deployed.doctor()?.wants("agent", "pod late in shop", &grant).is_ok().then_some(()))
    })?;
    deployed.officer.ok(["grant", "read", SECRET, "--to", principal])?;
    deployed.delete("shop", "late")?;
    deployed.is_well().map(drop)
}

fn a_wrong_ca_is_named(deployed: &Deployed) -> Result<()> {
    let cluster = &deployed.cluster;
    cluster.kubectl(["-n", "shop", "delete", "configmap", "coffer-ca"])?;
    deployed.doctor()?.wants(
        "vault CA",
        "shop: there is no ConfigMap coffer-ca",
        "kubectl -n shop create configmap coffer-ca",
    )?;
    // The API server's own, without the injector's label: it would be mended at once.
    let other = cluster.kubectl(["-n", "shop", "get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}"])?;
    cluster.kubectl(["-n", "shop", "create", "configmap", "coffer-ca", &format!("--from-literal=ca.pem={other}")])?;
    let said = deployed.doctor()?;
    ensure!(said.broken() == ["vault CA"], "{:#?}", said.checks);
    let remedy = said.remedy("vault CA", "fail", "agents do not believe the vault").context("it is named")?;
    deployed.does(remedy)?;
    deployed.is_well().map(drop)
}

/// With no rights, and with those of somebody who sees one namespace.
fn what_may_not_be_seen_is_said(deployed: &Deployed) -> Result<()> {
    let (known, path) = (fs::read_to_string(deployed.cluster.kubeconfig())?, env::var_os("PATH").unwrap_or_default());
    let file = deployed.officer.home().join("eve.yaml");
    fs::write(&file, super::replaced(&known, "user: {client-certificate-data", "user: {as: eve, client-certificate-data")?)?;
    let said = deployed.doctor_with(&file, path.clone(), &[])?;
    ensure!(said.has("kubectl", "ok", "eve") && said.has("webhook", "skip", "cannot list"), "{:#?}", said.checks);
    said.wants("injection", "User \"eve\" cannot list resource \"pods\"", "--namespace")?;
    let viewer = ["create", "rolebinding", "eve", "--clusterrole=view", "--user=eve"];
    deployed.cluster.kubectl(["-n", "shop"].iter().chain(&viewer))?;
    let said = deployed.doctor_with(&file, path.clone(), &["--namespace", "shop", "--cluster", "prod"])?;
    deployed.cluster.kubectl(["-n", "shop", "delete", "rolebinding", "eve"])?;
    ensure!(said.code == 0 && said.has("webhook", "skip", ""), "{:#?}", said.checks);
    for name in ["injection", "agent", "vault CA", "cluster", "grant"] {
        ensure!(said.has(name, "ok", ""), "{name}: {:#?}", said.checks);
    }
    // Nor without kubectl, or where it knows no such cluster.
    deployed.doctor_with(&file, "/nowhere".into(), &[])?.wants("kubectl", "there is no kubectl", "install kubectl")?;
    deployed.doctor_with(&file, path, &["--kube-context", "none"])?.wants("kubectl", "does not exist", "--kube-context")
}

fn an_injector_that_is_away_is_named(deployed: &Deployed) -> Result<()> {
    let cluster = &deployed.cluster;
    let scale = |replicas: &str| {
        cluster.kubectl(["-n", "coffer", "scale", "deployment", "coffer-injector", &format!("--replicas={replicas}")])
    };
    let (webhook, binding) = (deployed.kept(WEBHOOK)?, deployed.kept(BINDING)?);
    scale("0")?;
    let gone = ["wait", "--for=delete", "pod", "-l", "app.kubernetes.io/component=injector", "--timeout=60s"];
    cluster.kubectl(["-n", "coffer"].iter().chain(&gone))?;
    wait::until(POD_PATIENCE, "its service to be empty", || {
        Ok(deployed.doctor()?.wants("webhook", "nobody answers", "kubectl -n coffer get pods").is_ok().then_some(()))
    })?;
    // A CA of somebody else's: any certificate in Base64 will do, and an administrator's kubeconfig has one.
    let known = fs::read_to_string(cluster.kubeconfig())?;
    let other = known.split_once("certificate-authority-data: ").and_then(|(_, rest)| rest.split(['}', '\n']).next());
    let path = "/webhooks/0/clientConfig/caBundle";
    let bundle = json!([{ "op": "replace", "path": path, "value": other.context("it has a CA")? }]);
    cluster.kubectl(["patch", WEBHOOK, "--type=json", "-p", &bundle.to_string()])?;
    deployed.doctor()?.wants("webhook CA", "is not ca.crt of the Secret coffer-injector-tls", "rollout restart")?;

    // Webhook and policy taken away, pods can be forged.
    cluster.kubectl(["delete", WEBHOOK, BINDING])?;
    let forged = pod("forged", &[ASKING[0], ASKING[1], ("status", "injected"), ("pin-images", "true")]);
    wait::until(POD_PATIENCE, "the API server to know", || Ok(deployed.tried(&forged, &[])?.status.success().then_some(())))?;
    let said = deployed.doctor()?;
    said.wants("webhook", "there is no webhook of Coffer's", "helm upgrade --install")?;
    said.wants("admission policy", "no ValidatingAdmissionPolicyBinding", "helm upgrade")?;
    said.wants("injection", "pod forged in shop asked for secrets, and lacks the agent's container", "delete pod forged")?;
    said.wants("injection", "the digest of the image of app", "delete pod forged")?;

    cluster.apply(&webhook.to_string())?;
    cluster.apply(&binding.to_string())?;
    scale("2")?;
    cluster.kubectl(["-n", "coffer", "rollout", "status", "deployment", "coffer-injector", "--timeout=60s"])?;
    wait::until(POD_PATIENCE, "nothing but the pod to be broken", || {
        Ok((deployed.doctor()?.broken() == ["injection"]).then_some(()))
    })?;
    cluster.kubectl(["-n", "shop", "delete", "pod", "forged", "--grace-period=0", "--force"]).map(drop)
}
