//! Sessions: what a login yields, and when it holds.
//!
//! A session is these claims, sealed by the vault and carried by whoever logged in. It counts only together with the
//! client key that it was made for, so that a stolen one opens nothing elsewhere.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    id::{ClusterId, OperatorId, SessionId, TenantId},
    limits::{BOOTSTRAP_LIFETIME, CLOCK_SKEW, OPERATOR_SESSION_LIFETIME, WORKLOAD_SESSION_LIFETIME},
    principal::{KubernetesName, Name, Principal},
};

/// The version of claims that this build writes, and the only one that it reads.
pub const SESSION_VERSION: u8 = 1;

/// Why a session does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The claims cannot be read.
    #[error("the session cannot be read")]
    Malformed,
    /// The claims are of a version that this build does not know.
    #[error("the session is of another version")]
    Version,
    /// The session belongs to another client key.
    #[error("the session belongs to another client key")]
    OtherKey,
    /// The session begins later than now, by more than clocks differ.
    #[error("the session has not begun yet")]
    NotYet,
    /// The session has ended.
    #[error("the session has ended")]
    Expired,
    /// The session would last longer than any of its kind may.
    #[error("the session lasts longer than its kind may")]
    TooLong,
}

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Holder {
    /// A workload.
    Workload {
        /// The registered cluster's name at the time of the login.
        cluster: Name,
        /// The cluster: one that is registered anew under the same name is another.
        cluster_id: ClusterId,
        /// The namespace.
        namespace: KubernetesName,
        /// The service account.
        service_account: KubernetesName,
        /// The service account's UID.
        service_account_uid: String,
        /// The pod; `None` where the token was not bound to one.
        pod: Option<SessionPod>,
    },
    /// An operator.
    Operator {
        /// The operator: one that is made anew under the same name is another.
        id: OperatorId,
        /// The operator's name.
        name: Name,
    },
    /// Whoever holds a bootstrap credential.
    Bootstrap,
}

/// The pod that a session was made for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionPod {
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// The node that it runs on; `None` where the token did not say.
    pub node: Option<String>,
}

impl Holder {
    /// The principal, as policy sees it.
    #[must_use]
    pub fn principal(&self) -> Principal {
        match self {
            Self::Workload { cluster, namespace, service_account, .. } => Principal::Workload {
                cluster: cluster.clone(),
                namespace: namespace.clone(),
                service_account: service_account.clone(),
            },
            Self::Operator { name, .. } => Principal::Operator(name.clone()),
            Self::Bootstrap => Principal::Bootstrap,
        }
    }

    /// The kind, in a word: for logs, which name nobody.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Workload { .. } => "workload",
            Self::Operator { .. } => "operator",
            Self::Bootstrap => "bootstrap",
        }
    }

    /// How long a session of this kind lasts, at most.
    #[must_use]
    pub const fn lifetime_max(&self) -> std::time::Duration {
        match self {
            Self::Workload { .. } => WORKLOAD_SESSION_LIFETIME,
            Self::Operator { .. } => OPERATOR_SESSION_LIFETIME,
            Self::Bootstrap => BOOTSTRAP_LIFETIME,
        }
    }
}

/// What a session says. It is sealed before it leaves the vault, and tells its holder nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionClaims {
    /// The version of the claims: [`SESSION_VERSION`].
    pub version: u8,
    /// The session.
    pub id: SessionId,
    /// The tenant that it is for.
    pub tenant: TenantId,
    /// Whose it is.
    pub holder: Holder,
    /// SHA-256 of the SubjectPublicKeyInfo of the client certificate that it is bound to.
    pub thumbprint: [u8; 32],
    /// When it began.
    pub issued: Timestamp,
    /// When it ends: the first moment at which it does not hold.
    pub expires: Timestamp,
    /// The epoch of its principal when it began: see [`SessionClaims::ended_by`].
    pub epoch: u64,
}

impl SessionClaims {
    /// Checks all that the claims alone can tell. Whether the session was revoked is another question.
    ///
    /// # Errors
    ///
    /// The first rule that does not hold.
    pub fn check(&self, now: Timestamp, thumbprint: &[u8; 32]) -> Result<(), SessionError> {
        if self.version != SESSION_VERSION {
            return Err(SessionError::Version);
        }
        if self.thumbprint != *thumbprint {
            return Err(SessionError::OtherKey);
        }
        if self.issued > now.plus(CLOCK_SKEW) {
            return Err(SessionError::NotYet);
        }
        if now >= self.expires {
            return Err(SessionError::Expired);
        }
        if self.expires > self.issued.plus(self.holder.lifetime_max()) {
            return Err(SessionError::TooLong);
        }
        Ok(())
    }

    /// Whether a record that ended all sessions of the principal before this epoch ended this one.
    #[must_use]
    pub const fn ended_by(&self, epoch: u64) -> bool {
        self.epoch < epoch
    }

    /// The claims as bytes, in CBOR (RFC 8949).
    ///
    /// # Errors
    ///
    /// [`SessionError::Malformed`], which no value of this type leads to.
    pub fn encode(&self) -> Result<Vec<u8>, SessionError> {
        let mut bytes = Vec::with_capacity(512);
        ciborium::into_writer(self, &mut bytes).map_err(|_| SessionError::Malformed)?;
        Ok(bytes)
    }

    /// The claims that these bytes hold, all of them.
    ///
    /// # Errors
    ///
    /// [`SessionError::Malformed`] where they do not.
    pub fn decode(bytes: &[u8]) -> Result<Self, SessionError> {
        let mut rest = bytes;
        let claims = ciborium::from_reader(&mut rest).map_err(|_| SessionError::Malformed)?;
        if rest.is_empty() { Ok(claims) } else { Err(SessionError::Malformed) }
    }
}

#[cfg(test)]
mod tests;
