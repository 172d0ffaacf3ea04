//! Keys that come, change and go while the journal is merged into sled.

use std::collections::BTreeMap;

use coffer_store::{Store, Transaction, Write};

use super::folder::{content, copy, open, records, temporary};

/// Bytes of the journal that have it merged, and some.
const ENOUGH: usize = 5 << 20;
const KEYS: u8 = 12;

/// What a key has at a step; 6,000 bytes lie in two pieces.
fn value(key: u8, step: u8) -> Option<Vec<u8>> {
    // Every key has a pattern of its own of eight steps: there or not.
    let pattern = [0b0101_0101, 0b0011_0011, 0b0110_1101, 0b1110_0111][usize::from(key % 4)];
    let size = if (key / 4 + step).is_multiple_of(2) { 6_000 } else { 10 };
    (pattern >> (step % 8) & 1 == 1).then(|| vec![step; size])
}

#[tokio::test]
async fn what_comes_and_goes_around_merges_is_there_once_and_leaves_nothing() {
    let (folder, path) = temporary();
    let store = open(&path).unwrap();
    let mut model = BTreeMap::new();
    for step in 0..32_u8 {
        let writes = (0..KEYS).filter_map(|key| {
            let name = vec![key];
            match (model.contains_key(&name), value(key, step)) {
                (false, Some(value)) => Some(Write::Create(name, value)),
                (true, Some(value)) => Some(Write::Put(name, value)),
                // Half of them are looked for, and some that are not there are erased, too.
                (true, None) if key % 2 == 0 => Some(Write::Delete(name)),
                (true, None) => Some(Write::Erase(name)),
                (false, None) => (key % 3 == 0).then_some(Write::Erase(name)),
            }
        });
        store.commit(Transaction { conditions: vec![], writes: writes.collect() }).await.unwrap();
        for key in 0..KEYS {
            match value(key, step) {
                Some(value) => _ = model.insert(vec![key], value),
                None => _ = model.remove([key].as_slice()),
            }
        }
        // Every other step waits for a merge, so that there are changes before, in and after one.
        if step % 2 == 0 {
            let filling =
                |part: u8| Transaction { conditions: vec![], writes: vec![Write::Put(vec![255, part], vec![step; ENOUGH / 5])] };
            for part in 0..5 {
                store.commit(filling(part)).await.unwrap();
            }
        }
        let (found, _) = content(&store).await.unwrap();
        let found: BTreeMap<_, _> =
            found.into_iter().filter(|(key, _)| key.len() == 1).map(|(key, entry)| (key, entry.value)).collect();
        assert!(found == model, "step {step}: {:?}, {:?}", found.keys(), model.keys());
    }
    // What a kill leaves now, and what a stop.
    let before = content(&store).await.unwrap();
    let killed = folder.path().join("killed");
    copy(&path, &killed);
    drop(store);
    for path in [path, killed] {
        let store = open(&path).unwrap();
        assert!(content(&store).await.unwrap() == before);
        drop(store);
        let pieces: usize =
            before.0.values().filter(|entry| entry.value.len() > 4_096).map(|entry| entry.value.len().div_ceil(4_096)).sum();
        assert_eq!(records(&path), BTreeMap::from([(0, 1), (1, before.0.len()), (2, pieces)]));
    }
}
