//! `charts/coffer`, installed with Helm: pods that ask for it get the agent, and no pod that asks gets past without.

mod pinned;
mod renewals;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Output,
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::wait;
use serde_json::{Value, json};

use super::{Deployed, POD_PATIENCE, SECRET, doctor, gate};

/// The webhook's certificate lasts as long as this: several are shown in a test.
const CERTIFICATE_LIFETIME: &str = "30s";

/// Where the vault is that is there already.
const VAULT: &str = "global.externalVaultAddr=https://coffer.coffer.svc:8200";

pub(super) fn chart() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/coffer")).to_owned()
}

/// A pod of the namespace shop with these annotations, `coffer.dev/` before each, whose application waits.
pub(super) fn pod(name: &str, annotations: &[(&str, &str)]) -> Value {
    let annotations: serde_json::Map<String, Value> =
        annotations.iter().map(|(name, value)| (format!("coffer.dev/{name}"), json!(value))).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "shop", "annotations": annotations },
        "spec": template(&["sleep", "1000000"]),
    })
}

/// What the application is, as the level `restricted` wants it.
pub(super) fn template(command: &[&str]) -> Value {
    json!({
        "serviceAccountName": "api",
        "terminationGracePeriodSeconds": 1,
        "securityContext": { "runAsNonRoot": true, "runAsUser": 10_001, "runAsGroup": 10_001, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [{
            "name": "app",
            "image": "registry.coffer.dev/busybox:1",
            "command": command,
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "readOnlyRootFilesystem": true },
        }],
    })
}

pub(super) const ASKING: [(&str, &str); 2] = [("inject", "true"), ("secret-password", "kv/shop/api#password")];

impl Deployed {
    /// The injector alone: the vault is there already.
    fn install(&self) -> Result<()> {
        let (chart, ca) = (chart().display().to_string(), format!("injector.vaultCA={}", self.ca.display()));
        let lifetime = format!("injector.certs.lifetime={CERTIFICATE_LIFETIME}");
        // A new node has everything to pull.
        let wait = ["--wait", "--timeout", "120s", "--set-file", &ca, "--set", &lifetime, "--set", VAULT];
        self.cluster.helm(["install", "coffer", &chart].iter().chain(&wait)).map(drop)
    }

    /// Which pods of the injector there are.
    fn injectors(&self) -> Result<BTreeSet<String>> {
        let label = "app.kubernetes.io/component=injector";
        let uids = ["-n", "coffer", "get", "pods", "-l", label, "-o", "jsonpath={.items[*].metadata.uid}"];
        Ok(self.cluster.kubectl(uids)?.split_whitespace().map(str::to_owned).collect())
    }

    /// Applies an object; what Kubernetes says to it is for the caller to see.
    pub(super) fn tried(&self, object: &Value, more: &[&str]) -> Result<Output> {
        let file = self.admin.home().join("object.json");
        std::fs::write(&file, object.to_string())?;
        let file = file.display().to_string();
        self.cluster.try_kubectl(["create", "-f", &file].iter().chain(more))
    }

