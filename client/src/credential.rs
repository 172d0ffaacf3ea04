//! A credential as the vault makes it, and its lease.

use std::{collections::BTreeMap, fmt, time::Duration, time::SystemTime};

use coffer_proto::v1::{self, IssueCredentialResponse};
use coffer_secret::SecretBytes;

use crate::error::Error;

/// A credential. The values are wiped when it is dropped.
pub struct Credential {
    /// The fields: name to value; `username` and `password` for a database.
    pub fields: BTreeMap<String, SecretBytes>,
    /// How long it lasts.
    pub lease: Lease,
}

/// How long a credential lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The id.
    pub id: String,
    /// When it was made, by the vault's clock.
    pub issued: SystemTime,
    /// When it ends, by the vault's clock.
    pub expires: SystemTime,
    /// How long it lasts from when it was made: needs no clock that is right.
    pub lasts: Duration,
    /// The same where it is renewed as often as it can be.
    pub lasts_at_most: Duration,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl TryFrom<v1::Lease> for Lease {
    type Error = Error;

    fn try_from(lease: v1::Lease) -> Result<Self, Error> {
        let time = |time: Option<prost_types::Timestamp>| {
            let time = time.and_then(|time| SystemTime::try_from(time).ok());
            time.ok_or_else(|| Error::protocol("the vault's answer names no time of a lease"))
        };
        let (issued, expires, at_most) = (time(lease.issued)?, time(lease.expires)?, time(lease.expires_at_most)?);
        let since = |end: SystemTime| end.duration_since(issued).unwrap_or_default();
        Ok(Self { id: lease.id, issued, expires, lasts: since(expires), lasts_at_most: since(at_most) })
    }
}

impl TryFrom<IssueCredentialResponse> for Credential {
    type Error = Error;

    fn try_from(answer: IssueCredentialResponse) -> Result<Self, Error> {
        let fields = answer.fields.into_iter().map(|(name, value)| (name, SecretBytes::from(value))).collect();
        let lease = answer.lease.ok_or_else(|| Error::protocol("the vault's answer has no lease"))?;
        Ok(Self { fields, lease: lease.try_into()? })
    }
}
