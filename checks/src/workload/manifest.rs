//! Pods in manifests: by themselves, and as templates of what makes them.

use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// Pods in a manifest, at most.
pub const MANIFEST_PODS_MAX: usize = 10_000;

/// Why a manifest cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError(String);

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ManifestError {}

/// The pods of an object of Kubernetes: a pod, what has a template of pods, or a list. Each has a name, `Deployment shop/api`. Other objects
/// have none.
///
/// # Errors
/// Where a pod is none, or there are more than [`MANIFEST_PODS_MAX`].
pub fn pods(object: &Value) -> Result<Vec<(String, Pod)>, ManifestError> {
    let mut found = Vec::new();
    collect(object, &mut found)?;
    Ok(found)
}

fn collect(object: &Value, found: &mut Vec<(String, Pod)>) -> Result<(), ManifestError> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    if let Some(items) = object.get("items").and_then(Value::as_array).filter(|_| text("kind").ends_with("List")) {
        // What `kubectl get -o json` puts into a list has no kind where the list says it.
        let kind = text("kind").trim_end_matches("List");
        return items.iter().try_for_each(|item| match item.as_object() {
            Some(object) if !object.contains_key("kind") && !kind.is_empty() => {
                let mut object = object.clone();
                object.insert("kind".to_owned(), json!(kind));
                collect(&Value::Object(object), found)
            }
            _ => collect(item, found),
        });
    }
    let template = match text("kind") {
        "Pod" => Some(object),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template"),
        "PodTemplate" => object.get("template"),
        "Deployment" | "DaemonSet" | "StatefulSet" | "ReplicaSet" | "ReplicationController" | "Job" => {
            object.pointer("/spec/template")
        }
        _ => None,
    };
    let Some(template) = template else { return Ok(()) };
    if found.len() == MANIFEST_PODS_MAX {
        return Err(ManifestError(format!("there are more than {MANIFEST_PODS_MAX} pods")));
    }
    let of_metadata = |name: &str| object.pointer(&format!("/metadata/{name}")).and_then(Value::as_str);
    let name = of_metadata("name").or_else(|| of_metadata("generateName")).unwrap_or("(without a name)");
    let name = match of_metadata("namespace") {
        Some(namespace) => format!("{} {namespace}/{name}", text("kind")),
        None => format!("{} {name}", text("kind")),
    };
    let pod = json!({ "metadata": template.get("metadata").unwrap_or(&json!({})), "spec": template.get("spec") });
    let pod: Pod = serde_json::from_value(pod).map_err(|error| ManifestError(format!("{name} is no pod: {error}")))?;
    if pod.spec.is_none() {
        return Err(ManifestError(format!("{name} has no spec of a pod")));
    }
    found.push((name, pod));
    Ok(())
}
