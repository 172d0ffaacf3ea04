//! Reads, ranges and pages.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use coffer_store::{Key, Transaction};

use super::fixture::{Fixture, delete, put};

pub(crate) async fn a_read_sees_what_was_acknowledged(fixture: &Fixture) {
    for number in 0..50 {
        let value = format!("{number}");
        let revision = fixture.put("k", &value).await;
        let entry = fixture.store.get(b"k").await.unwrap().unwrap();
        assert_eq!((entry.value, entry.modified), (value.clone().into_bytes(), revision));
        let page = fixture.store.range(b"k", b"l", 10).await.unwrap();
        assert_eq!(page[0].value, value.into_bytes());
        fixture.delete("k").await;
        assert_eq!(fixture.value("k").await, None);
        assert!(fixture.keys(b"", b"", 10).await.is_empty());
    }
}

pub(crate) async fn a_range_is_in_the_order_of_bytes(fixture: &Fixture) {
    let mut keys: Vec<Key> = vec![
        vec![0],
        vec![0, 0],
        vec![0, 255],
        vec![1],
        b"a".to_vec(),
        b"a\0".to_vec(),
        b"a/b".to_vec(),
        b"aa".to_vec(),
        b"b".to_vec(),
        vec![127, 255],
        vec![128],
        vec![255],
        vec![255, 255, 255],
    ];
    for key in keys.iter().rev() {
        fixture.put(key, "x").await;
    }
    keys.sort();
    assert_eq!(fixture.keys(b"", b"", 1_000).await, keys);
    for (index, key) in keys.iter().enumerate() {
        assert_eq!(fixture.keys(key, b"", 1_000).await, keys[index..], "from {key:?}");
        assert_eq!(fixture.keys(b"", key, 1_000).await, keys[..index], "to {key:?}");
    }
}

pub(crate) async fn a_range_goes_from_its_start_to_before_its_end(fixture: &Fixture) {
    for key in ["a", "b", "c", "d"] {
        fixture.put(key, "x").await;
    }
    for (start, end, keys) in [
        ("a", "c", vec!["a", "b"]),
        ("aa", "cc", vec!["b", "c"]),
        ("", "b", vec!["a"]),
        ("c", "", vec!["c", "d"]),
        ("e", "", vec![]),
        ("b", "b", vec![]),
        ("c", "a", vec![]),
        ("b", "b\0", vec!["b"]),
    ] {
        let keys: Vec<Key> = keys.into_iter().map(Key::from).collect();
        assert_eq!(fixture.keys(start.as_bytes(), end.as_bytes(), 10).await, keys, "{start} to {end}");
    }
}

pub(crate) async fn pages_follow_one_another(fixture: &Fixture) {
    let keys: Vec<Key> = (0..250_u32).map(|number| format!("k{number:05}").into_bytes()).collect();
    for keys in keys.chunks(100) {
        fixture.commit(vec![], keys.iter().map(|key| put(key, key)).collect()).await.unwrap();
    }
    fixture.put("l", "outside").await;
    for limit in [1, 7, 125, 250, 251, 1_000] {
        let (mut seen, mut start) = (Vec::new(), b"k".to_vec());
        loop {
            let page = fixture.keys(&start, b"l", limit).await;
            seen.extend(page.iter().cloned());
            if page.len() < limit {
                break;
            }
            start = [page.last().unwrap().as_slice(), b"\0"].concat();
        }
        assert_eq!(seen, keys, "by {limit}");
    }
}

pub(crate) async fn a_page_is_consistent(fixture: &Fixture) {
    let keys: Vec<Key> = (0..20_u8).map(|number| vec![b'k', number]).collect();
    let round = |number: u32, keys: &[Key]| {
        // Each transaction changes all keys to one value, of a size that is kept whole or in pieces, and moves one more.
        let value = format!("{number}").repeat(if number.is_multiple_of(2) { 1 } else { 2_500 });
        let (gone, come) = (vec![b'm', (number % 2) as u8], vec![b'm', ((number + 1) % 2) as u8]);
        let mut writes: Vec<_> = keys.iter().map(|key| put(key, &value)).collect();
        writes.extend([delete(gone), put(come, &value)]);
        Transaction { conditions: vec![], writes }
    };
    fixture.store.commit(round(0, &keys)).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (store, done) = (Arc::clone(&fixture.store), Arc::clone(&done));
        async move {
            let mut pages = 0;
            while !done.load(Ordering::SeqCst) || pages == 0 {
                let page = store.range(b"", b"", 1_000).await.unwrap();
                assert_eq!(page.len(), 21);
                assert!(page.iter().all(|entry| entry.value == page[0].value && entry.modified == page[0].modified));
                let one = store.get(&[b'k', 7]).await.unwrap().unwrap();
                assert!(one.modified >= page[0].modified, "what was read is not unread");
                pages += 1;
            }
        }
    };
    let reader = tokio::task::JoinSet::from_iter([reader]);
    for number in 1..60 {
        fixture.store.commit(round(number, &keys)).await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    reader.join_all().await;
}

pub(crate) async fn a_value_of_one_mebibyte_comes_back(fixture: &Fixture) {
    for byte in 1..=3_u32 {
        let word = |index: u32| index.wrapping_mul(2_654_435_761).wrapping_add(byte).to_be_bytes();
        let value: Vec<u8> = (0..1 << 18).flat_map(word).collect();
        fixture.put("large", &value).await;
        assert!(fixture.value("large").await == Some((value, u64::from(byte))));
    }
    fixture.put("large", "small").await;
    assert_eq!(fixture.value("large").await, Some((b"small".to_vec(), 4)));
    fixture.delete("large").await;
    assert_eq!(fixture.value("large").await, None);
}

pub(crate) async fn any_bytes_are_a_key_and_a_value(fixture: &Fixture) {
    let all: Vec<u8> = (0..=255).collect();
    for key in [all.clone(), vec![0], vec![255], vec![0; 100], vec![255; 100]] {
        fixture.put(&key, &all).await;
        assert_eq!(fixture.value(&key).await, Some((all.clone(), 1)));
        fixture.put(&key, "").await;
        assert_eq!(fixture.value(&key).await, Some((Vec::new(), 2)), "an empty value is a value");
    }
}

pub(crate) async fn values_of_every_size_come_back(fixture: &Fixture) {
    for bytes in [0, 1, 4_095, 4_096, 4_097, 8_191, 8_192, 8_193, 100_000] {
        let value: Vec<u8> = (0..bytes).map(|index: u32| (index % 251) as u8).collect();
        fixture.put("k", &value).await;
        assert!(fixture.value("k").await.unwrap().0 == value, "{bytes}");
    }
}