    fn refuses(&self, object: &Value, words: &str) -> Result<()> {
        let output = self.tried(object, &[])?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && told.contains(words), "{words}: {told}{}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    }

    pub(super) fn creates(&self, object: &Value, more: &[&str]) -> Result<()> {
        let output = self.tried(object, more)?;
        ensure!(output.status.success(), "{}\n{object:#}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// All that there is to injection, with the vault as it is by now.
pub(super) fn pods_are_injected(deployed: &Deployed) -> Result<()> {
    deployed.install()?;
    two_annotations_are_enough(deployed)?;
    a_job_ends(deployed)?;
    every_annotation_makes_a_pod_that_is_valid(deployed)?;
    what_asks_and_cannot_have_it_is_refused(deployed)?;
    what_an_injected_pod_has_stays_its_own(deployed)?;
    doctor::the_doctor_names_what_is_broken(deployed)?;
    without_the_webhook_pods_that_ask_are_not_made(deployed)?;
    renewals::nothing_that_comes_and_goes_refuses_a_pod(deployed)?;
    pinned::images_are_pinned(deployed)?;
    gate::images_decide(deployed)?;
    deployed.delete("shop", "asks")?;
    deployed.cluster.helm(["uninstall", "coffer", "--wait"]).map(drop)
}

fn two_annotations_are_enough(deployed: &Deployed) -> Result<()> {
    deployed.creates(&pod("asks", &ASKING), &[])?;
    deployed.ready("asks")?;
    let mode = deployed.in_pod("asks", &["stat", "-L", "-c", "%a %u", "/coffer/secrets/password"])?;
    ensure!(mode == "400 10001\n", "{mode}");
    let mounts = deployed.in_pod("asks", &["cat", "/proc/mounts"])?;
    let mount = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/coffer/secrets")).context("it is mounted")?;
    ensure!(mount.starts_with("tmpfs ") && mount.contains(" ro,"), "{mount}");
    ensure!(deployed.in_pod("asks", &["ls", "/var/run/secrets/coffer"]).is_err(), "the application has the token");
    // What is written while the pod runs is in its file.
    let password = deployed.canaries.fresh("a secret's value for an injected pod")?;
    deployed.put(&password)?;
    wait::until(POD_PATIENCE, "the change to arrive", || {
        Ok((deployed.in_pod("asks", &["cat", "/coffer/secrets/password"])? == password).then_some(()))
    })
}

fn a_job_ends(deployed: &Deployed) -> Result<()> {
    let annotations = json!({ "coffer.dev/inject": "true", "coffer.dev/secret-all": SECRET });
    let mut spec = template(&["sh", "-c", "test -s /coffer/secrets/all"]);
    spec["restartPolicy"] = json!("Never");
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": "injected", "namespace": "shop" },
        "spec": { "backoffLimit": 0, "template": { "metadata": { "annotations": annotations }, "spec": spec } },
    });
    deployed.creates(&job, &[])?;
    deployed.cluster.kubectl(["-n", "shop", "wait", "--for=condition=Complete", "job/injected", "--timeout=60s"])?;
    deployed.cluster.kubectl(["-n", "shop", "delete", "job", "injected", "--cascade=foreground"]).map(drop)
}

/// The API server itself says so: nothing is made.
fn every_annotation_makes_a_pod_that_is_valid(deployed: &Deployed) -> Result<()> {
    let variants: [&[(&str, &str)]; 12] = [
        &[("path", "/run/app"), ("mode", "0440"), ("volume-size", "1Mi")],
        &[("owner", "20001:20002"), ("containers", "app")],
        &[("init-only", "true")],
        &[("notify-http", "http://127.0.0.1:8080/reload"), ("notify-on-start", "true")],
        &[("notify-signal", "SIGHUP"), ("notify-process", "nginx")],
        &[("requests-cpu", "1m"), ("requests-memory", "8Mi"), ("limits-cpu", "1"), ("limits-memory", "64Mi")],
        &[("requests-cpu", ""), ("requests-memory", ""), ("limits-memory", "")],
        &[
            ("image", "registry.coffer.dev/coffer-agent:0.1.0"),
            ("vault-address", "https://vault.example"),
            ("vault-server-name", "v"),
        ],
        &[
            ("ca-config-map", "other"),
            ("tenant", "default"),
            ("cluster", "prod"),
            ("log-level", "debug"),
            ("pin-images", "false"),
        ],
        &[
            ("secret-b", "kv/b"),
            ("format-b", "dotenv"),
            ("version-b", "1"),
            ("file-b", "b.env"),
            ("mode-b", "0400"),
            ("secret-c", "kv/c"),
            ("field-c", "x"),
        ],
        &[
            ("secret-t", "a=kv/a,b=kv/b"),
            ("credential-t", "c=database/creds/c"),
            ("template-t", "{{ a.x }}$(HOME)"),
            ("secret-m", "kv/m"),
            ("template-config-map-m", "templates/m"),
        ],
        &[
            ("credential-key", "pki/issue/web"),
            ("ttl-key", "1h"),
            ("parameters-key", "common_name=web.svc"),
            ("field-key", "private_key"),
            ("revoke-on-exit", "true"),
        ],
    ];
    for more in variants {
        let annotations: Vec<_> = ASKING.iter().chain(more).copied().collect();
        deployed.creates(&pod("tried", &annotations), &["--dry-run=server"]).with_context(|| format!("{more:?}"))?;
    }
    Ok(())
}

fn what_asks_and_cannot_have_it_is_refused(deployed: &Deployed) -> Result<()> {
    let asking = |more: &[(&'static str, &'static str)]| pod("refused", &ASKING.iter().chain(more).copied().collect::<Vec<_>>());
    deployed.refuses(&asking(&[("secrt-b", "kv/b")]), "annotation coffer.dev/secrt-b: there is no such annotation")?;
    deployed.refuses(&asking(&[("format-password", "xml")]), "unknown variant `xml`")?;
    deployed.refuses(&asking(&[("status", "injected")]), "coffer.dev/status: it says that the agent is there")?;
    deployed.refuses(&pod("refused", &[("secret-a", "kv/a")]), "nothing is injected without coffer.dev/inject")?;
    // A secret that it may not read keeps a pod from starting, and its log says why.
    deployed.creates(&pod("forbidden", &[("inject", "true"), ("secret-a", "kv/other"), ("init-only", "true")]), &[])?;
    wait::until(POD_PATIENCE, "the agent to be refused", || {
        let log = deployed.cluster.try_kubectl(["-n", "shop", "logs", "forbidden", "-c", "coffer"])?;
        Ok(String::from_utf8_lossy(&log.stdout).contains("kv/other").then_some(()))
    })?;
    deployed.delete("shop", "forbidden")
}

fn what_an_injected_pod_has_stays_its_own(deployed: &Deployed) -> Result<()> {
    let changes = |arguments: &[&str], words: &str| -> Result<()> {
        let output = deployed.cluster.try_kubectl(["-n", "shop"].iter().chain(arguments))?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && told.contains(words), "{arguments:?}: {told}");
        Ok(())
    };
    let fixed = "what a pod asked for cannot be changed";
    changes(&["annotate", "pod", "asks", "coffer.dev/secret-more=kv/more"], fixed)?;
    changes(&["annotate", "pod", "asks", "--overwrite", "coffer.dev/secret-password=kv/more"], fixed)?;
    changes(&["annotate", "pod", "asks", "coffer.dev/secret-password-"], fixed)?;
    deployed.cluster.kubectl(["-n", "shop", "annotate", "pod", "asks", "example.com/note=x"])?;
    let guest = |volume: &str| {
        let mount = json!([{ "name": volume, "mountPath": "/x" }]);
        let context = json!({ "runAsUser": 10_001, "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } });
        let container = json!({ "name": "guest", "image": "registry.coffer.dev/busybox:1", "securityContext": context, "volumeMounts": mount });
        json!({ "spec": { "ephemeralContainers": [container] } }).to_string()
    };
    for volume in ["coffer-secrets", "coffer-token"] {
        let patch = guest(volume);
        changes(
            &["patch", "pod", "asks", "--subresource=ephemeralcontainers", "-p", &patch],
            "an ephemeral container cannot have",
        )?;
    }
    Ok(())
}

fn without_the_webhook_pods_that_ask_are_not_made(deployed: &Deployed) -> Result<()> {
    let cluster = &deployed.cluster;
    // Injected whole, by whoever: digests are missing.
    let made = deployed.tried(&pod("early", &ASKING), &["--dry-run=server", "-o", "json"])?;
    let made: Value = serde_json::from_slice(&made.stdout).context("a pod that would be made")?;
    let mut unpinned = pod("early", &[ASKING[0], ASKING[1], ("status", "injected")]);
    unpinned["spec"] = made["spec"].clone();
    let scale = |replicas: &str| {
        cluster.kubectl(["-n", "coffer", "scale", "deployment", "coffer-injector", &format!("--replicas={replicas}")])
    };
    scale("0")?;
    cluster.kubectl([
        "-n",
        "coffer",
        "wait",
        "--for=delete",
        "pod",
        "-l",
        "app.kubernetes.io/component=injector",
        "--timeout=60s",
    ])?;
    deployed.refuses(&pod("early", &ASKING), "failed calling webhook")?;
    deployed.creates(&pod("bystander", &[]), &["--dry-run=server"])?;
    // Nor where somebody has taken the webhook away: the API server itself refuses.
    let kept = cluster.kubectl(["get", "mutatingwebhookconfiguration", "coffer-injector", "-o", "json"])?;
    cluster.kubectl(["delete", "mutatingwebhookconfiguration", "coffer-injector"])?;
    wait::until(POD_PATIENCE, "the API server to know", || {
        let told = String::from_utf8_lossy(&deployed.tried(&pod("early", &ASKING), &[])?.stderr).into_owned();
        Ok(told.contains("was not injected: is the webhook there?").then_some(()))
    })?;
    let mut forged = pod("early", &[("inject", "true"), ("secret-password", "kv/a"), ("status", "injected")]);
    deployed.refuses(&forged, "lacks the agent's container")?;
    forged["spec"]["initContainers"] = json!([forged["spec"]["containers"][0].clone()]);
    forged["spec"]["initContainers"][0]["name"] = json!("coffer");
    deployed.refuses(&forged, "lacks the agent's container")?;
    deployed.creates(&unpinned, &["--dry-run=server"])?;
    unpinned["metadata"]["annotations"]["coffer.dev/pin-images"] = json!("true");
    deployed.refuses(&unpinned, "the images of the pod are to be pinned, and one has no digest")?;
    deployed.creates(&pod("bystander", &[]), &["--dry-run=server"])?;
    let mut kept: Value = serde_json::from_str(&kept)?;
    kept["metadata"]
        .as_object_mut()
        .context("it has a name")?
        .retain(|name, _| ["name", "labels", "annotations"].contains(&name.as_str()));
    cluster.apply(&kept.to_string())?;
    scale("2")?;
    cluster.kubectl(["-n", "coffer", "rollout", "status", "deployment", "coffer-injector", "--timeout=60s"])?;
    wait::until(POD_PATIENCE, "pods to be injected again", || {
        Ok(deployed.tried(&pod("early", &ASKING), &["--dry-run=server"])?.status.success().then_some(()))
    })
}
