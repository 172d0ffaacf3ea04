//! `charts/coffer` by itself: what it renders to, and what it refuses.

mod values;

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::cluster::Cluster;
use serde_json::Value;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/coffer");
/// Where it is kept what the chart renders to.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/kubernetes/chart");
/// Values other than the usual ones, as many as possible.
const MANY: &[&str] = &[
    "nameOverride=vault",
    "server.image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "server.seal.secretName=seal",
    "server.seal.previousSecretName=seal-before",
    "server.init.cluster=prod",
    "server.init.issuer=https://issuer.example",
    "server.init.serviceAccount=shop/setup",
    "server.init.operators[0].name=ada",
    "server.init.operators[0].roles={admin,auditor}",
    "server.init.operators[0].pins={0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}",
    "server.tls.extraNames={vault.example}",
    "server.dataStorage.storageClass=fast",
    "server.dataStorage.annotations.example\\.com/a=b",
    "server.auditStorage.enabled=true",
    "server.persistentVolumeClaimRetentionPolicy.whenDeleted=Retain",
    "server.extraConfig=[limits]\nconnections = 1000",
    "server.podDisruptionBudget.maxUnavailable=0",
    "server.networkPolicy.egress[0].ports[0].port=5432",
    "server.annotations.example\\.com/a=b",
    "server.extraLabels.team=a",
    "server.priorityClassName=system-cluster-critical",
    "server.nodeSelector.kubernetes\\.io/os=linux",
    "server.tolerations[0].operator=Exists",
    "server.serviceAccount.annotations.example\\.com/a=b",
    "server.service.type=LoadBalancer",
    "server.service.annotations.example\\.com/a=b",
    "global.imagePullSecrets[0].name=pull",
    "injector.replicas=3",
    "injector.image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "injector.image.pullPolicy=Always",
    "injector.agentImage.tag=1.2.3",
    "injector.agentDefaults.cpuLimit=1",
    "injector.cluster=prod",
    "injector.tenant=default",
    "injector.vaultServerName=vault",
    "injector.vaultCA=PEM",
    "injector.pinImages.default=true",
    "injector.pinImages.registries={docker.io,registry.example:5000,plain.example}",
    "injector.pinImages.plainHttp={plain.example}",
    "injector.pinImages.dockerConfigSecretName=registries",
    "injector.pinImages.caConfigMap=registries-ca",
    "injector.webhook.namespaceSelector.matchExpressions[0].key=team",
    "injector.webhook.namespaceSelector.matchExpressions[0].operator=Exists",
    "injector.webhook.annotations.example\\.com/a=b",
    "injector.annotations.example\\.com/a=b",
    "injector.extraLabels.team=a",
    "injector.priorityClassName=system-cluster-critical",
    "injector.nodeSelector.kubernetes\\.io/os=linux",
    "injector.tolerations[0].operator=Exists",
    "injector.serviceAccount.annotations.example\\.com/a=b",
    "injector.service.annotations.example\\.com/a=b",
    "node.enabled=true",
    "node.image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "node.asRoot=true",
    "node.kubeletFolder=/var/lib/k0s/kubelet",
    "node.maxUnavailable=1",
    "node.annotations.example\\.com/a=b",
    "node.extraLabels.team=a",
    "node.priorityClassName=system-node-critical",
    "node.nodeSelector.kubernetes\\.io/os=linux",
    "node.serviceAccount.annotations.example\\.com/a=b",
    "extraObjects[0].apiVersion=v1",
    "extraObjects[0].kind=ConfigMap",
    "extraObjects[0].metadata.name=more",
];
/// Only the injector, for a vault elsewhere.
const INJECTOR: &[&str] = &["global.externalVaultAddr=https://vault.example:8200", "injector.vaultCA=PEM"];
/// Only node agents, in a namespace of their own.
const NODES: &[&str] = &[
    "global.externalVaultAddr=https://coffer.coffer.svc:8200",
    "injector.enabled=false",
    "injector.vaultCA=PEM",
    "node.enabled=true",
];
/// Only a vault, with shares and a certificate from elsewhere.
const SERVER: &[&str] = &["injector.enabled=false", "server.seal.type=shamir", "server.tls.secretName=tls"];

