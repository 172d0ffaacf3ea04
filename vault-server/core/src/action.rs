//! What can be asked of the vault, as policy names it.

use std::{fmt, str::FromStr};

/// There is no action of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no action of this name; actions on paths are read, use, list, write, delete and destroy")]
pub struct UnknownAction;

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal on $kind:ident),* $(,)?) => {
        /// An action: on a path, or on the vault itself (the system).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {$($(#[doc = $doc])+ $variant,)*}

        impl Action {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in policies, grants and records.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {$(Self::$variant => $name,)*}
            }

            /// Whether the action is on a path, rather than on the system.
            #[must_use]
            pub const fn on_path(self) -> bool {
                match self {$(Self::$variant => actions!(@ $kind),)*}
            }
        }

        impl FromStr for Action {
            type Err = UnknownAction;

            fn from_str(text: &str) -> Result<Self, UnknownAction> {
                match text {$($name => Ok(Self::$variant),)* _ => Err(UnknownAction)}
            }
        }
    };
    (@ path) => { true };
    (@ system) => { false };
}

actions! {
    /// Read values (and what is known about them), have credentials made, and watch for changes.
    Read = "read" on path,
    /// Have something done with a key that stays in the vault: encrypt, decrypt, sign.
    Use = "use" on path,
    /// List names, and read what is known about a secret except its values.
    List = "list" on path,
    /// Write values and settings, without reading any.
    Write = "write" on path,
    /// Soft-delete and undelete versions; delete roles, keys and other configuration.
    Delete = "delete" on path,
    /// Destroy versions and secrets for good.
    Destroy = "destroy" on path,
    /// Read the status of the running vault.
    StatusRead = "status:read" on system,
    /// Seal the vault.
    Seal = "seal" on system,
    /// Rotate and re-encrypt keys, and begin or cancel the making of new shares.
    KeysManage = "keys:manage" on system,
    /// Save a snapshot of everything.
    SnapshotSave = "snapshot:save" on system,
    /// See operators.
    OperatorsRead = "operators:read" on system,
    /// Create, change and delete operators.
    OperatorsManage = "operators:manage" on system,
    /// See sessions.
    SessionsRead = "sessions:read" on system,
    /// End sessions.
    SessionsManage = "sessions:manage" on system,
    /// See clusters.
    ClustersRead = "clusters:read" on system,
    /// Register, change and forget clusters.
    ClustersManage = "clusters:manage" on system,
    /// See mounts.
    MountsRead = "mounts:read" on system,
    /// Make and delete mounts.
    MountsManage = "mounts:manage" on system,
    /// See leases.
    LeasesRead = "leases:read" on system,
    /// Revoke and forget leases of others.
    LeasesManage = "leases:manage" on system,
    /// See grants and policies, and have decisions explained.
    PolicyRead = "policy:read" on system,
    /// Grant, revoke, and change policies.
    PolicyManage = "policy:manage" on system,
    /// See verdicts on images, postures of nodes, and what pods may get.
    GateRead = "gate:read" on system,
    /// Say whose verdicts count, take them back, and confirm that nodes have fallen silent.
    GateManage = "gate:manage" on system,
    /// Read the audit log.
    AuditRead = "audit:read" on system,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

stored_as_text!(Action);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_found_by_its_name() {
        for action in Action::ALL {
            assert_eq!(action.name().parse(), Ok(*action));
        }
    }
}
