//! What callers may take up of the server, by address and all together, with a session or without: connections, requests
//! under way, and bytes of requests and answers in memory.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use coffer_core::limits::{
    ADDRESSES_MAX, ANSWER_TIME_MAX, BYTES_HELD_MAX, BYTES_HELD_PER_ADDRESS_MAX, NEW_CONNECTIONS_BURST_SECS, REQUESTS_MAX,
    REQUESTS_PER_ADDRESS_MAX,
};
use tonic::codegen::Bytes;

/// What can be chosen about connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address.
    pub per_address: usize,
    /// New connections a second from one address; eight times as many may come at once.
    pub new_per_address_per_sec: u32,
    /// How long a connection may be silent before it is asked whether it lives.
    pub keepalive: Duration,
}

/// Whose limits an address falls under: an IPv6 host has 64 bits of addresses to choose from.
pub(crate) fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address @ IpAddr::V4(_) => address,
    }
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There are as many as there may be.
    All,
    /// There are as many from its address as there may be.
    Address,
    /// Too many came from its address just now.
    Rate,
}

/// What is taken up.
#[derive(Debug, Default)]
struct Taken {
    connections: AtomicUsize,
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// Adds where that does not go beyond `max`.
fn add(count: &AtomicUsize, number: usize, max: usize) -> bool {
    let add = |now: usize| now.checked_add(number).filter(|sum| *sum <= max);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}

/// Adds to both or to neither.
fn add_both([one, other]: [(&AtomicUsize, usize); 2], number: usize) -> bool {
    if !add(one.0, number, one.1) {
        return false;
    }
    let added = add(other.0, number, other.1);
    if !added {
        one.0.fetch_sub(number, Ordering::Relaxed);
    }
    added
}

/// All callers.
pub(crate) struct Callers {
    limits: ConnectionLimits,
    all: Taken,
    origins: Mutex<HashMap<IpAddr, Arc<Origin>>>,
}

/// The callers from one address.
struct Origin {
    taken: Taken,
    /// Until when connections are paid for that have come: each costs its part of a second.
    paid: Mutex<Instant>,
}

impl Callers {
    pub(crate) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, all: Taken::default(), origins: Mutex::default() })
    }

    /// A place for a connection, until it is dropped.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Arc<Place>, Refusal> {
        let origin = self.origin(address, now);
        if !add(&self.all.connections, 1, self.limits.connections) {
            return Err(Refusal::All);
        }
        // From here on it counts, and stops counting when it is dropped.
        origin.taken.connections.fetch_add(1, Ordering::Relaxed);
        let place = Place { callers: Arc::clone(self), origin, held: Mutex::default() };
        if place.origin.taken.connections.load(Ordering::Relaxed) > self.limits.per_address {
            return Err(Refusal::Address);
        }
        if !place.origin.pay(self.limits.new_per_address_per_sec, now) {
            return Err(Refusal::Rate);
        }
        Ok(Arc::new(place))
    }

    fn origin(&self, address: IpAddr, now: Instant) -> Arc<Origin> {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        if origins.len() >= ADDRESSES_MAX && !origins.contains_key(&origin(address)) {
            origins.retain(|_, origin| origin.taken.connections.load(Ordering::Relaxed) > 0);
        }
        let new = || Arc::new(Origin { taken: Taken::default(), paid: Mutex::new(now) });
        Arc::clone(origins.entry(origin(address)).or_insert_with(new))
    }
}

impl Origin {
    /// Whether one more connection may come now.
    fn pay(&self, per_sec: u32, now: Instant) -> bool {
        let price = Duration::from_secs(1) / per_sec.max(1);
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let until = (*paid).max(now) + price;
        let affordable = until.saturating_duration_since(now) <= Duration::from_secs(NEW_CONNECTIONS_BURST_SECS.into());
        if affordable {
            *paid = until;
        }
        affordable
    }
}

/// A connection's place among the callers.
pub(crate) struct Place {
    callers: Arc<Callers>,
    origin: Arc<Origin>,
    held: Mutex<Held>,
}

/// Answers of a connection that its caller has not taken yet.
#[derive(Default)]
struct Held {
    pieces: usize,
    /// When a piece was taken, or the first one began to wait.
    moved: Option<Instant>,
}

impl Place {
    /// Takes a request in; none where there are as many as there may be.
    pub(crate) fn request(self: &Arc<Self>) -> Option<Turn> {
        let (all, own) = (&self.callers.all.requests, &self.origin.taken.requests);
        let taken = add_both([(all, REQUESTS_MAX), (own, REQUESTS_PER_ADDRESS_MAX)], 1);
        taken.then(|| Turn { place: Arc::clone(self), bytes: AtomicUsize::new(0) })
    }

    fn hold(&self, bytes: usize) -> bool {
        let (all, own) = (&self.callers.all.bytes, &self.origin.taken.bytes);
        add_both([(all, BYTES_HELD_MAX), (own, BYTES_HELD_PER_ADDRESS_MAX)], bytes)
    }

    fn release(&self, bytes: usize) {
        self.callers.all.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.origin.taken.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts a piece of an answer until the connection has sent it. It exists already: it is counted whatever the limit,
    /// and what comes next is refused.
    pub(crate) fn hold_answer(self: &Arc<Self>, piece: Bytes, now: Instant) -> Bytes {
        self.callers.all.bytes.fetch_add(piece.len(), Ordering::Relaxed);
        self.origin.taken.bytes.fetch_add(piece.len(), Ordering::Relaxed);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.pieces += 1;
        held.moved = held.moved.or(Some(now));
        drop(held);
        Bytes::from_owner(Piece { bytes: piece, place: Arc::clone(self) })
    }

    /// Whether answers have waited for too long for a caller that takes nothing.
    pub(crate) fn is_stuck(&self, now: Instant) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.moved.is_some_and(|moved| now.saturating_duration_since(moved) > ANSWER_TIME_MAX)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.callers.all.connections.fetch_sub(1, Ordering::Relaxed);
        self.origin.taken.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A piece of an answer, as long as it is in memory.
struct Piece {
    bytes: Bytes,
    place: Arc<Place>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.place.release(self.bytes.len());
        let mut held = self.place.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.pieces = held.pieces.saturating_sub(1);
        held.moved = (held.pieces > 0).then(Instant::now);
    }
}

/// A request under way, until it is dropped.
pub(crate) struct Turn {
    place: Arc<Place>,
    bytes: AtomicUsize,
}

impl Turn {
    /// The connection's place.
    pub(crate) const fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// Counts bytes of the request, up to `max` in all: no more of them are in memory at once. Says whether there is room.
    pub(crate) fn take(&self, bytes: usize, max: usize) -> bool {
        let had = self.bytes.load(Ordering::Relaxed);
        let more = bytes.min(max.saturating_sub(had));
        let taken = self.place.hold(more);
        if taken {
            self.bytes.fetch_add(more, Ordering::Relaxed);
        }
        taken
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.place.release(self.bytes.load(Ordering::Relaxed));
        self.place.callers.all.requests.fetch_sub(1, Ordering::Relaxed);
        self.place.origin.taken.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
