use super::{GONE_PODS_KEPT, Index, LOSS_PODS_MIN, Observed, Pod, Relisted, State, Uid};

fn alive(name: &str) -> Observed {
    Observed::Alive(Pod {
        namespace: "prod".into(),
        name: name.into(),
        service_account: "api".into(),
        node: None,
        ips: Box::default(),
        workload: None,
    })
}

/// A list of the pods with these numbers.
fn list(numbers: impl IntoIterator<Item = usize>) -> Vec<(String, Observed)> {
    numbers.into_iter().map(|number| (format!("u-{number}"), alive(&format!("pod-{number}")))).collect()
}

fn uids(numbers: impl IntoIterator<Item = usize>) -> Vec<Uid> {
    numbers.into_iter().map(|number| format!("u-{number}").into()).collect()
}

/// An index of that many pods.
fn index(pods: usize) -> Index {
    let mut index = Index::default();
    assert_eq!(index.relist("c", list(0..pods)), Relisted::Taken(vec![]));
    index
}

#[track_caller]
fn taken(relisted: Relisted) -> Vec<Uid> {
    let Relisted::Taken(mut gone) = relisted else { panic!("{relisted:?}") };
    gone.sort();
    gone
}

fn is_alive(index: &Index, number: usize) -> bool {
    matches!(index.state(&format!("u-{number}")), State::Alive(_))
}

fn is_gone(index: &Index, number: usize) -> bool {
    index.state(&format!("u-{number}")) == State::Gone
}

#[test]
fn a_pod_lives_from_its_first_event_to_its_deletion() {
    let mut index = Index::default();
    assert!(!index.synced());
    assert_eq!(index.state("u-1"), State::Unseen);
    assert_eq!(index.apply("u-1", alive("a")), None);
    assert!(is_alive(&index, 1));
    assert_eq!(index.delete("u-1").as_deref(), Some("u-1"));
    assert!(is_gone(&index, 1));
    assert_eq!(index.delete("u-1"), None, "it is gone once");
}

#[test]
fn a_pod_that_has_run_its_course_is_gone_though_it_is_listed() {
    let mut index = index(2);
    assert_eq!(index.apply("u-0", Observed::Ended).as_deref(), Some("u-0"));
    assert!(is_gone(&index, 0));
    let mut with_ended = list([]);
    with_ended.push(("u-0".into(), Observed::Ended));
    with_ended.push(("u-1".into(), Observed::Ended));
    with_ended.push(("u-9".into(), Observed::Ended));
    assert_eq!(taken(index.relist("c", with_ended)), uids([1]), "who was never alive is not told");
    assert!(is_gone(&index, 9));
}

#[test]
fn many_deletions_one_by_one_are_believed() {
    let mut index = index(100);
    for number in 0..100 {
        assert!(index.delete(&format!("u-{number}")).is_some());
    }
    assert_eq!(index.awaiting(), None);
}

#[test]
fn a_list_may_lack_a_tenth_and_not_more() {
    let mut at = index(100);
    assert_eq!(taken(at.relist("c", list(10..100))), uids(0..10));
    assert_eq!(at.awaiting(), None);

    let mut past = index(100);
    assert_eq!(taken(past.relist("c", list(11..100))), vec![]);
    assert_eq!(past.awaiting(), Some(11));
    assert!((0..100).all(|number| is_alive(&past, number)), "they stay as they were");
}

#[test]
fn a_list_may_lack_few_of_few() {
    let few = LOSS_PODS_MIN - 1;
    let mut index = index(few + 1);
    assert_eq!(taken(index.relist("c", list([few]))), uids(0..few));

    let mut index = self::index(LOSS_PODS_MIN + 1);
    assert_eq!(taken(index.relist("c", list([LOSS_PODS_MIN]))), vec![]);
    assert_eq!(index.awaiting(), Some(LOSS_PODS_MIN));
}

#[test]
fn a_first_list_without_pods_is_believed_when_another_says_the_same() {
    let mut index = Index::default();
    assert_eq!(taken(index.relist("c", vec![])), vec![]);
    assert!(!index.synced(), "sessions of before would end with it");
    index.apply("u-0", alive("pod-0"));
    assert!(!index.synced(), "news are not the whole");
    assert_eq!(taken(index.relist("c", list(0..3))), vec![]);
    assert!(index.synced());
    let mut empty = Index::default();
    for synced in [false, true] {
        assert_eq!(taken(empty.relist("c", vec![])), vec![]);
        assert_eq!(empty.synced(), synced);
    }
}

