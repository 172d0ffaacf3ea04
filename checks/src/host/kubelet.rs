//! What the kubelet answers to whom, and what it gives pods.

use super::{
    HostCheck, Judge, each,
    facts::{Fact, HostFacts, Kubelet, Setting},
    memory,
};
use crate::Judgement;

/// The kubelet's folder, unless it is told otherwise.
pub(super) const ROOT_DIR: &str = "/var/lib/kubelet";
/// The port at which a kubelet tells everybody, by habit.
const READ_ONLY_PORT: u16 = 10_255;

macro_rules! of_kubelet {
    ($id:literal, $severity:ident, $tier:ident, [$($benchmark:literal),*], $judge:ident, $title:literal, $why:literal, $remedy:literal) => {
        HostCheck {
            check: row!($id, $severity, $tier, [$($benchmark),*], $title, $why, $remedy),
            judge: Judge::Each(|facts| each(&facts.kubelets, Judgement::not_applicable("no kubelet runs here"), |kubelet| (String::new(), $judge(facts, kubelet)))),
        }
    };
}

#[rustfmt::skip]
pub(super) static CHECKS: &[HostCheck] = &[
    of_kubelet!("HST-71", Critical, Gate, ["CIS-Kubernetes-1.10 4.2.1"], anonymous,
        "the kubelet answers nobody who does not say who they are",
        "Whoever reaches its port may run programs in pods, and read what they hold.",
        "authentication.anonymous.enabled: false in the kubelet's configuration, and no --anonymous-auth"),
    of_kubelet!("HST-72", Critical, Gate, ["CIS-Kubernetes-1.10 4.2.2"], authorization,
        "the kubelet asks the API server who may do what",
        "Whoever has any certificate or token of the cluster runs programs in pods.",
        "authorization.mode: Webhook in the kubelet's configuration, and no --authorization-mode"),
    of_kubelet!("HST-73", High, Gate, ["CIS-Kubernetes-1.10 4.2.3"], client_ca,
        "the kubelet knows the CA of its clients",
        "Without it the API server cannot prove that it is the one that asks.",
        "authentication.x509.clientCAFile in the kubelet's configuration"),
    of_kubelet!("HST-74", High, Gate, ["CIS-Kubernetes-1.10 4.2.4"], read_only_port,
        "the kubelet has no port at which it tells everybody",
        "It tells whoever asks what runs in which pod, with its environment and its command lines.",
        "readOnlyPort: 0 in the kubelet's configuration, and no --read-only-port"),
    of_kubelet!("HST-75", Low, Advisory, ["CIS-Kubernetes-1.10 4.2.5"], streaming_idle,
        "the kubelet ends streams in which nothing happens",
        "Forgotten sessions stay open for ever.",
        "streamingConnectionIdleTimeout: 4h in the kubelet's configuration"),
    of_kubelet!("HST-76", Low, Advisory, ["CIS-Kubernetes-1.10 4.2.6"], iptables_chains,
        "the kubelet sees to its own rules of iptables",
        "Rules that are missing open ports of the host.",
        "makeIPTablesUtilChains: true in the kubelet's configuration"),
    of_kubelet!("HST-80", Low, Advisory, ["CIS-Kubernetes-1.10 4.2.13"], pids_limit,
        "a pod has a limit of processes",
        "One pod takes all processes of the host, its agent's among them.",
        "podPidsLimit: 4096 in the kubelet's configuration"),
    of_kubelet!("HST-81", Medium, OptIn, ["CIS-Kubernetes-1.10 5.7.2"], seccomp_default,
        "containers have a seccomp profile unless they say otherwise",
        "A container that says nothing reaches every system call, and each fault of the kernel behind them.",
        "seccompDefault: true in the kubelet's configuration"),
    of_kubelet!("HST-82", High, Gate, ["NIST-800-190 4.4.3"], swap,
        "memory of pods is not swapped",
        "The kernel writes secrets from a pod's memory to a disk.",
        "failSwapOn: true in the kubelet's configuration; or memorySwap.swapBehavior: NoSwap, with cgroup v2"),
];

