//! Random operations on a store and on a map: both do the same.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
};

use coffer_store::{Condition, Key, Revision, StoreError, Write};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::fixture::{Fixture, changes};

#[derive(Debug, Clone)]
enum Operation {
    /// Conditions name a version that is right (or absence) for `true`, and wrong otherwise.
    Commit {
        conditions: Vec<(Key, bool)>,
        writes: BTreeMap<Key, Option<(u8, usize)>>,
    },
    Get(Key),
    Range(Key, Key, usize),
}

#[derive(Default)]
struct Model {
    values: BTreeMap<Key, (Vec<u8>, u64, Revision)>,
    changes: Vec<(Key, bool, Revision)>,
}

/// Few and similar, so that operations meet.
fn key() -> impl Strategy<Value = Key> {
    prop_oneof![vec(prop_oneof![Just(0_u8), Just(1), Just(254), Just(255)], 1..3), "[ab]{1,2}".prop_map(String::into_bytes),]
}

fn operation() -> impl Strategy<Value = Operation> {
    let size = prop_oneof![3 => 0_usize..20, 1 => Just(4_096), 1 => Just(4_097), 1 => 4_000_usize..20_000];
    let write = proptest::option::weighted(0.7, (any::<u8>(), size));
    prop_oneof![
        4 => (vec((key(), proptest::bool::weighted(0.9)), 0..3), proptest::collection::btree_map(key(), write, 0..6))
            .prop_map(|(conditions, writes)| Operation::Commit { conditions, writes }),
        1 => key().prop_map(Operation::Get),
        2 => (key(), prop_oneof![key(), Just(Key::new())], 1_usize..8).prop_map(|(start, end, limit)| Operation::Range(start, end, limit)),
    ]
}

#[expect(clippy::unused_async, reason = "it is called as the other behaviours are")]
pub(crate) async fn the_store_does_what_a_map_does(fixture: &Fixture) {
    #[expect(clippy::disallowed_methods, reason = "a failed run is repeated with its seed")]
    let seed = std::env::var("COFFER_TEST_SEED").map_or_else(|_| RandomState::new().hash_one(0), |seed| seed.parse().unwrap());
    println!("COFFER_TEST_SEED={seed}");
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed.to_le_bytes(); 4].concat());
    let config = Config { cases: fixture.model_runs, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        TestRunner::new_with_rng(config, rng)
            .run(&vec(operation(), 1..30), |operations| {
                runtime.block_on(run(fixture, operations));
                Ok(())
            })
            .unwrap();
    });
}

async fn run(fixture: &Fixture, operations: Vec<Operation>) {
    for entry in fixture.store.range(b"", b"", 1_000).await.unwrap() {
        fixture.delete(entry.key).await;
    }
    let since = fixture.store.revision().await.unwrap();
    let mut model = Model::default();
    for operation in operations {
        match operation {
            Operation::Commit { conditions, writes } => commit(fixture, &mut model, conditions, writes).await,
            Operation::Get(key) => {
                let found = fixture.store.get(&key).await.unwrap().map(|entry| (entry.value, entry.version, entry.modified));
                assert_eq!(found.as_ref(), model.values.get(&key));
            }
            Operation::Range(start, end, limit) => compare(fixture, &model, &start, &end, limit).await,
        }
    }
    compare(fixture, &model, b"", b"", 1_000).await;
    let mut feed = fixture.store.changes(since).await.unwrap();
    let told = changes(&mut feed, model.changes.len()).await;
    let mut told: Vec<_> = told.into_iter().map(|change| (change.key, change.present, change.revision)).collect();
    assert!(told.is_sorted_by_key(|(_, _, revision)| *revision));
    told.sort_by(|a, b| (a.2, &a.0).cmp(&(b.2, &b.0)));
    assert_eq!(told, model.changes);
}

async fn commit(fixture: &Fixture, model: &mut Model, conditions: Vec<(Key, bool)>, writes: BTreeMap<Key, Option<(u8, usize)>>) {
    let holds = conditions.iter().all(|(_, right)| *right);
    let conditions = conditions.into_iter().map(|(key, right)| match (model.values.get(&key), right) {
        (Some((_, version, _)), true) => Condition::Version(key, *version),
        (Some(_), false) | (None, true) => Condition::Absent(key),
        (None, false) => Condition::Version(key, 1),
    });
    // Half of those that may do without looking do.
    let puts = writes.iter().map(|(key, write)| match (write, model.values.get(key)) {
        (Some((byte, size)), None) if byte % 2 == 0 => Write::Create(key.clone(), vec![*byte; *size]),
        (Some((byte, size)), _) => Write::Put(key.clone(), vec![*byte; *size]),
        (None, Some((value, ..))) if value.len() % 2 == 0 => Write::Erase(key.clone()),
        (None, _) => Write::Delete(key.clone()),
    });
    match fixture.commit(conditions.collect(), puts.collect()).await {
        Err(StoreError::Conflict) => assert!(!holds),
        Err(error) => panic!("{error:?}"),
        Ok(revision) => {
            assert!(holds);
            for (key, write) in writes {
                let version = model.values.get(&key).map_or(1, |(_, version, _)| version + 1);
                let changed = match write {
                    Some((byte, size)) => {
                        model.values.insert(key.clone(), (vec![byte; size], version, revision));
                        true
                    }
                    None => model.values.remove(&key).is_some(),
                };
                if changed {
                    model.changes.push((key, write.is_some(), revision));
                }
            }
        }
    }
}

async fn compare(fixture: &Fixture, model: &Model, start: &[u8], end: &[u8], limit: usize) {
    let page = fixture.store.range(start, end, limit).await.unwrap();
    let page: Vec<_> = page.into_iter().map(|entry| (entry.key, (entry.value, entry.version, entry.modified))).collect();
    let expected = model.values.iter().filter(|(key, _)| key.as_slice() >= start && (end.is_empty() || key.as_slice() < end));
    let expected: Vec<_> = expected.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect();
    assert!(page == expected, "{page:?}\n{expected:?}");
}
