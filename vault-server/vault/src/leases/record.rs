//! Leases as they are stored, and what they are called.

use std::{fmt, str::FromStr};

use coffer_core::{
    clock::Timestamp,
    id::{ClusterId, LeaseId, MountId, OperatorId, RequestId},
    path::Path,
    principal::Name,
    session::Holder,
};
use coffer_kubernetes::Made;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// The segment of a path below which credentials are.
pub(crate) const CREDENTIALS: &str = "creds";

/// Whose a credential is: with its owner, it ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Owner {
    /// A pod of a cluster, by its UID.
    Pod(ClusterId, String),
    /// An operator.
    Operator(OperatorId),
}

impl Owner {
    /// The owner of what is made for a session's holder.
    ///
    /// # Errors
    /// Fails for who is neither a pod nor an operator.
    pub(crate) fn of(holder: &Holder) -> Result<Self, Failure> {
        match holder {
            Holder::Workload { cluster_id, pod: Some(pod), .. } => Ok(Self::Pod(*cluster_id, pod.uid.clone())),
            Holder::Operator { id, .. } => Ok(Self::Operator(*id)),
            Holder::Workload { pod: None, .. } | Holder::Bootstrap => {
                Err(Failure::invalid("credentials are made for pods and operators"))
            }
        }
    }
}

/// Where a lease is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseState {
    /// The credential is being made.
    Pending,
    /// The credential is good.
    Live,
    /// The credential is to be ended.
    Ending,
    /// It was ended; once more, for the act that made it may have been under way still.
    Again,
}

/// What is needed to end a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    /// A user of a database.
    Database {
        /// The connection's name.
        connection: String,
        /// The user's name.
        user: String,
        /// Statements that end it; none for those of the database's kind.
        revocation: Vec<String>,
    },
    /// A token of a Kubernetes service account.
    Token {
        /// The cluster.
        cluster: ClusterId,
        /// The namespace.
        namespace: String,
        /// The name of all that was made for it.
        name: String,
        /// What was made.
        made: Made,
    },
}

/// A lease. What opens something is nowhere in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseRecord {
    pub(crate) mount: MountId,
    /// The mount's name when it was made.
    pub(crate) mount_name: String,
    pub(crate) role: String,
    pub(crate) principal: String,
    pub(crate) owner: Owner,
    pub(crate) issued: Timestamp,
    pub(crate) expires: Timestamp,
    /// When it ends at the latest.
    pub(crate) expires_at_most: Timestamp,
    pub(crate) state: LeaseState,
    /// When something is to be done about it.
    pub(crate) due: Timestamp,
    /// How often ending it has failed.
    pub(crate) attempts: u32,
    /// Why, the last time.
    pub(crate) error: String,
    /// The request that it was made for.
    pub(crate) request: RequestId,
    pub(crate) target: Target,
    /// Whether it was given on conditions: then it ends when they hold no longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) conditional: bool,
}

/// What a lease is called: `MOUNT/creds/ROLE/ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseName {
    /// The mount's name.
    pub mount: String,
    /// The role.
    pub role: Name,
    /// The id.
    pub id: LeaseId,
}

impl LeaseName {
    /// The credential's path.
    ///
    /// # Errors
    /// Fails where that is none.
    pub fn path(&self) -> Result<Path, Failure> {
        Ok(format!("{}/{CREDENTIALS}/{}", self.mount, self.role).parse()?)
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{CREDENTIALS}/{}/{}", self.mount, self.role, self.id)
    }
}

impl FromStr for LeaseName {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let wrong = || Failure::invalid("a lease is called MOUNT/creds/ROLE/ID, as it was told when it was made");
        let path: Path = text.parse().map_err(|_| wrong())?;
        let segments: Vec<&str> = path.segments().collect();
        let [mount, CREDENTIALS, role, id] = segments.as_slice() else { return Err(wrong()) };
        Ok(Self { mount: (*mount).to_owned(), role: role.parse().map_err(|_| wrong())?, id: id.parse().map_err(|_| wrong())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_called_after_its_credential() {
        let text = format!("database/creds/app.read/{}", "0f".repeat(16));
        let name: LeaseName = text.parse().unwrap();
        assert_eq!((name.mount.as_str(), name.role.as_str()), ("database", "app.read"));
        assert_eq!(name.to_string(), text);
        assert_eq!(name.path().unwrap().as_str(), "database/creds/app.read");
        let id = "0f".repeat(16);
        for wrong in
            ["", "database", "database/creds/app", "database/roles/app/ID", &id, "database/creds/app/0", "database/creds//ID"]
        {
            assert!(wrong.replace("ID", &id).parse::<LeaseName>().is_err(), "{wrong}");
        }
        assert!(format!("database/creds/app/{}", "0F".repeat(16)).parse::<LeaseName>().is_err());
    }
}
