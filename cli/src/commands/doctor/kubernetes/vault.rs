//! What the vault knows of a cluster, and whether it permits what pods read.

use std::collections::{BTreeMap, BTreeSet};

use coffer_client::proto::{Cluster, ExplainRequest, ListClustersRequest};

use super::{
    Reached,
    objects::{Discovery, Pod},
    reading::{self, Reading},
};
use crate::{
    app::{App, PAGE_SIZE, Vault, all_pages, answer},
    commands::doctor::Checks,
    exit::Exit,
    failure::Result,
    kubectl::Kubectl,
};

/// Questions to the vault, at most: a principal and a path each.
const QUESTIONS_MAX: usize = 1_000;
/// The audience of tokens where a cluster says nothing.
const AUDIENCE: &str = "coffer";

/// Asks the vault.
pub(super) async fn look(
    app: &App,
    kubectl: &Kubectl,
    named: Option<&str>,
    injected: &[&Pod],
    reached: &Reached,
    checks: &mut Checks,
) {
    if !reached.is_unsealed {
        return checks.skip("cluster", "not looked at: the vault cannot be asked", "what is said of the vault above comes first");
    }
    let vault = match app.vault() {
        Ok(vault) => vault,
        Err(failure) => {
            let next = failure.next.unwrap_or_else(|| "coffer login NAME".to_owned());
            return checks.skip("cluster", format!("not looked at: {}", failure.what), next);
        }
    };
    // Where it may not be read, the name has to be said.
    let discovery = kubectl.text(&["get", "--raw", "/.well-known/openid-configuration"]).await;
    let issuer = discovery.ok().and_then(|text| serde_json::from_str::<Discovery>(&text).ok()).map(|read| read.issuer);
    let clusters = match clusters(app, &vault).await {
        Ok(clusters) => Some(clusters),
        Err(failure) if failure.exit == Exit::Denied => {
            checks.skip("cluster", "not looked at: clusters cannot be seen with this session", "an admin or auditor can");
            None
        }
        Err(failure) => return checks.failure("cluster", *failure),
    };
    let alive: Vec<&Pod> = injected.iter().copied().filter(|pod| pod.is_alive()).collect();
    let audiences: BTreeSet<&str> = alive.iter().filter_map(|pod| pod.audience()).collect();
    let known = match &clusters {
        Some(clusters) => registered(clusters, named, issuer.as_deref(), &audiences, checks),
        None => named,
    };
    let readings: Vec<Reading> = alive.iter().filter_map(|pod| reading::of(pod)).collect();
    let (questions, untold) = questions(&readings, known, vault.target.tenant());
    if untold > 0 {
        checks.skip(
            "grant",
            format!("not asked about {untold} pods: under which name the vault knows the cluster is not clear"),
            "--cluster NAME",
        );
    }
    if let Err(failure) = grants(&vault, &questions, checks).await {
        match failure.exit {
            Exit::Denied => {
                checks.skip("grant", "not looked at: this session may not have decisions explained", "an officer or auditor can")
            }
            _ => checks.failure("grant", *failure),
        }
    }
}

async fn clusters(app: &App, vault: &Vault) -> Result<Vec<Cluster>> {
    let attempt = vault.attempt("list clusters");
    let mut service = vault.client.clusters();
    Ok(all_pages!(app, &attempt, clusters, |page_token| {
        service.list_clusters(ListClustersRequest { page_size: PAGE_SIZE, page_token })
    }))
}

/// Whether the vault knows the cluster, its pods, and the tokens of its agents. The cluster's name, where that is clear.
fn registered<'a>(
    clusters: &'a [Cluster],
    named: Option<&str>,
    issuer: Option<&str>,
    audiences: &BTreeSet<&str>,
    checks: &mut Checks,
) -> Option<&'a str> {
    let issuer_of = |cluster: &Cluster| cluster.settings.as_ref().map(|settings| settings.issuer.clone()).unwrap_or_default();
    let by_name = named.and_then(|named| clusters.iter().find(|cluster| cluster.name == named));
    if let (Some(named), None) = (named, by_name) {
        checks.fail("cluster", format!("the vault knows no cluster {named}"), "coffer cluster list");
        return None;
    }
    let Some(issuer) = issuer.or_else(|| by_name.map(|_| "")) else {
        checks.skip("cluster", "which one it is cannot be told: its issuer may not be read", "--cluster NAME");
        return None;
    };
    if let Some(cluster) = by_name
        && !issuer.is_empty()
        && issuer_of(cluster) != issuer
    {
        let found =
            format!("{}: the vault wants the issuer {}, and the API server is {issuer}", cluster.name, issuer_of(cluster));
        checks.fail("cluster", found, format!("coffer cluster update {} --issuer {issuer}", cluster.name));
    }
    let found: Vec<&Cluster> =
        by_name.map_or_else(|| clusters.iter().filter(|cluster| issuer_of(cluster) == issuer).collect(), |cluster| vec![cluster]);
    if found.is_empty() {
        let next = format!(
            "coffer cluster create NAME --issuer {issuer}, with --api-server, --jwks or --jwks-url (coffer help cluster create)"
        );
        checks.fail("cluster", format!("the vault knows no cluster whose issuer is {issuer}: no pod can log in"), next);
    }
    for cluster in &found {
        state(cluster, audiences, checks);
    }
    match found.as_slice() {
        [one] => Some(&one.name),
        _ => None,
    }
}

