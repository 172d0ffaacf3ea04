//! What a pod that uses the vault is made of: which of its containers can get at its secrets, from which images, and how far it
//! is confined.

use std::{collections::BTreeSet, sync::Arc};

use coffer_checks::workload::{Level, Pod, level};
use k8s_openapi::api::core::v1::{
    Container as PodContainer, ContainerStatus, EphemeralContainer, PodSpec, PodStatus, Volume, VolumeMount,
};

/// What is known of a pod that has a token for the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// The level of Pod Security that it keeps.
    pub level: Level,
    /// The containers that can get at its secrets: those that mount the token or a volume in memory that such a one mounts too;
    /// those added to it while it runs; all, where they share their processes. At least one.
    pub containers: Vec<Container>,
}

/// A container that can get at its pod's secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image, as the pod asks for it.
    pub image: String,
    /// The image that runs, as the node calls it; empty until it does.
    pub running: String,
}

/// What is known of a pod, from its object; none where it cannot be told.
pub(crate) fn read(json: &str, audience: &str) -> Option<Arc<Workload>> {
    let pod: Pod = serde_json::from_str(json).ok()?;
    let spec = pod.spec.as_ref()?;
    let containers = holders(spec, pod.status.as_ref(), audience);
    Some(Arc::new(Workload { level: level(&pod), containers })).filter(|workload| !workload.containers.is_empty())
}

/// A container of whichever kind.
struct Part<'a> {
    name: &'a str,
    image: &'a str,
    mounts: &'a [VolumeMount],
    /// It was added to the pod while that ran.
    added: bool,
}

impl<'a> From<&'a PodContainer> for Part<'a> {
    fn from(container: &'a PodContainer) -> Self {
        let (image, mounts) =
            (container.image.as_deref().unwrap_or_default(), container.volume_mounts.as_deref().unwrap_or_default());
        Self { name: &container.name, image, mounts, added: false }
    }
}

impl<'a> From<&'a EphemeralContainer> for Part<'a> {
    fn from(container: &'a EphemeralContainer) -> Self {
        let (image, mounts) =
            (container.image.as_deref().unwrap_or_default(), container.volume_mounts.as_deref().unwrap_or_default());
        Self { name: &container.name, image, mounts, added: true }
    }
}

impl Part<'_> {
    fn mounts_any(&self, volumes: &BTreeSet<&str>) -> bool {
        self.mounts.iter().any(|mount| volumes.contains(mount.name.as_str()))
    }
}

fn holders(spec: &PodSpec, status: Option<&PodStatus>, audience: &str) -> Vec<Container> {
    let all = spec.init_containers.iter().flatten().chain(&spec.containers).map(Part::from);
    let all: Vec<_> = all.chain(spec.ephemeral_containers.iter().flatten().map(Part::from)).collect();
    let volumes = || spec.volumes.iter().flatten();
    let tokens: BTreeSet<_> = volumes().filter(|volume| has_token(volume, audience)).map(|volume| volume.name.as_str()).collect();
    let first: Vec<_> = all.iter().filter(|part| part.mounts_any(&tokens)).collect();
    let in_memory = volumes().filter(|volume| is_in_memory(volume)).map(|volume| volume.name.as_str());
    let shared = in_memory.filter(|volume| first.iter().any(|part| part.mounts_any(&BTreeSet::from([*volume]))));
    let secrets: BTreeSet<_> = tokens.iter().copied().chain(shared).collect();
    let share_processes = spec.share_process_namespace == Some(true);
    let holds = |part: &&Part<'_>| share_processes || part.added || part.mounts_any(&secrets);
    let statuses: Vec<_> = status.map(statuses).unwrap_or_default();
    let running = |name: &str| statuses.iter().find(|status| status.name == name).map(|status| status.image_id.clone());
    let holder = |part: &Part<'_>| Container {
        name: part.name.to_owned(),
        image: part.image.to_owned(),
        running: running(part.name).unwrap_or_default(),
    };
    all.iter().filter(holds).map(holder).collect()
}

fn statuses(status: &PodStatus) -> Vec<&ContainerStatus> {
    let kinds = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    kinds.into_iter().flatten().flatten().collect()
}

fn has_token(volume: &Volume, audience: &str) -> bool {
    let sources = volume.projected.as_ref().and_then(|projected| projected.sources.as_ref());
    let tokens = sources.into_iter().flatten().filter_map(|source| source.service_account_token.as_ref());
    tokens.into_iter().any(|token| token.audience.as_deref() == Some(audience))
}

fn is_in_memory(volume: &Volume) -> bool {
    volume.empty_dir.as_ref().is_some_and(|volume| volume.medium.as_deref() == Some("Memory"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod() -> Value {
        let mount = |name: &str| json!([{"name": name, "mountPath": "/x"}]);
        json!({"metadata": {"name": "p", "uid": "u"}, "spec": {
            "volumes": [
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"audience": "coffer", "path": "t"}}]}},
                {"name": "mesh-token", "projected": {"sources": [{"serviceAccountToken": {"audience": "mesh", "path": "t"}}]}},
                {"name": "secrets", "emptyDir": {"medium": "Memory"}},
                {"name": "scratch", "emptyDir": {"medium": "Memory"}},
                {"name": "disk", "emptyDir": {}},
            ],
            "initContainers": [{"name": "agent", "image": "agent@sha256:1", "volumeMounts": [
                {"name": "token", "mountPath": "/t"}, {"name": "secrets", "mountPath": "/s"}, {"name": "disk", "mountPath": "/d"}]}],
            "containers": [
                {"name": "app", "image": "app@sha256:2", "volumeMounts": mount("secrets")},
                {"name": "mesh", "image": "mesh", "volumeMounts": mount("mesh-token")},
                {"name": "log", "image": "log", "volumeMounts": mount("disk")},
                {"name": "other", "image": "other", "volumeMounts": mount("scratch")},
            ]},
            "status": {"containerStatuses": [{"name": "app", "image": "app", "imageID": "app@sha256:2", "ready": true, "restartCount": 0}]}})
    }

    fn names(pod: &Value) -> Vec<String> {
        let workload = read(&pod.to_string(), "coffer");
        workload.iter().flat_map(|workload| &workload.containers).map(|container| container.name.clone()).collect()
    }

    #[test]
    fn who_mounts_the_token_or_what_is_written_with_it_holds_the_secrets() {
        assert_eq!(names(&pod()), ["agent", "app"]);
        let workload = read(&pod().to_string(), "coffer").unwrap();
        let [agent, app] = workload.containers.as_slice() else { panic!("two") };
        assert_eq!((agent.image.as_str(), agent.running.as_str()), ("agent@sha256:1", ""));
        assert_eq!((app.image.as_str(), app.running.as_str()), ("app@sha256:2", "app@sha256:2"));
        assert_eq!(workload.level, Level::Baseline);
    }

    #[test]
    fn who_sees_the_processes_of_others_or_comes_later_holds_them_too() {
        let mut shared = pod();
        shared["spec"]["shareProcessNamespace"] = true.into();
        assert_eq!(names(&shared), ["agent", "app", "mesh", "log", "other"]);
        let mut debugged = pod();
        debugged["spec"]["ephemeralContainers"] = json!([{"name": "shell", "image": "shell"}]);
        assert_eq!(names(&debugged), ["agent", "app", "shell"]);
    }

    #[test]
    fn a_pod_without_a_token_for_the_vault_tells_nothing() {
        assert!(read(&pod().to_string(), "another").is_none());
        assert!(read("{}", "coffer").is_none());
    }
}
