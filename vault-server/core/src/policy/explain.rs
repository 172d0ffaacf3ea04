//! Saying why.

use std::cmp::Reverse;

use cedar_policy::{Effect, PolicyId};

use crate::{id::GrantId, limits::NEAR_MISSES_MAX, path::Path};

use super::{
    Grant, Policies, Query, Resource, RuleId,
    decide::{Outcome, ROLES},
};

/// A decision, explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whether the request is permitted.
    pub permitted: bool,
    /// Why, in one sentence.
    pub summary: String,
    /// The rules that decided: those that failed, else those that forbid, else those that permit.
    pub rules: Vec<DecidingRule>,
    /// Where nothing permits: grants for the right principal or the right path, the nearest first, at most
    /// [`NEAR_MISSES_MAX`].
    pub near_misses: Vec<GrantId>,
}

/// A rule that took part in a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidingRule {
    /// `grant`, `policy` or `role`.
    pub kind: &'static str,
    /// The grant's id, or the name of the policy or role.
    pub id: String,
    /// Whether it forbids, rather than permits.
    pub forbids: bool,
    /// The rule in Cedar.
    pub text: String,
}

impl Policies {
    /// Decides as [`Policies::decide`] does, and says why.
    #[must_use]
    pub fn explain(&self, query: &Query<'_>) -> Explanation {
        let outcome = self.ask_candidates(query);
        let (policies, grants) = outcome.deciding();
        let grants = grants.iter().map(|id| RuleId::Grant(*id).cedar(0));
        let mut ids: Vec<_> = policies.iter().cloned().chain(grants).collect();
        ids.sort();
        let rules: Vec<_> = ids.iter().filter_map(|id| self.deciding_rule(id)).collect();
        let near_misses = if rules.is_empty() { self.near_misses(query) } else { Vec::new() };
        let summary = self.summary(query, &outcome, &near_misses);
        let near_misses = near_misses.iter().map(|grant| grant.id).collect();
        Explanation { permitted: outcome.permitted(), summary, rules, near_misses }
    }

    fn deciding_rule(&self, id: &PolicyId) -> Option<DecidingRule> {
        let rule = RuleId::of(id)?;
        let (forbids, text) = if let RuleId::Grant(id) = &rule {
            (false, self.grants.by_id(id)?.to_cedar())
        } else {
            let policy = self.texts.by_id(id).or_else(|| ROLES.by_id(id))?;
            (policy.effect() == Effect::Forbid, policy.to_cedar()?)
        };
        Some(DecidingRule { kind: rule.kind(), id: rule.id(), forbids, text })
    }

    fn summary(&self, query: &Query<'_>, outcome: &Outcome, near: &[&Grant]) -> String {
        let rules = outcome.rules();
        if outcome.broken {
            return "denied, because the request could not be put to the policies: this is a fault of the vault".to_owned();
        }
        let Some(rule) = rules.first() else { return nothing_permits(query, near) };
        let more = match rules.len() {
            1 => String::new(),
            2 => " (and one more rule)".to_owned(),
            n => format!(" (and {} more rules)", n - 1),
        };
        if !outcome.failed.is_empty() {
            return format!("denied, because {rule} fails for this request{more}");
        }
        let verb = if outcome.permitted() { "permitted" } else { "forbidden" };
        match rule {
            RuleId::Grant(id) => {
                let words = self.grants.by_id(id).map(Grant::words).unwrap_or_default();
                format!("{verb} by {rule}: {words}{more}")
            }
            RuleId::Policy(_) | RuleId::Bootstrap => format!("{verb} by {rule}{more}"),
            RuleId::Role(_) => format!("{verb} by {rule}, which {} has{more}", query.caller.principal),
        }
    }

    /// Grants that are nearly for this request, the nearest first.
    fn near_misses(&self, query: &Query<'_>) -> Vec<&Grant> {
        let Resource::Path(path) = query.resource else { return Vec::new() };
        let mut near: Vec<_> = self.grants.iter().filter_map(|grant| Some((distance(grant, query, path)?, grant))).collect();
        near.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.id.cmp(&y.id)));
        near.into_iter().map(|(_, grant)| grant).take(NEAR_MISSES_MAX).collect()
    }
}

/// How far a grant is from the request; none where neither principal nor path is right.
fn distance(grant: &Grant, query: &Query<'_>, path: &Path) -> Option<(u8, bool, Reverse<usize>)> {
    let principal = grant.principal.matches(&query.caller.principal, &query.caller.roles);
    let on_path = grant.path.matches(path);
    let class = match (principal, on_path) {
        (true, true) => 0,
        (true, false) => 1,
        (false, true) => 2,
        (false, false) => return None,
    };
    let shared = path.segments().zip(grant.path.base().segments()).take_while(|(a, b)| a == b).count();
    Some((class, !grant.actions.contains(&query.action), Reverse(shared)))
}

fn nothing_permits(query: &Query<'_>, near: &[&Grant]) -> String {
    let (principal, action) = (&query.caller.principal, query.action);
    match query.resource {
        Resource::Path(path) => {
            let nearest =
                near.first().map(|grant| format!("; nearest: {}, grant {}", grant.words(), grant.id)).unwrap_or_default();
            format!("no grant gives {principal} the action {action} on {path}{nearest}")
        }
        Resource::System => format!("no role of {principal} gives the action {action}"),
    }
}
