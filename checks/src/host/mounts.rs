//! Where data lie: secrets in pods, the system, containers.

use super::{
    HostCheck, Judge,
    facts::{Fact, HostFacts, List, Mount, Storage},
    memory,
};
use crate::{Check, Judgement, Severity, Tier};

/// The name of the volume of secrets in a pod that the injector has made.
pub(super) const SECRETS_VOLUME: &str = "coffer-secrets";
/// What is between a pod's folder and the name of a volume in memory.
pub(super) const VOLUMES: &str = "/volumes/kubernetes.io~empty-dir/";
/// Where container runtimes keep images and what containers write.
pub(super) const STORES: [&str; 4] =
    ["/var/lib/containerd", "/var/lib/docker", "/var/lib/containers/storage", "/var/lib/rancher/k3s/agent/containerd"];

pub(super) static CHECKS: &[HostCheck] = &[
    HostCheck {
        check: Check {
            id: "HST-04",
            title: "secrets of pods are in memory that is never written to a disk",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &["NIST-800-190 4.4.3"],
            why: "What lies in a file of a disk, or is swapped to one, outlives the pod and can be read by whoever gets the disk.",
            remedy: "let the injector make the volume (emptyDir with medium Memory); switch swap off, or use Linux 6.4 and a kubelet that mounts with noswap",
        },
        judge: Judge::Each(secrets),
    },
    HostCheck {
        check: Check {
            id: "HST-39",
            title: "the system's own files cannot be changed while it runs",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["NIST-800-190 4.5.1"],
            why: "Whoever is root once changes the kubelet or the runtime, and stays.",
            remedy: "use a system whose /usr is read only or protected by dm-verity, such as Flatcar, Bottlerocket or Talos",
        },
        judge: Judge::One(system),
    },
    HostCheck {
        check: Check {
            id: "HST-40",
            title: "what containers write lies on an encrypted disk",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["NIST-800-190 4.5.5"],
            why: "Logs and files of containers, with what programs wrote into them, can be read from a disk that is taken out.",
            remedy: "put the runtime's folder on a device of LUKS",
        },
        judge: Judge::Each(stores),
    },
];

fn secrets(facts: &HostFacts) -> Vec<(String, Judgement)> {
    let volumes = |mounts: &List<Mount>| {
        mounts.iter().filter(|mount| is_secrets(mount.point.as_str())).map(|mount| secret(facts, mount)).collect()
    };
    match &facts.mounts {
        Fact::Known(mounts) => volumes(mounts),
        Fact::Absent => vec![(String::new(), Judgement::unknown("no list of mounts is there"))],
        Fact::Unknown(why) => vec![(String::new(), Judgement::unknown(why.as_str()))],
    }
}

/// Whether a mount is the volume of secrets of a pod.
pub(super) fn is_secrets(point: &str) -> bool {
    point.rsplit_once(VOLUMES).is_some_and(|(_, name)| name == SECRETS_VOLUME)
}

fn secret(facts: &HostFacts, mount: &Mount) -> (String, Judgement) {
    let point = mount.point.as_str();
    let pod = point.rsplit_once(VOLUMES).and_then(|(pod, _)| pod.rsplit('/').next()).unwrap_or(point);
    let kind = mount.kind.as_str();
    let judgement = if kind == "ramfs" {
        Judgement::pass("ramfs, which is never swapped")
    } else if kind != "tmpfs" {
        Judgement::fail(format!("{point} is {kind}"))
    } else if mount.has("noswap") {
        Judgement::pass("tmpfs with noswap")
    } else {
        match memory::swaps_in_plain(facts) {
            Fact::Known(false) => Judgement::pass("tmpfs, and nothing is swapped to a disk in plain"),
            Fact::Known(true) => {
                Judgement::fail(format!("{point} is tmpfs without noswap, and the host swaps to a disk in plain"))
            }
            Fact::Absent => Judgement::unknown("it is not known whether the host swaps"),
            Fact::Unknown(why) => Judgement::unknown(why.as_str()),
        }
    };
    (format!("pod {pod}"), judgement)
}

fn at<'a>(mounts: &'a List<Mount>, path: &str) -> Option<&'a Mount> {
    // Of two mounts at one place the later hides the former.
    mounts.iter().rfind(|mount| mount.point.as_str() == path)
}

/// The mount that a path is on.
fn above<'a>(mounts: &'a List<Mount>, path: &str) -> Option<&'a Mount> {
    let covers = |mount: &&Mount| {
        let point = mount.point.as_str().trim_end_matches('/');
        path.strip_prefix(point).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    mounts.iter().filter(covers).max_by_key(|mount| mount.point.as_str().len())
}

fn system(facts: &HostFacts) -> Judgement {
    let absent = Judgement::unknown("no list of mounts is there");
    facts.mounts.judged(absent, |mounts| {
        let Some(mount) = at(mounts, "/usr").or_else(|| at(mounts, "/")) else {
            return Judgement::unknown("neither / nor /usr is among the mounts");
        };
        let point = &mount.point;
        match (&mount.storage, mount.has("ro")) {
            (Fact::Known(Storage::Verity), _) => Judgement::pass(format!("{point} is read with its checksums")),
            (_, true) => Judgement::pass(format!("{point} is read only")),
            (_, false) => Judgement::fail(format!("{point} can be written")),
        }
    })
}

fn stores(facts: &HostFacts) -> Vec<(String, Judgement)> {
    let here = STORES.into_iter().filter(|path| !matches!(facts.files.of(path), Fact::Absent));
    here.map(|path| {
        let judgement = match facts.files.of(path) {
            Fact::Unknown(why) => Judgement::unknown(why.as_str()),
            Fact::Absent | Fact::Known(_) => facts.mounts.judged(Judgement::unknown("no list of mounts is there"), |mounts| {
                let Some(mount) = above(mounts, path) else { return Judgement::unknown("its mount is not seen") };
                match &mount.storage {
                    Fact::Known(Storage::Encrypted) => Judgement::pass(format!("{} is on an encrypted device", mount.point)),
                    Fact::Known(Storage::Memory) => Judgement::pass(format!("{} is in memory", mount.point)),
                    Fact::Known(Storage::Plain | Storage::Verity) => {
                        Judgement::fail(format!("{} is on a device that is not encrypted", mount.point))
                    }
                    Fact::Absent => Judgement::unknown(format!("the device of {} is not seen", mount.point)),
                    Fact::Unknown(why) => Judgement::unknown(why.as_str()),
                }
            }),
        };
        (path.to_owned(), judgement)
    })
    .collect()
}
