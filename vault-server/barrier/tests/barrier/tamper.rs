//! What happens to records behind the barrier's back is noticed, on each store.

use std::sync::Arc;

use coffer_barrier::{Barrier, BarrierError, Batch, Expect, Store, seal::unseal_static};
use coffer_store::Write;

use crate::common::{entries, key, memory, on_each_store, put, raw, secret, static_key, text, vault};

/// Where a record is stored.
async fn place(barrier: &Barrier, segments: &str) -> Vec<u8> {
    barrier.physical(&key(segments)).await.unwrap().as_bytes().to_vec()
}

/// What is stored of a record.
async fn stored(store: &Arc<dyn Store>, place: &[u8]) -> Vec<u8> {
    store.get(place).await.unwrap().unwrap().value
}

/// Puts a value where there may be one, so that it is the first write there.
async fn plant(store: &Arc<dyn Store>, place: &[u8], value: Vec<u8>) {
    raw(store, vec![Write::Delete(place.to_vec())]).await;
    raw(store, vec![Write::Put(place.to_vec(), value)]).await;
}

async fn is_corrupt(barrier: &Barrier, segments: &str) -> bool {
    matches!(barrier.get(&key(segments)).await, Err(BarrierError::Corrupt(_)))
}

on_each_store! {
    async fn a_record_that_is_moved_does_not_open(store: Arc<dyn Store>) {
        let barrier = vault(&store).await;
        put(&barrier, "a/one", "1").await;
        let value = stored(&store, &place(&barrier, "a/one").await).await;
        for elsewhere in ["a/two", "b/one", "a", "a/one/below"] {
            plant(&store, &place(&barrier, elsewhere).await, value.clone()).await;
            assert!(is_corrupt(&barrier, elsewhere).await, "{elsewhere}");
        }
        assert_eq!(text(&barrier, "a/one").await.unwrap(), "1");
        assert!(matches!(barrier.children_records(&key("a")).await, Err(BarrierError::Corrupt(_))));
    }

    async fn records_that_are_swapped_do_not_open(store: Arc<dyn Store>) {
        let barrier = vault(&store).await;
        put(&barrier, "one", "1").await;
        put(&barrier, "two", "2").await;
        let (one, two) = (place(&barrier, "one").await, place(&barrier, "two").await);
        let (first, second) = (stored(&store, &one).await, stored(&store, &two).await);
        plant(&store, &one, second.clone()).await;
        plant(&store, &two, first.clone()).await;
        assert!(is_corrupt(&barrier, "one").await && is_corrupt(&barrier, "two").await);
        plant(&store, &one, first).await;
        plant(&store, &two, second).await;
        assert_eq!(text(&barrier, "one").await.unwrap(), "1");
    }

    async fn an_older_value_put_back_does_not_open(store: Arc<dyn Store>) {
        let barrier = vault(&store).await;
        put(&barrier, "a", "old").await;
        let place = place(&barrier, "a").await;
        let old = stored(&store, &place).await;
        put(&barrier, "a", "new").await;
        raw(&store, vec![Write::Put(place.clone(), old.clone())]).await;
        assert!(is_corrupt(&barrier, "a").await);
        // Nor does the present value, written once more: nothing is written but through the barrier.
        plant(&store, &place, old).await;
        assert_eq!(text(&barrier, "a").await.unwrap(), "old", "not noticed here: the whole past of a record put back");
        let same = stored(&store, &place).await;
        raw(&store, vec![Write::Put(place, same)]).await;
        assert!(is_corrupt(&barrier, "a").await);
    }

    async fn a_record_of_another_tenant_or_vault_does_not_open(store: Arc<dyn Store>) {
        let other = crate::common::memory();
        let (barrier, stranger) = (vault(&store).await, vault(&other).await);
        put(&barrier, "a", "ours").await;
        put(&stranger, "a", "theirs").await;
        let theirs = stored(&other, &place(&stranger, "a").await).await;
        plant(&store, &place(&barrier, "a").await, theirs).await;
        assert!(is_corrupt(&barrier, "a").await);
    }

    async fn a_name_that_is_changed_or_moved_is_noticed_in_its_directory(store: Arc<dyn Store>) {
        let barrier = vault(&store).await;
        put(&barrier, "a/one", "1").await;
        let (name, parent) = (place(&barrier, "a/one").await, place(&barrier, "a").await);
        let segment = name[parent.len()..].to_vec();
        let value = stored(&store, &name).await;
        let mut changed = name.clone();
        *changed.last_mut().unwrap() ^= 1;
        let moved = [place(&barrier, "b").await, segment].concat();
        let cut = name[..name.len() - 1].to_vec();
        for (directory, planted) in [("a", changed), ("b", moved), ("a", cut)] {
            plant(&store, &planted, value.clone()).await;
            assert!(matches!(barrier.children(&key(directory)).await, Err(BarrierError::Corrupt(_))));
            raw(&store, vec![Write::Delete(planted)]).await;
        }
        assert_eq!(barrier.children(&key("a")).await.unwrap().len(), 1);
    }

    async fn a_newer_format_is_refused_by_name(store: Arc<dyn Store>) {
        let barrier = vault(&store).await;
        put(&barrier, "a", "x").await;
        let place = place(&barrier, "a").await;
        let mut newer = stored(&store, &place).await;
        newer[0] = 2;
        plant(&store, &place, newer).await;
        let error = barrier.get(&key("a")).await.unwrap_err();
        assert!(matches!(error, BarrierError::Newer { found: 2 }), "{error}");
        let header = stored(&store, b"coffer/header").await;
        plant(&store, b"coffer/header", [&[9], &header[1..]].concat()).await;
        let error = unseal_static(Arc::clone(&store), &static_key(), None).await.unwrap_err();
        assert!(error.to_string().contains("format version 9"), "{error}");
    }

    async fn a_deleted_keyring_is_not_made_again_silently(store: Arc<dyn Store>) {
        let barrier = vault(&store).await;
        put(&barrier, "a", "x").await;
        for entry in entries(&store).await.iter().filter(|entry| entry.key.starts_with(b"coffer/k/")) {
            raw(&store, vec![Write::Delete(entry.key.clone())]).await;
        }
        let mut batch = Batch::new();
        batch.put(key("b"), Expect::Absent, secret("y"));
        assert!(matches!(barrier.commit(batch).await, Err(BarrierError::NoScope)));
        assert!(unseal_static(store, &static_key(), None).await.is_err());
    }
}

