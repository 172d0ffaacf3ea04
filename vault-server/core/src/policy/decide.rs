//! Asking Cedar.

use std::{collections::BTreeSet, sync::LazyLock};

use cedar_policy::{
    ActionConstraint, Authorizer, Decision as CedarDecision, Effect, Entities, Policy, PolicyId, PolicySet, Request,
};

use crate::{
    action::Action,
    id::GrantId,
    principal::{Name, Principal},
};

use super::{
    Condition, Decision, Grant, Policies, Query, Resource, RuleId, check,
    entity::{self, Node},
    index::{Bucket, Texts},
};

/// The roles' policies, by what they are for.
pub(super) static ROLES: LazyLock<Texts> = LazyLock::new(|| {
    let mut texts = Texts::default();
    for (number, policy) in check::roles().policies().enumerate() {
        let role = policy.annotation("role").expect("each policy of a role says whose it is");
        let rule = role.parse().map_or(RuleId::Bootstrap, RuleId::Role);
        texts.insert(policy.new_id(rule.cedar(number))).expect("each policy of a role has its own number");
    }
    texts
});

/// What Cedar said about one or more sets of policies.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) failed: Vec<PolicyId>,
    pub(super) forbids: Vec<PolicyId>,
    permits: Vec<PolicyId>,
    /// Grants that permit.
    grants: Vec<GrantId>,
    /// Something could not even be asked. There is no policy to blame.
    pub(super) broken: bool,
    /// It holds for this moment only.
    reads_now: bool,
}

impl Outcome {
    fn broken() -> Self {
        Self { broken: true, ..Self::default() }
    }

    /// Cedar leaves out a policy that fails, which would open a `forbid`: here it denies.
    pub(super) fn permitted(&self) -> bool {
        !self.broken && self.failed.is_empty() && self.forbids.is_empty() && !(self.permits.is_empty() && self.grants.is_empty())
    }

    /// The policies and grants that decided: those that failed, else those that forbid, else those that permit.
    pub(super) fn deciding(&self) -> (&[PolicyId], &[GrantId]) {
        match [&self.failed, &self.forbids].into_iter().find(|ids| !ids.is_empty()) {
            Some(ids) => (ids, &[]),
            None => (&self.permits, &self.grants),
        }
    }

    /// The rules that decided, in order, each once.
    pub(super) fn rules(&self) -> Vec<RuleId> {
        let (policies, grants) = self.deciding();
        let grants = grants.iter().map(|id| RuleId::Grant(*id));
        let mut rules: Vec<_> = policies.iter().filter_map(RuleId::of).chain(grants).collect();
        rules.sort();
        rules.dedup();
        rules
    }

    fn decision(&self) -> Decision {
        Decision { permitted: self.permitted(), rules: self.rules() }
    }

    fn ask(&mut self, question: &(Request, Entities), set: &PolicySet) {
        if set.is_empty() {
            return;
        }
        let response = Authorizer::new().is_authorized(&question.0, set, &question.1);
        for error in response.diagnostics().errors() {
            match error {
                cedar_policy::AuthorizationError::PolicyEvaluationError(error) => self.failed.push(error.policy_id().clone()),
            }
        }
        let reasons = response.diagnostics().reason().cloned();
        match response.decision() {
            CedarDecision::Allow => self.permits.extend(reasons),
            CedarDecision::Deny => self.forbids.extend(reasons),
        }
    }
}

impl Policies {
    /// Whether the request is permitted, and by which rules.
    ///
    /// An error in any policy that concerns the request is a denial.
    #[must_use]
    pub fn decide(&self, query: &Query<'_>) -> Decision {
        self.decide_or_remember(query).0
    }

    /// As [`decide`](Self::decide), and whether the decision had been made before and was remembered.
    #[must_use]
    pub fn decide_or_remember(&self, query: &Query<'_>) -> (Decision, bool) {
        let candidates = self.candidates(query);
        if !candidates.ask_cedar() {
            // To remember it would cost more.
            return (candidates.answer(query).decision(), false);
        }
        let key = super::cache::Key::of(query);
        if let Some(decision) = self.cache.get(&key, query.context.now) {
            return (decision, true);
        }
        let outcome = candidates.answer(query);
        let decision = outcome.decision();
        if !outcome.reads_now && !outcome.broken {
            self.cache.put(key, decision.clone(), query.context.until);
        }
        (decision, false)
    }

    /// The same answer from plain Cedar, which is asked about every rule there is: slow, to compare with.
    #[must_use]
    pub fn decide_plain(&self, query: &Query<'_>) -> Decision {
        let (principals, resources) = (entity::principal_nodes(query.caller), entity::resource_nodes(query.resource));
        let mut outcome = Outcome::broken();
        if let (true, Some(question)) = (is_meaningful(query), question(query, &principals, &resources, true)) {
            let system = matches!(query.resource, Resource::System);
            let plain = if system { &self.plain_system } else { &self.plain };
            if let Some(set) = plain.get_or_init(|| self.everything(system)) {
                outcome = Outcome::default();
                outcome.ask(&question, set);
            }
        }
        outcome.decision()
    }

    /// The grants that would permit the request if their conditions held, each with those that do not.
    #[must_use]
    pub fn withheld(&self, query: &Query<'_>) -> Vec<(&Grant, Vec<Condition>)> {
        let grants = self.candidates(query).grants.into_iter();
        grants.map(|grant| (grant, grant.require.unmet(query.context))).filter(|(_, unmet)| !unmet.is_empty()).collect()
    }

