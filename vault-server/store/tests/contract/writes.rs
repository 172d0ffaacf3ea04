//! Conditions, atomicity, versions, revisions.

use std::{collections::BTreeSet, sync::Arc};

use coffer_store::{Condition, StoreError, Transaction, Write};

use super::fixture::{Fixture, delete, put};

pub(crate) async fn a_condition_that_does_not_hold_writes_nothing(fixture: &Fixture) {
    fixture.put("there", "1").await;
    for condition in [
        Condition::Absent(b"there".to_vec()),
        Condition::Version(b"there".to_vec(), 2),
        Condition::Version(b"missing".to_vec(), 1),
    ] {
        let conditions = vec![Condition::Version(b"there".to_vec(), 1), condition];
        let result = fixture.commit(conditions, vec![put("new", "x"), delete("there")]).await;
        assert!(matches!(result, Err(StoreError::Conflict)), "{result:?}");
    }
    assert_eq!(fixture.value("there").await, Some((b"1".to_vec(), 1)));
    assert_eq!(fixture.value("new").await, None);

    let conditions = vec![Condition::Version(b"there".to_vec(), 1), Condition::Absent(b"missing".to_vec())];
    fixture.commit(conditions, vec![put("new", "x"), delete("there")]).await.unwrap();
    assert_eq!(fixture.value("there").await, None);
    assert_eq!(fixture.value("new").await, Some((b"x".to_vec(), 1)));
    let result = fixture.commit(vec![Condition::Absent(b"new".to_vec())], vec![]).await;
    assert!(matches!(result, Err(StoreError::Conflict)), "conditions are checked without writes, too");
}

pub(crate) async fn a_transaction_is_applied_all_or_not_at_all(fixture: &Fixture) {
    fixture.commit(vec![], vec![put("a", "1"), put("b", "1"), put("c", "1")]).await.unwrap();
    let revision = fixture.commit(vec![], vec![put("a", "2"), delete("b"), put("d", "2")]).await.unwrap();
    let entries = fixture.store.range(b"", b"", 10).await.unwrap();
    let seen: Vec<_> = entries.iter().map(|entry| (entry.key.as_slice(), entry.value.as_slice(), entry.version)).collect();
    assert_eq!(seen, [(b"a".as_slice(), b"2".as_slice(), 2), (b"c", b"1", 1), (b"d", b"2", 1)]);
    let written: Vec<_> = entries.iter().filter(|entry| entry.modified == revision).map(|entry| entry.key.as_slice()).collect();
    assert_eq!(written, [b"a", b"d"], "all of a transaction's writes have its revision");
}

pub(crate) async fn conditions_are_about_the_state_before_the_writes(fixture: &Fixture) {
    let absent = || vec![Condition::Absent(b"k".to_vec())];
    fixture.commit(absent(), vec![put("k", "1")]).await.unwrap();
    fixture.commit(vec![Condition::Version(b"k".to_vec(), 1)], vec![delete("k")]).await.unwrap();
    fixture.commit(absent(), vec![put("k", "2")]).await.unwrap();
    assert_eq!(fixture.value("k").await, Some((b"2".to_vec(), 1)));
}

pub(crate) async fn a_version_counts_from_one_since_the_key_was_last_absent(fixture: &Fixture) {
    for life in 0..3 {
        for version in 1..=3 {
            let revision = fixture.put("k", format!("{life}")).await;
            let entry = fixture.store.get(b"k").await.unwrap().unwrap();
            assert_eq!((entry.version, entry.modified), (version, revision));
        }
        fixture.delete("k").await;
        assert_eq!(fixture.value("k").await, None);
    }
}

pub(crate) async fn what_is_written_without_looking_is_there_or_gone(fixture: &Fixture) {
    let write = async |write| fixture.commit(vec![], vec![write]).await.unwrap();
    for life in ["1", "2"] {
        let made = write(Write::Create(b"k".to_vec(), life.into())).await;
        let entry = fixture.store.get(b"k").await.unwrap().unwrap();
        assert_eq!((entry.value.as_slice(), entry.version, entry.modified), (life.as_bytes(), 1, made));
        let gone = write(Write::Erase(b"k".to_vec())).await;
        assert!(gone > made && fixture.value("k").await.is_none());
    }
    let before = fixture.put("k", "3").await;
    write(Write::Erase(b"missing".to_vec())).await;
    assert_eq!(fixture.value("missing").await, None);
    assert!(fixture.put("k", "4").await > before);
    assert_eq!(fixture.value("k").await, Some((b"4".to_vec(), 2)));
}