/// Every bit of everything that is stored: header, keyrings, a record.
#[tokio::test]
async fn a_flipped_bit_anywhere_is_noticed() {
    let store = memory();
    let barrier = vault(&store).await;
    put(&barrier, "a", "x").await;
    for entry in entries(&store).await {
        for bit in 0..entry.value.len() * 8 {
            let mut value = entry.value.clone();
            value[bit / 8] ^= 1 << (bit % 8);
            plant(&store, &entry.key, value).await;
            let noticed = match unseal_static(Arc::clone(&store), &static_key(), None).await {
                Ok(barrier) => barrier.get(&key("a")).await.is_err(),
                Err(_) => true,
            };
            assert!(noticed, "bit {bit} of {:?}", entry.key.escape_ascii().to_string());
        }
        for length in 0..entry.value.len() {
            plant(&store, &entry.key, entry.value[..length].to_vec()).await;
            let noticed = match unseal_static(Arc::clone(&store), &static_key(), None).await {
                Ok(barrier) => barrier.get(&key("a")).await.is_err(),
                Err(_) => true,
            };
            assert!(noticed, "{length} bytes of {:?}", entry.key.escape_ascii().to_string());
        }
        plant(&store, &entry.key, entry.value).await;
    }
    let again = unseal_static(store, &static_key(), None).await.unwrap();
    assert_eq!(text(&again, "a").await.unwrap(), "x");
}
