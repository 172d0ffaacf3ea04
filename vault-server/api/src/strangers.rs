//! What callers without a session may cost: failures are counted by address, and those that fail too often are turned
//! away before anything of theirs is read.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use coffer_core::{
    clock::Timestamp,
    limits::{ADDRESSES_MAX, FAILURES_PER_ADDRESS_MAX as FAILURES_MAX},
};

use crate::callers::origin;

/// The window in which failures are counted: a minute.
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Strangers(Mutex<BTreeMap<IpAddr, Failures>>);

struct Failures {
    since: Timestamp,
    count: u32,
}

impl Strangers {
    /// Whether this address has failed too often to be heard now.
    pub(crate) fn turned_away(&self, address: Option<IpAddr>, now: Timestamp) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        address
            .and_then(|address| known.get(&origin(address)))
            .is_some_and(|failures| failures.count >= FAILURES_MAX && now.since(failures.since) < WINDOW)
    }

    /// Notes a failure; answers how many there have been in the window, this one included.
    pub(crate) fn failed(&self, address: Option<IpAddr>, now: Timestamp) -> u32 {
        let Some(address) = address.map(origin) else { return 1 };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ADDRESSES_MAX && !known.contains_key(&address) {
            let oldest = known.iter().min_by_key(|(_, failures)| failures.since).map(|(address, _)| *address);
            oldest.map(|oldest| known.remove(&oldest));
        }
        let failures = known.entry(address).or_insert(Failures { since: now, count: 0 });
        if now.since(failures.since) >= WINDOW {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
        failures.count
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ADDRESS: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

    #[test]
    fn an_address_is_turned_away_after_the_limit_and_heard_again_after_the_window() {
        let (strangers, now) = (Strangers::default(), Timestamp::from_secs(1_000));
        for _ in 0..FAILURES_MAX {
            assert!(!strangers.turned_away(ADDRESS, now));
            strangers.failed(ADDRESS, now);
        }
        assert!(strangers.turned_away(ADDRESS, now));
        assert!(!strangers.turned_away(Some(IpAddr::V4(Ipv4Addr::BROADCAST)), now));
        assert!(!strangers.turned_away(ADDRESS, now.plus(WINDOW)));
        assert_eq!(strangers.failed(ADDRESS, now.plus(WINDOW)), 1);
    }

    #[test]
    fn the_local_socket_is_never_turned_away() {
        let (strangers, now) = (Strangers::default(), Timestamp::from_secs(1_000));
        for _ in 0..=FAILURES_MAX {
            strangers.failed(None, now);
        }
        assert!(!strangers.turned_away(None, now));
    }
}
