//! What policy is told of a pod.

use std::{sync::Arc, time::Duration};

use coffer_core::{
    action::Action,
    clock::Timestamp,
    id::ClusterId,
    path::Path,
    policy::{
        Condition, Context, Grant, HostFacts, HostPosture, ImageFacts, ImageVerdict, PodSecurity, Policies, Query, Resource,
        Switch,
    },
    session::Holder,
};
use coffer_kubernetes::{Level, PodState, PodWorkload, Workload};

use super::images::{Judge, container_by, facts_by};
use crate::{Authenticated, Failure, Record, Unsealed, sessions::POD_NEWS_TIME_MAX};

/// How long after it went to work the vault takes what it has not heard of nodes for news that is still to come.
pub(super) const NEWS_OF_NODES_WAIT: Duration = Duration::from_secs(90);

/// A pod as far as facts about it go.
#[derive(Clone, Copy)]
pub(super) struct PodOf<'a> {
    pub(super) cluster: ClusterId,
    pub(super) node: Option<&'a str>,
    pub(super) workload: &'a Workload,
}

impl<'a> PodOf<'a> {
    pub(super) fn new(cluster: ClusterId, pod: &'a PodWorkload) -> Self {
        Self { cluster, node: pod.node.as_deref(), workload: &pod.workload }
    }
}

const fn security(level: Level) -> PodSecurity {
    match level {
        Level::Privileged => PodSecurity::Privileged,
        Level::Baseline => PodSecurity::Baseline,
        Level::Restricted => PodSecurity::Restricted,
    }
}

impl Unsealed {
    /// Adds to a context what is known of a pod.
    pub(super) fn with_facts(&self, context: Context, pod: PodOf<'_>) -> Context {
        self.with_facts_by(context, pod, &|digest| self.judged(digest))
    }

    /// The same, where images come to what this says.
    pub(super) fn with_facts_by(&self, context: Context, pod: PodOf<'_>, judge: Judge<'_>) -> Context {
        let image = facts_by(&pod.workload.containers, judge);
        let host = pod.node.and_then(|node| self.host_facts(pod.cluster, node));
        let ends = [context.until, image.until, host.as_ref().map(|host| host.until)];
        Context { until: ends.into_iter().flatten().min(), image, host, workload: security(pod.workload.level), ..context }
    }

    /// What a caller's pod is made of, where that is known.
    pub(super) fn workload_of(&self, who: &Authenticated) -> Option<(ClusterId, Arc<Workload>)> {
        let Holder::Workload { cluster_id, pod: Some(pod), .. } = &who.claims.holder else { return None };
        let workload = self.runtime(*cluster_id)?.pods()?.workload(&pod.uid)?;
        Some((*cluster_id, workload))
    }

    /// The context of a caller's request, with what is known of its pod where policy may ask.
    pub(crate) fn context(&self, who: &Authenticated) -> Context {
        let context = Context { pod: who.pod.clone(), until: Some(who.claims.expires), ..self.context_without_pod() };
        if !self.in_force().looks_at_facts() {
            return context;
        }
        let Some((cluster, workload)) = self.workload_of(who) else { return context };
        let node = who.pod.as_ref().map(|pod| pod.node.as_str());
        self.with_facts(context, PodOf { cluster, node, workload: &workload })
    }

    /// Whether what a caller was given depends on what is known of its pod, its images or its node.
    pub(crate) fn is_conditional(&self, who: &Authenticated, path: &Path) -> bool {
        let (context, resource) = (self.context(who), Resource::Path(path.clone()));
        self.in_force().depends_on_facts(&Query {
            caller: &who.caller,
            action: Action::Read,
            resource: &resource,
            context: &context,
        })
    }

