//! What a change would take from running pods, before it is made.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use coffer_core::{
    action::Action,
    digest::Digest,
    id::GrantId,
    path::{Path, PathPattern},
    policy::{Caller, Context, Grant, ImageVerdict, Policies, Query, Resource},
    principal::{Name, Principal},
    reason::Reason,
};
use coffer_kubernetes::PodWorkload;
use tokio::task::spawn_blocking;

use super::{advisories::AdvisoriesRecord, facts::PodOf, images::Judge, import::NewImport};
use crate::{Failure, Unsealed, leases::Owner};

/// Pods that a preview tells.
const PREVIEWED_PODS_MAX: usize = 1_000;
/// Losses of a pod that a preview tells.
const LOSSES_TOLD_MAX: usize = 64;

/// A change that is thought of.
#[derive(Debug, Clone)]
pub enum Proposal {
    /// An import of advisories.
    Import(NewImport),
    /// Taking the verdict of a signer on an image back; of all signers for an empty name.
    RevokeVerdict(Digest, String),
    /// Taking a grant away.
    RevokeGrant(GrantId),
    /// Putting a policy in force.
    PutPolicy(Name, String),
    /// Taking a policy away.
    DeletePolicy(Name),
}

/// What a pod has of what it would lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// It follows the path.
    Watched,
    /// It holds a credential that would end at once.
    Leased,
    /// It holds a credential that lasts until its lease ends, and would get no other.
    LeasedToItsEnd,
    /// A grant gives it.
    Granted,
}

impl Held {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Watched => "watched",
            Self::Leased => "leased",
            Self::LeasedToItsEnd => "leased-to-its-end",
            Self::Granted => "granted",
        }
    }
}

/// Something that a pod would lose.
pub struct Loss {
    /// The action.
    pub action: Action,
    /// The path, or what a grant is for.
    pub path: PathPattern,
    /// What it has of it.
    pub held: Held,
    /// The conditions that would not hold, with reasons; empty where it is for none.
    pub why: String,
}

/// A pod that would lose something.
pub struct PreviewedPod {
    /// `CLUSTER`, namespace and name.
    pub name: (String, String, String),
    /// What its images come to.
    pub before: ImageVerdict,
    /// What they would come to.
    pub after: ImageVerdict,
    /// What it would lose.
    pub losses: Vec<Loss>,
}

/// What a change would come to.
#[derive(Default)]
pub struct Preview {
    /// Pods that would lose something, or whose images would pass no longer.
    pub pods: Vec<PreviewedPod>,
    /// How many more.
    pub further: usize,
    /// Pods that were looked at.
    pub seen: usize,
    /// Those whose images pass.
    pub passing: usize,
    /// Those of them that would not.
    pub failing: usize,
}

impl Preview {
    /// Tells of a pod, as far as there is room.
    fn tell(&mut self, mut pod: PreviewedPod) {
        if self.pods.len() >= PREVIEWED_PODS_MAX {
            self.further += 1;
            return;
        }
        pod.losses.truncate(LOSSES_TOLD_MAX);
        self.pods.push(pod);
    }
}

/// What a pod has now.
type Holding = BTreeSet<(Path, Held)>;

/// What decides, before or after.
struct World<'a> {
    policies: &'a Policies,
    judge: Judge<'a>,
}

impl Unsealed {
    /// What a change would take from running pods. Nothing is changed.
    ///
    /// # Errors
    /// Fails where the change could not be made, or the store does not answer.
    pub async fn preview(self: &Arc<Self>, caller: &Caller, proposal: Proposal) -> Result<Preview, Failure> {
        let policies = self.policies_after(&proposal)?;
        let advisories = match &proposal {
            Proposal::Import(new) => {
                self.check_import(new).await?;
                Some(self.imported(&caller.principal.to_string(), new)?)
            }
            _ => None,
        };
        let mut pods = self.workloads();
        pods.sort_by(|one, other| (&one.1, &one.2.namespace, &one.2.name).cmp(&(&other.1, &other.2.namespace, &other.2.name)));
        let mut holdings = Vec::with_capacity(pods.len());
        for (cluster, _, pod) in &pods {
            let watched = self.watchers.watched_by(&pod.uid).into_iter().map(|path| (path, Held::Watched));
            let leased = self.live_leases(&Owner::Pod(*cluster, pod.uid.to_string())).await?.into_iter();
            let leased = leased.map(|(path, conditional)| (path, if conditional { Held::Leased } else { Held::LeasedToItsEnd }));
            holdings.push(watched.chain(leased).collect::<Holding>());
        }
        let vault = Arc::clone(self);
        // Many pods with many grants take their time.
        let looked = spawn_blocking(move || vault.compare(&proposal, policies.as_ref(), advisories.as_ref(), &pods, &holdings));
        looked.await.map_err(|_| Failure::internal("a preview ended early"))
    }

    /// The policies that would be in force; none where they stay as they are.
    fn policies_after(&self, proposal: &Proposal) -> Result<Option<Policies>, Failure> {
        Ok(match proposal {
            Proposal::Import(_) => None,
            Proposal::RevokeVerdict(manifest, signer) => {
                let of = |(_, row): &(String, crate::table::Row<super::VerdictRecord>)| {
                    row.value.scan.manifest == *manifest && (signer.is_empty() || row.value.signer == *signer)
                };
                if !self.gate.verdicts.all().iter().any(of) {
                    return Err(Failure::new(Reason::NotFound, "there is no such verdict on this image"));
                }
                None
            }
            Proposal::RevokeGrant(id) => {
                self.grant(*id).ok_or_else(|| Failure::new(Reason::NotFound, "there is no grant of this id"))?;
                Some(self.in_force().without_grant(0, id))
            }
            Proposal::PutPolicy(name, text) => Some(self.with_policy(name, text)?),
            Proposal::DeletePolicy(name) => Some(self.without_policy(name)?),
        })
    }

