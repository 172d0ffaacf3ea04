//! What could take a secret out of a pod, past its level of Pod Security.

use k8s_openapi::api::core::v1::Pod;

use super::{
    PodCheck,
    container::{containers, each, whole},
};
use crate::{Check, Severity, Tier, is_secret_name};

/// Folders of a node from which everything on it is read or changed.
const NODE_FOLDERS: &[&str] = &[
    "/",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib/modules",
    "/proc",
    "/root",
    "/run",
    "/sys",
    "/usr",
    "/var",
    "/var/lib",
    "/var/lib/containerd",
    "/var/lib/docker",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/run",
];
/// Sockets with which everything is done that a runtime can.
const SOCKETS: &[&str] = &["docker.sock", "containerd.sock", "crio.sock", "cri-dockerd.sock", "podman.sock"];
/// Capabilities that are as good as root on the node, or read other processes' memory and traffic.
const CAPABILITIES: &[&str] =
    &["ALL", "BPF", "DAC_READ_SEARCH", "NET_ADMIN", "PERFMON", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO"];
pub(super) static CHECKS: &[PodCheck] = &[
    PodCheck {
        about: Check {
            id: "POD-05",
            title: "no folder that is the node itself is mounted",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Kubernetes-1.10 5.2.12", "CIS-Docker-1.6.0 5.6"],
            why: "The secrets of all pods of the node are below it, or its keys, or what it runs.",
            remedy: "take the mount out; for logs and metrics there are APIs",
        },
        failures: |pod| host_paths(pod, |path| NODE_FOLDERS.contains(&path) || path.starts_with("/var/lib/kubelet/")),
    },
    PodCheck {
        about: Check {
            id: "POD-07",
            title: "no container runtime's socket is mounted",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Docker-1.6.0 5.32"],
            why: "Whoever has the socket starts privileged containers and looks into all others.",
            remedy: "take the mount out, and build or watch through an API",
        },
        failures: |pod| {
            host_paths(pod, |path| {
                SOCKETS.iter().any(|socket| path.ends_with(socket))
                    || matches!(path, "/run/containerd" | "/run/docker" | "/run/crio")
            })
        },
    },
    PodCheck {
        about: Check {
            id: "POD-10",
            title: "no capability is added that leads out of the container",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Kubernetes-1.10 5.2.9", "CIS-Docker-1.6.0 5.4"],
            why: "With it a process reads the memory of others, loads code into the kernel or mounts the node's disks.",
            remedy: "take it out of capabilities.add",
        },
        failures: |pod| {
            each(pod, |container| {
                let added: Vec<_> =
                    container.added().filter(|added| CAPABILITIES.contains(&added.trim_start_matches("CAP_"))).collect();
                (!added.is_empty()).then(|| format!("it is given {}", added.join(", ")))
            })
        },
    },
    PodCheck {
        about: Check {
            id: "POD-20",
            title: "containers of different images do not see one another's processes",
            severity: Severity::High,
            tier: Tier::OptIn,
            benchmarks: &["NIST-800-190 4.4.3"],
            why: "Each reads the others' environment and files through /proc.",
            remedy: "shareProcessNamespace: false",
        },
        failures: |pod| {
            whole(pod, |spec| {
                let images: std::collections::BTreeSet<_> = containers(pod).filter_map(|container| container.image).collect();
                let is_shared = spec.share_process_namespace.unwrap_or_default() && images.len() > 1;
                is_shared.then(|| format!("shareProcessNamespace: true, with {} images", images.len()))
            })
        },
    },
    PodCheck {
        about: Check {
            id: "POD-21",
            title: "nobody debugs the pod",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &[],
            why: "Whoever is in a debug container sees what the application sees.",
            remedy: "delete the pod when the debugging is over: its replacement has none",
        },
        failures: |pod| {
            let debugging = containers(pod).filter(|container| container.is_ephemeral);
            debugging.map(|container| format!("container {} was added", container.name)).collect()
        },
    },
    PodCheck {
        about: Check {
            id: "POD-22",
            title: "images are named by digest",
            severity: Severity::High,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Kubernetes-1.10 5.5.1"],
            why: "A tag is moved by whoever may push: what runs tomorrow need not be what was checked today.",
            remedy: "image@sha256:..., or the annotation coffer.dev/pin-images: \"true\"",
        },
        failures: |pod| {
            each(pod, |container| {
                let image = container.image.unwrap_or_default();
                (!image.contains("@sha256:")).then(|| if image.is_empty() { "no image".to_owned() } else { image.to_owned() })
            })
        },
    },
    PodCheck {
        about: Check {
            id: "POD-25",
            title: "no secret is written into the environment",
            severity: Severity::High,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Kubernetes-1.10 5.4.1"],
            why: "Whoever may see the pod or its Deployment reads it, and so does every log of either.",
            remedy: "put it into Coffer, and have it injected as a file",
        },
        failures: |pod| {
            each(pod, |container| {
                let is_secret = |name: &str, value: &str| {
                    is_secret_name(name) && value.len() >= 6 && !value.starts_with(['/', '$', '<']) && !value.contains("://")
                };
                let named: Vec<_> = container
                    .env
                    .iter()
                    .filter(|variable| is_secret(&variable.name, variable.value.as_deref().unwrap_or_default()))
                    .map(|variable| variable.name.as_str())
                    .collect();
                (!named.is_empty()).then(|| named.join(", "))
            })
        },
    },
    PodCheck {
        about: Check {
            id: "POD-26",
            title: "no Secret of Kubernetes is in the environment",
            severity: Severity::Low,
            tier: Tier::Advisory,
            benchmarks: &["CIS-Kubernetes-1.10 5.4.1"],
            why: "It is in etcd, and in the environment of every process that the application starts.",
            remedy: "have it injected as a file",
        },
        failures: |pod| {
            each(pod, |container| {
                let named: Vec<_> = container
                    .env
                    .iter()
                    .filter(|variable| variable.value_from.as_ref().is_some_and(|from| from.secret_key_ref.is_some()))
                    .map(|variable| variable.name.as_str())
                    .collect();
                (!named.is_empty()).then(|| named.join(", "))
            })
        },
    },
    PodCheck {
        about: Check {
            id: "POD-28",
            title: "no mount of the pod's becomes one of the node's",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &["CIS-Docker-1.6.0 5.20"],
            why: "With it a container mounts over what the node and other pods see.",
            remedy: "mountPropagation: None or HostToContainer",
        },
        failures: |pod| {
            each(pod, |container| {
                let mount = container.mounts.iter().find(|mount| mount.mount_propagation.as_deref() == Some("Bidirectional"))?;
                Some(format!("{} is mounted with mountPropagation: Bidirectional", mount.mount_path))
            })
        },
    },
    PodCheck {
        about: Check {
            id: "POD-30",
            title: "the pod has a service account of its own",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Kubernetes-1.10 5.1.5"],
            why: "What is granted to default is granted to every pod of the namespace.",
            remedy: "serviceAccountName, for one application alone",
        },
        failures: |pod| {
            whole(pod, |spec| {
                let account = spec.service_account_name.as_deref().or(spec.service_account.as_deref()).unwrap_or_default();
                matches!(account, "" | "default").then(|| "it runs as the service account default".to_owned())
            })
        },
    },
];

/// Volumes that are such a path of the node.
fn host_paths(pod: &Pod, is: impl Fn(&str) -> bool) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let hosts = volumes.filter_map(|volume| Some((&volume.name, &volume.host_path.as_ref()?.path)));
    hosts.filter(|(_, path)| is(&clean(path))).map(|(name, path)| format!("volume {name}: hostPath {path}")).collect()
}

/// The path in one spelling: the API server takes `//etc/./` for what it is.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
