//! What the vault keeps about itself, as stored: docs/formats.md lists the directories.

use std::collections::BTreeSet;

use coffer_core::{
    clock::Timestamp,
    id::{ClusterId, GrantId, MountId, OperatorId, SessionId, TenantId},
};
use serde::{Deserialize, Serialize};

/// A tenant.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct TenantRecord {
    pub(crate) id: TenantId,
    pub(crate) created: Timestamp,
}

/// A mount.
#[derive(Clone, Serialize, Deserialize)]
pub struct MountRecord {
    /// The id: what the mount holds hangs on it.
    pub id: MountId,
    /// The engine's name.
    pub engine: String,
    /// When it was made.
    pub created: Timestamp,
    /// What it is for.
    #[serde(default)]
    pub description: String,
}

/// A mount that is deleted, and whose records are to be erased.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ErasureRecord {
    /// The engine's name.
    pub(crate) engine: String,
    /// The name that it had.
    pub(crate) mount: String,
    pub(crate) begun: Timestamp,
}

/// An operator.
#[derive(Clone, Serialize, Deserialize)]
pub struct OperatorRecord {
    /// The id: an operator that is deleted and created again has another.
    pub id: OperatorId,
    /// The roles' names.
    pub roles: BTreeSet<String>,
    /// SHA-256 of the public keys whose certificates log in, in hexadecimal digits.
    pub certificate_pins: BTreeSet<String>,
    /// The password's Argon2id hash (PHC form).
    pub password: Option<String>,
    /// When it was created.
    pub created: Timestamp,
}

/// A registered cluster.
#[derive(Clone, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// The immutable id.
    pub id: ClusterId,
    /// The issuer of tokens.
    pub issuer: String,
    /// The audience that tokens must be made for.
    pub audience: String,
    /// Where keys come from.
    pub keys: KeySourceRecord,
    /// The API server, where one is to be asked.
    pub api_server: Option<ApiServerRecord>,
    /// How pods are known to live.
    pub pod_check: PodCheck,
    /// Who may report postures of its nodes: NAMESPACE/SERVICE-ACCOUNT; empty for nobody.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node_agent: String,
    /// When it was registered.
    pub created: Timestamp,
}

/// Where a cluster's keys come from.
#[derive(Clone, Serialize, Deserialize)]
pub enum KeySourceRecord {
    /// A JSON Web Key Set.
    Jwks(String),
    /// A URL with one, and the CA certificates to believe there.
    Url {
        /// The URL.
        url: String,
        /// PEM.
        ca_pem: String,
    },
    /// The API server.
    ApiServer,
}

/// How to reach an API server; empty members mean what the vault's own pod was given.
#[derive(Clone, Serialize, Deserialize)]
pub struct ApiServerRecord {
    /// The URL.
    pub url: String,
    /// CA certificates, PEM.
    pub ca_pem: String,
    /// A file with a token to ask with.
    pub token_file: String,
}

/// How a pod named in a token is known to live.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodCheck {
    /// Not at all.
    None,
    /// By a copy of the cluster's pods.
    Cache,
    /// By the copy, and by asking the API server at login.
    TokenReview,
}

/// A grant.
#[derive(Clone, Serialize, Deserialize)]
pub struct GrantRecord {
    /// The id.
    pub id: GrantId,
    /// The actions' names.
    pub actions: BTreeSet<String>,
    /// The path pattern.
    pub path: String,
    /// The mount that the path began with when the grant was made: it holds for no other.
    pub mount: MountId,
    /// The principal pattern.
    pub principal: String,
    /// What must hold of the pod that asks; empty for nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub require: String,
    /// What the principal's name meant when the grant was made: the grant holds for nothing else of that name.
    pub holder: HolderRecord,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub created_by: String,
}

/// What a grant's principal stands on.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HolderRecord {
    /// A cluster.
    Cluster(ClusterId),
    /// An operator.
    Operator(OperatorId),
    /// A role.
    Role,
}

/// A policy.
#[derive(Clone, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// The Cedar text.
    pub text: String,
    /// When it was changed.
    pub updated: Timestamp,
    /// Who changed it.
    pub updated_by: String,
}

/// An operator's session, without its token.
#[derive(Clone, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The session's id.
    pub id: SessionId,
    /// The principal's name.
    pub principal: String,
    /// When it began.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// Sessions of a principal that began before this moment are over.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct DenyRecord {
    pub(crate) before: Timestamp,
}

/// The bootstrap credential in force.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct BootstrapRecord {
    /// SHA-256 of the credential, which has 256 random bits; nothing where there is none.
    #[serde(with = "serde_bytes")]
    pub(crate) hash: Vec<u8>,
    pub(crate) expires: Timestamp,
    /// The workload, one pod of which may log in in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) workload: Option<String>,
}

/// How the audit log stood when the store last heard of it, and the latest time known then.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct LogMarkRecord {
    /// The log's checkpoint, a signed note.
    pub(crate) checkpoint: String,
    pub(crate) clock: Timestamp,
}

/// The audit log's epoch, and the snapshot that it began with.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct EpochRecord {
    pub(crate) epoch: u64,
    /// The epoch that the snapshot was made in.
    pub(crate) before: u64,
    /// When the snapshot was restored.
    pub(crate) restored: Timestamp,
    /// What the snapshot says about itself.
    pub(crate) about: String,
    /// SHA-256 of its content.
    #[serde(with = "serde_bytes")]
    pub(crate) digest: Vec<u8>,
    pub(crate) entries: u64,
}

/// The answer to a request that created something, for a repetition of it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct IdempotencyRecord {
    /// Keyed hash of the request.
    #[serde(with = "serde_bytes")]
    pub(crate) request: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub(crate) answer: Vec<u8>,
    pub(crate) expires: Timestamp,
}
