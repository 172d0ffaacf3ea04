//! The agent's container.

use serde_json::{Map, Value, json};

use super::{
    AGENT, CA_FOLDER, CA_VOLUME, SECRETS_VOLUME, Settings, TEMPLATES_FOLDER, TEMPLATES_VOLUME, TOKEN_FOLDER, TOKEN_VOLUME,
    place::Place,
};
use crate::annotations::{Agent, Request};

/// The agent's program in its image.
const PROGRAM: &str = "/coffer-agent";
/// How often it is asked whether the files are there, in seconds, and how often that may fail.
const PROBE_SECONDS: u32 = 1;
const PROBE_FAILURES: u32 = 120;

/// The container, as JSON of the API's `Container`.
pub(super) fn agent(request: &Request, settings: &Settings, place: &Place<'_>, config: &str, image: &str) -> Value {
    // An argument's `$(NAME)` would stand for a variable: `$$` is one that stands for itself.
    let config = config.replace('$', "$$");
    let mut mounts = vec![
        json!({ "name": SECRETS_VOLUME, "mountPath": place.folder }),
        json!({ "name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": true }),
        json!({ "name": CA_VOLUME, "mountPath": CA_FOLDER, "readOnly": true }),
    ];
    if request.files.values().any(|file| file.template_config_map.is_some()) {
        mounts.push(json!({ "name": TEMPLATES_VOLUME, "mountPath": TEMPLATES_FOLDER, "readOnly": true }));
    }
    let mode = match request.agent {
        Agent::Init => "init",
        Agent::Sidecar => "sidecar",
    };
    let agent = json!({
        "name": AGENT,
        "image": image,
        "args": [mode, "--config-text", config],
        // What it says last is told where people look first: by `kubectl describe`.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": resources(request, settings),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": place.agent.uid,
            "runAsGroup": place.agent.gid,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": mounts,
    });
    let sidecar = json!({
        "restartPolicy": "Always",
        "startupProbe": {
            "exec": { "command": [PROGRAM, "probe", "--config-text", config] },
            "periodSeconds": PROBE_SECONDS,
            "failureThreshold": PROBE_FAILURES,
        },
    });
    match (agent, sidecar) {
        (Value::Object(mut agent), Value::Object(sidecar)) if request.agent == Agent::Sidecar => {
            agent.extend(sidecar);
            Value::Object(agent)
        }
        (agent, _) => agent,
    }
}

fn resources(request: &Request, settings: &Settings) -> Value {
    let usual = [
        ("requests", "cpu", &settings.requests_cpu),
        ("requests", "memory", &settings.requests_memory),
        ("limits", "cpu", &settings.limits_cpu),
        ("limits", "memory", &settings.limits_memory),
    ];
    let mut resources = Map::new();
    for (kind, resource, usual) in usual {
        let amount = request.resources.get(&(kind, resource)).unwrap_or(usual);
        if !amount.is_empty() {
            let of_kind = resources.entry(kind).or_insert_with(|| Value::Object(Map::new()));
            of_kind.as_object_mut().map(|of_kind| of_kind.insert(resource.to_owned(), json!(amount)));
        }
    }
    Value::Object(resources)
}
