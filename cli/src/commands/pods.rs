//! `coffer pods`.

use clap::Args;
use coffer_client::proto::{GatedPod, ListGatedPodsRequest};
use serde::Serialize;

use crate::{
    app::{App, PAGE_SIZE, Vault, all_pages},
    exit::Exit,
    failure::Result,
    output::{Table, View, printable},
};

/// Show the pods that use the vault: their images, nodes and verdicts, and what grants with conditions give them
///
/// A pod is here where it has a token for the vault. Of its containers those count that can get at its secrets: they mount the token or a
/// volume in memory with it, share their processes with such a one, or were added while the pod ran.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer pods
  coffer pods -n payments
  coffer pods -o json | jq '.[] | select(.image != \"passed\")'")]
pub(crate) struct Pods {
    /// Only pods of this cluster
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    cluster: String,
    /// Only pods of this namespace
    #[arg(short, long, value_name = "NAME", default_value = "", hide_default_value = true)]
    namespace: String,
}

#[derive(Serialize)]
struct PodJson<'a> {
    cluster: &'a str,
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
    service_account: &'a str,
    node: &'a str,
    level: &'a str,
    image: &'a str,
    host: &'a str,
    swap: &'a str,
    containers: Vec<ContainerJson<'a>>,
    grants: Vec<GrantJson<'a>>,
}

#[derive(Serialize)]
struct ContainerJson<'a> {
    name: &'a str,
    image: &'a str,
    verdict: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    why: &'a str,
    signers: &'a [String],
}

#[derive(Serialize)]
struct GrantJson<'a> {
    id: &'a str,
    actions: &'a [String],
    path: &'a str,
    unmet: &'a [String],
}

fn json(pod: &GatedPod) -> PodJson<'_> {
    let containers = pod.containers.iter().map(|container| ContainerJson {
        name: &container.name,
        image: &container.image,
        verdict: &container.verdict,
        why: &container.why,
        signers: &container.signers,
    });
    let grants = pod.grants.iter().map(|grant| GrantJson {
        id: &grant.id,
        actions: &grant.actions,
        path: &grant.path,
        unmet: &grant.unmet,
    });
    PodJson {
        cluster: &pod.cluster,
        namespace: &pod.namespace,
        name: &pod.name,
        uid: &pod.uid,
        service_account: &pod.service_account,
        node: &pod.node,
        level: &pod.level,
        image: &pod.image,
        host: &pod.host,
        swap: &pod.swap,
        containers: containers.collect(),
        grants: grants.collect(),
    }
}

impl Pods {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let pods = all(app, &app.vault()?, &self.cluster, &self.namespace).await?;
        let json: Vec<_> = pods.iter().map(json).collect();
        app.out.long(&json, |view| render(&pods, view))?;
        Ok(Exit::Done)
    }
}

/// All pods of a cluster and a namespace; of all, where those are empty.
pub(super) async fn all(app: &App, vault: &Vault, cluster: &str, namespace: &str) -> Result<Vec<GatedPod>> {
    let attempt = vault.attempt("list pods");
    let mut service = vault.client.gate();
    Ok(all_pages!(app, &attempt, pods, |page_token| {
        let (cluster, namespace) = (cluster.to_owned(), namespace.to_owned());
        service.list_gated_pods(ListGatedPodsRequest { cluster, namespace, page_size: PAGE_SIZE, page_token })
    }))
}

fn render(pods: &[GatedPod], view: &View) -> String {
    let mut table = Table::new(&["POD", "SERVICE ACCOUNT", "NODE", "LEVEL", "IMAGE", "HOST", "GRANTS"]).prose("GRANTS");
    for pod in pods {
        table.row([
            format!("{}/{}/{}", pod.cluster, pod.namespace, pod.name),
            pod.service_account.clone(),
            if pod.node.is_empty() { "-".to_owned() } else { pod.node.clone() },
            pod.level.clone(),
            pod.image.clone(),
            pod.host.clone(),
            grants(pod),
        ]);
    }
    table.render(view, "No pods with a token for the vault.")
}

/// What grants with conditions give a pod, and what they withhold.
fn grants(pod: &GatedPod) -> String {
    let line = |grant: &coffer_client::proto::GatedGrant| match grant.unmet.as_slice() {
        [] => format!("{} {}", grant.actions.join(","), grant.path),
        unmet => format!("withheld: {} {}: {}", grant.actions.join(","), grant.path, printable(&unmet.join("; "))),
    };
    let lines: Vec<_> = pod.grants.iter().map(line).collect();
    if lines.is_empty() { "none with conditions".to_owned() } else { lines.join("\n") }
}
