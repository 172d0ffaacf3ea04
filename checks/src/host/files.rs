//! Files and folders that nobody else may read or change.

use super::{
    HostCheck, Judge,
    facts::{Docker, Fact, File, FileKind, HostFacts, List, Text},
    root::joined,
};
use crate::{Check, Judgement, Severity, Tier};

/// The folder of what the control plane runs.
pub(super) const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// The folder of its keys and certificates.
pub(super) const PKI: &str = "/etc/kubernetes/pki";
/// etcd's keys and certificates.
pub(super) const PKI_ETCD: &str = "/etc/kubernetes/pki/etcd";
/// Kubeconfigs of the control plane.
pub(super) const KUBECONFIGS: [&str; 4] = [
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/super-admin.conf",
    "/etc/kubernetes/scheduler.conf",
    "/etc/kubernetes/controller-manager.conf",
];
/// Files and folders by which Docker is set up.
pub(super) const DOCKER_FILES: [&str; 8] = [
    "/etc/docker",
    "/etc/docker/daemon.json",
    "/usr/lib/systemd/system/docker.service",
    "/usr/lib/systemd/system/docker.socket",
    "/etc/systemd/system/docker.service",
    "/etc/systemd/system/docker.socket",
    "/etc/default/docker",
    "/etc/sysconfig/docker",
];
/// Where Docker and containerd find the certificates of registries.
pub(super) const REGISTRY_CERTIFICATES: [&str; 2] = ["/etc/docker/certs.d", "/etc/containerd/certs.d"];

pub(super) static CHECKS: &[HostCheck] = &[
    HostCheck {
        check: Check {
            id: "HST-52",
            title: "the kubelet's folder of pods is for root",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &["NIST-800-190 4.5.5"],
            why: "Volumes of pods lie in it, and those with secrets let everybody in: whoever is on the host reads them.",
            remedy: "chown root:root and chmod 0750 the kubelet's folder `pods`",
        },
        judge: Judge::Each(pods),
    },
    HostCheck {
        check: Check {
            id: "HST-64",
            title: "keys of Docker's TLS are for root, and nobody else changes its certificates",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &[
                "CIS-Docker-1.6.0 3.7",
                "CIS-Docker-1.6.0 3.8",
                "CIS-Docker-1.6.0 3.9",
                "CIS-Docker-1.6.0 3.10",
                "CIS-Docker-1.6.0 3.11",
                "CIS-Docker-1.6.0 3.12",
                "CIS-Docker-1.6.0 3.13",
                "CIS-Docker-1.6.0 3.14",
            ],
            why: "With the key somebody else is the daemon; with a CA of theirs, they are root on the host, or every registry.",
            remedy: "chown root:root, chmod 0400 keys and 0444 certificates",
        },
        judge: Judge::Each(tls_files),
    },
    HostCheck {
        check: Check {
            id: "HST-65",
            title: "only root changes how Docker is set up",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &[
                "CIS-Docker-1.6.0 3.1",
                "CIS-Docker-1.6.0 3.2",
                "CIS-Docker-1.6.0 3.3",
                "CIS-Docker-1.6.0 3.4",
                "CIS-Docker-1.6.0 3.5",
                "CIS-Docker-1.6.0 3.6",
                "CIS-Docker-1.6.0 3.17",
                "CIS-Docker-1.6.0 3.18",
                "CIS-Docker-1.6.0 3.19",
                "CIS-Docker-1.6.0 3.20",
                "CIS-Docker-1.6.0 3.21",
                "CIS-Docker-1.6.0 3.22",
            ],
            why: "Whoever changes its settings or its unit is root at the next start.",
            remedy: "chown root:root and chmod 0644 the file (0755 a folder)",
        },
        judge: Judge::Each(docker_files),
    },
    HostCheck {
        check: Check {
            id: "HST-83",
            title: "the kubelet's settings and keys are for root",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &[
                "CIS-Kubernetes-1.10 4.1.5",
                "CIS-Kubernetes-1.10 4.1.6",
                "CIS-Kubernetes-1.10 4.1.9",
                "CIS-Kubernetes-1.10 4.1.10",
            ],
            why: "With the kubelet's kubeconfig somebody is the node, and reads the Secrets of its pods.",
            remedy: "chown root:root and chmod 0600 the file",
        },
        judge: Judge::Each(kubelet_files),
    },
    HostCheck {
        check: Check {
            id: "HST-90",
            title: "manifests, keys and data of the control plane are for root",
            severity: Severity::High,
            tier: Tier::OptIn,
            benchmarks: &[
                "CIS-Kubernetes-1.10 1.1.1",
                "CIS-Kubernetes-1.10 1.1.2",
                "CIS-Kubernetes-1.10 1.1.3",
                "CIS-Kubernetes-1.10 1.1.4",
                "CIS-Kubernetes-1.10 1.1.5",
                "CIS-Kubernetes-1.10 1.1.6",
                "CIS-Kubernetes-1.10 1.1.7",
                "CIS-Kubernetes-1.10 1.1.8",
                "CIS-Kubernetes-1.10 1.1.11",
                "CIS-Kubernetes-1.10 1.1.13",
                "CIS-Kubernetes-1.10 1.1.14",
                "CIS-Kubernetes-1.10 1.1.15",
                "CIS-Kubernetes-1.10 1.1.16",
                "CIS-Kubernetes-1.10 1.1.17",
                "CIS-Kubernetes-1.10 1.1.18",
                "CIS-Kubernetes-1.10 1.1.19",
                "CIS-Kubernetes-1.10 1.1.21",
            ],
            why: "The CA's key makes anybody an administrator, and etcd's folder has every Secret in it.",
            remedy: "chown root:root, chmod 0600 the file (0700 etcd's folder, 0644 certificates)",
        },
        judge: Judge::Each(control_plane_files),
    },
];

