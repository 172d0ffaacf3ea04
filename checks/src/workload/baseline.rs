//! What the Pod Security level baseline wants.

use k8s_openapi::api::core::v1::{HTTPGetAction, LifecycleHandler, Pod, PodSecurityContext, SELinuxOptions, TCPSocketAction};

use super::{
    PodCheck,
    container::{each, whole},
};
use crate::{Check, Severity, Tier};

/// Capabilities that may be added: those that container runtimes give anyhow.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Settings of the kernel that are a pod's own.
const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
/// SELinux' types for containers.
const SELINUX_TYPES: &[&str] = &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
/// How AppArmor's profile was chosen before there was a field.
const APPARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

pub(super) static CHECKS: &[PodCheck] = &[
    PodCheck {
        about: Check {
            id: "POD-01",
            title: "no container is privileged",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Kubernetes-1.10 5.2.2", "CIS-Docker-1.6.0 5.5"],
            why: "A privileged container is root on the node, and reads the memory of every pod there.",
            remedy: "privileged: false, and the one capability or device that is needed",
        },
        failures: |pod| {
            each(pod, |container| {
                container.of(|context| &context.privileged).is_some_and(|is| *is).then(|| "it is privileged".to_owned())
            })
        },
    },
    PodCheck {
        about: Check {
            id: "POD-02",
            title: "the node's processes are not seen",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Kubernetes-1.10 5.2.3", "CIS-Docker-1.6.0 5.16"],
            why: "Environments and files of other pods' processes are below /proc.",
            remedy: "hostPID: false",
        },
        failures: |pod| whole(pod, |spec| spec.host_pid.unwrap_or_default().then(|| "hostPID: true".to_owned())),
    },
    PodCheck {
        about: Check {
            id: "POD-03",
            title: "memory is not shared with the node's processes",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &["CIS-Kubernetes-1.10 5.2.4", "CIS-Docker-1.6.0 5.17"],
            why: "What the node's processes share with one another can be read and written.",
            remedy: "hostIPC: false",
        },
        failures: |pod| whole(pod, |spec| spec.host_ipc.unwrap_or_default().then(|| "hostIPC: true".to_owned())),
    },
    PodCheck {
        about: Check {
            id: "POD-04",
            title: "the pod has a network of its own",
            severity: Severity::High,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Kubernetes-1.10 5.2.5", "CIS-Docker-1.6.0 5.10"],
            why: "It reaches what listens on the node alone, and no NetworkPolicy is for it.",
            remedy: "hostNetwork: false",
        },
        failures: |pod| whole(pod, |spec| spec.host_network.unwrap_or_default().then(|| "hostNetwork: true".to_owned())),
    },
    PodCheck {
        about: Check {
            id: "POD-06",
            title: "no folder of the node is mounted",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Kubernetes-1.10 5.2.12"],
            why: "What others leave there can be read, and what they run can be written.",
            remedy: "a PersistentVolumeClaim or an emptyDir",
        },
        failures: |pod| {
            let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
            let hosts = volumes.filter_map(|volume| Some((&volume.name, &volume.host_path.as_ref()?.path)));
            hosts.map(|(name, path)| format!("volume {name}: hostPath {path}")).collect()
        },
    },
    PodCheck {
        about: Check {
            id: "POD-11",
            title: "no capability is added that runtimes do not give",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Kubernetes-1.10 5.2.9"],
            why: "Each is a part of what root may do.",
            remedy: "take it out of capabilities.add",
        },
        failures: |pod| {
            each(pod, |container| {
                let added: Vec<_> = container.added().filter(|added| !CAPABILITIES.contains(added)).collect();
                (!added.is_empty()).then(|| format!("it is given {}", added.join(", ")))
            })
        },
    },
    PodCheck {
        about: Check {
            id: "POD-14",
            title: "system calls are filtered",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &["CIS-Kubernetes-1.10 5.7.2", "CIS-Docker-1.6.0 5.22"],
            why: "The kernel's rarely used calls are where containers are broken out of.",
            remedy: "seccompProfile: {type: RuntimeDefault}",
        },
        failures: |pod| {
            let is_wrong =
                |kind: &str| (!matches!(kind, "RuntimeDefault" | "Localhost")).then(|| format!("seccompProfile: {kind}"));
            let mut wrong = context(pod)
                .and_then(|context| is_wrong(&context.seccomp_profile.as_ref()?.type_))
                .map_or_else(Vec::new, |wrong| vec![wrong]);
            wrong.extend(each(pod, |container| is_wrong(&container.of(|context| &context.seccomp_profile)?.type_)));
            wrong
        },
    },
    PodCheck {
        about: Check {
            id: "POD-16",
            title: "AppArmor and SELinux are not turned off or weakened",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Docker-1.6.0 5.2", "CIS-Docker-1.6.0 5.3"],
            why: "They keep a container that was broken out of from the node's files.",
            remedy: "leave appArmorProfile and seLinuxOptions out",
        },
        failures: security_modules,
    },
    PodCheck {
        about: Check {
            id: "POD-17",
            title: "no file of /proc is unmasked",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &[],
            why: "What runtimes hide of /proc tells of the node, and changes it.",
            remedy: "leave procMount out",
        },
        failures: |pod| {
            each(pod, |container| {
                let mount = container.of(|context| &context.proc_mount)?;
                (mount != "Default").then(|| format!("procMount: {mount}"))
            })
        },
    },
    PodCheck {
        about: Check {
            id: "POD-18",
            title: "settings of the kernel are the pod's own",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &[],
            why: "Others reach the node, and the pods on it.",
            remedy: "take it out of sysctls, or set it on the node",
        },
        failures: |pod| {
            let sysctls = context(pod).into_iter().flat_map(|context| context.sysctls.iter().flatten());
            sysctls.filter(|sysctl| !SYSCTLS.contains(&sysctl.name.as_str())).map(|sysctl| sysctl.name.clone()).collect()
        },
    },
    PodCheck {
        about: Check {
            id: "POD-19",
            title: "no port of the node is taken",
            severity: Severity::Low,
            tier: Tier::Advisory,
            benchmarks: &["CIS-Kubernetes-1.10 5.2.13"],
            why: "It is reached past all services, and past many a policy.",
            remedy: "a Service, and no hostPort",
        },
        failures: |pod| {
            each(pod, |container| {
                let ports: Vec<_> = container.ports.iter().filter_map(|port| port.host_port).filter(|port| *port != 0).collect();
                (!ports.is_empty())
                    .then(|| format!("hostPort {}", ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
            })
        },
    },
    PodCheck {
        about: Check {
            id: "POD-34",
            title: "no container runs on the node itself (Windows)",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Kubernetes-1.10 5.2.11"],
            why: "It is a program of the node's, with all that this one may do.",
            remedy: "hostProcess: false",
        },
        failures: |pod| {
            let is = || "hostProcess: true".to_owned();
            let of_pod = context(pod).and_then(|context| context.windows_options.as_ref()?.host_process).unwrap_or_default();
            let mut wrong: Vec<_> = of_pod.then(is).into_iter().collect();
            wrong.extend(each(pod, |container| {
                container.of(|context| &context.windows_options)?.host_process.unwrap_or_default().then(is)
            }));
            wrong
        },
    },
    PodCheck {
        about: Check {
            id: "POD-39",
            title: "probes and hooks ask the pod itself",
            severity: Severity::Low,
            tier: Tier::Advisory,
            benchmarks: &[],
            why: "With a host in them, the kubelet asks what the pod cannot reach.",
            remedy: "leave host out of httpGet and tcpSocket",
        },
        failures: |pod| {
            each(pod, |container| {
                let probes = container.probes.iter().flatten().map(|probe| (probe.http_get.as_ref(), probe.tcp_socket.as_ref()));
                let hooks = container.lifecycle.into_iter().flat_map(|hooks| [&hooks.post_start, &hooks.pre_stop]).flatten();
                let hooks = hooks.map(|hook: &LifecycleHandler| (hook.http_get.as_ref(), hook.tcp_socket.as_ref()));
                let host = |(http, tcp): (Option<&HTTPGetAction>, Option<&TCPSocketAction>)| {
                    let http = http.and_then(|http| http.host.clone()).filter(|host| !host.is_empty());
                    http.or_else(|| tcp.and_then(|tcp| tcp.host.clone()).filter(|host| !host.is_empty()))
                };
                probes.chain(hooks).find_map(host).map(|host| format!("host {host}"))
            })
        },
    },
];

/// The security context of the pod.
pub(super) fn context(pod: &Pod) -> Option<&PodSecurityContext> {
    pod.spec.as_ref()?.security_context.as_ref()
}

fn security_modules(pod: &Pod) -> Vec<String> {
    let apparmor = |kind: &str| (!matches!(kind, "RuntimeDefault" | "Localhost")).then(|| format!("appArmorProfile: {kind}"));
    let selinux = |options: &SELinuxOptions| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (kind, user, role) = (text(&options.type_), text(&options.user), text(&options.role));
        let is_usual = SELINUX_TYPES.contains(&kind.as_str()) && user.is_empty() && role.is_empty();
        (!is_usual).then(|| format!("seLinuxOptions: type {kind:?}, user {user:?}, role {role:?}"))
    };
    let mut wrong = Vec::new();
    if let Some(context) = context(pod) {
        wrong.extend(context.app_armor_profile.as_ref().and_then(|profile| apparmor(&profile.type_)));
        wrong.extend(context.se_linux_options.as_ref().and_then(selinux));
    }
    wrong.extend(each(pod, |container| apparmor(&container.of(|context| &context.app_armor_profile)?.type_)));
    wrong.extend(each(pod, |container| selinux(container.of(|context| &context.se_linux_options)?)));
    for (name, value) in pod.metadata.annotations.iter().flatten().filter(|(name, _)| name.starts_with(APPARMOR_ANNOTATION)) {
        if !(value.is_empty() || value == "runtime/default" || value.starts_with("localhost/")) {
            wrong.push(format!("annotation {name}: {value}"));
        }
    }
    wrong
}
