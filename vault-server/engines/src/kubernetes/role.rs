//! Roles: whose tokens are made.

use std::time::Duration;

use coffer_barrier::{Barrier, Batch, Expect, encoding};
use coffer_core::{
    clock::Timestamp,
    id::ClusterId,
    limits::{
        KUBERNETES_AUDIENCES_MAX, KUBERNETES_ENTRIES_MAX, KUBERNETES_NAME_BYTES_MAX, KUBERNETES_ROLES_MAX, KUBERNETES_RULES_MAX,
        LEASE_LIFETIME_DEFAULT, LEASE_LIFETIME_MAX, LEASE_LIFETIME_MAX_DEFAULT,
    },
    principal::{KubernetesName, Name},
};
use serde::{Deserialize, Serialize};

use super::{Kubernetes, KubernetesEngineError};
use crate::Planned;

/// What somebody may do in a namespace, as Kubernetes has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleRule {
    /// Groups of the API.
    pub api_groups: Vec<String>,
    /// Resources.
    pub resources: Vec<String>,
    /// Verbs.
    pub verbs: Vec<String>,
    /// Names of objects; none for all.
    pub resource_names: Vec<String>,
}

/// Whose token is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoleAccount {
    /// A service account's that is there.
    Existing(String),
    /// One's that is made, with these rules.
    WithRules(Vec<RoleRule>),
    /// One's that is made, with this role of the namespace.
    WithRole(String),
    /// One's that is made, with this role of the cluster.
    WithClusterRole(String),
}

/// What is set about a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesRole {
    /// The cluster: one that is registered anew under the same name is another.
    pub cluster: ClusterId,
    /// What it was called then.
    pub cluster_name: String,
    /// The namespace.
    pub namespace: String,
    /// Whose token is made.
    pub account: RoleAccount,
    /// Whom it is for; nobody in particular for the API server.
    pub audiences: Vec<String>,
    /// Seconds that a token lasts where nothing else is asked; 0 for [`LEASE_LIFETIME_DEFAULT`].
    pub default_ttl_secs: u64,
    /// Seconds that a token lasts at most; 0 for [`LEASE_LIFETIME_MAX_DEFAULT`].
    pub max_ttl_secs: u64,
}

impl KubernetesRole {
    /// How long a token lasts at most.
    #[must_use]
    pub fn max_ttl(&self) -> Duration {
        if self.max_ttl_secs == 0 { LEASE_LIFETIME_MAX_DEFAULT } else { Duration::from_secs(self.max_ttl_secs) }
    }

    /// How long a token lasts for which this is asked; `None` for what the role says. Never longer than it may.
    #[must_use]
    pub fn ttl(&self, asked: Option<Duration>) -> Duration {
        let default =
            if self.default_ttl_secs == 0 { LEASE_LIFETIME_DEFAULT } else { Duration::from_secs(self.default_ttl_secs) };
        asked.unwrap_or(default).min(self.max_ttl())
    }

    fn check(&self) -> Result<(), KubernetesEngineError> {
        // What stands in the path of a request has no character that means anything there.
        let namespace = self.namespace.parse::<KubernetesName>().is_ok() && !self.namespace.contains('.');
        if !namespace {
            return Err(KubernetesEngineError::Setting("a namespace is a name of a-z, 0-9 and -"));
        }
        match &self.account {
            RoleAccount::Existing(name) if name.parse::<KubernetesName>().is_err() => {
                return Err(KubernetesEngineError::Setting("a service account is a name of a-z, 0-9, . and -"));
            }
            RoleAccount::WithRules(rules) => check_rules(rules)?,
            RoleAccount::WithRole(name) | RoleAccount::WithClusterRole(name) => check_text("the name of a role", name)?,
            RoleAccount::Existing(_) => {}
        }
        if self.audiences.len() > KUBERNETES_AUDIENCES_MAX {
            return Err(KubernetesEngineError::Limit(format!("a role has at most {KUBERNETES_AUDIENCES_MAX} audiences")));
        }
        self.audiences.iter().try_for_each(|audience| check_text("an audience", audience))?;
        if self.max_ttl() > LEASE_LIFETIME_MAX {
            return Err(KubernetesEngineError::Setting("a credential lasts at most 31,536,000 seconds (a year)"));
        }
        if Duration::from_secs(self.default_ttl_secs) > self.max_ttl() {
            return Err(KubernetesEngineError::Setting("the default time is longer than the longest"));
        }
        Ok(())
    }
}

fn check_rules(rules: &[RoleRule]) -> Result<(), KubernetesEngineError> {
    if rules.is_empty() {
        return Err(KubernetesEngineError::Setting("a role says whose tokens are made: a service account, rules, or a role"));
    }
    if rules.len() > KUBERNETES_RULES_MAX {
        return Err(KubernetesEngineError::Limit(format!("a role has at most {KUBERNETES_RULES_MAX} rules")));
    }
    for rule in rules {
        if rule.resources.is_empty() || rule.verbs.is_empty() {
            return Err(KubernetesEngineError::Setting("a rule has resources and verbs"));
        }
        for list in [&rule.api_groups, &rule.resources, &rule.verbs, &rule.resource_names] {
            if list.len() > KUBERNETES_ENTRIES_MAX {
                return Err(KubernetesEngineError::Limit(format!(
                    "a list of a rule has at most {KUBERNETES_ENTRIES_MAX} entries"
                )));
            }
        }
        // The group of pods and secrets is the empty one.
        let named = rule.api_groups.iter().filter(|group| !group.is_empty());
        let texts = named.chain(&rule.resources).chain(&rule.verbs).chain(&rule.resource_names);
        texts.into_iter().try_for_each(|text| check_text("a part of a rule", text))?;
    }
    Ok(())
}