    /// Asks policy, and notes in the record what it was asked and what decided.
    ///
    /// # Errors
    /// Fails where it is not permitted: with the conditions that do not hold, where it would be if they did.
    pub fn permit(&self, who: &Authenticated, action: Action, resource: &Resource, record: &mut Record) -> Result<(), Failure> {
        let context = self.context(who);
        let query = Query { caller: &who.caller, action, resource, context: &context };
        let decision = self.decide_on(&query);
        record.decision(action, resource, &decision);
        if decision.permitted {
            self.note_facts(&query, record);
            return Ok(());
        }
        match self.withheld_of(who, &query) {
            None => Err(Failure::not_found_or_denied()),
            Some(Withheld::NotYet) => Err(Failure::not_heard_yet()),
            Some(Withheld::Unmet(conditions)) => {
                record.detail("unmet", &conditions);
                if let Some(why) = self.why_unmet(who, &query) {
                    record.detail("why", why);
                }
                Err(Failure::condition_unmet(&conditions))
            }
        }
    }

    /// Why the conditions of the first grant that would permit it do not hold for the caller's pod: for the record alone.
    fn why_unmet(&self, who: &Authenticated, query: &Query<'_>) -> Option<String> {
        let (cluster, workload) = self.workload_of(who)?;
        let node = who.pod.as_ref().map(|pod| pod.node.as_str());
        let policies = self.in_force();
        let (grant, _) = policies.withheld(query).into_iter().next()?;
        Some(self.reasons(grant, query.context, PodOf { cluster, node, workload: &workload }).join("; "))
    }

    /// Notes in a request's record what it was permitted on, where that can change: its receipt stands for that, too.
    fn note_facts(&self, query: &Query<'_>, record: &mut Record) {
        let (policies, context) = (self.in_force(), query.context);
        if !policies.looks_at_facts() || !policies.depends_on_facts(query) {
            return;
        }
        record.detail("image", context.image.verdict.name());
        if !context.image.signers.is_empty() {
            record.detail("signed_by", context.image.signers.iter().map(String::as_str).collect::<Vec<_>>().join(","));
        }
        record.detail("host", context.host.as_ref().map_or(HostPosture::Unknown, |host| host.posture).name());
        record.detail("swap", context.host.as_ref().map_or(Switch::Unknown, |host| host.swap).name());
        record.detail("workload", context.workload.name());
        record.detail("policy_version", policies.version());
    }

    /// Why a pod's request was refused that would be permitted if conditions of a grant held, or if a policy found something else; `None`
    /// where nothing would permit it.
    ///
    /// Where the vault may only not have heard yet what it needs to know, it says so, and nothing is taken away for that.
    #[must_use]
    pub fn withheld(&self, who: &Authenticated, action: Action, resource: &Resource) -> Option<Withheld> {
        let context = self.context(who);
        self.withheld_of(who, &Query { caller: &who.caller, action, resource, context: &context })
    }

    fn withheld_of(&self, who: &Authenticated, query: &Query<'_>) -> Option<Withheld> {
        // Of operators nothing of this is known, and never will be.
        who.pod.as_ref()?;
        let policies = self.in_force();
        if !policies.looks_at_facts() {
            return None;
        }
        let withheld = policies.withheld(query);
        let by_policies = if withheld.is_empty() { policies.withheld_by_policies(query) } else { Vec::new() };
        if withheld.is_empty() && by_policies.is_empty() {
            return None;
        }
        if self.pod_is_news(who) || self.may_be_news_of_nodes(&policies, query) {
            return Some(Withheld::NotYet);
        }
        let Some((grant, unmet)) = withheld.first() else {
            let names: Vec<_> = by_policies.iter().map(|(name, _)| name.as_str()).collect();
            return Some(Withheld::Unmet(format!("what the policy {} asks for", names.join(", "))));
        };
        let words = grant.require.conditions().filter(|(condition, _)| unmet.contains(condition)).map(|(_, word)| word);
        Some(Withheld::Unmet(words.collect::<Vec<_>>().join(", ")))
    }

