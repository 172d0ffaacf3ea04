//! Rules by name: what a decision points at.

use std::fmt;

use cedar_policy::PolicyId;

use crate::{
    id::GrantId,
    principal::{Name, Role},
};

/// What decided: a grant, a policy that somebody wrote, or a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleId {
    /// A grant.
    Grant(GrantId),
    /// A policy, by the name of its text.
    Policy(Name),
    /// What a role gives or forbids.
    Role(Role),
    /// What a bootstrap credential gives.
    Bootstrap,
}

impl RuleId {
    /// `grant`, `policy` or `role`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Grant(_) => "grant",
            Self::Policy(_) => "policy",
            Self::Role(_) | Self::Bootstrap => "role",
        }
    }

    /// The grant's id, or the name of the policy or role.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Grant(id) => id.to_string(),
            Self::Policy(name) => name.to_string(),
            Self::Role(role) => role.to_string(),
            Self::Bootstrap => "bootstrap".to_owned(),
        }
    }

    /// The id of a Cedar policy of this rule; a text can hold several.
    pub(super) fn cedar(&self, number: usize) -> PolicyId {
        PolicyId::new(format!("{}:{}:{number}", self.kind(), self.id()))
    }

    /// The rule of a Cedar policy.
    pub(super) fn of(id: &PolicyId) -> Option<Self> {
        let text = id.to_string();
        let mut parts = text.split(':');
        match (parts.next()?, parts.next()?) {
            ("grant", id) => id.parse().ok().map(Self::Grant),
            ("policy", name) => name.parse().ok().map(Self::Policy),
            ("role", "bootstrap") => Some(Self::Bootstrap),
            ("role", name) => name.parse().ok().map(Self::Role),
            _ => None,
        }
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.id())
    }
}
