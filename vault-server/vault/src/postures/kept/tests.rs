use coffer_core::{id::SessionId, policy::HostPosture};

use super::*;

const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
const OTHER: ClusterId = ClusterId::from_bytes([2; 16]);

fn record(received: Timestamp) -> PostureRecord {
    PostureRecord {
        posture: "passed".into(),
        swap: "off".into(),
        failing: Vec::new(),
        failed: 0,
        unknown: 0,
        passed: 1,
        boot: "boot".into(),
        gathered: received,
        received,
        digest: vec![0; 32],
        session: SessionId::from_bytes([7; 16]),
        session_began: Timestamp::from_secs(1),
        sequence: received.millis(),
    }
}

fn key(number: usize) -> Key {
    (CLUSTER, format!("node-{number}"))
}

/// So many nodes that reported then.
fn nodes(count: usize, at: Timestamp) -> Kept {
    let mut kept = Kept::default();
    (0..count).for_each(|number| kept.take(key(number), record(at)));
    kept
}

fn report(kept: &mut Kept, number: usize, at: Timestamp) {
    kept.refresh(&key(number), &record(at));
}

fn missed(kept: &mut Kept, now: Timestamp) -> Missed {
    kept.miss(now, |_| Some(true))
}

/// Numbers of the nodes that policy sees nothing of.
fn unseen(kept: &Kept, count: usize, now: Timestamp) -> Vec<usize> {
    (0..count).filter(|number| kept.facts(CLUSTER, &key(*number).1, now).is_none()).collect()
}

const BEGAN: Timestamp = Timestamp::from_secs(1_000);

fn later(by: Duration) -> Timestamp {
    BEGAN.plus(by)
}

const TICK: Duration = Duration::from_secs(1);

#[test]
fn a_posture_counts_for_its_time_and_not_longer() {
    let mut kept = nodes(1, BEGAN);
    let last = later(POSTURE_LIFETIME - TICK);
    assert_eq!(missed(&mut kept, last), Missed::default());
    let facts = kept.facts(CLUSTER, "node-0", last).unwrap();
    assert_eq!((facts.posture, facts.until), (HostPosture::Passed, later(POSTURE_LIFETIME)));
    assert!(kept.facts(OTHER, "node-0", last).is_none() && kept.facts(CLUSTER, "node-1", last).is_none());
    assert!(missed(&mut kept, later(POSTURE_LIFETIME)).any);
    assert_eq!(unseen(&kept, 1, later(POSTURE_LIFETIME)), [0]);
    assert_eq!(kept.erasable(9), [(key(0), Why::Silent)]);
    // It is shown for a while, and forgotten.
    assert_eq!(kept.shown(&key(0), later(POSTURE_LIFETIME)).unwrap().1, PostureState::Lost);
    kept.erased(&key(0));
    assert_eq!(missed(&mut kept, later(POSTURE_LIFETIME + POSTURE_HELD_MAX)), Missed::default());
    assert!(!kept.knows(&key(0)));
}

#[test]
fn a_tenth_of_the_nodes_may_fall_silent_and_one_more_holds_all() {
    for (count, silent, held) in
        [(1, 1, false), (2, 1, false), (2, 2, true), (19, 2, true), (20, 2, false), (20, 3, true), (20, 20, true)]
    {
        let mut kept = nodes(count, BEGAN);
        (silent..count).for_each(|number| report(&mut kept, number, later(TICK)));
        let now = later(POSTURE_LIFETIME);
        let found = missed(&mut kept, now);
        assert_eq!((found.any, found.waiting == [CLUSTER]), (!held, held), "{silent} of {count}");
        let expected: Vec<usize> = if held { Vec::new() } else { (0..silent).collect() };
        assert_eq!(unseen(&kept, count, now), expected, "{silent} of {count}");
        let state = kept.shown(&key(0), now).unwrap().1;
        assert_eq!(state, if held { PostureState::Held } else { PostureState::Lost }, "{silent} of {count}");
    }
}

#[test]
fn nodes_that_go_one_after_another_count_together() {
    let mut kept = nodes(10, BEGAN);
    (1..10).for_each(|number| report(&mut kept, number, later(TICK * 10)));
    (2..10).for_each(|number| report(&mut kept, number, later(TICK * 20)));
    assert!(missed(&mut kept, later(POSTURE_LIFETIME)).any);
    let second = later(POSTURE_LIFETIME + TICK * 10);
    assert_eq!(missed(&mut kept, second), Missed { any: false, waiting: vec![CLUSTER] });
    assert_eq!(unseen(&kept, 10, second), [0]);
    // The first was long ago then.
    let much_later = later(POSTURE_LIFETIME * 2);
    (2..10).for_each(|number| report(&mut kept, number, much_later));
    assert!(missed(&mut kept, much_later).any);
    assert_eq!(unseen(&kept, 10, much_later), [0, 1]);
}

