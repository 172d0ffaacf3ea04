//! Containers of a pod, of all three kinds.

use k8s_openapi::api::core::v1::{
    Capabilities, ContainerPort, EnvVar, Lifecycle, Pod, PodSpec, Probe, SecurityContext, VolumeMount,
};

/// What the checks look at of a container.
pub(super) struct Container<'a> {
    pub(super) name: &'a str,
    pub(super) image: Option<&'a str>,
    /// Whether somebody added it to a pod that ran, to debug it.
    pub(super) is_ephemeral: bool,
    pub(super) ports: &'a [ContainerPort],
    pub(super) env: &'a [EnvVar],
    pub(super) mounts: &'a [VolumeMount],
    pub(super) probes: [Option<&'a Probe>; 3],
    pub(super) lifecycle: Option<&'a Lifecycle>,
    context: Option<&'a SecurityContext>,
}

macro_rules! container {
    ($container:expr, $is_ephemeral:expr) => {
        Container {
            name: &$container.name,
            image: $container.image.as_deref(),
            is_ephemeral: $is_ephemeral,
            ports: $container.ports.as_deref().unwrap_or_default(),
            env: $container.env.as_deref().unwrap_or_default(),
            mounts: $container.volume_mounts.as_deref().unwrap_or_default(),
            probes: [&$container.liveness_probe, &$container.readiness_probe, &$container.startup_probe].map(Option::as_ref),
            lifecycle: $container.lifecycle.as_ref(),
            context: $container.security_context.as_ref(),
        }
    };
}

/// Every container: init containers, containers, and those that were added to debug the pod.
pub(super) fn containers(pod: &Pod) -> impl Iterator<Item = Container<'_>> {
    let spec = pod.spec.as_ref();
    let init = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let main = spec.into_iter().flat_map(|spec| &spec.containers);
    let ephemeral = spec.into_iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    init.chain(main).map(|container| container!(container, false)).chain(ephemeral.map(|container| container!(container, true)))
}

impl<'a> Container<'a> {
    /// A part of its security context.
    pub(super) fn of<T>(&self, part: impl FnOnce(&'a SecurityContext) -> &'a Option<T>) -> Option<&'a T> {
        self.context.and_then(|context| part(context).as_ref())
    }

    pub(super) fn capabilities(&self) -> Option<&'a Capabilities> {
        self.of(|context| &context.capabilities)
    }

    /// Capabilities that it is given beyond the runtime's own.
    pub(super) fn added(&self) -> impl Iterator<Item = &'a str> {
        self.capabilities().into_iter().flat_map(|capabilities| capabilities.add.iter().flatten()).map(String::as_str)
    }
}

/// What is wrong with each container.
pub(super) fn each(pod: &Pod, wrong: impl Fn(&Container<'_>) -> Option<String>) -> Vec<String> {
    containers(pod).filter_map(|container| Some(format!("container {}: {}", container.name, wrong(&container)?))).collect()
}

/// What is wrong with the pod itself.
pub(super) fn whole(pod: &Pod, wrong: impl FnOnce(&PodSpec) -> Option<String>) -> Vec<String> {
    pod.spec.as_ref().and_then(wrong).into_iter().collect()
}

/// Whether it is for Windows, which has none of what Linux restricts by.
pub(super) fn is_for_windows(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.os.as_ref()).is_some_and(|os| os.name == "windows")
}
