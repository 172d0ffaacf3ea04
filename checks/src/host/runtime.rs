//! Who reaches the container runtime, and where images come from.

use super::{
    HostCheck, Judge, each,
    facts::{Docker, Fact, FileKind, HostFacts, Listener, Registry},
};
use crate::{Check, Judgement, Severity, Tier};

/// Docker's socket, unless it is told otherwise.
pub(super) const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// The sockets of other runtimes.
pub(super) const SOCKETS: [&str; 4] = [
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/run/crio/crio.sock",
    "/var/run/cri-dockerd.sock",
];
/// The port at which Docker listens without TLS, by habit.
const DOCKER_PORT: u16 = 2375;

pub(super) static CHECKS: &[HostCheck] = &[
    HostCheck {
        check: Check {
            id: "HST-53",
            title: "Docker's socket is for root and the group docker",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Docker-1.6.0 3.15", "CIS-Docker-1.6.0 3.16"],
            why: "Whoever writes to it starts a container with the host's root in it, and reads every pod's secrets.",
            remedy: "chown root:docker and chmod 0660 the socket; SocketMode=0660 in docker.socket",
        },
        judge: Judge::Each(docker_sockets),
    },
    HostCheck {
        check: Check {
            id: "HST-54",
            title: "no runtime answers on the network without certificates of its clients",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Docker-1.6.0 2.7"],
            why: "Whoever reaches the port is root on the host.",
            remedy: "take the tcp:// host away, or set tlsverify with a CA of your own",
        },
        judge: Judge::Each(network),
    },
    HostCheck {
        check: Check {
            id: "HST-55",
            title: "the sockets of containerd and CRI-O are for root",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Docker-1.6.0 3.23", "CIS-Docker-1.6.0 3.24"],
            why: "Whoever writes to one runs programs in every container, and reads every pod's secrets.",
            remedy: "chown root:root and chmod 0660 the socket; look for what changed it",
        },
        judge: Judge::Each(sockets),
    },
    HostCheck {
        check: Check {
            id: "HST-56",
            title: "no container sees the runtime's socket",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &["CIS-Docker-1.6.0 5.32"],
            why: "A container with the socket has every other container's secrets, whatever its own rights are.",
            remedy: "take the hostPath or volume with the socket, or with a folder above it, out of the pod; except what needs it, by name",
        },
        judge: Judge::Each(shown),
    },
    HostCheck {
        check: Check {
            id: "HST-57",
            title: "images come over TLS, from registries that prove who they are",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &["CIS-Docker-1.6.0 2.5"],
            why: "Whoever is on the way gives the pod a program of theirs, and the pod's secrets to it.",
            remedy: "give the registry a certificate, and its CA to the runtime; take insecure-registries, http:// and skip_verify away",
        },
        judge: Judge::Each(registries),
    },
    HostCheck {
        check: Check {
            id: "HST-58",
            title: "containers on Docker's default network do not reach each other",
            severity: Severity::Medium,
            tier: Tier::Advisory,
            benchmarks: &["CIS-Docker-1.6.0 2.2"],
            why: "A container attacks those beside it.",
            remedy: "\"icc\": false in /etc/docker/daemon.json",
        },
        judge: Judge::One(icc),
    },
    HostCheck {
        check: Check {
            id: "HST-59",
            title: "root in Docker's containers is not root on the host",
            severity: Severity::Medium,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Docker-1.6.0 2.9"],
            why: "What leaves a container is root.",
            remedy: "\"userns-remap\": \"default\" in /etc/docker/daemon.json",
        },
        judge: Judge::One(userns),
    },
    HostCheck {
        check: Check {
            id: "HST-60",
            title: "processes in Docker's containers gain no privileges",
            severity: Severity::Medium,
            tier: Tier::Advisory,
            benchmarks: &["CIS-Docker-1.6.0 2.14"],
            why: "A program with the setuid bit makes anybody in the container root.",
            remedy: "\"no-new-privileges\": true in /etc/docker/daemon.json",
        },
        judge: Judge::One(no_new_privileges),
    },
    HostCheck {
        check: Check {
            id: "HST-62",
            title: "Docker filters system calls of containers that say nothing",
            severity: Severity::High,
            tier: Tier::OptIn,
            benchmarks: &["CIS-Docker-1.6.0 2.17"],
            why: "Every container reaches every fault of the kernel.",
            remedy: "take \"seccomp-profile\": \"unconfined\" out of /etc/docker/daemon.json",
        },
        judge: Judge::One(seccomp_profile),
    },
];