#[test]
fn an_empty_list_is_never_believed() {
    for pods in [1, 4, 100] {
        let mut index = index(pods);
        assert_eq!(taken(index.relist("c", vec![])), vec![]);
        assert_eq!(index.awaiting(), Some(pods));
        assert!(is_alive(&index, 0));
    }
}

#[test]
fn missing_pods_that_reappear_were_never_gone() {
    let mut index = index(20);
    taken(index.relist("c", list(10..20)));
    assert_eq!(index.awaiting(), Some(10));
    index.apply("u-0", alive("a"));
    assert_eq!(index.awaiting(), Some(9));
    assert_eq!(taken(index.relist("c", list(0..20))), vec![]);
    assert_eq!(index.awaiting(), None);
    assert_eq!(index.confirm_loss(), Vec::<Uid>::new());
}

#[test]
fn what_the_next_list_lacks_joins_the_missing_however_little_it_is() {
    let mut index = index(100);
    taken(index.relist("c", list(50..100)));
    assert_eq!(taken(index.relist("c", list(51..100))), vec![]);
    assert_eq!(index.awaiting(), Some(51));
}

#[test]
fn a_missing_pod_that_is_deleted_is_gone() {
    let mut index = index(20);
    taken(index.relist("c", list(10..20)));
    assert!(index.delete("u-0").is_some());
    assert!(is_gone(&index, 0));
    assert_eq!(index.awaiting(), Some(9));
}

#[test]
fn a_confirmed_loss_takes_the_missing_and_nobody_else() {
    let mut index = index(20);
    taken(index.relist("c", list(10..20)));
    let mut gone = index.confirm_loss();
    gone.sort();
    assert_eq!(gone, uids(0..10));
    assert_eq!(index.awaiting(), None);
    assert!((0..10).all(|number| is_gone(&index, number)));
    assert!((10..20).all(|number| is_alive(&index, number)));
    index.apply("u-0", alive("a"));
    assert!(is_alive(&index, 0), "who is seen is alive, whatever was confirmed");
}

#[test]
fn another_cluster_takes_nothing_until_it_is_confirmed() {
    let mut index = index(3);
    assert_eq!(index.relist("other", list(10..12)), Relisted::Foreign);
    assert_eq!(index.awaiting(), Some(3));
    assert!((0..3).all(|number| is_alive(&index, number)));
    assert_eq!(index.state("u-10"), State::Unseen, "its pods are nobody's");

    assert_eq!(taken(index.relist("c", list(0..3))), vec![], "the right one is back");
    assert_eq!(index.awaiting(), None);

    assert_eq!(index.relist("other", list(10..12)), Relisted::Foreign);
    let mut gone = index.confirm_loss();
    gone.sort();
    assert_eq!(gone, uids(0..3));
    assert!(!index.synced());
    assert_eq!(taken(index.relist("other", list(10..12))), vec![]);
    assert_eq!((index.cluster(), index.awaiting()), (Some("other"), None));
    assert!(is_alive(&index, 10));
}

#[test]
fn what_was_known_before_a_restart_is_protected_like_what_was_seen() {
    let known = || (0..20).map(|number| format!("u-{number}"));
    let mut index = Index::new(Some("c".into()), known());
    assert_eq!(index.state("u-0"), State::Assumed);
    assert_eq!(taken(index.relist("c", list(2..30))), uids(0..2), "deleted meanwhile");
    assert!(is_gone(&index, 0) && is_alive(&index, 2));

    let mut index = Index::new(Some("c".into()), known());
    assert_eq!(taken(index.relist("c", list(10..30))), vec![]);
    assert_eq!(index.awaiting(), Some(10));
    assert_eq!(index.state("u-0"), State::Assumed);

    let mut index = Index::new(Some("c".into()), known());
    assert_eq!(index.relist("other", list(0..20)), Relisted::Foreign);
    assert_eq!(index.state("u-0"), State::Assumed);
}

#[test]
fn only_the_latest_gone_pods_are_remembered() {
    let mut index = Index::default();
    for number in 0..=GONE_PODS_KEPT {
        index.apply(&format!("u-{number}"), alive("a"));
        index.delete(&format!("u-{number}"));
    }
    assert_eq!(index.state("u-0"), State::Unseen);
    assert!(is_gone(&index, 1) && is_gone(&index, GONE_PODS_KEPT));
    assert_eq!(index.gone.len(), GONE_PODS_KEPT);
    assert_eq!(index.gone_order.len(), GONE_PODS_KEPT);
}
