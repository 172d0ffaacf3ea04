//! How the control plane is set up, as its command lines say.

use serde::{Deserialize, Serialize};

use super::{Fact, List, Text};

/// How an API server of Kubernetes is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiServer {
    /// Admission plugins that are switched on beside the default ones.
    pub admission_enabled: List<Text>,
    /// Admission plugins that are switched off.
    pub admission_disabled: List<Text>,
    /// Who decides who may do what, in order.
    pub authorization: Fact<List<Text>>,
    /// Whether it answers those who do not say who they are.
    pub anonymous: Fact<bool>,
    /// Whether there is a file of tokens that never end.
    pub has_token_file: bool,
    /// How Secrets are written to etcd: providers in order, the first writes. Absent where nothing is said.
    pub encryption: Fact<List<Text>>,
    /// The rules of its audit policy; absent where it has none.
    pub audit: Fact<List<AuditRule>>,
    /// Whether anybody with the right can profile it.
    pub profiling: Fact<bool>,
}

/// A rule of an audit policy, as far as it is about Secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRule {
    /// `None`, `Metadata`, `Request`, `RequestResponse`.
    pub level: Text,
    /// Whether it may be for a request about a Secret.
    pub may_match: bool,
    /// Whether it is for all of them, so that no later rule is.
    pub matches_all: bool,
}

/// How an etcd is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Etcd {
    /// Where it keeps its data.
    pub data_dir: Text,
    /// Whether all of its clients come by TLS.
    pub client_tls: Fact<bool>,
    /// Whether clients must show a certificate that it believes.
    pub client_auth: Fact<bool>,
    /// Whether its peers come by TLS, and must show a certificate that it believes; so where it has none.
    pub peer_auth: Fact<bool>,
    /// Whether it makes certificates itself, which nobody can check.
    pub auto_tls: Fact<bool>,
}
