//! Credentials that were given on conditions end when these hold no longer.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, Hash, RandomState},
    sync::Arc,
    time::Duration,
};

use coffer_core::{
    action::Action,
    clock::Timestamp,
    id::ClusterId,
    policy::{Context, ImageFacts, Query, Requirement, Resource},
    principal::Principal,
};
use coffer_kubernetes::PodWorkload;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::facts::NEWS_OF_NODES_WAIT;
use crate::{
    Failure, Unsealed,
    leases::{Owner, Why},
};

/// Between two looks: many things change at once.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// How often it is looked where nothing was told.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What was known of pods at the last look, as a hash, by cluster and UID.
type Seen = HashMap<(ClusterId, Arc<str>), u64>;

impl Unsealed {
    /// Ends what pods were given on conditions that hold no longer, until the vault is sealed.
    pub(crate) async fn withdraw_what_conditions_held(self: Arc<Self>) {
        let (mut changes, mut policies) = (self.gate_changes(), self.policy_changes());
        let (hasher, mut seen) = (RandomState::new(), Seen::new());
        loop {
            changes.borrow_and_update();
            policies.borrow_and_update();
            let looked = tokio::select! {
                () = self.ending.cancelled() => return,
                looked = self.look_at_pods(&hasher, &mut seen) => looked,
            };
            let next = match looked {
                Ok(next) => next,
                Err(failure) => {
                    tracing::warn!(%failure, "what conditions hold for cannot be looked at; trying again");
                    // Whatever was not ended is looked at again.
                    seen.clear();
                    None
                }
            };
            let told = async {
                sleep(BETWEEN_LOOKS).await;
                let changed = async {
                    tokio::select! { _ = changes.changed() => {}, _ = policies.changed() => {} }
                };
                // An error is that of a vault that ends.
                drop(timeout(LOOK_AGAIN, changed).await);
            };
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = told => {}
                // What was known ends by itself: watches have to be told.
                () = until(next, self.now()) => self.gate_changed(),
            }
        }
    }

    /// Looks at the pods of which something else is known than at the last look; gives when something ends by itself.
    async fn look_at_pods(self: &Arc<Self>, hasher: &RandomState, seen: &mut Seen) -> Result<Option<Timestamp>, Failure> {
        let policies = self.in_force();
        if !policies.looks_at_facts() {
            seen.clear();
            return Ok(None);
        }
        let ages: Vec<_> = policies.grants().map(|grant| &grant.require).filter(|require| require.reads_now()).collect();
        let (mut next, mut now_seen) = (None, Seen::new());
        for (cluster, name, pod) in self.workloads() {
            let context = self.context_of(cluster, &pod);
            next = [next, context.until].into_iter().flatten().min();
            let key = (cluster, Arc::clone(&pod.uid));
            let hash = hasher.hash_one(known(&context, &ages));
            let is_settled = seen.get(&key) == Some(&hash) || self.withdraw_from(cluster, &name, &pod, &context).await?;
            if is_settled {
                now_seen.insert(key, hash);
            } else {
                next = [next, Some(self.gate.began.plus(NEWS_OF_NODES_WAIT))].into_iter().flatten().min();
            }
        }
        *seen = now_seen;
        Ok(next)
    }

    /// Ends the credentials of a pod that were given on conditions, and would not be given now. Says whether that is all: not where a
    /// node may only not have had the time to say what it is like.
    async fn withdraw_from(
        self: &Arc<Self>,
        cluster: ClusterId,
        name: &str,
        pod: &PodWorkload,
        context: &Context,
    ) -> Result<bool, Failure> {
        let Ok(principal) = format!("k8s:{name}/{}/{}", pod.namespace, pod.service_account).parse::<Principal>() else {
            return Ok(true);
        };
        let caller = self.caller(principal);
        let (policies, mut decided, mut is_settled) = (self.in_force(), BTreeMap::new(), true);
        for (place, path) in self.conditional_leases(&Owner::Pod(cluster, pod.uid.to_string())).await? {
            let ends = *decided.entry(path.clone()).or_insert_with(|| {
                let resource = Resource::Path(path);
                let query = Query { caller: &caller, action: Action::Read, resource: &resource, context };
                let permitted = policies.decide(&query).permitted;
                let is_early = !permitted && self.may_be_news_of_nodes(&policies, &query);
                is_settled &= !is_early;
                !permitted && !is_early
            });
            if ends {
                self.end_in_turn(place, Why::Withheld).await;
            }
        }
        Ok(is_settled)
    }
}

/// What decisions can depend on, but for when it ends; and which ages are over.
fn known<'a>(context: &'a Context, ages: &[&Requirement]) -> impl Hash + use<'a> {
    let ImageFacts { verdict, pinned, signers, scanned, until: _ } = &context.image;
    let host = context.host.as_ref().map(|host| (host.posture, host.swap));
    let over: Vec<_> = ages.iter().map(|require| require.unmet(context)).collect();
    (verdict, pinned, signers, scanned, host, context.workload, over)
}

async fn until(then: Option<Timestamp>, now: Timestamp) {
    match then {
        // A moment has a millisecond.
        Some(then) => sleep_until(Instant::now() + then.since(now) + Duration::from_millis(1)).await,
        None => std::future::pending().await,
    }
}
