//! The vault's CA certificates in the namespaces of pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::Path,
};

use tempfile::NamedTempFile;

use super::{
    Reached,
    objects::{ConfigMap, List, Pod},
    read,
};
use crate::{
    app::App,
    commands::doctor::{Checks, probe, tls_advice},
    context::Target,
    kubectl::Kubectl,
};

/// Names of ConfigMaps with the vault's CA certificates that are asked for, at most.
const CA_MAPS_MAX: usize = 8;
/// Different CA certificates that the vault is tried with, at most.
const CA_TRIED_MAX: usize = 8;

/// Whether agents would believe the vault: the CA certificates in the namespaces of pods.
pub(super) async fn look(
    app: &App,
    kubectl: &Kubectl,
    namespace: &str,
    injected: &[&Pod],
    reached: &Reached,
    checks: &mut Checks,
) {
    const NAME: &str = "vault CA";
    let alive = injected.iter().filter(|pod| pod.is_alive());
    let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for pod in alive {
        if let Some(map) = pod.ca_config_map() {
            wanted.entry(map).or_default().insert(&pod.metadata.namespace);
        }
    }
    let mut tried: BTreeMap<String, Option<String>> = BTreeMap::new();
    let (mut good, mut untried) = (0_usize, wanted.len().saturating_sub(CA_MAPS_MAX));
    let known = reached.target.as_ref().and_then(|target| target.vault.ca.as_deref());
    for (map, namespaces) in wanted.iter().take(CA_MAPS_MAX) {
        let field = format!("--field-selector=metadata.name={map}");
        let found: Option<List<ConfigMap>> = read(kubectl, NAME, &["get", "configmaps", namespace, &field], checks).await;
        let Some(found) = found else { continue };
        for namespace in namespaces {
            let of_it = found.items.iter().find(|found| found.metadata.namespace == **namespace);
            let next = mended(namespace, map, known);
            let Some(text) = of_it.and_then(|found| found.data.get("ca.pem")) else {
                checks.fail(NAME, format!("{namespace}: there is no ConfigMap {map} with ca.pem: its pods cannot start"), next);
                continue;
            };
            let Some(target) = &reached.target else { continue };
            if !tried.contains_key(text) {
                if tried.len() >= CA_TRIED_MAX {
                    untried += 1;
                    continue;
                }
                tried.insert(text.clone(), unbelieved(app, target, text).await);
            }
            match tried.get(text).and_then(Option::as_deref) {
                Some(why) => {
                    checks.fail(
                        NAME,
                        format!("{namespace}: with the ConfigMap {map} agents do not believe the vault: {why}"),
                        next,
                    );
                }
                None => good += 1,
            }
        }
    }
    if untried > 0 {
        checks.skip(NAME, format!("{untried} more ConfigMaps were not looked at"), "--namespace NAMESPACE");
    }
    match (&reached.target, good) {
        (None, _) => checks.skip(
            NAME,
            "not tried: the vault is not reached from here",
            "coffer context set NAME --address https://HOST:PORT --ca CA.pem",
        ),
        (_, 0) => {}
        (_, 1) => checks.ok(NAME, "agents believe the vault, in 1 namespace"),
        (_, good) => checks.ok(NAME, format!("agents believe the vault, in {good} namespaces")),
    }
}

/// How a namespace gets the vault's CA certificates.
fn mended(namespace: &str, map: &str, known: Option<&Path>) -> String {
    let known = known.map_or_else(|| "CA.pem".to_owned(), |known| known.display().to_string());
    format!(
        "kubectl -n {namespace} delete configmap {map} --ignore-not-found; \
         kubectl -n {namespace} create configmap {map} --from-file=ca.pem={known}"
    )
}

/// Why the vault is not believed with these CA certificates; nothing where it is.
async fn unbelieved(app: &App, target: &Target, ca: &str) -> Option<String> {
    if target
        .vault
        .ca
        .as_ref()
        .and_then(|known| std::fs::read_to_string(known).ok())
        .is_some_and(|known| known.trim() == ca.trim())
    {
        return None;
    }
    let written = NamedTempFile::new().and_then(|mut file| file.write_all(ca.as_bytes()).map(|()| file));
    let file = match written {
        Ok(file) => file,
        Err(error) => return Some(format!("not tried: {}", crate::failure::plain(&error))),
    };
    let mut tried = target.clone();
    tried.vault.ca = Some(file.path().to_owned());
    match probe(app, &tried).await {
        Err(why) => Some(why),
        Ok(probe) => probe.certificates.err().map(|error| tls_advice(&error)),
    }
}
