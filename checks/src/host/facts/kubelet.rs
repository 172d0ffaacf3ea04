//! How a kubelet is set up.

use serde::{Deserialize, Serialize};

use super::{Fact, Text};

/// A setting that is in force, and what it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting<T> {
    /// Its value; absent where nothing says it, and there is no default.
    pub value: Fact<T>,
    /// What it comes from: a flag, a file, or `the default`.
    pub from: Text,
}

/// How a kubelet is set up: by flags, which win, by the files of its folder of drop-ins, the last first, and by its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kubelet {
    /// Its folder.
    pub root_dir: Text,
    /// Its file, where it has one.
    pub config: Option<Text>,
    /// The kubeconfig by which it knows the API server, where it has one.
    pub kubeconfig: Option<Text>,
    /// Whether it answers those who do not say who they are.
    pub anonymous: Setting<bool>,
    /// How it decides who may do what: `Webhook`, `AlwaysAllow`.
    pub authorization: Setting<Text>,
    /// The CA whose certificates it believes.
    pub client_ca: Setting<Text>,
    /// The port at which it tells everybody about its pods; 0 for none.
    pub read_only_port: Setting<i64>,
    /// Whether it refuses to run on a host that swaps.
    pub fail_swap_on: Setting<bool>,
    /// Whether pods may swap: `NoSwap` (also where it is empty), `LimitedSwap`.
    pub swap_behavior: Setting<Text>,
    /// Whether containers have a seccomp profile unless they say otherwise.
    pub seccomp_default: Setting<bool>,
    /// How many processes a pod may have; -1 for any number.
    pub pod_pids_limit: Setting<i64>,
    /// Whether it sees to the rules of iptables that it needs.
    pub iptables_chains: Setting<bool>,
    /// How long a stream may do nothing, as it is written.
    pub streaming_idle: Setting<Text>,
}