fn helm(arguments: &[&str]) -> Result<(bool, String)> {
    let output = Command::new("helm").args(arguments).output().context("helm cannot be started: is tests/cluster built?")?;
    let told = if output.status.success() { &output.stdout } else { &output.stderr };
    Ok((output.status.success(), String::from_utf8(told.clone())?))
}

fn rendered(values: &[&str]) -> Result<(bool, String)> {
    let set = values.iter().flat_map(|value| ["--set", value]);
    helm(&["template", "coffer", CHART, "--namespace", "coffer"].into_iter().chain(set).collect::<Vec<_>>())
}

#[test]
#[ignore = "needs Kubernetes: tests/run"]
fn the_chart_renders_to_what_is_kept_and_the_api_server_takes_it() -> Result<()> {
    let cluster = Cluster::of_this_run()?;
    let (clean, told) = helm(&["lint", "--strict", CHART])?;
    ensure!(clean, "{told}");
    for (name, values) in
        [("default", [].as_slice()), ("many", MANY), ("injector", INJECTOR), ("nodes", NODES), ("server", SERVER)]
    {
        let (rendered, manifest) = rendered(values)?;
        ensure!(rendered, "{manifest}");
        let kept = Path::new(KEPT).join(format!("{name}.yaml"));
        if std::env::var_os("COFFER_WRITE_GOLDEN").is_some() {
            fs::write(&kept, &manifest)?;
        }
        let expected = fs::read_to_string(&kept).with_context(|| kept.display().to_string())?;
        ensure!(expected == manifest, "{} is another: write it anew with COFFER_WRITE_GOLDEN=1 and look", kept.display());
        // In a namespace that is there already; unknown fields are errors.
        let manifest = manifest.replace("namespace: coffer\n", "namespace: default\n");
        cluster.kubectl_with(["apply", "--dry-run=server", "--validate=strict", "--namespace=default", "-f", "-"], &manifest)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs Kubernetes: tests/run"]
fn values_that_the_chart_does_not_know_are_refused_by_name() -> Result<()> {
    for (value, words) in [
        ("injector.replica=1", "replica"),
        ("server.replicas=3", "replicas"),
        ("server.seal.type=transit", "/server/seal/type"),
        ("server.init.operators[0].name=ada", "roles"),
        ("server.drainDelaySeconds=301", "/server/drainDelaySeconds"),
        ("server.dataStorage.size=much", "/server/dataStorage/size"),
        ("injectr.replicas=1", "injectr"),
        ("injector.replicas=-1", "/injector/replicas"),
        ("injector.pinImages.registries={https://docker.io}", "/injector/pinImages/registries/0"),
        ("injector.webhook.failurePolicy=Ignore", "failurePolicy"),
        ("injector.webhook.timeoutSeconds=31", "/injector/webhook/timeoutSeconds"),
        ("injector.image.digest=latest", "/injector/image/digest"),
        ("injector.logLevel=loud", "/injector/logLevel"),
        ("node.kubeletFolder=var/lib/kubelet", "/node/kubeletFolder"),
        ("node.kubeletFolder=/", "/node/kubeletFolder"),
        ("node.capabilities=x", "capabilities"),
        ("global.externalVaultAddr=http://vault:8200", "/global/externalVaultAddr"),
    ] {
        let (rendered, told) = rendered(&[value])?;
        ensure!(!rendered && told.contains(words), "{value}: {told}");
    }
    Ok(())
}

/// Each value has a comment, or stands below one that has, and the schema knows every one.
#[test]
fn the_schema_has_the_values_and_no_others() -> Result<()> {
    let schema: Value = serde_json::from_str(&fs::read_to_string(Path::new(CHART).join("values.schema.json"))?)?;
    let values = fs::read_to_string(Path::new(CHART).join("values.yaml"))?;
    let mut known = Vec::new();
    names(&schema, &mut known);
    for name in &known {
        ensure!(values.contains(&format!("{name}:")), "the schema knows {name}, which values.yaml has not");
    }
    let keys = values.lines().map(str::trim).filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
    for (key, _) in keys.filter(|(key, _)| !key.contains(['"', ' ', '-'])) {
        ensure!(
            known.iter().any(|name| name == key) || ["requests", "limits", "cpu", "memory"].contains(&key),
            "the schema does not know {key}"
        );
    }
    Ok(())
}

fn names(schema: &Value, known: &mut Vec<String>) {
    for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        known.push(name.clone());
        names(inner, known);
    }
}
