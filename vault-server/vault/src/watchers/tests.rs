use coffer_core::id::SessionId;

use super::*;

fn session(number: usize) -> SessionId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    SessionId::from_bytes(bytes)
}

fn add(all: &Arc<Watchers<u32>>, number: usize, principal: &str, keys: &[u32]) -> Result<Watcher<u32>, Failure> {
    all.add(session(number), principal.to_owned(), keys.to_vec(), None)
}

fn due(watcher: &Watcher<u32>) -> Vec<usize> {
    watcher.due.take().into_iter().collect()
}

#[test]
fn a_change_concerns_those_who_watch_its_key_and_nobody_else() {
    let all = Arc::new(Watchers::default());
    let (first, second) = (add(&all, 1, "a", &[7, 8]).unwrap(), add(&all, 2, "b", &[8]).unwrap());
    all.changed(&8);
    assert_eq!((due(&first), due(&second)), (vec![1], vec![0]));
    all.changed(&7);
    all.changed(&9);
    assert_eq!((due(&first), due(&second)), (vec![0], vec![]));
    all.all_changed();
    assert_eq!((due(&first), due(&second)), (vec![0, 1], vec![0]));
}

#[test]
fn what_waits_for_a_watcher_does_not_grow_with_the_changes() {
    let all = Arc::new(Watchers::default());
    let watcher = add(&all, 1, "a", &[7, 8]).unwrap();
    for _ in 0..10_000 {
        all.changed(&7);
    }
    assert_eq!(due(&watcher), [0]);
}

#[tokio::test]
async fn a_watcher_is_woken_by_a_change_that_came_before_it_waited() {
    let all = Arc::new(Watchers::default());
    let watcher = add(&all, 1, "a", &[7]).unwrap();
    all.changed(&7);
    assert_eq!(watcher.due().await, BTreeSet::from([0]));
    all.changed(&7);
    assert_eq!(watcher.due().await, BTreeSet::from([0]));
}

#[test]
fn a_dropped_watcher_leaves_nothing_behind() {
    let all = Arc::new(Watchers::default());
    let (first, second) = (add(&all, 1, "a", &[7, 8]).unwrap(), add(&all, 1, "a", &[8]).unwrap());
    drop(first);
    assert_eq!((all.count(), all.index().by_key.len()), (1, 1));
    drop(second);
    let index = all.index();
    assert!(index.by_key.is_empty() && index.of_session.is_empty() && index.of_principal.is_empty());
    assert_eq!(index.count, 0);
}

#[test]
fn a_session_a_principal_and_all_together_have_their_limits() {
    let all = Arc::new(Watchers::default());
    let mut held: Vec<_> = (0..WATCHERS_PER_SESSION_MAX).map(|_| add(&all, 0, "a", &[1]).unwrap()).collect();
    assert_eq!(add(&all, 0, "a", &[1]).err().map(|failure| failure.reason), Some(Reason::Busy));
    held.pop();
    held.push(add(&all, 0, "a", &[1]).unwrap());

    held.extend((held.len()..WATCHERS_PER_PRINCIPAL_MAX).map(|number| add(&all, number, "a", &[1]).unwrap()));
    assert!(add(&all, usize::MAX, "a", &[1]).err().unwrap().message.contains("principal"));

    held.extend((held.len()..WATCHERS_MAX).map(|number| add(&all, number, &format!("p{number}"), &[1]).unwrap()));
    assert!(add(&all, usize::MAX, "new", &[1]).err().unwrap().message.contains("16384"));
    held.pop();
    add(&all, usize::MAX, "new", &[1]).unwrap();
}

#[test]
fn what_a_pod_watches_is_known_as_long_as_it_does() {
    let all = Arc::new(Watchers::<u32>::default());
    let paths = |paths: &[&str]| -> Arc<[Path]> { paths.iter().map(|path| path.parse().unwrap()).collect() };
    let watch = |number: usize, list: &[&str]| {
        all.add(session(number), "a".to_owned(), Vec::new(), Some(("pod".to_owned(), paths(list)))).unwrap()
    };
    let (one, other) = (watch(1, &["kv/a", "kv/b"]), watch(2, &["kv/c"]));
    let watched = || all.watched_by("pod").iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(watched(), ["kv/a", "kv/b", "kv/c"]);
    drop(one);
    assert_eq!(watched(), ["kv/c"]);
    drop(other);
    assert!(watched().is_empty() && all.index().of_pod.is_empty());
    assert!(all.watched_by("another").is_empty());
}
