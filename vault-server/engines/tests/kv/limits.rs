//! Every limit, at it and past it.

use coffer_core::limits::{
    CUSTOM_METADATA_ENTRIES_MAX, CUSTOM_METADATA_KEY_BYTES_MAX, CUSTOM_METADATA_VALUE_BYTES_MAX, FIELD_NAME_BYTES_MAX,
    FIELDS_MAX, PATH_BYTES_MAX, PATH_SEGMENTS_MAX, SECRET_BYTES_MAX, TTL_SECS_MAX, VERSIONS_KEPT_MAX,
};
use coffer_engines::kv::{Fields, PutRequest, Settings};
use coffer_secret::SecretBytes;

use crate::common::{KV, NOW, commit, get, is_limit, new_version, path, put, set, vault};

fn request(fields: Fields) -> PutRequest {
    PutRequest { fields, ..new_version(&[]) }
}

fn numbered(count: usize, value: usize) -> Fields {
    (0..count).map(|number| (format!("{number:04}"), SecretBytes::from(vec![b'x'; value]))).collect()
}

#[tokio::test]
async fn fields_hold_to_their_limits() {
    let (_, barrier) = vault().await;
    let one = |name: usize, value: usize| Fields::from([("n".repeat(name), SecretBytes::from(vec![b'x'; value]))]);
    for good in [
        one(1, 0),
        one(FIELD_NAME_BYTES_MAX, 1),
        one(1, SECRET_BYTES_MAX - 1),
        numbered(FIELDS_MAX, 1),
        numbered(FIELDS_MAX, SECRET_BYTES_MAX / FIELDS_MAX - 4),
    ] {
        let expected: Vec<_> = good.iter().map(|(name, value)| (name.clone(), value.len())).collect();
        put(&barrier, "kv/a", request(good)).await.unwrap();
        let read = get(&barrier, "kv/a", None).await.unwrap().fields;
        assert_eq!(read.iter().map(|(name, value)| (name.clone(), value.len())).collect::<Vec<_>>(), expected);
    }
    for bad in [
        Fields::new(),
        one(0, 1),
        one(FIELD_NAME_BYTES_MAX + 1, 1),
        one(1, SECRET_BYTES_MAX),
        numbered(FIELDS_MAX + 1, 1),
        numbered(FIELDS_MAX, SECRET_BYTES_MAX / FIELDS_MAX - 3),
    ] {
        assert!(is_limit(&put(&barrier, "kv/a", request(bad)).await));
    }
    // Neither can merging go past them.
    put(&barrier, "kv/a", request(numbered(FIELDS_MAX, 1))).await.unwrap();
    assert!(is_limit(&put(&barrier, "kv/a", PutRequest { merge: true, ..request(one(1, 1)) }).await));
}

#[tokio::test]
async fn a_ttl_is_neither_nothing_nor_for_ever() {
    let (_, barrier) = vault().await;
    let ttl = |secs| PutRequest { ttl_secs: Some(secs), ..new_version(&[("n", "1")]) };
    for (secs, good) in [(0, false), (1, true), (TTL_SECS_MAX, true), (TTL_SECS_MAX + 1, false), (u64::MAX, false)] {
        assert_eq!(put(&barrier, "kv/a", ttl(secs)).await.is_ok(), good, "{secs}");
    }
}

#[tokio::test]
async fn settings_hold_to_their_limits() {
    let (_, barrier) = vault().await;
    let entries = |count: usize, key: usize, value: usize| Settings {
        custom_metadata: (0..count).map(|number| (format!("{number:0key$}"), "v".repeat(value))).collect(),
        ..Settings::default()
    };
    let (count, key, value) = (CUSTOM_METADATA_ENTRIES_MAX, CUSTOM_METADATA_KEY_BYTES_MAX, CUSTOM_METADATA_VALUE_BYTES_MAX);
    for good in [entries(0, 0, 0), entries(1, 1, 0), entries(count, key, value)] {
        set(&barrier, "kv/a", good).await.unwrap();
    }
    let mut nameless = entries(1, 1, 1);
    nameless.custom_metadata.insert(String::new(), "v".into());
    for bad in [nameless, entries(count + 1, 3, 0), entries(1, key + 1, 0), entries(1, 1, value + 1)] {
        assert!(is_limit(&set(&barrier, "kv/a", bad).await));
    }
    let versions = |max_versions| Settings { max_versions, ..Settings::default() };
    assert_eq!(set(&barrier, "kv/a", versions(0)).await.unwrap().settings.max_versions, 10);
    set(&barrier, "kv/a", versions(1)).await.unwrap();
    set(&barrier, "kv/a", versions(VERSIONS_KEPT_MAX)).await.unwrap();
    assert!(is_limit(&set(&barrier, "kv/a", versions(VERSIONS_KEPT_MAX + 1)).await));
}