fn setting<T: PartialEq + std::fmt::Display>(name: &str, setting: &Setting<T>, judge: impl FnOnce(&T) -> bool) -> Judgement {
    let from = &setting.from;
    setting.value.judged(Judgement::unknown(format!("{name} is not set, and has no default")), |value| {
        let evidence = format!("{name} is {value} ({from})");
        if judge(value) { Judgement::pass(evidence) } else { Judgement::fail(evidence) }
    })
}

fn anonymous(_: &HostFacts, kubelet: &Kubelet) -> Judgement {
    setting("authentication.anonymous.enabled", &kubelet.anonymous, |enabled| !enabled)
}

fn authorization(_: &HostFacts, kubelet: &Kubelet) -> Judgement {
    setting("authorization.mode", &kubelet.authorization, |mode| mode.as_str() == "Webhook")
}

fn client_ca(_: &HostFacts, kubelet: &Kubelet) -> Judgement {
    match &kubelet.client_ca.value {
        Fact::Absent => Judgement::fail("authentication.x509.clientCAFile is not set"),
        _ => setting("authentication.x509.clientCAFile", &kubelet.client_ca, |path| !path.as_str().is_empty()),
    }
}

fn read_only_port(facts: &HostFacts, kubelet: &Kubelet) -> Judgement {
    let judgement = setting("readOnlyPort", &kubelet.read_only_port, |port| *port == 0);
    if judgement.status != crate::Status::Pass {
        return judgement;
    }
    // The file may have been changed since the kubelet read it: what listens is what counts.
    match &facts.listeners {
        Fact::Known(listeners) if listeners.iter().any(|listener| listener.port == READ_ONLY_PORT) => {
            Judgement::fail(format!("{}, but port {READ_ONLY_PORT} is open", judgement.evidence))
        }
        Fact::Known(_) => judgement,
        Fact::Absent => Judgement::unknown(format!("{}, and no list of listeners is there", judgement.evidence)),
        Fact::Unknown(why) => Judgement::unknown(format!("{}, and {why}", judgement.evidence)),
    }
}

fn streaming_idle(_: &HostFacts, kubelet: &Kubelet) -> Judgement {
    setting("streamingConnectionIdleTimeout", &kubelet.streaming_idle, |time| !matches!(time.as_str(), "0" | "0s" | "0m" | "0h"))
}

fn iptables_chains(_: &HostFacts, kubelet: &Kubelet) -> Judgement {
    setting("makeIPTablesUtilChains", &kubelet.iptables_chains, |is_on| *is_on)
}

fn pids_limit(_: &HostFacts, kubelet: &Kubelet) -> Judgement {
    setting("podPidsLimit", &kubelet.pod_pids_limit, |limit| *limit > 0)
}

fn seccomp_default(_: &HostFacts, kubelet: &Kubelet) -> Judgement {
    setting("seccompDefault", &kubelet.seccomp_default, |is_on| *is_on)
}

fn swap(facts: &HostFacts, kubelet: &Kubelet) -> Judgement {
    let judgement = setting("failSwapOn", &kubelet.fail_swap_on, |fails| *fails);
    if judgement.status != crate::Status::Fail {
        return judgement;
    }
    let behavior = match &kubelet.swap_behavior.value {
        Fact::Known(behavior) => behavior.as_str(),
        Fact::Absent => "NoSwap",
        Fact::Unknown(why) => return Judgement::unknown(why.as_str()),
    };
    let told = format!("failSwapOn is false ({}), memorySwap.swapBehavior is {behavior}", kubelet.fail_swap_on.from);
    if !matches!(behavior, "NoSwap" | "") {
        return Judgement::fail(told);
    }
    match (facts.values.of("/sys/fs/cgroup/cgroup.controllers"), memory::swaps_in_plain(facts)) {
        (Fact::Known(_), _) => Judgement::pass(told),
        // With cgroup v1 the kubelet cannot keep a pod from swapping.
        (_, Fact::Known(false)) => Judgement::pass(format!("{told}, with cgroup v1; nothing is swapped to a disk in plain")),
        (Fact::Absent, Fact::Known(true)) => {
            Judgement::fail(format!("{told}, which does nothing with cgroup v1, and the host swaps"))
        }
        (Fact::Unknown(why), _) | (_, Fact::Unknown(why)) => Judgement::unknown(why.as_str()),
        (Fact::Absent, Fact::Absent) => Judgement::unknown("it is not known whether the host swaps"),
    }
}
