//! What ended sessions before their time, for those who watch for it.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

/// Pods that are noted to be gone until somebody looks: past that all pods are looked at.
const GONE_MAX: usize = 65_536;

/// Tells that sessions may have ended, and which pods are gone.
#[derive(Default)]
pub(crate) struct Losses {
    count: watch::Sender<u64>,
    gone: Mutex<Gone>,
}

/// Pods that are gone.
#[derive(Default)]
pub(crate) struct Gone {
    /// Their UIDs.
    pub(crate) pods: Vec<Arc<str>>,
    /// Whether there are others, of whom nothing is known but that.
    pub(crate) others: bool,
}

impl Losses {
    /// Tells it each time.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// Sessions may have ended.
    pub(crate) fn tell(&self) {
        self.count.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A pod is gone.
    pub(crate) fn tell_gone(&self, pod: Arc<str>) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if gone.pods.len() < GONE_MAX {
            gone.pods.push(pod);
        } else {
            gone.others = true;
        }
        drop(gone);
        self.tell();
    }

    /// Pods are gone, and nobody knows which.
    pub(crate) fn tell_others(&self) {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).others = true;
        self.tell();
    }

    /// The pods that are gone since this was asked last.
    pub(crate) fn take_gone(&self) -> Gone {
        mem::take(&mut *self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_pods_than_are_noted_are_told_to_be_others() {
        let losses = Losses::default();
        let told = losses.subscribe();
        for pod in 0..GONE_MAX {
            losses.tell_gone(pod.to_string().into());
        }
        let gone = losses.take_gone();
        assert!(gone.pods.len() == GONE_MAX && !gone.others);
        assert!(told.has_changed().unwrap());
        for pod in 0..=GONE_MAX {
            losses.tell_gone(pod.to_string().into());
        }
        let gone = losses.take_gone();
        assert!(gone.pods.len() == GONE_MAX && gone.others);
        losses.tell_others();
        assert!(losses.take_gone().others);
        assert!(!losses.take_gone().others);
    }
}
