//! Who watches which secrets: a change wakes those that watch its key, and nobody else.
//!
//! A watcher that is slow misses no change and keeps no backlog: what is due to it is a set of places in its list of
//! paths, and what it tells is the state that it finds when it gets there.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use coffer_barrier::PhysicalKey;
use coffer_core::{
    id::SessionId,
    limits::{WATCHERS_MAX, WATCHERS_PER_PRINCIPAL_MAX, WATCHERS_PER_SESSION_MAX},
    path::Path,
    reason::Reason,
};
use tokio::sync::Notify;

use crate::Failure;

/// All watchers of a vault, by the store's names of what they watch.
pub(crate) struct Watchers<K = PhysicalKey>(Mutex<Index<K>>);

struct Index<K> {
    by_key: HashMap<K, Vec<Place>>,
    /// What pods watch, by their UIDs: each watcher's list.
    of_pod: HashMap<String, Vec<Arc<[Path]>>>,
    of_session: HashMap<SessionId, usize>,
    of_principal: HashMap<String, usize>,
    count: usize,
}

/// A path in a watcher's list.
struct Place {
    at: usize,
    due: Arc<Due>,
}

/// What a watcher has to look at.
#[derive(Default)]
struct Due {
    places: Mutex<BTreeSet<usize>>,
    wake: Notify,
}

impl Due {
    fn add(&self, places: impl IntoIterator<Item = usize>) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).extend(places);
        self.wake.notify_one();
    }

    fn take(&self) -> BTreeSet<usize> {
        mem::take(&mut *self.places.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A watcher's place among all of them. It is given up when this is dropped.
pub struct Watcher<K: Eq + Hash = PhysicalKey> {
    all: Weak<Watchers<K>>,
    keys: Vec<K>,
    session: SessionId,
    principal: String,
    /// Whose it is, where that is a pod, and what it watches.
    pod: Option<(String, Arc<[Path]>)>,
    due: Arc<Due>,
}

impl<K: Eq + Hash> Watcher<K> {
    /// Waits until something may have changed; gives the places of the paths concerned. A wait that is given up loses
    /// nothing.
    pub async fn due(&self) -> BTreeSet<usize> {
        loop {
            let due = self.due.take();
            if !due.is_empty() {
                return due;
            }
            self.due.wake.notified().await;
        }
    }
}

impl<K: Eq + Hash> Drop for Watcher<K> {
    fn drop(&mut self) {
        if let Some(all) = self.all.upgrade() {
            all.index().remove(self);
        }
    }
}

impl<K> Default for Watchers<K> {
    fn default() -> Self {
        let empty = Index {
            by_key: HashMap::new(),
            of_pod: HashMap::new(),
            of_session: HashMap::new(),
            of_principal: HashMap::new(),
            count: 0,
        };
        Self(Mutex::new(empty))
    }
}

impl<K> Watchers<K> {
    fn index(&self) -> MutexGuard<'_, Index<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.index().count
    }
}

impl<K: Eq + Hash + Clone> Watchers<K> {
    /// Takes a watcher in; `keys` are those of its paths, in their order; `pod` is whose it is, with the paths.
    pub(crate) fn add(
        self: &Arc<Self>,
        session: SessionId,
        principal: String,
        keys: Vec<K>,
        pod: Option<(String, Arc<[Path]>)>,
    ) -> Result<Watcher<K>, Failure> {
        let mut index = self.index();
        let of_session = index.of_session.get(&session).copied().unwrap_or(0);
        let of_principal = index.of_principal.get(&principal).copied().unwrap_or(0);
        if index.count >= WATCHERS_MAX {
            return Err(Failure::told(Reason::Busy, format!("there are {WATCHERS_MAX} watches already: try again later")));
        }
        if of_principal >= WATCHERS_PER_PRINCIPAL_MAX {
            let message = format!("the principal has {WATCHERS_PER_PRINCIPAL_MAX} watches already: end one, or try again later");
            return Err(Failure::told(Reason::Busy, message));
        }
        if of_session >= WATCHERS_PER_SESSION_MAX {
            let message =
                format!("the session has {WATCHERS_PER_SESSION_MAX} watches already: end one, or watch more paths in one");
            return Err(Failure::told(Reason::Busy, message));
        }
        index.count += 1;
        index.of_session.insert(session, of_session + 1);
        index.of_principal.insert(principal.clone(), of_principal + 1);
        let due = Arc::new(Due::default());
        for (at, key) in keys.iter().enumerate() {
            index.by_key.entry(key.clone()).or_default().push(Place { at, due: Arc::clone(&due) });
        }
        if let Some((pod, paths)) = &pod {
            index.of_pod.entry(pod.clone()).or_default().push(Arc::clone(paths));
        }
        Ok(Watcher { all: Arc::downgrade(self), keys, session, principal, pod, due })
    }

    /// The paths that a pod watches.
    pub(crate) fn watched_by(&self, pod: &str) -> Vec<Path> {
        let index = self.index();
        index.of_pod.get(pod).into_iter().flatten().flat_map(|paths| paths.iter().cloned()).collect()
    }

    /// Wakes those who watch this key.
    pub(crate) fn changed(&self, key: &K) {
        for place in self.index().by_key.get(key).into_iter().flatten() {
            place.due.add([place.at]);
        }
    }

    /// Wakes all, where changes may have been missed.
    pub(crate) fn all_changed(&self) {
        for place in self.index().by_key.values().flatten() {
            place.due.add([place.at]);
        }
    }
}

impl<K: Eq + Hash> Index<K> {
    fn remove(&mut self, watcher: &Watcher<K>) {
        for key in &watcher.keys {
            if let Some(places) = self.by_key.get_mut(key) {
                places.retain(|place| !Arc::ptr_eq(&place.due, &watcher.due));
                if places.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
        if let Some((pod, paths)) = &watcher.pod
            && let Some(lists) = self.of_pod.get_mut(pod)
        {
            lists.retain(|list| !Arc::ptr_eq(list, paths));
            if lists.is_empty() {
                self.of_pod.remove(pod);
            }
        }
        self.count = self.count.saturating_sub(1);
        one_less(&mut self.of_session, &watcher.session);
        one_less(&mut self.of_principal, &watcher.principal);
    }
}

fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
