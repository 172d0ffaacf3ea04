//! What the Pod Security level restricted wants beside baseline.

use super::{
    PodCheck,
    baseline::context,
    container::{each, is_for_windows},
};
use crate::{Check, Severity, Tier};

pub(super) static CHECKS: &[PodCheck] = &[
    PodCheck {
        about: Check {
            id: "POD-08",
            title: "no process can get more rights than it began with",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Kubernetes-1.10 5.2.6", "CIS-Docker-1.6.0 5.26"],
            why: "A set-user-id program makes anybody root.",
            remedy: "allowPrivilegeEscalation: false in every container",
        },
        failures: |pod| {
            let is_allowed = |allowed: Option<&bool>| allowed.copied().unwrap_or(true);
            match is_for_windows(pod) {
                true => Vec::new(),
                false => each(pod, |container| {
                    is_allowed(container.of(|context| &context.allow_privilege_escalation))
                        .then(|| "allowPrivilegeEscalation is not false".to_owned())
                }),
            }
        },
    },
    PodCheck {
        about: Check {
            id: "POD-09",
            title: "nothing runs as root",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Kubernetes-1.10 5.2.7"],
            why: "Root in a container is root on the node, but for what the kernel keeps from it.",
            remedy: "runAsNonRoot: true, and a runAsUser that is not 0",
        },
        failures: |pod| {
            let of_pod = context(pod).and_then(|context| context.run_as_non_root);
            let mut wrong: Vec<String> = (of_pod == Some(false)).then(|| "runAsNonRoot: false".to_owned()).into_iter().collect();
            wrong.extend((context(pod).and_then(|context| context.run_as_user) == Some(0)).then(|| "runAsUser: 0".to_owned()));
            wrong.extend(each(pod, |container| {
                let own = container.of(|context| &context.run_as_non_root).copied();
                match own.or_else(|| of_pod.filter(|is| *is)) {
                    _ if container.of(|context| &context.run_as_user) == Some(&0) => Some("runAsUser: 0".to_owned()),
                    Some(true) => None,
                    _ => Some("runAsNonRoot is not true".to_owned()),
                }
            }));
            wrong
        },
    },
    PodCheck {
        about: Check {
            id: "POD-12",
            title: "all capabilities are dropped",
            severity: Severity::Low,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Kubernetes-1.10 5.2.8", "CIS-Kubernetes-1.10 5.2.10"],
            why: "Those that runtimes give have been enough to break out with.",
            remedy: "capabilities: {drop: [ALL]}, and NET_BIND_SERVICE added where it is needed",
        },
        failures: |pod| match is_for_windows(pod) {
            true => Vec::new(),
            false => each(pod, |container| {
                let drops = container.capabilities().and_then(|capabilities| capabilities.drop.as_ref());
                let drops_all = drops.is_some_and(|drops| drops.iter().any(|dropped| dropped == "ALL"));
                match container.added().find(|added| *added != "NET_BIND_SERVICE") {
                    Some(added) => Some(format!("it is given {added}")),
                    None => (!drops_all).then(|| "it does not drop ALL".to_owned()),
                }
            }),
        },
    },
    PodCheck {
        about: Check {
            id: "POD-15",
            title: "a filter for system calls is named",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Kubernetes-1.10 5.7.2"],
            why: "Without a name there is none, unless the kubelet says otherwise.",
            remedy: "seccompProfile: {type: RuntimeDefault} for the pod",
        },
        failures: |pod| {
            let of_pod = context(pod).is_some_and(|context| context.seccomp_profile.is_some());
            match of_pod || is_for_windows(pod) {
                true => Vec::new(),
                false => each(pod, |container| {
                    container.of(|context| &context.seccomp_profile).is_none().then(|| "no seccompProfile".to_owned())
                }),
            }
        },
    },
    PodCheck {
        about: Check {
            id: "POD-40",
            title: "volumes are of kinds that a node's owner need not fear",
            severity: Severity::Low,
            tier: Tier::OptIn,
            benchmarks: &[],
            why: "Others mount what is the node's, or talk to servers as the node.",
            remedy: "a PersistentVolumeClaim for what is kept",
        },
        failures: |pod| {
            let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
            let others = volumes.filter(|volume| {
                let usual = [
                    volume.config_map.is_some(),
                    volume.csi.is_some(),
                    volume.downward_api.is_some(),
                    volume.empty_dir.is_some(),
                    volume.ephemeral.is_some(),
                    volume.image.is_some(),
                    volume.persistent_volume_claim.is_some(),
                    volume.projected.is_some(),
                    volume.secret.is_some(),
                ];
                // One that says nothing is an emptyDir.
                let says_nothing =
                    serde_json::to_value(volume).ok().and_then(|volume| Some(volume.as_object()?.len())) == Some(1);
                !usual.contains(&true) && !says_nothing
            });
            others.map(|volume| format!("volume {}", volume.name)).collect()
        },
    },
];
