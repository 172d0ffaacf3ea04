//! Every limit, at it and past it.

use coffer_store::{
    Condition, KEY_BYTES_MAX, PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, StoreError, TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX,
    Write,
};

use super::fixture::{Fixture, delete, put};

fn puts(count: usize) -> Vec<Write> {
    (0..count).map(|number| put(format!("put-{number}"), "x")).collect()
}

fn absents(count: usize) -> Vec<Condition> {
    (0..count).map(|number| Condition::Absent(format!("absent-{number}").into_bytes())).collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Limit(_))), "{result:?}");
}

pub(crate) async fn operations_at_the_limit_and_past_it(fixture: &Fixture) {
    let most = TRANSACTION_OPERATIONS_MAX;
    refused(fixture.commit(vec![], puts(most + 1)).await);
    refused(fixture.commit(absents(most + 1), puts(1)).await);
    assert!(fixture.keys(b"", b"", 1).await.is_empty());
    fixture.commit(absents(most), puts(most)).await.unwrap();
    assert_eq!(fixture.keys(b"", b"", 1_000).await.len(), most);
    let deletes = (0..most).map(|number| delete(format!("put-{number}"))).collect();
    fixture.commit(vec![], deletes).await.unwrap();
    assert!(fixture.keys(b"", b"", 1).await.is_empty());
}

pub(crate) async fn bytes_at_the_limit_and_past_it(fixture: &Fixture) {
    // Keys of conditions count as well.
    let condition = || vec![Condition::Absent(vec![b'c'; 1_000])];
    let value = |bytes: usize| vec![7; TRANSACTION_BYTES_MAX - 1_000 - 1 + bytes];
    refused(fixture.commit(condition(), vec![put("k", value(1))]).await);
    fixture.commit(condition(), vec![put("k", value(0))]).await.unwrap();
    assert!(fixture.value("k").await == Some((value(0), 1)));
}

pub(crate) async fn keys_at_the_limit_and_past_it(fixture: &Fixture) {
    let (longest, longer) = (vec![b'k'; KEY_BYTES_MAX], vec![b'k'; KEY_BYTES_MAX + 1]);
    for wrong in [longer.as_slice(), b""] {
        refused(fixture.commit(vec![], vec![put(wrong, "x")]).await);
        refused(fixture.commit(vec![], vec![delete(wrong)]).await);
        refused(fixture.commit(vec![Condition::Absent(wrong.to_vec())], vec![]).await);
        refused(fixture.commit(vec![Condition::Version(wrong.to_vec(), 1)], vec![]).await);
        refused(fixture.store.get(wrong).await);
    }
    fixture.put(&longest, "x").await;
    assert_eq!(fixture.value(&longest).await, Some((b"x".to_vec(), 1)));
    let behind = [longest.as_slice(), b"\0"].concat();
    assert!(fixture.keys(&behind, b"", 10).await.is_empty(), "a page can start behind the longest key");
    assert_eq!(fixture.keys(b"", &behind, 10).await, [longest]);
    refused(fixture.store.range(&vec![b'k'; KEY_BYTES_MAX + 2], b"", 1).await);
    refused(fixture.store.range(b"", &vec![b'k'; KEY_BYTES_MAX + 2], 1).await);
}

/// All limits at once: as many operations as may be, with keys as long as may be, and the rest in values.
pub(crate) async fn the_largest_request_fits(fixture: &Fixture) {
    let operations = TRANSACTION_OPERATIONS_MAX;
    let key = |number: usize| format!("{number:0>KEY_BYTES_MAX$}").into_bytes();
    let conditions: Vec<_> = (0..operations).map(|number| Condition::Absent(key(number))).collect();
    let value = TRANSACTION_BYTES_MAX - 2 * operations * KEY_BYTES_MAX;
    let values = |number: usize| vec![7; value / operations + if number == 0 { value % operations } else { 0 }];
    let writes: Vec<_> = (0..operations).map(|number| put(key(number), values(number))).collect();
    fixture.commit(conditions, writes).await.unwrap();
    let page = fixture.store.range(b"", b"", 1_000).await.unwrap();
    assert_eq!(page.len(), operations);
    assert!(page.iter().enumerate().all(|(number, entry)| entry.key == key(number) && entry.value == values(number)));
}

pub(crate) async fn pages_at_the_limit_and_past_it(fixture: &Fixture) {
    for first in (0..PAGE_ENTRIES_MAX + 50).step_by(105) {
        let writes = (first..first + 105).map(|number| put(format!("{number:05}"), "x")).collect();
        fixture.commit(vec![], writes).await.unwrap();
    }
    refused(fixture.store.range(b"", b"", 0).await);
    refused(fixture.store.range(b"", b"", PAGE_ENTRIES_MAX + 1).await);
    let page = fixture.keys(b"", b"", PAGE_ENTRIES_MAX).await;
    assert_eq!(page.len(), PAGE_ENTRIES_MAX);
    assert_eq!(page.last().unwrap(), b"00999");
}

pub(crate) async fn a_page_of_too_many_bytes_is_refused(fixture: &Fixture) {
    let entries = 64;
    let value = vec![7; PAGE_BYTES_MAX / entries - 4];
    for number in 0..entries {
        fixture.put(format!("{number:04}"), &value).await;
    }
    assert_eq!(fixture.keys(b"", b"", PAGE_ENTRIES_MAX).await.len(), entries, "at the limit");
    fixture.put("x", "").await;
    refused(fixture.store.range(b"", b"", PAGE_ENTRIES_MAX).await);
    assert_eq!(fixture.keys(b"", b"", entries).await.len(), entries);
    assert_eq!(fixture.keys(b"0001", b"", PAGE_ENTRIES_MAX).await.len(), entries);
}

pub(crate) async fn a_key_written_twice_is_refused(fixture: &Fixture) {
    refused(fixture.commit(vec![], vec![put("k", "1"), put("k", "2")]).await);
    refused(fixture.commit(vec![], vec![put("k", "1"), delete("k")]).await);
    refused(fixture.commit(vec![], vec![delete("k"), delete("k")]).await);
    assert_eq!(fixture.value("k").await, None);
}

/// Keys that have most of their bytes in common and many of them: what a deep folder with many entries looks like.
pub(crate) async fn long_keys_in_great_number(fixture: &Fixture) {
    let key = |number: usize| format!("{:k<4088}{number:08}", "").into_bytes();
    let total = 3_000;
    for first in (0..total).step_by(100) {
        let writes = (first..first + 100).map(|number| put(key(number), [7; 1_000])).collect();
        fixture.commit(vec![], writes).await.unwrap();
    }
    let mut start = Vec::new();
    for page in 0..total / 500 {
        let keys = fixture.keys(&start, b"", 500).await;
        assert!(keys.iter().enumerate().all(|(index, found)| *found == key(page * 500 + index)));
        start = [keys.last().unwrap().as_slice(), b"\0"].concat();
    }
    assert!(fixture.keys(&start, b"", 500).await.is_empty());
}
