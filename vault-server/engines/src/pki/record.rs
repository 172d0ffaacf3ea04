//! What is stored.

use coffer_barrier::encoding::SecretField;
use coffer_core::{clock::Timestamp, id::IssuerId};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// An issuer, at its name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerRecord {
    pub(super) id: IssuerId,
    pub(super) created: Timestamp,
    /// PKCS#8.
    pub(super) key: SecretField,
    /// The certificate; none while it is still to come from another CA.
    pub(super) certificate: Option<ByteBuf>,
    /// The signing request for another CA.
    #[serde(default)]
    pub(super) request: Option<ByteBuf>,
    /// The certificates above it, the nearest first.
    #[serde(default)]
    pub(super) chain: Vec<ByteBuf>,
    /// Other certificates of the same key and name, by other CAs.
    #[serde(default)]
    pub(super) crossed: Vec<ByteBuf>,
    /// Over how many revocation lists certificates are spread; 0 for one.
    #[serde(default)]
    pub(super) parts: u16,
}

/// An issuer that something else depends on. The name is where it was found; the id says which one is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerRef {
    pub(super) name: String,
    pub(super) id: IssuerId,
}

/// What holds for the whole mount.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigRecord {
    /// The issuer of roles that name none.
    pub(super) default: Option<IssuerRef>,
    /// Where the server answers for issuers and their lists, without the path; empty for nowhere.
    #[serde(default)]
    pub(super) url: String,
}

/// A role, at its name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleRecord {
    pub(super) created: Timestamp,
    pub(super) issuer: Option<IssuerRef>,
    pub(super) hosts: Vec<String>,
    pub(super) wildcards: bool,
    pub(super) addresses: Vec<String>,
    pub(super) uris: Vec<String>,
    pub(super) spiffe: String,
    pub(super) key_types: Vec<String>,
    pub(super) key_usages: Vec<String>,
    pub(super) extended: Vec<String>,
    pub(super) common_name: bool,
    pub(super) organisation: String,
    pub(super) ttl_secs: u64,
    pub(super) ttl_secs_max: u64,
    pub(super) no_store: bool,
}

/// A certificate that was taken back, at its issuer, the hour of its end and its number.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokedRecord {
    pub(super) at: Timestamp,
    /// As RFC 5280 numbers it.
    pub(super) reason: u8,
    pub(super) by: String,
}

/// A certificate that was issued, at the hour of its end and its number.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CertRecord {
    pub(super) issuer: IssuerId,
    pub(super) issuer_name: String,
    pub(super) role: String,
    pub(super) principal: String,
    /// The pod's UID.
    pub(super) pod: Option<String>,
    pub(super) issued: Timestamp,
    pub(super) certificate: ByteBuf,
}