/// How a socket is that root and one group may write to.
fn socket(facts: &HostFacts, path: &str, group: Option<u32>, must_be: bool) -> Option<(String, Judgement)> {
    let judgement = match facts.files.of(path) {
        Fact::Known(file) if file.kind != FileKind::Socket => Judgement::unknown("it is no socket"),
        Fact::Known(file) => {
            let how = format!("mode {:04o}, owner {}:{}", file.mode & 0o777, file.uid, file.gid);
            match file.uid == 0 && (file.gid == 0 || Some(file.gid) == group) && file.mode & 0o007 == 0 {
                true => Judgement::pass(how),
                false => Judgement::fail(how),
            }
        }
        Fact::Absent if must_be => Judgement::unknown("there is no such socket, though the runtime runs"),
        Fact::Absent => return None,
        Fact::Unknown(why) => Judgement::unknown(why.as_str()),
    };
    Some((path.to_owned(), judgement))
}

/// Docker's sockets: those that it is told, or the usual one.
pub(super) fn docker_paths(docker: Option<&Docker>) -> Vec<String> {
    let told = docker.into_iter().flat_map(|docker| docker.hosts.iter());
    let told: Vec<_> = told.filter_map(|host| host.as_str().strip_prefix("unix://").map(str::to_owned)).collect();
    if told.is_empty() { vec![DOCKER_SOCKET.to_owned()] } else { told }
}

fn docker_sockets(facts: &HostFacts) -> Vec<(String, Judgement)> {
    let docker = facts.docker.known();
    let group = facts.accounts.docker_gid.known().copied();
    let mut found: Vec<_> = docker_paths(docker)
        .iter()
        .filter_map(|path| socket(facts, path, group, docker.is_some_and(|docker| docker.runs)))
        .collect();
    // It may have another one, where it is not known how it is set up.
    if let Fact::Unknown(why) = &facts.docker {
        found.push((String::new(), Judgement::unknown(why.as_str())));
    }
    found
}

fn sockets(facts: &HostFacts) -> Vec<(String, Judgement)> {
    let told = facts.containerd.known().into_iter().flat_map(|list| list.iter()).map(|containerd| containerd.socket.as_str());
    let mut paths: Vec<(&str, bool)> = told.map(|path| (path, true)).collect();
    for path in SOCKETS {
        if !paths.iter().any(|(told, _)| *told == path) {
            paths.push((path, false));
        }
    }
    let mut found: Vec<_> = paths.into_iter().filter_map(|(path, must_be)| socket(facts, path, None, must_be)).collect();
    if let Fact::Unknown(why) = &facts.containerd {
        found.push((String::new(), Judgement::unknown(why.as_str())));
    }
    found
}

fn listens(facts: &HostFacts, port: u16) -> Fact<bool> {
    match &facts.listeners {
        Fact::Known(listeners) => Fact::Known(listeners.iter().any(|listener: &Listener| listener.port == port)),
        Fact::Absent => Fact::unknown("no list of listeners is there"),
        Fact::Unknown(why) => Fact::Unknown(why.clone()),
    }
}

fn network(facts: &HostFacts) -> Vec<(String, Judgement)> {
    let mut found = Vec::new();
    match &facts.docker {
        Fact::Known(docker) => {
            let tcp: Vec<_> = docker.hosts.iter().map(|host| host.as_str()).filter(|host| host.starts_with("tcp://")).collect();
            let judgement = match (tcp.is_empty(), docker.tls_verify, listens(facts, DOCKER_PORT)) {
                (false, false, _) => Judgement::fail(format!("it listens at {} without tlsverify", tcp.join(", "))),
                (true, false, Fact::Known(true)) => {
                    Judgement::fail(format!("port {DOCKER_PORT} is open, and there is no tlsverify: is it docker.socket's?"))
                }
                (_, true, _) => Judgement::pass("clients must show a certificate (tlsverify)"),
                (true, false, Fact::Known(false)) => Judgement::pass("it does not listen for TCP"),
                (true, false, Fact::Unknown(why)) => Judgement::unknown(why.as_str()),
                (true, false, Fact::Absent) => Judgement::unknown("no list of listeners is there"),
            };
            found.push(("docker".to_owned(), judgement));
        }
        Fact::Absent => {
            if listens(facts, DOCKER_PORT) == Fact::Known(true) {
                let why = format!("port {DOCKER_PORT} is open, and no Docker is seen");
                found.push(("docker".to_owned(), Judgement::unknown(why)));
            }
        }
        Fact::Unknown(why) => found.push(("docker".to_owned(), Judgement::unknown(why.as_str()))),
    }
    match &facts.containerd {
        Fact::Known(list) => found.extend(list.iter().map(|containerd| {
            let judgement = match (&containerd.tcp, containerd.tcp_tls) {
                (None, _) => Judgement::pass("it does not listen for TCP"),
                (Some(address), true) => Judgement::pass(format!("it listens at {address}, and clients must show a certificate")),
                (Some(address), false) => Judgement::fail(format!("it listens at {address}, and any client will do")),
            };
            (format!("containerd at {}", containerd.socket), judgement)
        })),
        Fact::Absent => {}
        Fact::Unknown(why) => found.push(("containerd".to_owned(), Judgement::unknown(why.as_str()))),
    }
    found
}