    /// The policies that keep a request from being permitted and look at what is known of the pod, its images or its node: those that
    /// forbid it, or where none does, those that would permit it if they found something else. Each with whether it looks at the node.
    #[must_use]
    pub fn withheld_by_policies(&self, query: &Query<'_>) -> Vec<(Name, bool)> {
        let outcome = self.ask_candidates(query);
        let against: Vec<_> = outcome.failed.iter().chain(&outcome.forbids).cloned().collect();
        let could_permit = |policy: &&Policy| policy.effect() == Effect::Permit && is_about(policy, query.action);
        let concerned = if against.is_empty() {
            let texts = self.candidates(query).texts;
            texts.iter().flat_map(|bucket| bucket.set.policies()).filter(could_permit).map(|policy| policy.id().clone()).collect()
        } else {
            against
        };
        let named = concerned.iter().filter_map(|id| match (RuleId::of(id)?, self.texts.looks_at_nodes(id)?) {
            (RuleId::Policy(name), looks_at_nodes) => Some((name, looks_at_nodes)),
            _ => None,
        });
        named.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether the answer may be another once something else is known of the pod, its images or its node: no grant permits it
    /// whatever they are like, or a policy looks at them.
    #[must_use]
    pub fn depends_on_facts(&self, query: &Query<'_>) -> bool {
        let candidates = self.candidates(query);
        candidates.texts.iter().any(|bucket| bucket.reads_facts)
            || (!candidates.grants.is_empty() && candidates.grants.iter().all(|grant| !grant.require.is_empty()))
    }

    /// Whether any grant has conditions, or any policy looks at what is known of pods, images and nodes.
    #[must_use]
    pub fn looks_at_facts(&self) -> bool {
        self.grants.conditional() > 0 || self.texts.reads_facts()
    }

    /// Every rule in one set; without what people wrote where the vault itself is concerned.
    fn everything(&self, system: bool) -> Option<PolicySet> {
        let texts = if system { None } else { Some(self.texts.iter()) };
        let mut set = PolicySet::from_policies(ROLES.iter().chain(texts.into_iter().flatten()).cloned()).ok()?;
        self.grants.iter().try_for_each(|grant| grant.link(&mut set))?;
        Some(set)
    }

    pub(super) fn ask_candidates(&self, query: &Query<'_>) -> Outcome {
        self.candidates(query).answer(query)
    }

    /// What can matter to a request.
    fn candidates(&self, query: &Query<'_>) -> Candidates<'_> {
        if !is_meaningful(query) {
            return Candidates::default();
        }
        let (principals, resources) = (entity::principal_nodes(query.caller), entity::resource_nodes(query.resource));
        // A grant is its scope and its conditions: one that is found for the request, has its action, and whose conditions
        // hold, permits it. Cedar need not be asked about what it would say anyway.
        let grants = self.grants.candidates(&principals, &resources).into_iter();
        let grants = grants.filter(|grant| grant.actions.contains(&query.action)).collect();

        // What people write is about paths: it has no say about the vault itself.
        let texts = match query.resource {
            Resource::Path(_) => self.texts.candidates(&principals, &resources),
            Resource::System => Vec::new(),
        };
        let roles = ROLES.candidates(&principals, &resources);
        Candidates { principals, resources, grants, texts, roles }
    }
}

/// What can matter to a request: grants that permit it where their conditions hold, and policies that Cedar is to be asked about.
#[derive(Default)]
struct Candidates<'a> {
    principals: Vec<Node>,
    resources: Vec<Node>,
    grants: Vec<&'a Grant>,
    texts: Vec<&'a Bucket>,
    roles: Vec<&'a Bucket>,
}

impl Candidates<'_> {
    fn ask_cedar(&self) -> bool {
        !(self.texts.is_empty() && self.roles.is_empty())
    }

    fn answer(self, query: &Query<'_>) -> Outcome {
        let reads_now =
            self.texts.iter().any(|bucket| bucket.reads_now) || self.grants.iter().any(|grant| grant.require.reads_now());
        let question = self.ask_cedar().then(|| question(query, &self.principals, &self.resources, !self.texts.is_empty()));
        let permits = self.grants.iter().filter(|grant| grant.require.unmet(query.context).is_empty());
        let mut outcome = Outcome { grants: permits.map(|grant| grant.id).collect(), reads_now, ..Outcome::default() };
        match question {
            None => outcome,
            Some(None) => Outcome::broken(),
            Some(Some(question)) => {
                for bucket in self.roles.into_iter().chain(self.texts) {
                    outcome.ask(&question, &bucket.set);
                }
                outcome
            }
        }
    }
}

/// Whether a policy's scope has an action in it.
fn is_about(policy: &Policy, action: Action) -> bool {
    let asked = entity::action_uid(action);
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::In(actions) => actions.contains(&asked),
        ActionConstraint::Eq(one) => one == asked,
    }
}

/// Whether the schema knows such a request: policies are checked for those alone. All others are denied.
fn is_meaningful(query: &Query<'_>) -> bool {
    match (&query.caller.principal, query.resource) {
        (Principal::Workload { .. } | Principal::Operator(_), Resource::Path(_)) => query.action.on_path(),
        (Principal::Operator(_) | Principal::Bootstrap, Resource::System) => !query.action.on_path(),
        (Principal::Workload { .. }, Resource::System) | (Principal::Bootstrap, Resource::Path(_)) => false,
    }
}

/// The request in Cedar. Roles do not look at the context, and grants are not put to Cedar: it is left out where it cannot matter.
fn question(query: &Query<'_>, principals: &[Node], resources: &[Node], with_context: bool) -> Option<(Request, Entities)> {
    let context = if with_context { query.context.to_cedar()? } else { cedar_policy::Context::empty() };
    let (principal, resource) = (entity::entity(principals)?, entity::entity(resources)?);
    let request = Request::new(principal.uid(), entity::action_uid(query.action), resource.uid(), context, None).ok()?;
    Some((request, Entities::from_entities([principal, resource], None).ok()?))
}
