//! How container runtimes are set up.

use serde::{Deserialize, Serialize};

use super::{Fact, List, Text};

/// A container runtime that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// The program: `containerd`, `dockerd`, `crio`.
    pub name: Text,
    /// Bytes of a core file that what it starts may write, at most, as the kernel says it: a number, or `unlimited`.
    pub core_limit: Fact<Text>,
}

/// How Docker is set up: by the command line and by `daemon.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Docker {
    /// Whether its daemon runs.
    pub runs: bool,
    /// Where it listens, as URLs; empty for its default.
    pub hosts: List<Text>,
    /// Whether clients must show a certificate that it believes.
    pub tls_verify: bool,
    /// Whether root in a container is somebody else outside.
    pub userns_remap: Option<Text>,
    /// The seccomp profile of containers that name none.
    pub seccomp_profile: Option<Text>,
    /// Whether containers on the default network reach each other; the default is yes.
    pub icc: Option<bool>,
    /// Whether containers can gain no privileges, unless they ask otherwise.
    pub no_new_privileges: Option<bool>,
    /// Files of its TLS that others may know: the CA, and its certificate.
    pub certificates: List<Text>,
    /// Files of its TLS that nobody else may know.
    pub keys: List<Text>,
}

/// How a containerd is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Containerd {
    /// Its socket.
    pub socket: Text,
    /// Where it listens for TCP, if it does.
    pub tcp: Option<Text>,
    /// Whether that has TLS and wants certificates of clients.
    pub tcp_tls: bool,
}

/// Registries that images come from without proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registries {
    /// Those that are spoken to without TLS, or whose certificate is not looked at.
    pub insecure: List<Registry>,
    /// Files that could not be understood, and why.
    pub unread: List<Text>,
}

/// A registry that images come from without proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Its host, URL or network.
    pub name: Text,
    /// The file that says so.
    pub file: Text,
}

/// A socket of a runtime that a container sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownSocket {
    /// The socket, as the host sees it.
    pub socket: Text,
    /// The name of a program in the container.
    pub program: Text,
    /// Where the container sees it.
    pub at: Text,
}