#[test]
fn what_is_held_ends_with_reports_a_person_or_an_hour() {
    let over = later(POSTURE_LIFETIME);
    let mut kept = nodes(4, BEGAN);
    assert_eq!(missed(&mut kept, over).waiting, [CLUSTER]);
    assert_eq!(missed(&mut kept, over.plus(TICK)), Missed::default(), "it is said once");
    // Reports come again: of the one that stays away nobody is asked.
    (1..4).for_each(|number| report(&mut kept, number, over));
    assert!(missed(&mut kept, over.plus(TICK)).any);
    assert_eq!(unseen(&kept, 4, over.plus(TICK)), [0]);

    let mut kept = nodes(4, BEGAN);
    missed(&mut kept, over);
    assert_eq!((kept.confirm(OTHER, over), kept.confirm(CLUSTER, over), kept.confirm(CLUSTER, over)), (0, 4, 0));
    assert_eq!(unseen(&kept, 4, over), [0, 1, 2, 3]);

    let mut kept = nodes(4, BEGAN);
    missed(&mut kept, over);
    let last = later(POSTURE_LIFETIME + POSTURE_HELD_MAX - TICK);
    assert!(!missed(&mut kept, last).any && unseen(&kept, 4, last).is_empty());
    let end = last.plus(TICK);
    assert_eq!(unseen(&kept, 4, end), [0, 1, 2, 3], "whether anybody looks or not");
    assert!(missed(&mut kept, end).any);
    assert_eq!(kept.erasable(9).first().map(|(_, why)| *why), Some(Why::Confirmed));
}

#[test]
fn what_a_node_says_itself_counts_at_once_while_others_are_held() {
    let over = later(POSTURE_LIFETIME);
    let mut kept = nodes(4, BEGAN);
    missed(&mut kept, over);
    let worse = PostureRecord { posture: "failed".into(), failing: vec!["HST-01".into()], ..record(over) };
    assert!(kept.is_new(&key(0), &worse));
    kept.take(key(0), worse);
    assert_eq!(kept.facts(CLUSTER, "node-0", over).unwrap().posture, HostPosture::Failed);
    assert_eq!(kept.facts(CLUSTER, "node-1", over).unwrap().posture, HostPosture::Passed);
}

#[test]
fn nothing_is_held_where_nobody_may_report_or_the_cluster_is_gone() {
    let over = later(POSTURE_LIFETIME);
    let mut kept = nodes(4, BEGAN);
    assert!(!kept.miss(BEGAN, |_| Some(false)).any, "what was said counts for its time");
    assert!(kept.miss(over, |_| Some(false)).any);
    assert_eq!(unseen(&kept, 4, over), [0, 1, 2, 3]);

    let mut kept = nodes(4, BEGAN);
    kept.take((OTHER, "node-0".into()), record(BEGAN));
    assert!(kept.miss(BEGAN, |id| (id == OTHER).then_some(true)).any);
    assert_eq!(unseen(&kept, 4, BEGAN), [0, 1, 2, 3]);
    assert!(kept.facts(OTHER, "node-0", BEGAN).is_some());
    (0..4).for_each(|number| kept.erased(&key(number)));
    kept.miss(BEGAN, |id| (id == OTHER).then_some(true));
    assert_eq!(kept.nodes(CLUSTER), 0);
}

#[test]
fn a_report_is_taken_once_and_never_behind_a_newer_one() {
    let kept = nodes(1, BEGAN);
    let first = record(BEGAN);
    let newer = PostureRecord { sequence: first.sequence + 1, ..first.clone() };
    let next_session = PostureRecord {
        session: SessionId::from_bytes([8; 16]),
        session_began: Timestamp::from_secs(2),
        sequence: 1,
        ..first.clone()
    };
    let last_session = PostureRecord { session_began: Timestamp::default(), ..next_session.clone() };
    for (report, taken) in [(&first, false), (&newer, true), (&next_session, true), (&last_session, false)] {
        assert_eq!(kept.check(&key(0), report).is_ok(), taken);
    }
    assert!(kept.check(&key(1), &first).is_ok(), "of another node");
}

#[test]
fn only_what_says_something_else_is_written_at_once_and_the_rest_in_time() {
    let mut kept = nodes(2, BEGAN);
    let same = record(later(TICK));
    assert!(!kept.is_new(&key(0), &same) && kept.is_new(&key(9), &same));
    for other in [
        PostureRecord { digest: vec![1; 32], ..same.clone() },
        PostureRecord { boot: "another".into(), ..same.clone() },
        PostureRecord { swap: "on".into(), ..same },
    ] {
        assert!(kept.is_new(&key(0), &other));
    }
    report(&mut kept, 0, later(WRITTEN_AGE_MAX - TICK));
    assert!(kept.due(later(WRITTEN_AGE_MAX - TICK), 9).is_empty());
    let due = kept.due(later(WRITTEN_AGE_MAX), 9);
    assert_eq!(due.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [key(0)], "the other has said nothing since");
    kept.written(due.iter().map(|(key, record)| (key, record.received)));
    assert!(kept.due(later(WRITTEN_AGE_MAX), 9).is_empty());
}

#[test]
fn a_node_reports_so_often_in_a_minute_and_no_more() {
    let mut kept = Kept::default();
    for _ in 0..POSTURE_REPORTS_PER_MINUTE_MAX {
        kept.count_report(&key(0), BEGAN).unwrap();
    }
    assert_eq!(kept.count_report(&key(0), later(MINUTE - TICK)).unwrap_err().reason, Reason::Busy);
    assert!(kept.count_report(&key(1), BEGAN).is_ok(), "others report");
    assert!(kept.count_report(&key(0), later(MINUTE)).is_ok());
}
