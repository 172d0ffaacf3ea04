//! The patch that gives a pod the agent.
//!
//! One container is added, first in line: a native sidecar, which the application waits for, or an init container. With it come
//! memory for the files, a token for Coffer alone, which the agent alone has, and the vault's CA certificates. The application's
//! containers get the files, to read. Nothing else of the pod is touched.

mod container;
mod place;
#[cfg(test)]
pub(crate) mod tests;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Refusal, agent_config,
    annotations::{INJECTED, Notify, Request, STATUS},
    pins::{self, Pins},
};

/// The agent's container.
pub const AGENT: &str = "coffer";
/// The memory that the files are in.
pub const SECRETS_VOLUME: &str = "coffer-secrets";
/// The token.
pub const TOKEN_VOLUME: &str = "coffer-token";
/// The vault's CA certificates.
pub const CA_VOLUME: &str = "coffer-ca";
/// Templates from ConfigMaps.
pub const TEMPLATES_VOLUME: &str = "coffer-templates";
/// Where the files are in containers, unless said otherwise.
pub const SECRETS_FOLDER: &str = "/coffer/secrets";
pub(crate) const TOKEN_FOLDER: &str = "/var/run/secrets/coffer";
pub(crate) const CA_FOLDER: &str = "/etc/coffer/ca";
pub(crate) const TEMPLATES_FOLDER: &str = "/etc/coffer/templates";
/// How long the token lasts; the kubelet renews it.
pub const TOKEN_SECONDS: u32 = 3_600;

/// What holds for all pods that say nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The agent's image.
    pub image: String,
    /// The vault: `https://HOST:PORT`.
    pub vault_address: String,
    /// The name in its certificate, where it is not the host.
    pub vault_server_name: Option<String>,
    /// The ConfigMap of each namespace with its CA certificates, as `ca.pem`.
    pub ca_config_map: String,
    /// The audience of tokens for it.
    pub audience: String,
    /// The tenant.
    pub tenant: Option<String>,
    /// The name under which the cluster is registered.
    pub cluster: Option<String>,
    /// What agents log.
    pub log_level: String,
    /// Memory that the files of a pod may take.
    pub volume_size: String,
    /// The agent's resources: requests of processor time and memory, then limits; empty for none.
    pub requests_cpu: String,
    /// Memory that it asks for.
    pub requests_memory: String,
    /// Processor time that it may have at most.
    pub limits_cpu: String,
    /// Memory that it may have at most.
    pub limits_memory: String,
    /// Whether images get digests.
    pub pin_images: bool,
}

/// One step of a JSON patch (RFC 6902): all of ours add something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    op: &'static str,
    path: String,
    value: Value,
}

impl Operation {
    fn add(path: impl Into<String>, value: Value) -> Self {
        Self { op: "add", path: path.into(), value }
    }
}

/// What is to be done to a pod; nothing where it does not ask, or has it already. What registries say about [`unpinned`](crate::pins::unpinned)
/// images is found out before.
///
/// # Errors
/// Where what it asks for cannot be understood, or given.
pub fn inject(pod: &Pod, settings: &Settings, pins: &Pins) -> Result<Vec<Operation>, Refusal> {
    let annotations = pod.metadata.annotations.iter().flatten();
    let Some(request) = Request::read(annotations.map(|(name, value)| (name.as_str(), value.as_str())))? else {
        return Ok(Vec::new());
    };
    let spec = pod.spec.as_ref().ok_or_else(|| Refusal::new("the pod has no spec"))?;
    let place = place::Place::of(spec, &request)?;
    let config = agent_config::write(&request, settings, place.folder, place.mode)?;
    let is_pinned = pins::is_asked(&request, settings);
    if request.is_injected {
        place::check_injected(spec)?;
        return if is_pinned { pins::check(spec) } else { Ok(()) }.map(|()| Vec::new());
    }
    place::check_free(spec)?;
    let (mut image, mut patch) = (request.image.as_ref().unwrap_or(&settings.image).clone(), Vec::new());
    if is_pinned {
        // What is there already is put in another's place.
        let images = pins::changed(spec, pins)?.into_iter();
        patch.extend(images.map(|(list, index, image)| Operation::add(format!("/spec/{list}/{index}/image"), json!(image))));
        image = pins::pinned(AGENT, &image, pins)?.unwrap_or(image);
    }
    let agent = container::agent(&request, settings, &place, &config, &image);
    add(&mut patch, spec, &request, settings, &place, agent);
    Ok(patch)
}

