//! New terms, and re-encryption under them.

use std::sync::Arc;

use coffer_barrier::{Barrier, Batch, Expect, REWRAP_ENTRIES, Scope, Store, Survey, TERMS_MAX};

use crate::common::{NOW, TENANT, key, memory, on_each_store, put, secret, text, vault};

const SCOPE: Scope = Scope::Tenant(TENANT);

async fn survey(barrier: &Barrier) -> Survey {
    let (mut survey, mut after) = (Survey::default(), Vec::new());
    while let Some(next) = barrier.survey(&after, &mut survey).await.expect("good records") {
        after = next;
    }
    survey
}

async fn rewrap(barrier: &Barrier) -> (u64, usize) {
    let (mut seen, mut changed, mut after) = (0, 0, Vec::new());
    loop {
        let step = barrier.rewrap(&after).await.expect("good records");
        seen += step.seen;
        changed += step.changed.len();
        match step.next {
            Some(next) => after = next,
            None => return (seen, changed),
        }
    }
}

on_each_store! {
    async fn everything_comes_under_the_newest_term_and_says_what_it_said(store: Arc<dyn Store>) {
        let barrier = vault(&store).await;
        let count = 2 * REWRAP_ENTRIES + 3;
        for number in 0..count {
            put(&barrier, &format!("a/{number}"), &number.to_string()).await;
        }
        barrier.add_term(SCOPE, NOW).await.unwrap();
        put(&barrier, "a/new", "new").await;
        let before = survey(&barrier).await;
        assert_eq!((before.old(), before.all()), (count as u64, count as u64 + 1));

        assert_eq!(rewrap(&barrier).await, (count as u64 + 1, count));
        let after = survey(&barrier).await;
        assert_eq!((after.old(), after.all()), (0, count as u64 + 1));
        assert_eq!(rewrap(&barrier).await.1, 0, "done is done");
        for number in 0..count {
            assert_eq!(text(&barrier, &format!("a/{number}")).await.unwrap(), number.to_string());
        }

        let mut batch = Batch::new();
        batch.drop_terms(SCOPE, 2);
        barrier.commit(batch).await.unwrap();
        let terms: Vec<_> = barrier.terms(SCOPE).await.unwrap().iter().map(|term| term.number).collect();
        assert_eq!(terms, [2]);
        assert_eq!(text(&barrier, "a/0").await.unwrap(), "0");
    }

    async fn a_record_that_changed_meanwhile_is_not_written_over(store: Arc<dyn Store>) {
        let barrier = Arc::new(vault(&store).await);
        for number in 0..40 {
            put(&barrier, &format!("a/{number}"), "before").await;
        }
        barrier.add_term(SCOPE, NOW).await.unwrap();
        let writer = async {
            for number in 0..40 {
                put_whatever(&barrier, &format!("a/{number}"), "after").await;
            }
        };
        let rewrapper = async {
            for _ in 0..5 {
                rewrap(&barrier).await;
            }
        };
        tokio::join!(writer, rewrapper);
        for number in 0..40 {
            assert_eq!(text(&barrier, &format!("a/{number}")).await.unwrap(), "after");
        }
        rewrap(&barrier).await;
        assert_eq!(survey(&barrier).await.old(), 0);
    }
}

/// Writes until it is not in anybody's way.
async fn put_whatever(barrier: &Barrier, segments: &str, value: &str) {
    for _ in 0..100 {
        let key = key(segments);
        let expect = Expect::unchanged(barrier.get(&key).await.expect("a good record").as_ref());
        let mut batch = Batch::new();
        batch.put(key, expect, secret(value));
        if barrier.commit(batch).await.is_ok() {
            return;
        }
    }
    panic!("no end of conflicts");
}

#[tokio::test]
async fn the_newest_term_is_never_dropped_and_terms_are_bounded() {
    let store = memory();
    let barrier = vault(&store).await;
    put(&barrier, "a", "x").await;
    let mut batch = Batch::new();
    batch.drop_terms(SCOPE, 9);
    barrier.commit(batch).await.unwrap();
    assert_eq!(text(&barrier, "a").await.unwrap(), "x");
    for _ in 1..TERMS_MAX {
        barrier.add_term(SCOPE, NOW).await.unwrap();
    }
    assert!(barrier.add_term(SCOPE, NOW).await.is_err());
    assert_eq!(barrier.terms(SCOPE).await.unwrap().len(), TERMS_MAX);
}

#[tokio::test]
async fn a_record_in_the_batch_of_a_new_term_is_under_it() {
    let store = memory();
    let barrier = vault(&store).await;
    let mut batch = Batch::new();
    batch.add_term(SCOPE, NOW);
    batch.put(key("a"), Expect::Absent, secret("x"));
    barrier.commit(batch).await.unwrap();
    assert_eq!(text(&barrier, "a").await.unwrap(), "x");
    assert_eq!(survey(&barrier).await.old(), 0);
}

#[tokio::test]
async fn a_step_names_the_records_that_it_re_encrypted_and_their_versions() {
    let store = memory();
    let barrier = vault(&store).await;
    put(&barrier, "a/b/c", "x").await;
    put(&barrier, "a/b/c", "y").await;
    barrier.add_term(SCOPE, NOW).await.unwrap();
    let step = barrier.rewrap(&[]).await.unwrap();
    assert_eq!(step.changed, [(key("a/b/c"), 3)]);
    assert_eq!(barrier.get(&key("a/b/c")).await.unwrap().unwrap().version, 3);
}