/// How a file is: who owns it, and that it has no permission beyond these.
fn guarded(file: &File, allowed: u32) -> Judgement {
    let File { mode, uid, gid, .. } = file;
    match (uid, mode & 0o777 & !allowed) {
        (0, 0) => Judgement::pass(format!("mode {mode:04o}, owner 0:{gid}")),
        (0, _) => Judgement::fail(format!("mode {mode:04o}, owner 0:{gid}: not more than {allowed:04o}")),
        _ => Judgement::fail(format!("mode {mode:04o}, owner {uid}:{gid}: not root's")),
    }
}

/// One file that is there; nothing where it is not.
fn one(facts: &HostFacts, path: &str, allowed: impl FnOnce(&File) -> u32) -> Option<(String, Judgement)> {
    let judgement = match facts.files.of(path) {
        Fact::Known(file) => guarded(file, allowed(file)),
        Fact::Absent => return None,
        Fact::Unknown(why) => Judgement::unknown(why.as_str()),
    };
    Some((path.to_owned(), judgement))
}

/// One file that settings name: it must be there.
fn named(facts: &HostFacts, path: &str, allowed: u32) -> (String, Judgement) {
    one(facts, path, |_| allowed).unwrap_or_else(|| (path.to_owned(), Judgement::unknown("there is no such file")))
}

fn pods(facts: &HostFacts) -> Vec<(String, Judgement)> {
    let of_root = |root: &str| joined(root, "pods");
    match &facts.kubelets {
        Fact::Known(kubelets) => {
            kubelets.iter().map(|kubelet| named(facts, &of_root(kubelet.root_dir.as_str()), 0o750)).collect()
        }
        // Even where no kubelet runs now, what one left is there.
        Fact::Absent => one(facts, &of_root(super::kubelet::ROOT_DIR), |_| 0o750).into_iter().collect(),
        Fact::Unknown(why) => one(facts, &of_root(super::kubelet::ROOT_DIR), |_| 0o750)
            .map_or_else(|| vec![(String::new(), Judgement::unknown(why.as_str()))], |found| vec![found]),
    }
}

