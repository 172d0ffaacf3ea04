//! Pods with a token for the vault, and what each may have.

use coffer_core::{
    action::Action,
    id::{ClusterId, GrantId},
    path::Path,
    policy::{Context, Grant, PodFacts, Query, Resource},
    principal::Principal,
};
use coffer_kubernetes::PodWorkload;

use super::{
    facts::PodOf,
    images::{Judge, Judged},
};
use crate::Unsealed;

/// A pod with a token for the vault.
pub struct GatedPod {
    /// The cluster's name.
    pub cluster: String,
    /// The pod.
    pub pod: PodWorkload,
    /// What is known of it.
    pub context: Context,
    /// What the image of each of its containers comes to, in their order.
    pub images: Vec<JudgedImage>,
    /// Grants with conditions that are to it.
    pub grants: Vec<GatedGrant>,
}

/// What the image of a container comes to.
pub struct JudgedImage {
    /// The verdict.
    pub verdict: &'static str,
    /// Why it has not passed.
    pub why: String,
    /// Who has passed it.
    pub signers: Vec<String>,
}

impl From<Judged> for JudgedImage {
    fn from(judged: Judged) -> Self {
        Self { verdict: judged.verdict.name(), why: judged.why, signers: judged.signers.into_iter().collect() }
    }
}

/// A grant with conditions, for one pod.
pub struct GatedGrant {
    /// The grant.
    pub grant: Grant,
    /// The conditions that do not hold, each with the reason.
    pub unmet: Vec<String>,
}

impl Unsealed {
    /// A page of the pods that have a token for the vault, behind the one of this name, and whether there are more. Names are
    /// `CLUSTER/NAMESPACE/NAME/UID`.
    #[must_use]
    pub fn gated_pods(&self, cluster: &str, namespace: &str, after: &str, limit: usize) -> (Vec<(String, GatedPod)>, bool) {
        let mut pods: Vec<_> = self
            .workloads()
            .into_iter()
            .filter(|(_, name, pod)| {
                (cluster.is_empty() || name == cluster) && (namespace.is_empty() || pod.namespace == namespace)
            })
            .map(|(id, cluster, pod)| (format!("{cluster}/{}/{}/{}", pod.namespace, pod.name, pod.uid), id, cluster, pod))
            .filter(|(name, ..)| name.as_str() > after)
            .collect();
        pods.sort_by(|a, b| a.0.cmp(&b.0));
        let more = pods.len() > limit;
        let policies = self.in_force();
        let conditional: Vec<_> = policies.grants().filter(|grant| !grant.require.is_empty()).collect();
        let pods = pods.into_iter().take(limit);
        (pods.map(|(name, id, cluster, pod)| (name, self.gated_pod(id, cluster, pod, &conditional))).collect(), more)
    }

    /// Every pod with a token for the vault, with its cluster.
    pub(super) fn workloads(&self) -> Vec<(ClusterId, String, PodWorkload)> {
        let mut all = Vec::new();
        for (name, row) in self.clusters.all() {
            let runtime = self.runtime(row.value.id);
            let pods = runtime.as_ref().and_then(|runtime| runtime.pods()).map(coffer_kubernetes::PodCache::workloads);
            all.extend(pods.into_iter().flatten().map(|pod| (row.value.id, name.clone(), pod)));
        }
        all
    }

    /// What policy is told of a pod.
    pub(super) fn context_of(&self, cluster: ClusterId, pod: &PodWorkload) -> Context {
        self.context_by(cluster, pod, &|digest| self.judged(digest))
    }

    /// The same, where images come to what this says.
    pub(super) fn context_by(&self, cluster: ClusterId, pod: &PodWorkload, judge: Judge<'_>) -> Context {
        let facts = PodFacts {
            name: pod.name.clone(),
            uid: pod.uid.to_string(),
            node: pod.node.clone().unwrap_or_else(|| "unknown".to_owned()),
            service_account_uid: "unknown".to_owned(),
        };
        let context = Context { pod: Some(facts), ..self.context_without_pod() };
        self.with_facts_by(context, PodOf::new(cluster, pod), judge)
    }

    fn gated_pod(&self, id: ClusterId, cluster: String, pod: PodWorkload, conditional: &[&Grant]) -> GatedPod {
        let context = self.context_of(id, &pod);
        let principal: Option<Principal> = format!("k8s:{cluster}/{}/{}", pod.namespace, pod.service_account).parse().ok();
        let to = |grant: &&&Grant| principal.as_ref().is_some_and(|principal| grant.principal.matches(principal, &[]));
        let of = PodOf::new(id, &pod);
        let gated = |grant: &&Grant| GatedGrant { grant: (*grant).clone(), unmet: self.reasons(grant, &context, of) };
        let grants = conditional.iter().filter(to).map(gated).collect();
        let images = pod.workload.containers.iter().map(|container| self.judged_container(container).into()).collect();
        GatedPod { cluster, pod, context, images, grants }
    }

    /// Why grants with conditions do not give a workload something, for each of its pods: `(grant, pod, reason)`, at most so many.
    #[must_use]
    pub fn why_withheld(
        &self,
        principal: &Principal,
        action: Action,
        path: &Path,
        most: usize,
    ) -> Vec<(GrantId, String, String)> {
        let Principal::Workload { cluster, namespace, service_account } = principal else { return Vec::new() };
        let (policies, resource, caller) = (self.in_force(), Resource::Path(path.clone()), self.caller(principal.clone()));
        let mut told = Vec::new();
        for (id, name, pod) in self.workloads() {
            let is_of = name == cluster.as_str()
                && pod.namespace == namespace.as_str()
                && pod.service_account == service_account.as_str();
            if !is_of {
                continue;
            }
            let context = self.context_of(id, &pod);
            let of = PodOf::new(id, &pod);
            let query = Query { caller: &caller, action, resource: &resource, context: &context };
            for (grant, _) in policies.withheld(&query) {
                let reasons = self.reasons(grant, &context, of).into_iter();
                let pod_name = || format!("{}/{}", pod.namespace, pod.name);
                told.extend(reasons.map(|reason| (grant.id, pod_name(), reason)));
            }
            if told.len() >= most {
                break;
            }
        }
        told.truncate(most);
        told
    }
}
