use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

const LIMITS: ConnectionLimits =
    ConnectionLimits { connections: 6, per_address: 4, new_per_address_per_sec: 2, keepalive: Duration::from_secs(1) };

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn place(callers: &Arc<Callers>, from: u8, now: Instant) -> Arc<Place> {
    callers.admit(address(from), now).map_err(|refusal| format!("{refusal:?}")).unwrap()
}

fn refusal(callers: &Arc<Callers>, from: u8, now: Instant) -> Option<Refusal> {
    callers.admit(address(from), now).err()
}

#[test]
fn an_address_has_its_part_of_the_connections_and_all_together_theirs() {
    let (callers, now) = (Callers::new(LIMITS), Instant::now());
    let mut open: Vec<_> = (0..LIMITS.per_address).map(|_| place(&callers, 1, now)).collect();
    assert_eq!(refusal(&callers, 1, now), Some(Refusal::Address));
    open.extend((open.len()..LIMITS.connections).map(|_| place(&callers, 2, now)));
    assert_eq!(refusal(&callers, 3, now), Some(Refusal::All));
    // What was refused takes up nothing, and what has ended no longer.
    open.remove(0);
    place(&callers, 1, now);
    drop(open);
    assert_eq!(callers.all.connections.load(Ordering::Relaxed), 0);
}

#[test]
fn connections_from_an_address_may_come_in_a_burst_and_then_at_their_rate() {
    let (callers, now) = (Callers::new(LIMITS), Instant::now());
    let burst = LIMITS.new_per_address_per_sec * NEW_CONNECTIONS_BURST_SECS;
    for _ in 0..burst {
        drop(place(&callers, 1, now));
    }
    assert_eq!(refusal(&callers, 1, now), Some(Refusal::Rate));
    assert_eq!(refusal(&callers, 2, now), None, "another address pays nothing for it");
    let later = now + Duration::from_millis(500);
    drop(place(&callers, 1, later));
    assert_eq!(refusal(&callers, 1, later), Some(Refusal::Rate));
}

#[test]
fn addresses_without_connections_are_forgotten_when_there_are_many() {
    let (callers, now) = (Callers::new(LIMITS), Instant::now());
    let kept = place(&callers, 1, now);
    for number in 0..u32::try_from(2 * ADDRESSES_MAX).unwrap() {
        drop(callers.admit(Ipv4Addr::from(0x0a00_0000 + number).into(), now));
    }
    let known = callers.origins.lock().unwrap();
    assert!(known.len() <= ADDRESSES_MAX, "{}", known.len());
    assert!(known.contains_key(&address(1)), "one with a connection was forgotten");
    drop((known, kept));
}

#[test]
fn an_ipv6_host_is_one_address_whichever_of_its_own_it_takes() {
    let v6 = |text: &str| IpAddr::V6(text.parse::<Ipv6Addr>().unwrap());
    assert_eq!(origin(v6("2001:db8:0:1::1")), origin(v6("2001:db8:0:1:ffff::2")));
    assert_ne!(origin(v6("2001:db8:0:1::1")), origin(v6("2001:db8:0:2::1")));
    assert_eq!(origin(v6("::ffff:192.0.2.1")), address(1));
    assert_ne!(origin(address(1)), origin(address(2)));
}

#[test]
fn requests_of_an_address_are_bounded_and_leave_room_for_others() {
    let (callers, now) = (Callers::new(LIMITS), Instant::now());
    let (one, other) = (place(&callers, 1, now), place(&callers, 2, now));
    let mut turns: Vec<_> = (0..REQUESTS_PER_ADDRESS_MAX).map(|_| one.request().unwrap()).collect();
    assert!(one.request().is_none());
    turns.push(other.request().unwrap());
    turns.remove(0);
    assert!(one.request().is_some());
}

#[test]
fn requests_in_all_are_bounded() {
    let (callers, now) = (Callers::new(ConnectionLimits { connections: 100, ..LIMITS }), Instant::now());
    let mut turns = Vec::new();
    for from in 0..u8::try_from(REQUESTS_MAX / REQUESTS_PER_ADDRESS_MAX).unwrap() {
        let place = place(&callers, from, now);
        turns.extend((0..REQUESTS_PER_ADDRESS_MAX).map(|_| place.request().unwrap()));
    }
    assert_eq!(turns.len(), REQUESTS_MAX);
    assert!(place(&callers, 200, now).request().is_none());
}

#[test]
fn bytes_of_requests_are_bounded_by_address_and_in_all_and_given_back() {
    const REQUEST: usize = 1 << 20;
    let (callers, now) = (Callers::new(ConnectionLimits { connections: 100, ..LIMITS }), Instant::now());
    let mut turns = Vec::new();
    for from in 0..u8::try_from(BYTES_HELD_MAX / BYTES_HELD_PER_ADDRESS_MAX).unwrap() {
        let place = place(&callers, from, now);
        for _ in 0..BYTES_HELD_PER_ADDRESS_MAX / REQUEST {
            let turn = place.request().unwrap();
            // A longer stream is never in memory whole.
            assert!(turn.take(REQUEST, REQUEST) && turn.take(REQUEST, REQUEST));
            turns.push(turn);
        }
        assert!(!place.request().unwrap().take(1, REQUEST), "address {from}");
    }
    assert!(!place(&callers, 200, now).request().unwrap().take(1, REQUEST));
    drop(turns);
    assert_eq!(callers.all.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn answers_count_until_they_are_sent_and_a_caller_that_takes_none_is_stuck() {
    let (callers, now) = (Callers::new(LIMITS), Instant::now());
    let place = place(&callers, 1, now);
    let half = Bytes::from(vec![0; BYTES_HELD_PER_ADDRESS_MAX / 2]);
    let one = place.hold_answer(half.clone(), now);
    assert!(!place.is_stuck(now + ANSWER_TIME_MAX));
    assert!(place.is_stuck(now + ANSWER_TIME_MAX + Duration::from_millis(1)));
    let other = place.hold_answer(half, now);
    assert!(!place.request().unwrap().take(1, usize::MAX), "what is not sent is still in memory");
    // A part of a piece is the piece.
    let part = one.slice(0..1);
    drop(one);
    assert!(!place.request().unwrap().take(1, usize::MAX));
    drop(part);
    assert!(place.request().unwrap().take(1, usize::MAX));
    assert!(!place.is_stuck(Instant::now()), "one that takes something is not stuck");
    drop(other);
    assert!(!place.is_stuck(now + 2 * ANSWER_TIME_MAX), "nothing waits");
}