fn check_text(what: &str, text: &str) -> Result<(), KubernetesEngineError> {
    if text.is_empty() || text.len() > KUBERNETES_NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(KubernetesEngineError::Limit(format!(
            "{what} has 1 to {KUBERNETES_NAME_BYTES_MAX} bytes, no control characters"
        )));
    }
    Ok(())
}

/// A role as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesRoleRecord {
    /// What is set.
    pub settings: KubernetesRole,
    /// When it was written.
    pub updated: Timestamp,
}

impl Kubernetes {
    /// A role.
    pub async fn role(&self, barrier: &Barrier, name: &Name) -> Result<KubernetesRoleRecord, KubernetesEngineError> {
        Ok(self.find(barrier, name).await?.ok_or(KubernetesEngineError::NotFound)?.0)
    }

    /// Plans a role, new or changed. Fails where what it says cannot be.
    pub async fn put_role(
        &self,
        barrier: &Barrier,
        name: &Name,
        settings: KubernetesRole,
        now: Timestamp,
    ) -> Result<Planned<()>, KubernetesEngineError> {
        settings.check()?;
        let before = self.find(barrier, name).await?.map(|(_, version)| version);
        if before.is_none() && self.roles(barrier).await?.len() >= KUBERNETES_ROLES_MAX {
            return Err(KubernetesEngineError::TooMany);
        }
        let mut batch = Batch::default();
        let record = KubernetesRoleRecord { settings, updated: now };
        let value = encoding::encode(&record).map_err(|_| KubernetesEngineError::Record)?;
        batch.put(self.key(name)?, before.map_or(Expect::Absent, Expect::Version), value);
        Ok(Planned { batch, outcome: () })
    }

    /// Plans that a role goes. Tokens that were made with it stay.
    pub async fn delete_role(&self, barrier: &Barrier, name: &Name) -> Result<Planned<()>, KubernetesEngineError> {
        let (_, version) = self.find(barrier, name).await?.ok_or(KubernetesEngineError::NotFound)?;
        let mut batch = Batch::default();
        batch.delete(self.key(name)?, Expect::Version(version));
        Ok(Planned { batch, outcome: () })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role() -> KubernetesRole {
        KubernetesRole {
            cluster: ClusterId::from_bytes([7; 16]),
            cluster_name: "prod".into(),
            namespace: "shop".into(),
            account: RoleAccount::Existing("api".into()),
            audiences: Vec::new(),
            default_ttl_secs: 0,
            max_ttl_secs: 0,
        }
    }

    fn rules(count: usize, entries: usize) -> RoleAccount {
        let rule = RoleRule {
            api_groups: vec![String::new()],
            resources: vec!["pods".into(); entries],
            verbs: vec!["get".into()],
            resource_names: Vec::new(),
        };
        RoleAccount::WithRules(vec![rule; count])
    }

    #[test]
    fn a_role_s_names_cannot_lead_a_request_elsewhere() {
        for good in ["shop", "a-b", "7"] {
            assert!(KubernetesRole { namespace: good.into(), ..role() }.check().is_ok(), "{good}");
        }
        for wrong in ["", ".", "..", "a/b", "a%2fb", "a.b", "A", "a?b", "a b", "-a"] {
            assert!(KubernetesRole { namespace: wrong.into(), ..role() }.check().is_err(), "{wrong}");
        }
        for wrong in ["", "..", "a/b", "a%2fb", "a/token?x", "A"] {
            assert!(KubernetesRole { account: RoleAccount::Existing(wrong.into()), ..role() }.check().is_err(), "{wrong}");
        }
        assert!(KubernetesRole { account: RoleAccount::WithClusterRole("system:view".into()), ..role() }.check().is_ok());
        assert!(KubernetesRole { account: RoleAccount::WithRole(String::new()), ..role() }.check().is_err());
    }

    #[test]
    fn a_role_at_its_limits_is_taken_and_one_past_them_is_not() {
        let of = |account| KubernetesRole { account, ..role() }.check();
        assert!(of(rules(KUBERNETES_RULES_MAX, KUBERNETES_ENTRIES_MAX)).is_ok());
        assert!(matches!(of(rules(KUBERNETES_RULES_MAX + 1, 1)), Err(KubernetesEngineError::Limit(_))));
        assert!(matches!(of(rules(1, KUBERNETES_ENTRIES_MAX + 1)), Err(KubernetesEngineError::Limit(_))));
        assert!(of(rules(0, 1)).is_err() && of(rules(1, 0)).is_err());
        let audiences = |count, bytes| KubernetesRole { audiences: vec!["a".repeat(bytes); count], ..role() }.check();
        assert!(audiences(KUBERNETES_AUDIENCES_MAX, KUBERNETES_NAME_BYTES_MAX).is_ok());
        assert!(audiences(KUBERNETES_AUDIENCES_MAX + 1, 1).is_err() && audiences(1, KUBERNETES_NAME_BYTES_MAX + 1).is_err());
        assert!(audiences(1, 0).is_err());
        let lasts = |default_ttl_secs, max_ttl_secs| KubernetesRole { default_ttl_secs, max_ttl_secs, ..role() }.check();
        assert!(lasts(60, 60).is_ok() && lasts(61, 60).is_err());
        assert!(lasts(0, LEASE_LIFETIME_MAX.as_secs()).is_ok() && lasts(0, LEASE_LIFETIME_MAX.as_secs() + 1).is_err());
    }
}