fn state(cluster: &Cluster, audiences: &BTreeSet<&str>, checks: &mut Checks) {
    let name = &cluster.name;
    let audience = cluster.settings.as_ref().map(|settings| settings.audience.as_str()).filter(|text| !text.is_empty());
    let audience = audience.unwrap_or(AUDIENCE);
    let others: Vec<&str> = audiences.iter().copied().filter(|other| *other != audience).collect();
    if !others.is_empty() {
        let found =
            format!("{name}: tokens of agents are for the audience {}, and the vault wants {audience}", others.join(", "));
        checks.fail("cluster", found, format!("helm upgrade with injector.audience={audience}"));
    }
    match cluster.pod_cache.as_str() {
        "synced" | "none" => checks.ok("cluster", format!("registered as {name}; its pods: {}", cluster.pod_cache)),
        "confirm" => checks.fail(
            "cluster",
            format!("{name}: many pods went missing at once, and the vault waits for a person"),
            format!("where they are really gone: coffer cluster confirm-pod-loss {name}"),
        ),
        "syncing" => checks.warn("cluster", format!("{name}: the vault is reading its pods"), "try again in a moment"),
        cache => checks.fail(
            "cluster",
            format!("{name}: what the vault knows of its pods is {cache}: it does not reach the API server"),
            format!("coffer cluster get {name} tells its address; the vault's log says why"),
        ),
    }
}

/// Who reads what: principals with their paths. And how many pods are left out, for their cluster's name is not known.
fn questions(readings: &[Reading], known: Option<&str>, tenant: &str) -> (BTreeMap<String, BTreeSet<String>>, usize) {
    let (mut questions, mut untold): (BTreeMap<String, BTreeSet<String>>, usize) = (BTreeMap::new(), 0);
    for reading in readings {
        // Another tenant's grants are for whoever is logged in there.
        if !reading.tenant.is_empty() && reading.tenant != tenant {
            continue;
        }
        let cluster = Some(reading.cluster.as_str()).filter(|name| !name.is_empty()).or(known);
        let Some(cluster) = cluster else {
            untold += 1;
            continue;
        };
        let principal = format!("k8s:{cluster}/{}/{}", reading.namespace, reading.service_account);
        questions.entry(principal).or_default().extend(reading.paths.iter().cloned());
    }
    (questions, untold)
}

/// What is asked one by one, and how much is left out.
fn bounded(questions: &BTreeMap<String, BTreeSet<String>>) -> (Vec<(&String, &String)>, usize) {
    let all = questions.iter().flat_map(|(principal, paths)| paths.iter().map(move |path| (principal, path)));
    let number = questions.values().map(BTreeSet::len).sum::<usize>();
    (all.take(QUESTIONS_MAX).collect(), number.saturating_sub(QUESTIONS_MAX))
}

async fn grants(vault: &Vault, questions: &BTreeMap<String, BTreeSet<String>>, checks: &mut Checks) -> Result<()> {
    let (asked, left) = bounded(questions);
    let attempt = vault.attempt("have decisions explained");
    let (mut service, mut permitted) = (vault.client.policies(), 0_usize);
    for (principal, path) in asked {
        let request = ExplainRequest { principal: principal.clone(), action: "read".to_owned(), path: path.clone() };
        let explained = answer(&attempt, service.explain(request).await)?.into_inner();
        if explained.permitted {
            permitted += 1;
            continue;
        }
        let found = format!("{principal} may not read {path}: {}", explained.summary);
        let next = match explained.rules.iter().any(|rule| rule.forbids) {
            true => format!("coffer why {principal} read {path} names what forbids it"),
            false => format!("coffer grant read {path} --to {principal}"),
        };
        checks.fail("grant", found, next);
    }
    if left > 0 {
        checks.skip("grant", format!("{left} more reads were not asked about"), "--namespace NAMESPACE");
    }
    match permitted {
        0 => {}
        1 => checks.ok("grant", "1 read of a pod is permitted"),
        permitted => checks.ok("grant", format!("{permitted} reads of pods are permitted")),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