#[tokio::test]
async fn a_request_names_at_most_as_many_versions_as_are_kept() {
    let (_, barrier) = vault().await;
    put(&barrier, "kv/a", new_version(&[("n", "1")])).await.unwrap();
    let at = path("kv/a");
    let many = |count: u32| vec![1; count.try_into().unwrap()];
    let (good, bad) = (many(VERSIONS_KEPT_MAX), many(VERSIONS_KEPT_MAX + 1));
    commit(&barrier, KV.delete_versions(&barrier, &at, &good, NOW).await).await.unwrap();
    commit(&barrier, KV.undelete_versions(&barrier, &at, &good, NOW).await).await.unwrap();
    commit(&barrier, KV.destroy_versions(&barrier, &at, &good, NOW).await).await.unwrap();
    for versions in [bad, Vec::new()] {
        assert!(is_limit(&KV.undelete_versions(&barrier, &at, &versions, NOW).await));
        assert!(is_limit(&KV.destroy_versions(&barrier, &at, &versions, NOW).await));
        assert_eq!(is_limit(&KV.delete_versions(&barrier, &at, &versions, NOW).await), !versions.is_empty());
    }
}

/// The largest of everything at once still fits a transaction, with room for what the caller adds.
#[tokio::test]
async fn the_largest_secret_can_be_written_and_destroyed() {
    let (store, barrier) = vault().await;
    let empty = store.range(b"", b"", 1000).await.unwrap().len();
    let longest = "s".repeat((PATH_BYTES_MAX - 2) / (PATH_SEGMENTS_MAX - 1) - 1);
    let mut at = vec![longest; PATH_SEGMENTS_MAX];
    at[0] = "kv".into();
    let at = at.join("/");
    let (count, key, value) = (CUSTOM_METADATA_ENTRIES_MAX, CUSTOM_METADATA_KEY_BYTES_MAX, CUSTOM_METADATA_VALUE_BYTES_MAX);
    let settings = Settings {
        custom_metadata: (0..count).map(|number| (format!("{number:0key$}"), "v".repeat(value))).collect(),
        max_versions: VERSIONS_KEPT_MAX,
        cas_required: false,
    };
    set(&barrier, &at, settings.clone()).await.unwrap();
    let writer = format!("k8s:{}/{}/{}", "c".repeat(64), "n".repeat(253), "s".repeat(253)).parse().unwrap();
    for number in 1..=u64::from(VERSIONS_KEPT_MAX) + 1 {
        let fields = if number > 100 { numbered(FIELDS_MAX, SECRET_BYTES_MAX / FIELDS_MAX - 4) } else { numbered(1, 1) };
        let mut planned = KV.put(&barrier, &path(&at), request(fields), &writer, NOW).await.unwrap();
        let beside = coffer_barrier::RecordKey::new(coffer_barrier::Scope::System, ["audit".as_bytes(), &number.to_be_bytes()]);
        let record = SecretBytes::from(vec![0; 64 << 10]);
        planned.batch.put(beside.unwrap(), coffer_barrier::Expect::Absent, record);
        assert_eq!(commit(&barrier, Ok(planned)).await.unwrap().version, number);
    }
    // All but one at once, and then the whole.
    let few = set(&barrier, &at, Settings { max_versions: 1, ..settings.clone() }).await.unwrap();
    assert_eq!(few.versions.len(), 1);
    set(&barrier, &at, settings).await.unwrap();
    for _ in 0..VERSIONS_KEPT_MAX {
        put(&barrier, &at, new_version(&[("n", "1")])).await.unwrap();
    }
    commit(&barrier, KV.destroy(&barrier, &path(&at), None).await).await.unwrap();
    let audit = usize::try_from(VERSIONS_KEPT_MAX).unwrap() + 1;
    assert_eq!(store.range(b"", b"", 1000).await.unwrap().len(), empty + audit);
}