/// Adds what the agent is, and all that comes with it.
fn add(
    patch: &mut Vec<Operation>,
    spec: &PodSpec,
    request: &Request,
    settings: &Settings,
    place: &place::Place<'_>,
    agent: Value,
) {
    if matches!(request.notify, Some(Notify::Signal { .. })) && spec.share_process_namespace != Some(true) {
        patch.push(Operation::add("/spec/shareProcessNamespace", json!(true)));
    }
    append(patch, "/spec/volumes", spec.volumes.as_ref().is_some_and(|volumes| !volumes.is_empty()), volumes(request, settings));
    let mount = json!({ "name": SECRETS_VOLUME, "mountPath": place.folder, "readOnly": true });
    let lists =
        [("containers", spec.containers.as_slice()), ("initContainers", spec.init_containers.as_deref().unwrap_or_default())];
    for (list, containers) in lists {
        for (index, container) in containers.iter().enumerate().filter(|(_, container)| place.has(container)) {
            let path = format!("/spec/{list}/{index}/volumeMounts");
            append(patch, &path, container.volume_mounts.as_ref().is_some_and(|mounts| !mounts.is_empty()), vec![mount.clone()]);
        }
    }
    // Last of all, for the places of the others change with it.
    match spec.init_containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
        true => patch.push(Operation::add("/spec/initContainers/0", agent)),
        false => patch.push(Operation::add("/spec/initContainers", json!([agent]))),
    }
    patch.push(Operation::add(format!("/metadata/annotations/{}", STATUS.replace('/', "~1")), json!(INJECTED)));
}

/// Adds values to a list, which is made where it is not there.
fn append(patch: &mut Vec<Operation>, list: &str, is_there: bool, values: Vec<Value>) {
    match is_there {
        true => patch.extend(values.into_iter().map(|value| Operation::add(format!("{list}/-"), value))),
        false => patch.push(Operation::add(list, Value::Array(values))),
    }
}

fn volumes(request: &Request, settings: &Settings) -> Vec<Value> {
    let size = request.volume_size.as_ref().unwrap_or(&settings.volume_size);
    let token = json!({ "audience": settings.audience, "expirationSeconds": TOKEN_SECONDS, "path": "token" });
    let ca = request.ca_config_map.as_ref().unwrap_or(&settings.ca_config_map);
    let mut volumes = vec![
        json!({ "name": SECRETS_VOLUME, "emptyDir": { "medium": "Memory", "sizeLimit": size } }),
        json!({ "name": TOKEN_VOLUME, "projected": { "sources": [{ "serviceAccountToken": token }] } }),
        json!({ "name": CA_VOLUME, "configMap": { "name": ca } }),
    ];
    let templates = request.files.iter().filter_map(|(name, file)| Some((name, file.template_config_map.as_ref()?)));
    let sources: Vec<Value> = templates
        .map(|(name, (map, key))| json!({ "configMap": { "name": map, "items": [{ "key": key, "path": name }] } }))
        .collect();
    if !sources.is_empty() {
        volumes.push(json!({ "name": TEMPLATES_VOLUME, "projected": { "sources": sources } }));
    }
    volumes
}

/// Whether a container is the agent's.
fn is_agent(container: &Container) -> bool {
    container.name == AGENT
}