pub(crate) async fn version_zero_never_holds(fixture: &Fixture) {
    fixture.put("there", "1").await;
    for (key, version) in [("there", 0), ("missing", 0), ("there", u64::MAX), ("there", 1 << 63)] {
        let result = fixture.commit(vec![Condition::Version(key.into(), version)], vec![put("x", "x")]).await;
        assert!(matches!(result, Err(StoreError::Conflict)), "{key} {version}: {result:?}");
    }
}

pub(crate) async fn the_revision_grows_with_every_change_and_only_then(fixture: &Fixture) {
    let mut last = fixture.store.revision().await.unwrap();
    for number in 0..5 {
        for writes in [vec![put("k", format!("{number}"))], vec![put("k", "same")], vec![put("k", "same"), delete("missing")]] {
            let revision = fixture.commit(vec![], writes).await.unwrap();
            assert!(revision > last);
            assert!(fixture.store.revision().await.unwrap() >= revision);
            last = revision;
        }
    }
    // Nothing else writes to this store, but it does to another prefix of the same etcd.
    for writes in [vec![], vec![delete("missing")]] {
        let revision = fixture.commit(vec![Condition::Version(b"k".to_vec(), 15)], writes).await.unwrap();
        assert!(revision >= last);
        assert!(fixture.store.kind() == "etcd" || revision == last, "nothing changed");
    }
}

pub(crate) async fn one_of_many_conflicting_commits_wins(fixture: &Fixture) {
    for round in 0..8 {
        let key = format!("race-{round}");
        let mut racers = Vec::new();
        for racer in 0..16 {
            let (store, key) = (Arc::clone(&fixture.store), key.clone());
            let writes = vec![put(&key, format!("{racer}")), put(format!("{key}/{racer}"), "")];
            racers.push(async move {
                let transaction = Transaction { conditions: vec![Condition::Absent(key.into())], writes };
                (racer, store.commit(transaction).await)
            });
        }
        let mut winners = Vec::new();
        for (racer, result) in in_parallel(racers).await {
            match result {
                Ok(_) => winners.push(racer),
                Err(error) => assert!(matches!(error, StoreError::Conflict), "{error:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(fixture.value(&key).await, Some((winners[0].to_string().into(), 1)));
        let prefix = format!("{key}/");
        let traces = fixture.keys(prefix.as_bytes(), format!("{key}0").as_bytes(), 100).await;
        assert_eq!(traces, [format!("{prefix}{}", winners[0]).into_bytes()], "the losers left nothing");
    }
}

pub(crate) async fn concurrent_commits_each_get_a_revision_of_their_own(fixture: &Fixture) {
    let mut writers = Vec::new();
    for writer in 0..64 {
        let store = Arc::clone(&fixture.store);
        writers.push(async move {
            let key = format!("{writer}").into_bytes();
            let transaction = Transaction { conditions: vec![], writes: vec![put(&key, &key)] };
            let revision = store.commit(transaction).await.unwrap();
            let entry = store.get(&key).await.unwrap().unwrap();
            assert_eq!((entry.value, entry.modified), (key, revision));
            revision
        });
    }
    let revisions: BTreeSet<_> = in_parallel(writers).await.into_iter().collect();
    assert_eq!(revisions.len(), 64);
    assert!(fixture.store.revision().await.unwrap() >= *revisions.last().unwrap());
}

pub(crate) async fn counters_lose_no_increment(fixture: &Fixture) {
    fixture.put("counter", "0").await;
    let mut writers = Vec::new();
    for _ in 0..8 {
        let store = Arc::clone(&fixture.store);
        writers.push(async move {
            let mut done = 0;
            while done < 10 {
                let entry = store.get(b"counter").await.unwrap().unwrap();
                let value: u64 = String::from_utf8(entry.value).unwrap().parse().unwrap();
                assert_eq!(value + 1, entry.version, "value and version were written together");
                let conditions = vec![Condition::Version(b"counter".to_vec(), entry.version)];
                let writes = vec![put("counter", format!("{}", value + 1))];
                match store.commit(Transaction { conditions, writes }).await {
                    Ok(_) => done += 1,
                    Err(error) => assert!(matches!(error, StoreError::Conflict), "{error:?}"),
                }
            }
        });
    }
    in_parallel(writers).await;
    assert_eq!(fixture.value("counter").await, Some((b"80".to_vec(), 81)));
}

async fn in_parallel<T: Send + 'static>(futures: Vec<impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    let mut tasks = tokio::task::JoinSet::new();
    for future in futures {
        tasks.spawn(future);
    }
    tasks.join_all().await
}
