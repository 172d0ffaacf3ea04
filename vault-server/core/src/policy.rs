//! Who may do what: Cedar policies and grants, an index of them, and explanations.
//!
//! Three kinds of rules decide. Roles (`policy/roles.cedar`) are part of the program and say what operators do.
//! [Grants](Grant) are links of Cedar templates, and permit actions on paths. Policies are Cedar texts that people write
//! for what grants cannot say; they are about paths too, and are checked against `policy/paths.cedarschema`. A `forbid`
//! wins over any `permit`, and a policy that fails denies.

mod cache;
mod check;
mod context;
mod decide;
mod entity;
mod explain;
mod grant;
mod index;
mod requirement;
mod rule;

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, OnceLock},
};

use cedar_policy::PolicySet;

use self::{
    cache::Cache,
    index::{Grants, Texts},
};
pub use self::{
    check::Finding,
    context::{Context, HostFacts, HostPosture, ImageFacts, ImageVerdict, PodFacts, PodSecurity, Switch},
    explain::{DecidingRule, Explanation},
    grant::Grant,
    requirement::{Condition, Requirement, RequirementError},
    rule::RuleId,
};
use crate::{
    action::Action,
    id::GrantId,
    limits::{GRANTS_MAX, POLICIES_MAX},
    path::Path,
    principal::{Name, Principal, Role},
};
/// Who asks, with the roles they hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The principal.
    pub principal: Principal,
    /// The operator's roles. They count for operators only.
    pub roles: Vec<Role>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A path.
    Path(Path),
    /// The vault itself.
    System,
}

/// One question: may this caller do this to that, under these circumstances?
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// What they want to do.
    pub action: Action,
    /// To what.
    pub resource: &'a Resource,
    /// The circumstances.
    pub context: &'a Context,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is permitted.
    pub permitted: bool,
    /// The rules that decided: those that failed, else those that forbid, else those that permit. Empty where no rule
    /// says anything, which is a denial.
    pub rules: Vec<RuleId>,
}

/// Why rules cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A policy does not pass the check.
    #[error("policy {name} does not pass the check: {}", first_error(.findings))]
    Invalid {
        /// The policy.
        name: Name,
        /// What was found.
        findings: Vec<Finding>,
    },
    /// There are two policies of this name.
    #[error("there are two policies of the name {0}")]
    DuplicatePolicy(Name),
    /// There is a grant of this id already.
    #[error("there is a grant {0} already")]
    DuplicateGrant(GrantId),
    /// A grant gives no action.
    #[error("grant {0} gives no action")]
    NoAction(GrantId),
    /// A grant gives an action that is not on paths: only roles do that.
    #[error("grant {0} gives an action that is not on paths, which only roles give")]
    SystemAction(GrantId),
    /// There are more than [`GRANTS_MAX`] grants.
    #[error("there are more than {GRANTS_MAX} grants")]
    TooManyGrants,
    /// There are more than [`POLICIES_MAX`] policies.
    #[error("there are more than {POLICIES_MAX} policies")]
    TooManyPolicies,
}

fn first_error(findings: &[Finding]) -> String {
    let first = findings.iter().find(|finding| finding.error);
    first.map(|finding| format!("line {}: {}", finding.line, finding.message)).unwrap_or_default()
}

/// All rules of a tenant in one state, with the decisions made on them.
///
/// A state never changes: adding or taking away a grant makes another, which shares nearly everything with the first.
pub struct Policies {
    version: u64,
    grants: Grants,
    texts: Arc<Texts>,
    cache: Cache,
    plain: OnceLock<Option<PolicySet>>,
    plain_system: OnceLock<Option<PolicySet>>,
}

impl Policies {
    /// Makes a state of these grants and policies. The `version` is the caller's, to tell states apart.
    ///
    /// # Errors
    ///
    /// The rule that cannot be used, and why.
    pub fn compile(
        version: u64,
        grants: impl IntoIterator<Item = Grant>,
        texts: impl IntoIterator<Item = (Name, String)>,
    ) -> Result<Self, PolicyError> {
        let mut index = Grants::new();
        for grant in grants {
            insert(&mut index, grant)?;
        }
        Ok(Self::new(version, index, Arc::new(compile_texts(texts)?)))
    }

    fn new(version: u64, grants: Grants, texts: Arc<Texts>) -> Self {
        Self { version, grants, texts, cache: Cache::new(), plain: OnceLock::new(), plain_system: OnceLock::new() }
    }

    /// The same rules and this grant.
    ///
    /// # Errors
    ///
    /// Why the grant cannot be used.
    pub fn with_grant(&self, version: u64, grant: Grant) -> Result<Self, PolicyError> {
        let mut grants = self.grants.clone();
        insert(&mut grants, grant)?;
        Ok(Self::new(version, grants, Arc::clone(&self.texts)))
    }

    /// The same rules without this grant, if it is among them.
    #[must_use]
    pub fn without_grant(&self, version: u64, id: &GrantId) -> Self {
        let mut grants = self.grants.clone();
        grants.remove(id);
        Self::new(version, grants, Arc::clone(&self.texts))
    }

    /// The same grants with these policies instead.
    ///
    /// # Errors
    ///
    /// The policy that cannot be used, and why.
    pub fn with_texts(&self, version: u64, texts: impl IntoIterator<Item = (Name, String)>) -> Result<Self, PolicyError> {
        Ok(Self::new(version, self.grants.clone(), Arc::new(compile_texts(texts)?)))
    }

    /// The version that this state was made with.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The grant of this id.
    #[must_use]
    pub fn grant(&self, id: &GrantId) -> Option<&Grant> {
        self.grants.by_id(id)
    }

    /// All grants, in no order.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter()
    }

    /// Checks the text of a policy. It can be used where no finding is an error.
    #[must_use]
    pub fn lint(text: &str) -> Vec<Finding> {
        check::check(text).0
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies").field("version", &self.version).field("grants", &self.grants.len()).finish_non_exhaustive()
    }
}

fn insert(grants: &mut Grants, grant: Grant) -> Result<(), PolicyError> {
    let id = grant.id;
    if grant.actions.is_empty() {
        return Err(PolicyError::NoAction(id));
    }
    if !grant.actions.iter().all(|action| action.on_path()) {
        return Err(PolicyError::SystemAction(id));
    }
    if grants.len() >= GRANTS_MAX {
        return Err(PolicyError::TooManyGrants);
    }
    if grants.insert(grant) { Ok(()) } else { Err(PolicyError::DuplicateGrant(id)) }
}

fn compile_texts(texts: impl IntoIterator<Item = (Name, String)>) -> Result<Texts, PolicyError> {
    let mut index = Texts::default();
    let mut names = HashSet::new();
    for (name, text) in texts {
        if !names.insert(name.clone()) {
            return Err(PolicyError::DuplicatePolicy(name));
        }
        if names.len() > POLICIES_MAX {
            return Err(PolicyError::TooManyPolicies);
        }
        let (findings, policies) = check::check(&text);
        let Some(policies) = policies else { return Err(PolicyError::Invalid { name, findings }) };
        let rule = RuleId::Policy(name.clone());
        for (number, policy) in policies.into_iter().enumerate() {
            let added = index.insert(policy.new_id(rule.cedar(number)));
            added.ok_or_else(|| PolicyError::DuplicatePolicy(name.clone()))?;
        }
    }
    Ok(index)
}

#[cfg(test)]
mod tests;
