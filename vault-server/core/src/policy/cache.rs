//! Decisions that were made, for as long as they hold.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{action::Action, clock::Timestamp, limits::DECISIONS_CACHED_MAX, recent::Recent};

use super::{Caller, Context, Decision, ImageFacts, Query, Resource};

/// Parts with a lock each.
const SHARDS: usize = 16;
/// A bounded memory of decisions, for one state of the policies.
pub(super) struct Cache {
    hasher: RandomState,
    shards: [Mutex<Recent<Key, Entry>>; SHARDS],
}

#[derive(Clone)]
struct Entry {
    decision: Decision,
    until: Option<Timestamp>,
}

impl Entry {
    fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Everything that a decision can depend on, except the time and the policies: the whole of it, not a hash, so that no
/// two requests are taken for each other.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Key(Box<[u8]>);

impl Key {
    pub(super) fn of(query: &Query<'_>) -> Self {
        let Query { caller: Caller { principal, roles }, action, resource, context } = query;
        // Named one by one, so that a new attribute cannot be forgotten here.
        let Context { now: _, until: _, tenant, seal, pod, image, host, workload } = context;
        let ImageFacts { verdict, pinned, signers, scanned, until: _ } = image;
        let mut key = Vec::with_capacity(256);
        put(&mut key, &principal.to_string());
        for role in crate::principal::Role::ALL {
            key.push(u8::from(roles.contains(role)));
        }
        put(&mut key, Action::name(*action));
        match resource {
            Resource::Path(path) => put(&mut key, path.as_str()),
            Resource::System => put(&mut key, ""),
        }
        put(&mut key, tenant);
        put(&mut key, seal);
        key.push(u8::from(pod.is_some()));
        if let Some(pod) = pod {
            for fact in [&pod.name, &pod.uid, &pod.node, &pod.service_account_uid] {
                put(&mut key, fact);
            }
        }
        put(&mut key, verdict.name());
        key.push(u8::from(*pinned));
        key.extend_from_slice(&signers.len().to_be_bytes());
        for signer in signers {
            put(&mut key, signer);
        }
        key.extend_from_slice(&scanned.map_or(0, Timestamp::secs).to_be_bytes());
        // Neither which checks failed nor until when is anything that policies see.
        let host = host.as_ref().map(|host| (host.posture.name(), host.swap.name())).unwrap_or_default();
        put(&mut key, host.0);
        put(&mut key, host.1);
        put(&mut key, workload.name());
        Self(key.into())
    }
}

/// Text with its length before it, so that where one ends cannot be mistaken.
fn put(key: &mut Vec<u8>, text: &str) {
    key.extend_from_slice(&text.len().to_be_bytes());
    key.extend_from_slice(text.as_bytes());
}

impl Cache {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::new(Recent::new(DECISIONS_CACHED_MAX / SHARDS))),
        }
    }

    /// The decision, where it was made before and still holds.
    pub(super) fn get(&self, key: &Key, now: Timestamp) -> Option<Decision> {
        let shard = self.shard(key)?;
        let entry = shard.get(key)?;
        entry.holds(now).then(|| entry.decision.clone())
    }

    /// Remembers a decision until then, at most.
    pub(super) fn put(&self, key: Key, decision: Decision, until: Option<Timestamp>) {
        let Some(mut shard) = self.shard(&key) else { return };
        shard.put(key, Entry { decision, until });
    }

    fn shard(&self, key: &Key) -> Option<MutexGuard<'_, Recent<Key, Entry>>> {
        let shard = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).ok()?;
        // A panic while the lock was held leaves a map that is whole: what it holds is still true.
        Some(self.shards.get(shard)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Decisions remembered, those that hold no longer included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}
