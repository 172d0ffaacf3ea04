//! Change feeds.

use coffer_store::{Change, FEED_HISTORY_CHANGES_MAX, Revision, StoreError};

use super::fixture::{Fixture, changes, delete, next, put};

fn change(key: &str, present: bool, revision: Revision) -> Change {
    Change { key: key.into(), present, revision }
}

pub(crate) async fn changes_come_in_order_and_name_what_is_present(fixture: &Fixture) {
    fixture.put("before", "x").await;
    let since = fixture.store.revision().await.unwrap();
    let mut feed = fixture.store.changes(since).await.unwrap();
    let first = fixture.put("a", "1").await;
    assert_eq!(changes(&mut feed, 1).await, [change("a", true, first)], "a change is told as it happens");
    let second = fixture.commit(vec![], vec![put("b", "2"), delete("a"), put("c", "2")]).await.unwrap();
    let third = fixture.delete("b").await;
    let mut told = changes(&mut feed, 4).await;
    told[..3].sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(
        told,
        [change("a", false, second), change("b", true, second), change("c", true, second), change("b", false, third)]
    );
}

pub(crate) async fn changes_are_resumed_after_a_revision(fixture: &Fixture) {
    let start = fixture.store.revision().await.unwrap();
    let mut expected = Vec::new();
    for number in 0..20 {
        let key = format!("k{}", number % 3);
        expected.push(change(&key, true, fixture.put(&key, "x").await));
    }
    for (seen, since) in [start].into_iter().chain(expected.iter().map(|change| change.revision)).enumerate() {
        let mut feed = fixture.store.changes(since).await.unwrap();
        assert_eq!(changes(&mut feed, expected.len() - seen).await, expected[seen..]);
    }
}

pub(crate) async fn what_changes_nothing_is_not_told(fixture: &Fixture) {
    let mut feed = fixture.store.changes(fixture.store.revision().await.unwrap()).await.unwrap();
    fixture.delete("missing").await;
    fixture.commit(vec![], vec![]).await.unwrap();
    let revision = fixture.commit(vec![], vec![delete("missing"), put("k", "x")]).await.unwrap();
    assert_eq!(changes(&mut feed, 1).await, [change("k", true, revision)]);
}

pub(crate) async fn a_reader_from_the_future_is_told_to_begin_anew(fixture: &Fixture) {
    let now = fixture.put("k", "x").await;
    // Far enough that nobody else on the same etcd gets there meanwhile.
    let future = Revision(now.0 + 1_000_000);
    assert!(matches!(fixture.store.changes(future).await, Err(StoreError::Compacted)));
}

pub(crate) async fn a_feed_can_begin_at_whatever_revision_is_seen(fixture: &Fixture) {
    let writer = async {
        for number in 0..300 {
            fixture.put("k", &number.to_string()).await;
        }
    };
    let reader = async {
        loop {
            let seen = fixture.store.revision().await.unwrap();
            let begun = fixture.store.changes(seen).await;
            assert!(begun.is_ok(), "{seen:?}: {:?}", begun.err());
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = writer => {}
        () = reader => {}
    }
}

pub(crate) async fn a_slow_reader_misses_nothing_without_being_told(fixture: &Fixture) {
    let mut feed = fixture.store.changes(fixture.store.revision().await.unwrap()).await.unwrap();
    let mut expected = Vec::new();
    for round in 0..30 {
        let keys: Vec<_> = (0..100).map(|number| format!("{round:03}-{number:03}")).collect();
        let revision = fixture.commit(vec![], keys.iter().map(|key| put(key, "x")).collect()).await.unwrap();
        expected.extend(keys.into_iter().map(|key| change(&key, true, revision)));
    }
    for (seen, expected) in expected.into_iter().enumerate() {
        match next(&mut feed).await.expect("no end without an error") {
            Ok(change) => assert_eq!(change, expected),
            Err(error) => {
                assert!(matches!(error, StoreError::Compacted), "{error:?}");
                assert!(seen >= 1_000, "told too early, after {seen}");
                assert!(next(&mut feed).await.is_none());
                return;
            }
        }
    }
}

pub(crate) async fn a_reader_that_begins_too_far_back_is_told(fixture: &Fixture) {
    let start = fixture.store.revision().await.unwrap();
    if fixture.store.kind() == "etcd" {
        // etcd keeps all until it is told to forget, which is not the store's to say: see `tests/etcd.rs`.
        return;
    }
    for _ in 0..=FEED_HISTORY_CHANGES_MAX / 100 {
        let writes = (0..100).map(|number| put(format!("{number}"), "x")).collect();
        fixture.commit(vec![], writes).await.unwrap();
    }
    assert!(matches!(fixture.store.changes(start).await, Err(StoreError::Compacted)));
    let now = fixture.store.revision().await.unwrap();
    let mut feed = fixture.store.changes(Revision(now.0 - 1)).await.unwrap();
    assert_eq!(changes(&mut feed, 100).await.len(), 100);
}