fn docker(facts: &HostFacts) -> Result<&Docker, Vec<(String, Judgement)>> {
    match &facts.docker {
        Fact::Known(docker) => Ok(docker),
        Fact::Absent => Err(vec![(String::new(), Judgement::not_applicable("there is no Docker here"))]),
        Fact::Unknown(why) => Err(vec![(String::new(), Judgement::unknown(why.as_str()))]),
    }
}

fn tls_files(facts: &HostFacts) -> Vec<(String, Judgement)> {
    let mut found = Vec::new();
    match &facts.docker {
        Fact::Known(docker) => {
            let each =
                |list: &List<Text>, allowed| list.iter().map(|path| named(facts, path.as_str(), allowed)).collect::<Vec<_>>();
            found.extend(each(&docker.certificates, 0o644));
            found.extend(each(&docker.keys, 0o600));
        }
        Fact::Absent => {}
        Fact::Unknown(why) => found.push((String::new(), Judgement::unknown(why.as_str()))),
    }
    for (path, names) in facts.folders.iter() {
        if !REGISTRY_CERTIFICATES.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        match names {
            Fact::Known(names) => {
                for name in names.iter().map(Text::as_str) {
                    let allowed = match name.rsplit_once('.') {
                        Some((_, "key")) => 0o600,
                        Some((_, "crt" | "cert" | "pem")) => 0o644,
                        _ => continue,
                    };
                    found.extend(one(facts, &joined(path, name), |_| allowed));
                }
            }
            Fact::Absent => {}
            Fact::Unknown(why) => found.push((path.to_owned(), Judgement::unknown(why.as_str()))),
        }
    }
    found
}

fn docker_files(facts: &HostFacts) -> Vec<(String, Judgement)> {
    if let Err(found) = docker(facts) {
        return found;
    }
    let allowed = |file: &File| if file.kind == FileKind::Folder { 0o755 } else { 0o644 };
    DOCKER_FILES.iter().filter_map(|path| one(facts, path, allowed)).collect()
}

fn kubelet_files(facts: &HostFacts) -> Vec<(String, Judgement)> {
    match &facts.kubelets {
        Fact::Known(kubelets) => {
            let files = kubelets.iter().flat_map(|kubelet| kubelet.config.iter().chain(&kubelet.kubeconfig));
            files.map(|path| named(facts, path.as_str(), 0o600)).collect()
        }
        Fact::Absent => vec![(String::new(), Judgement::not_applicable("no kubelet runs here"))],
        Fact::Unknown(why) => vec![(String::new(), Judgement::unknown(why.as_str()))],
    }
}

fn control_plane_files(facts: &HostFacts) -> Vec<(String, Judgement)> {
    let mut found: Vec<_> = KUBECONFIGS.iter().filter_map(|path| one(facts, path, |_| 0o600)).collect();
    for folder in [MANIFESTS, PKI, PKI_ETCD] {
        let names = match facts.folders.of(folder) {
            Fact::Known(names) => names,
            Fact::Absent => continue,
            Fact::Unknown(why) => {
                found.push((folder.to_owned(), Judgement::unknown(why.as_str())));
                continue;
            }
        };
        for name in names.iter().map(Text::as_str) {
            // A worker's kubelet has its CA here, which everybody may know.
            let allowed = |file: &File| match (file.kind, name.rsplit_once('.')) {
                (FileKind::Folder, _) => 0o755,
                (_, Some((_, "crt" | "pub"))) => 0o644,
                _ => 0o600,
            };
            found.extend(one(facts, &joined(folder, name), allowed));
        }
    }
    if let Fact::Known(etcds) = &facts.etcds {
        for etcd in etcds.iter() {
            // etcd's folder is its user's, where it has one.
            let path = etcd.data_dir.as_str();
            let judgement =
                facts.files.of(path).judged(Judgement::unknown("there is no such folder"), |file| match file.mode & 0o077 {
                    0 => Judgement::pass(format!("mode {:04o}, owner {}", file.mode, file.uid)),
                    _ => Judgement::fail(format!("mode {:04o}, owner {}: not more than 0700", file.mode, file.uid)),
                });
            found.push((path.to_owned(), judgement));
        }
    }
    found
}
