//! Images that are pinned when a pod is made: to what their tags stand for then, and to nothing else for as long as the pod is there.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use coffer_tests::wait;
use serde_json::{Value, json};

use super::{ASKING, Deployed, POD_PATIENCE, chart, pod};

/// The application: ends when it is told to, so that it is started anew from its image.
const COMMAND: [&str; 3] = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"];

pub(super) fn images_are_pinned(deployed: &Deployed) -> Result<()> {
    let registry = deployed.cluster.registry()?;
    let chart = chart().display().to_string();
    // The injector reads both before it answers: what it cannot read would keep it from being ready.
    let kubectl = |arguments: &[&str]| deployed.cluster.kubectl(["-n", "coffer", "create"].iter().chain(arguments));
    let user = ["--docker-server=other.example", "--docker-username=u", "--docker-password=nobody-s"];
    kubectl(&[&["secret", "docker-registry", "registries"][..], &user].concat())?;
    kubectl(&["configmap", "registries-ca", &format!("--from-file=ca.pem={}", deployed.ca.display())])?;
    let set = [
        "injector.pinImages.dockerConfigSecretName=registries".to_owned(),
        "injector.pinImages.caConfigMap=registries-ca".to_owned(),
        format!("injector.pinImages.registries={{{registry}}}"),
        format!("injector.pinImages.plainHttp={{{registry}}}"),
        format!("injector.agentImage.repository={registry}/coffer-agent"),
    ];
    let set = set.iter().flat_map(|value| ["--set", value]);
    let before = deployed.injectors()?;
    deployed
        .cluster
        .helm(["upgrade", "coffer", &chart, "--reuse-values", "--wait", "--timeout", "120s"].into_iter().chain(set))?;
    // Helm waits for the new ones: one of before may be about to end, and answers until it has.
    wait::until(POD_PATIENCE, "the injectors of before to be gone", || {
        Ok(deployed.injectors()?.is_disjoint(&before).then_some(()))
    })?;
    what_runs_is_what_the_tag_was(deployed, &registry)?;
    what_cannot_be_pinned_is_refused_by_name(deployed, &registry)?;
    nobody_takes_a_digest_away(deployed, &registry)?;
    deployed.delete("shop", "pinned")
}

/// Pushes an image that knows which one it is.
fn push(deployed: &Deployed, version: &str) -> Result<()> {
    let file = deployed.admin.home().join("version");
    fs::write(&file, version)?;
    deployed.cluster.push("pinned:1", "FROM 127.0.0.1:5000/busybox:1\nCOPY version /\n", &[&file])
}

/// A pod that asks for digests, with this image.
fn asking(name: &str, image: &str) -> Value {
    let mut pod = pod(name, &[ASKING[0], ASKING[1], ("pin-images", "true")]);
    let app = &mut pod["spec"]["containers"][0];
    // Each start asks the registry.
    (app["image"], app["imagePullPolicy"], app["command"]) = (json!(image), json!("Always"), json!(COMMAND));
    pod
}

fn of_pod(deployed: &Deployed, name: &str, what: &str) -> Result<String> {
    deployed.cluster.kubectl(["-n", "shop", "get", "pod", name, "-o", &format!("jsonpath={{{what}}}")])
}

fn what_runs_is_what_the_tag_was(deployed: &Deployed, registry: &str) -> Result<()> {
    let image = format!("{registry}/pinned:1");
    push(deployed, "one")?;
    deployed.creates(&asking("pinned", &image), &[])?;
    deployed.ready("pinned")?;
    ensure!(deployed.in_pod("pinned", &["cat", "/version"])? == "one");
    let pinned = of_pod(deployed, "pinned", ".spec.containers[0].image")?;
    ensure!(pinned.starts_with(&format!("{image}@sha256:")), "{pinned}");
    let digest = pinned.rsplit_once('@').context("it has a digest")?.1;
    let runs = of_pod(deployed, "pinned", ".status.containerStatuses[0].imageID")?;
    ensure!(runs.ends_with(digest), "{runs} runs");
    let agent = of_pod(deployed, "pinned", ".spec.initContainers[0].image")?;
    ensure!(agent.starts_with(&format!("{registry}/coffer-agent:")) && agent.contains("@sha256:"), "{agent}");

    // The tag is another's by now: this pod keeps what it has, and the next gets that.
    push(deployed, "two")?;
    deployed.in_pod("pinned", &["kill", "1"])?;
    wait::until(POD_PATIENCE, "the application to be started anew", || {
        Ok((of_pod(deployed, "pinned", ".status.containerStatuses[0].restartCount")? == "1").then_some(()))
    })?;
    deployed.ready("pinned")?;
    ensure!(deployed.in_pod("pinned", &["cat", "/version"])? == "one", "the tag was asked for again");
    deployed.creates(&asking("pinned-next", &image), &[])?;
    deployed.ready("pinned-next")?;
    ensure!(deployed.in_pod("pinned-next", &["cat", "/version"])? == "two");
    deployed.delete("shop", "pinned-next")
}

fn what_cannot_be_pinned_is_refused_by_name(deployed: &Deployed, registry: &str) -> Result<()> {
    let refuses = |image: &str, why: &str| {
        let told = format!("the image of the container app cannot be pinned: {image}: {why}");
        deployed.refuses(&asking("refused", image), &told)
    };
    let absent = format!("{registry}/pinned:none");
    refuses(&absent, &format!("the registry {registry} answers 404 (MANIFEST_UNKNOWN: manifest unknown)"))?;
    let elsewhere = "is not one of injector.pinImages.registries in the chart's values";
    refuses("registry.coffer.dev/busybox:1", &format!("the registry registry.coffer.dev {elsewhere}"))?;
    refuses("169.254.169.254/latest:1", &format!("the registry 169.254.169.254 {elsewhere}"))?;
    // The agent's image is one of them.
    let mut agent = asking("refused", &format!("{registry}/busybox:1"));
    agent["metadata"]["annotations"]["coffer.dev/image"] = json!("registry.coffer.dev/coffer-agent:0.1.0");
    deployed.refuses(&agent, "the image of the container coffer cannot be pinned: registry.coffer.dev/coffer-agent:0.1.0")?;

    deployed.cluster.part(&["stop", "registry"])?;
    // Nobody has asked for this one: a digest is known for two seconds.
    let away = format!("{registry}/pinned:away");
    let refused = refuses(&away, &format!("the registry {registry} cannot be reached"));
    // Who does not ask for it is made all the same.
    let bystander = deployed.creates(&pod("bystander", &ASKING), &["--dry-run=server"]);
    deployed.cluster.part(&["start", "registry"])?;
    refused?;
    bystander?;
    wait::until(POD_PATIENCE, "the registry to answer", || {
        Ok(deployed
            .tried(&asking("tried", &format!("{registry}/busybox:1")), &["--dry-run=server"])?
            .status
            .success()
            .then_some(()))
    })
}

/// The API server's own policy: the webhook is not asked about changes.
fn nobody_takes_a_digest_away(deployed: &Deployed, registry: &str) -> Result<()> {
    let set = |image: &str| deployed.cluster.try_kubectl(["-n", "shop", "set", "image", "pod/pinned", &format!("app={image}")]);
    let output = set(&format!("{registry}/pinned:1"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && told.contains("one has no digest"), "{told}");
    let digest = of_pod(deployed, "pinned", ".spec.initContainers[0].image")?;
    let other = set(&digest)?;
    ensure!(other.status.success(), "with a digest it can be changed: {}", String::from_utf8_lossy(&other.stderr));
    Ok(())
}