    fn compare(
        &self,
        proposal: &Proposal,
        policies: Option<&Policies>,
        advisories: Option<&AdvisoriesRecord>,
        pods: &[(coffer_core::id::ClusterId, String, PodWorkload)],
        holdings: &[Holding],
    ) -> Preview {
        let revoked = match proposal {
            Proposal::RevokeVerdict(manifest, signer) => Some((*manifest, signer.as_str())),
            _ => None,
        };
        let (in_force, now, then) = (self.in_force(), self.assuming(None, None), self.assuming(advisories, revoked));
        let before = World { policies: &in_force, judge: &now };
        let after = World { policies: policies.unwrap_or(&in_force), judge: &then };
        let mut grants: BTreeMap<(&str, &str, &str), Vec<&Grant>> = BTreeMap::new();
        let mut preview = Preview { seen: pods.len(), ..Preview::default() };
        for ((id, cluster, pod), holding) in pods.iter().zip(holdings) {
            let Ok(principal) = format!("k8s:{cluster}/{}/{}", pod.namespace, pod.service_account).parse::<Principal>() else {
                continue;
            };
            let (was, is) = (self.context_by(*id, pod, before.judge), self.context_by(*id, pod, after.judge));
            preview.passing += usize::from(was.image.verdict == ImageVerdict::Passed);
            let fails = was.image.verdict == ImageVerdict::Passed && is.image.verdict != ImageVerdict::Passed;
            preview.failing += usize::from(fails);
            let to = grants
                .entry((cluster, &pod.namespace, &pod.service_account))
                .or_insert_with(|| in_force.grants().filter(|grant| grant.principal.matches(&principal, &[])).collect());
            let of = PodOf::new(*id, pod);
            let losses = self.losses(principal, (&before, &was), (&after, &is), (to, holding), of);
            if losses.is_empty() && !fails {
                continue;
            }
            let name = (cluster.clone(), pod.namespace.clone(), pod.name.clone());
            preview.tell(PreviewedPod { name, before: was.image.verdict, after: is.image.verdict, losses });
        }
        preview
    }

    /// What a pod would lose: of what it holds, and of what grants to it give.
    fn losses(
        &self,
        principal: Principal,
        (before, was): (&World<'_>, &Context),
        (after, is): (&World<'_>, &Context),
        (grants, holding): (&[&Grant], &Holding),
        pod: PodOf<'_>,
    ) -> Vec<Loss> {
        let caller = self.caller(principal);
        let held = holding.iter().map(|(path, held)| (Action::Read, path, *held));
        let granted = grants.iter().flat_map(|grant| match &grant.path {
            PathPattern::Exact(path) => grant.actions.iter().map(|action| (*action, path, Held::Granted)).collect(),
            PathPattern::Below(_) => Vec::new(),
        });
        let (mut losses, mut looked) = (Vec::new(), BTreeSet::new());
        for (action, path, held) in held.chain(granted) {
            if !looked.insert((action, path)) {
                continue;
            }
            let resource = Resource::Path(path.clone());
            let query = |context| Query { caller: &caller, action, resource: &resource, context };
            if before.policies.decide(&query(was)).permitted && !after.policies.decide(&query(is)).permitted {
                let withheld = after.policies.withheld(&query(is));
                let why = withheld.first().map(|(grant, _)| self.reasons_by(grant, is, pod, after.judge).join("; "));
                losses.push(Loss { action, path: PathPattern::Exact(path.clone()), held, why: why.unwrap_or_default() });
            }
        }
        // What lies below a folder is not known: the grant itself is told.
        for grant in grants.iter().filter(|grant| matches!(grant.path, PathPattern::Below(_))) {
            let is_there = after.policies.grant(&grant.id).is_some();
            if grant.require.unmet(was).is_empty() && !(is_there && grant.require.unmet(is).is_empty()) {
                let why = if is_there { self.reasons_by(grant, is, pod, after.judge).join("; ") } else { String::new() };
                let loss =
                    |action: &Action| Loss { action: *action, path: grant.path.clone(), held: Held::Granted, why: why.clone() };
                losses.extend(grant.actions.iter().map(loss));
            }
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(losses: usize) -> PreviewedPod {
        let loss = |number: usize| Loss {
            action: Action::Read,
            path: format!("kv/{number}").parse().unwrap(),
            held: Held::Granted,
            why: String::new(),
        };
        PreviewedPod {
            name: ("prod".to_owned(), "shop".to_owned(), "api".to_owned()),
            before: ImageVerdict::Passed,
            after: ImageVerdict::Failed,
            losses: (0..losses).map(loss).collect(),
        }
    }

    #[test]
    fn pods_and_losses_are_told_up_to_their_limits() {
        let told = |pods: usize, losses: usize| {
            let mut preview = Preview::default();
            (0..pods).for_each(|_| preview.tell(pod(losses)));
            (preview.pods.len(), preview.further, preview.pods.first().map(|pod| pod.losses.len()))
        };
        assert_eq!(told(PREVIEWED_PODS_MAX, LOSSES_TOLD_MAX), (PREVIEWED_PODS_MAX, 0, Some(LOSSES_TOLD_MAX)));
        assert_eq!(told(PREVIEWED_PODS_MAX + 1, LOSSES_TOLD_MAX + 1), (PREVIEWED_PODS_MAX, 1, Some(LOSSES_TOLD_MAX)));
    }
}