fn shown(facts: &HostFacts) -> Vec<(String, Judgement)> {
    match &facts.shown_sockets {
        Fact::Known(shown) if shown.is_empty() => vec![(String::new(), Judgement::pass("no other mount namespace has one"))],
        shown => each(shown, Judgement::not_applicable("no runtime's socket is here"), |shown| {
            let subject = format!("{}: {}", shown.program, shown.socket);
            (subject, Judgement::fail(format!("a container with the program {} has it at {}", shown.program, shown.at)))
        }),
    }
}

fn registries(facts: &HostFacts) -> Vec<(String, Judgement)> {
    match &facts.registries {
        Fact::Absent => vec![(String::new(), Judgement::not_applicable("no runtime's settings are here"))],
        Fact::Unknown(why) => vec![(String::new(), Judgement::unknown(why.as_str()))],
        Fact::Known(registries) => {
            let outside = registries.insecure.iter().filter(|registry| !is_local(registry.name.as_str()));
            let mut found: Vec<_> = outside.map(insecure).collect();
            found.extend(registries.unread.iter().map(|why| (String::new(), Judgement::unknown(why.as_str()))));
            if found.is_empty() {
                found.push((String::new(), Judgement::pass("none is spoken to without proof, but this host's own")));
            }
            found
        }
    }
}

fn insecure(registry: &Registry) -> (String, Judgement) {
    (
        registry.name.to_string(),
        Judgement::fail(format!("{} has it without TLS, or without looking at its certificate", registry.file)),
    )
}

/// Whether a registry is on this host: what is said to it is on no wire.
fn is_local(name: &str) -> bool {
    let host = name.split_once("://").map_or(name, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None if host.matches(':').count() == 1 => host.split(':').next().unwrap_or_default(),
        None => host,
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn of_docker(facts: &HostFacts, judge: impl FnOnce(&Docker) -> Judgement) -> Judgement {
    facts.docker.judged(Judgement::not_applicable("there is no Docker here"), judge)
}

fn icc(facts: &HostFacts) -> Judgement {
    of_docker(facts, |docker| match docker.icc {
        Some(false) => Judgement::pass("icc is false"),
        Some(true) => Judgement::fail("icc is true"),
        None => Judgement::fail("icc is not set, which means true"),
    })
}

fn userns(facts: &HostFacts) -> Judgement {
    of_docker(facts, |docker| match &docker.userns_remap {
        Some(user) if !user.as_str().is_empty() => Judgement::pass(format!("userns-remap is {user}")),
        _ => Judgement::fail("userns-remap is not set"),
    })
}

fn no_new_privileges(facts: &HostFacts) -> Judgement {
    of_docker(facts, |docker| match docker.no_new_privileges {
        Some(true) => Judgement::pass("no-new-privileges is true"),
        _ => Judgement::fail("no-new-privileges is not set"),
    })
}

fn seccomp_profile(facts: &HostFacts) -> Judgement {
    of_docker(facts, |docker| match docker.seccomp_profile.as_ref().map(|profile| profile.as_str()) {
        Some("unconfined") => Judgement::fail("seccomp-profile is unconfined"),
        Some(profile) => Judgement::pass(format!("seccomp-profile is {profile}")),
        None => Judgement::pass("seccomp-profile is not set, which means Docker's own"),
    })
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn a_registry_of_this_host_is_told_from_others() {
        for local in ["localhost", "localhost:5000", "http://127.0.0.1:5000/v2", "[::1]:5000", "http://[::1]", "127.0.0.2", "::1"]
        {
            assert!(is_local(local), "{local}");
        }
        for other in ["localhost.example.com", "http://127.0.0.1.example.com:5000", "10.0.0.0/8", "registry:5000", "0.0.0.0", ""]
        {
            assert!(!is_local(other), "{other}");
        }
    }
}
