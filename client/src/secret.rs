//! A secret as read from the kv engine.

use std::{collections::BTreeMap, fmt, time::SystemTime};

use coffer_proto::v1::GetSecretResponse;
use coffer_secret::SecretBytes;

use crate::error::Error;

/// One version of a secret. The values are wiped when it is dropped.
pub struct Secret {
    /// The fields: name to value.
    pub fields: BTreeMap<String, SecretBytes>,
    /// The version's number, from 1.
    pub version: u64,
    /// When the version was written.
    pub created: Option<SystemTime>,
    /// Who wrote it.
    pub created_by: String,
    /// When it expires; none for never.
    pub expires: Option<SystemTime>,
    /// Custom metadata of the secret.
    pub custom_metadata: BTreeMap<String, String>,
    /// The receipt of this release: position of its entry in the vault's audit log.
    pub receipt: u64,
}

impl Secret {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&SecretBytes> {
        self.fields.get(name)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("version", &self.version).field("receipt", &self.receipt).finish_non_exhaustive()
    }
}

impl TryFrom<GetSecretResponse> for Secret {
    type Error = Error;

    fn try_from(answer: GetSecretResponse) -> Result<Self, Error> {
        let fields = answer.fields.into_iter().map(|(name, value)| (name, SecretBytes::from(value))).collect();
        let info = answer.version.ok_or_else(|| Error::protocol("the vault's answer names no version"))?;
        Ok(Self {
            fields,
            version: info.version,
            created: info.created.and_then(|time| SystemTime::try_from(time).ok()),
            created_by: info.created_by,
            expires: info.expires.and_then(|time| SystemTime::try_from(time).ok()),
            custom_metadata: answer.custom_metadata.into_iter().collect(),
            receipt: answer.receipt,
        })
    }
}