    /// Whether a refusal may only be for what a node has not had the time to say. What images are like is known here, or not at all.
    pub(super) fn may_be_news_of_nodes(&self, policies: &Policies, query: &Query<'_>) -> bool {
        if query.context.host.is_some() || self.now().since(self.gate.began) >= NEWS_OF_NODES_WAIT {
            return false;
        }
        let of_nodes = |unmet: &[Condition]| unmet.iter().all(|condition| matches!(condition, Condition::Host | Condition::Swap));
        policies.withheld(query).iter().any(|(_, unmet)| of_nodes(unmet))
            || policies.withheld_by_policies(query).iter().any(|(_, looks_at_nodes)| *looks_at_nodes)
    }

    /// Whether the news of a caller's pod may still be on the way.
    fn pod_is_news(&self, who: &Authenticated) -> bool {
        let Holder::Workload { cluster_id, pod: Some(pod), .. } = &who.claims.holder else { return false };
        let runtime = self.runtime(*cluster_id);
        let Some(pods) = runtime.as_ref().and_then(|runtime| runtime.pods()) else { return false };
        let unheard = pods.workload(&pod.uid).is_none() && matches!(pods.pod(&pod.uid), PodState::Unseen | PodState::Unknown);
        unheard && (!pods.is_synced() || self.now().since(who.claims.issued) < POD_NEWS_TIME_MAX)
    }

    /// Each condition of a grant that does not hold for a pod, with the reason.
    pub(super) fn reasons(&self, grant: &Grant, context: &Context, pod: PodOf<'_>) -> Vec<String> {
        self.reasons_by(grant, context, pod, &|digest| self.judged(digest))
    }

    /// The same, where images come to what this says.
    pub(super) fn reasons_by(&self, grant: &Grant, context: &Context, pod: PodOf<'_>, judge: Judge<'_>) -> Vec<String> {
        let unmet = grant.require.unmet(context);
        let unmet = grant.require.conditions().filter(|(condition, _)| unmet.contains(condition));
        unmet.map(|(condition, word)| format!("{word}: {}", self.reason(condition, context, pod, judge))).collect()
    }

    fn reason(&self, condition: Condition, context: &Context, pod: PodOf<'_>, judge: Judge<'_>) -> String {
        let node = pod.node.unwrap_or("no node yet");
        match (condition, &context.host) {
            (Condition::Image | Condition::SignedBy | Condition::MaxAge, _) => {
                self.reason_of_images(condition, &context.image, pod, judge)
            }
            (Condition::Workload, _) => format!("the pod is {}", context.workload.name()),
            (Condition::Host | Condition::Swap, None) => format!("nothing is known of the node {node}"),
            (Condition::Host, Some(HostFacts { posture: HostPosture::Failed, failing, .. })) => {
                format!("the node {node} does not pass {}", failing.join(", "))
            }
            (Condition::Host, Some(_)) => format!("the posture of the node {node} is not known"),
            (Condition::Swap, Some(HostFacts { swap: Switch::On, .. })) => format!("the node {node} swaps"),
            (Condition::Swap, Some(_)) => format!("whether the node {node} swaps is not known"),
        }
    }

    fn reason_of_images(&self, condition: Condition, image: &ImageFacts, pod: PodOf<'_>, judge: Judge<'_>) -> String {
        let judged = pod.workload.containers.iter().map(|container| (container, container_by(container, judge)));
        let not_passed = judged.clone().find(|(_, judged)| judged.verdict != ImageVerdict::Passed);
        if let Some((container, judged)) = not_passed {
            return format!("container {}: {}", container.name, judged.why);
        }
        if condition == Condition::MaxAge {
            let scanned = image.scanned.map_or(0, Timestamp::secs);
            return format!("the oldest of the newest scans is {} seconds old", self.now().secs().saturating_sub(scanned));
        }
        let signers = judged.map(|(container, judged)| {
            format!("container {} by {}", container.name, judged.signers.into_iter().collect::<Vec<_>>().join(", "))
        });
        format!("passed {}", signers.collect::<Vec<_>>().join("; "))
    }
}

/// Why a grant does not give what it would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withheld {
    /// The vault may only not have heard yet.
    NotYet,
    /// These conditions do not hold.
    Unmet(String),
}
