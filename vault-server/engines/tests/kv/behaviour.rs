//! What the engine does, case by case.

use std::{collections::BTreeMap, time::Duration};

use coffer_engines::kv::{KvError, Name, PutRequest, RollbackRequest, Settings, SettingsChange, VersionInfo, VersionState};

use crate::common::{
    KV, NOW, alice, commit, get, is_conflict, is_gone, metadata, new_version, path, put, set, shown, unsealed, vault,
};

fn name(name: &str, secret: bool, folder: bool) -> Name {
    Name { name: name.to_owned(), secret, folder }
}

#[tokio::test]
async fn a_secret_reads_as_it_was_written() {
    let (store, barrier) = vault().await;
    let info = put(&barrier, "kv/prod/db", new_version(&[("user", "app"), ("password", "x")])).await.unwrap();
    let expected =
        VersionInfo { version: 1, created: NOW, created_by: "operator:alice".into(), state: VersionState::Live, expires: None };
    assert_eq!(info, expected);
    let secret = get(&unsealed(store).await, "kv/prod/db", None).await.unwrap();
    assert_eq!(shown(&secret.fields), [("password", "x"), ("user", "app")]);
    assert_eq!(secret.version, expected);
    assert!(matches!(get(&barrier, "kv/prod", None).await, Err(KvError::NotFound)));
    assert!(matches!(get(&barrier, "kv", None).await, Err(KvError::Path)));
}

#[tokio::test]
async fn older_versions_can_be_read_until_too_many_are_kept() {
    let (_, barrier) = vault().await;
    for number in 1..=12_u64 {
        let text = number.to_string();
        let info = put(&barrier, "kv/a", new_version(&[("n", &text)])).await.unwrap();
        assert_eq!(info.version, number);
    }
    for number in 3..=12_u64 {
        assert_eq!(shown(&get(&barrier, "kv/a", Some(number)).await.unwrap().fields), [("n", number.to_string().as_str())]);
    }
    for destroyed in [1, 2] {
        assert!(is_gone(&get(&barrier, "kv/a", Some(destroyed)).await, VersionState::Destroyed));
    }
    for never in [0, 13, u64::MAX] {
        assert!(matches!(get(&barrier, "kv/a", Some(never)).await, Err(KvError::NotFound)));
    }
    let metadata = metadata(&barrier, "kv/a").await;
    let numbers: Vec<_> = metadata.versions.iter().map(|version| version.version).collect();
    assert_eq!((metadata.newest_version, numbers), (12, (3..=12).collect()));
}

#[tokio::test]
async fn check_and_set_writes_onto_the_expected_version_alone() {
    let (_, barrier) = vault().await;
    let onto = |expected| PutRequest { expected: Some(expected), ..new_version(&[("a", "x")]) };
    assert!(matches!(put(&barrier, "kv/a", onto(1)).await, Err(KvError::Version { newest: 0 })));
    assert_eq!(put(&barrier, "kv/a", onto(0)).await.unwrap().version, 1);
    assert!(matches!(put(&barrier, "kv/a", onto(0)).await, Err(KvError::Version { newest: 1 })));
    assert_eq!(put(&barrier, "kv/a", onto(1)).await.unwrap().version, 2);
    assert!(matches!(put(&barrier, "kv/a", onto(1)).await, Err(KvError::Version { newest: 2 })));
    // Only destroyed versions: as if there were none. Numbers go on.
    commit(&barrier, KV.delete_versions(&barrier, &path("kv/a"), &[1, 2], NOW).await).await.unwrap();
    assert!(matches!(put(&barrier, "kv/a", onto(0)).await, Err(KvError::Version { newest: 2 })));
    commit(&barrier, KV.destroy_versions(&barrier, &path("kv/a"), &[1, 2], NOW).await).await.unwrap();
    assert_eq!(put(&barrier, "kv/a", onto(0)).await.unwrap().version, 3);
}

#[tokio::test]
async fn a_secret_can_demand_check_and_set() {
    let (_, barrier) = vault().await;
    set(&barrier, "kv/a", Settings { cas_required: true, ..Settings::default() }).await.unwrap();
    assert!(matches!(put(&barrier, "kv/a", new_version(&[("a", "x")])).await, Err(KvError::CasRequired)));
    put(&barrier, "kv/a", PutRequest { expected: Some(0), ..new_version(&[("a", "x")]) }).await.unwrap();
}

#[tokio::test]
async fn of_two_writers_the_second_plans_again() {
    let (_, barrier) = vault().await;
    put(&barrier, "kv/a", new_version(&[("a", "x")])).await.unwrap();
    let onto_one = || PutRequest { expected: Some(1), ..new_version(&[("a", "y")]) };
    let at = path("kv/a");
    let first = KV.put(&barrier, &at, onto_one(), &alice(), NOW).await;
    let second = KV.put(&barrier, &at, onto_one(), &alice(), NOW).await;
    let third = KV.destroy(&barrier, &at, None).await;
    commit(&barrier, first).await.unwrap();
    assert!(is_conflict(&commit(&barrier, second).await));
    assert!(is_conflict(&commit(&barrier, third).await));
    assert!(matches!(put(&barrier, "kv/a", onto_one()).await, Err(KvError::Version { newest: 2 })));
}

#[tokio::test]
async fn merging_keeps_the_fields_that_are_not_given() {
    let (_, barrier) = vault().await;
    let merge = |pairs| PutRequest { merge: true, ..new_version(pairs) };
    put(&barrier, "kv/a", merge(&[("a", "1"), ("b", "2")])).await.unwrap();
    put(&barrier, "kv/a", merge(&[("b", "3"), ("c", "4")])).await.unwrap();
    assert_eq!(shown(&get(&barrier, "kv/a", None).await.unwrap().fields), [("a", "1"), ("b", "3"), ("c", "4")]);
    assert_eq!(shown(&get(&barrier, "kv/a", Some(1)).await.unwrap().fields), [("a", "1"), ("b", "2")]);
    // There is nothing to keep that may be known.
    commit(&barrier, KV.delete_versions(&barrier, &path("kv/a"), &[], NOW).await).await.unwrap();
    assert!(is_gone(&put(&barrier, "kv/a", merge(&[("c", "5")])).await, VersionState::Deleted));
}

#[tokio::test]
async fn the_newest_version_is_not_replaced_by_an_older_one() {
    let (_, barrier) = vault().await;
    for text in ["1", "2"] {
        put(&barrier, "kv/a", new_version(&[("n", text)])).await.unwrap();
    }
    commit(&barrier, KV.delete_versions(&barrier, &path("kv/a"), &[], NOW).await).await.unwrap();
    assert!(is_gone(&get(&barrier, "kv/a", None).await, VersionState::Deleted));
    assert!(is_gone(&get(&barrier, "kv/a", Some(2)).await, VersionState::Deleted));
    assert!(get(&barrier, "kv/a", Some(1)).await.is_ok());
    commit(&barrier, KV.undelete_versions(&barrier, &path("kv/a"), &[2], NOW).await).await.unwrap();
    assert_eq!(shown(&get(&barrier, "kv/a", None).await.unwrap().fields), [("n", "2")]);
}

#[tokio::test]
async fn going_back_makes_a_new_version_of_an_older_one_s_fields() {
    let (_, barrier) = vault().await;
    for text in ["1", "2"] {
        put(&barrier, "kv/a", PutRequest { ttl_secs: Some(60), ..new_version(&[("n", text), (text, "only here")]) })
            .await
            .unwrap();
    }
    let back = |version, expected| RollbackRequest { version, expected, ttl_secs: None };
    let rollback = async |request| {
        let planned = KV.rollback(&barrier, &path("kv/a"), request, &alice(), NOW).await;
        commit(&barrier, planned).await
    };
    let (info, fields) = rollback(back(1, Some(2))).await.unwrap();
    assert_eq!((info.version, info.expires, info.created_by.as_str()), (3, None, "operator:alice"));
    assert_eq!(shown(&fields), [("1", "only here"), ("n", "1")]);
    assert_eq!(shown(&get(&barrier, "kv/a", None).await.unwrap().fields), [("1", "only here"), ("n", "1")]);
    assert_eq!(shown(&get(&barrier, "kv/a", Some(2)).await.unwrap().fields), [("2", "only here"), ("n", "2")]);
    assert!(matches!(rollback(back(1, Some(2))).await, Err(KvError::Version { newest: 3 })));
    // What cannot be read cannot be brought back this way: undeleting is another permission.
    commit(&barrier, KV.delete_versions(&barrier, &path("kv/a"), &[1], NOW).await).await.unwrap();
    commit(&barrier, KV.destroy_versions(&barrier, &path("kv/a"), &[2], NOW).await).await.unwrap();
    assert!(is_gone(&rollback(back(1, None)).await, VersionState::Deleted));
    assert!(is_gone(&rollback(back(2, None)).await, VersionState::Destroyed));
    for never in [0, 4] {
        assert!(matches!(rollback(back(never, None)).await, Err(KvError::NotFound)));
    }
}

#[tokio::test]
async fn of_two_who_go_back_the_second_plans_again() {
    let (_, barrier) = vault().await;
    put(&barrier, "kv/a", new_version(&[("n", "1")])).await.unwrap();
    let request = RollbackRequest { version: 1, expected: None, ttl_secs: None };
    let at = path("kv/a");
    let first = KV.rollback(&barrier, &at, request, &alice(), NOW).await;
    let second = KV.rollback(&barrier, &at, request, &alice(), NOW).await;
    commit(&barrier, first).await.unwrap();
    assert!(is_conflict(&commit(&barrier, second).await));
}

#[tokio::test]
async fn a_destroyed_version_is_gone_from_the_store() {
    let (store, barrier) = vault().await;
    put(&barrier, "kv/a", new_version(&[("n", "1")])).await.unwrap();
    let entries = store.range(b"", b"", 100).await.unwrap().len();
    for _ in 0..2 {
        commit(&barrier, KV.destroy_versions(&barrier, &path("kv/a"), &[1, 1], NOW).await).await.unwrap();
        assert_eq!(store.range(b"", b"", 100).await.unwrap().len(), entries - 1);
    }
    assert!(is_gone(&get(&barrier, "kv/a", None).await, VersionState::Destroyed));
    let back = KV.undelete_versions(&barrier, &path("kv/a"), &[1], NOW).await;
    assert!(is_gone(&commit(&barrier, back).await, VersionState::Destroyed));
    assert!(commit(&barrier, KV.destroy_versions(&barrier, &path("kv/a"), &[2], NOW).await).await.is_err());
}

#[tokio::test]
async fn an_expired_version_cannot_be_read_and_is_erased_with_the_next_change() {
    let (store, barrier) = vault().await;
    let info = put(&barrier, "kv/a", PutRequest { ttl_secs: Some(60), ..new_version(&[("n", "1")]) }).await.unwrap();
    let end = NOW.plus(Duration::from_secs(60));
    assert_eq!(info.expires, Some(end));
    let at = path("kv/a");
    assert!(KV.get(&barrier, &at, None, NOW.plus(Duration::from_millis(59_999))).await.is_ok());
    assert!(is_gone(&KV.get(&barrier, &at, None, end).await, VersionState::Expired));
    assert_eq!(KV.metadata(&barrier, &at, end).await.unwrap().versions[0].state, VersionState::Expired);
    let back = KV.undelete_versions(&barrier, &at, &[1], end).await;
    assert!(is_gone(&commit(&barrier, back).await, VersionState::Expired));
    let entries = store.range(b"", b"", 100).await.unwrap().len();
    let change = KV.put_metadata(&barrier, &at, SettingsChange::default(), end).await;
    let metadata = commit(&barrier, change).await.unwrap();
    assert_eq!(metadata.versions[0].state, VersionState::Expired);
    assert_eq!(store.range(b"", b"", 100).await.unwrap().len(), entries - 1);
    // Not even where the clock is turned back.
    assert!(is_gone(&get(&barrier, "kv/a", None).await, VersionState::Expired));
}

#[tokio::test]
async fn a_secret_made_again_inherits_nothing() {
    let (store, barrier) = vault().await;
    let empty = store.range(b"", b"", 100).await.unwrap().len();
    for text in ["1", "2", "3"] {
        put(&barrier, "kv/a", new_version(&[("n", text)])).await.unwrap();
    }
    let settings =
        Settings { custom_metadata: BTreeMap::from([("owner".into(), "x".into())]), max_versions: 3, cas_required: true };
    let before = set(&barrier, "kv/a", settings).await.unwrap();
    commit(&barrier, KV.destroy(&barrier, &path("kv/a"), None).await).await.unwrap();
    assert_eq!(store.range(b"", b"", 100).await.unwrap().len(), empty, "nothing is left of it");
    assert!(matches!(get(&barrier, "kv/a", None).await, Err(KvError::NotFound)));
    assert!(matches!(KV.destroy(&barrier, &path("kv/a"), None).await, Err(KvError::NotFound)));
    assert_eq!(put(&barrier, "kv/a", new_version(&[("n", "new")])).await.unwrap().version, 1);
    let after = metadata(&barrier, "kv/a").await;
    assert_eq!((after.newest_version, after.settings), (1, Settings { max_versions: 10, ..Settings::default() }));
    assert_ne!(before.etag, after.etag);
    assert!(matches!(get(&barrier, "kv/a", Some(2)).await, Err(KvError::NotFound)));
}

#[tokio::test]
async fn an_etag_names_the_state_that_a_change_is_meant_for() {
    let (_, barrier) = vault().await;
    let at = path("kv/a");
    let with = |etag: &str| SettingsChange { etag: Some(etag.to_owned()), ..SettingsChange::default() };
    assert!(matches!(KV.put_metadata(&barrier, &at, with("x"), NOW).await, Err(KvError::Etag)));
    let made = set(&barrier, "kv/a", Settings::default()).await.unwrap();
    assert_eq!((made.newest_version, made.created, metadata(&barrier, "kv/a").await.etag), (0, NOW, made.etag.clone()));
    put(&barrier, "kv/a", new_version(&[("n", "1")])).await.unwrap();
    assert!(matches!(KV.put_metadata(&barrier, &at, with(&made.etag), NOW).await, Err(KvError::Etag)));
    let etag = metadata(&barrier, "kv/a").await.etag;
    // What changes nothing leaves the state what it was, and so its name.
    let same = commit(&barrier, KV.put_metadata(&barrier, &at, with(&etag), NOW).await).await.unwrap();
    assert_eq!(same.etag, etag);
    let settings = Settings { cas_required: true, ..Settings::default() };
    let change = SettingsChange { settings, etag: Some(etag.clone()) };
    let changed = commit(&barrier, KV.put_metadata(&barrier, &at, change, NOW).await).await.unwrap();
    assert_eq!(changed, metadata(&barrier, "kv/a").await);
    assert_ne!(changed.etag, etag);
}

#[tokio::test]
async fn an_etag_names_the_state_that_is_destroyed() {
    let (_, barrier) = vault().await;
    let at = path("kv/a");
    assert!(matches!(KV.destroy(&barrier, &at, Some("x")).await, Err(KvError::NotFound)));
    put(&barrier, "kv/a", new_version(&[("n", "1")])).await.unwrap();
    let first = metadata(&barrier, "kv/a").await.etag;
    let planned = KV.destroy(&barrier, &at, Some(&first)).await;
    put(&barrier, "kv/a", new_version(&[("n", "2")])).await.unwrap();
    // What is written after the look and before the commit stops the commit; after that the etag is another state's.
    assert!(is_conflict(&commit(&barrier, planned).await));
    for wrong in [first.as_str(), "", "x"] {
        assert!(matches!(KV.destroy(&barrier, &at, Some(wrong)).await, Err(KvError::Etag)), "{wrong:?}");
    }
    // Settings are a part of the state.
    let second = metadata(&barrier, "kv/a").await.etag;
    set(&barrier, "kv/a", Settings { cas_required: true, ..Settings::default() }).await.unwrap();
    assert!(matches!(KV.destroy(&barrier, &at, Some(&second)).await, Err(KvError::Etag)));
    let third = metadata(&barrier, "kv/a").await.etag;
    commit(&barrier, KV.destroy(&barrier, &at, Some(&third)).await).await.unwrap();
    assert!(matches!(get(&barrier, "kv/a", None).await, Err(KvError::NotFound)));
    assert!(matches!(KV.destroy(&barrier, &at, Some(&third)).await, Err(KvError::NotFound)));
}

#[tokio::test]
async fn keeping_fewer_versions_destroys_the_older_ones() {
    let (store, barrier) = vault().await;
    for text in ["1", "2", "3"] {
        put(&barrier, "kv/a", new_version(&[("n", text)])).await.unwrap();
    }
    let entries = store.range(b"", b"", 100).await.unwrap().len();
    let kept = set(&barrier, "kv/a", Settings { max_versions: 1, ..Settings::default() }).await.unwrap();
    assert_eq!((kept.versions.len(), kept.versions[0].version), (1, 3));
    assert_eq!(store.range(b"", b"", 100).await.unwrap().len(), entries - 2);
}

#[tokio::test]
async fn a_list_tells_secrets_from_folders_and_comes_in_pages() {
    let (_, barrier) = vault().await;
    for at in ["kv/b", "kv/a", "kv/a/x", "kv/c/y/z", "kv/\u{e4}"] {
        put(&barrier, at, new_version(&[("n", "1")])).await.unwrap();
    }
    let all = [name("a", true, true), name("b", true, false), name("c", false, true), name("\u{e4}", true, false)];
    let page = KV.list(&barrier, &path("kv"), None, 100).await.unwrap();
    assert_eq!((page.names.as_slice(), page.more), (all.as_slice(), false));
    for (after, limit, expected, more) in [
        (None, 2, &all[..2], true),
        (Some("b"), 2, &all[2..], false),
        (Some("b"), 1, &all[2..3], true),
        (Some("bb"), 4, &all[2..], false),
        (Some("\u{e4}"), 4, &[], false),
    ] {
        let page = KV.list(&barrier, &path("kv"), after, limit).await.unwrap();
        assert_eq!((page.names.as_slice(), page.more), (expected, more), "{after:?} {limit}");
    }
    assert_eq!(KV.list(&barrier, &path("kv/c/y"), None, 100).await.unwrap().names, [name("z", true, false)]);
    assert!(KV.list(&barrier, &path("kv/nothing"), None, 100).await.unwrap().names.is_empty());
}

#[tokio::test]
async fn a_change_is_seen_in_the_feed_at_the_secrets_name() {
    let (_, barrier) = vault().await;
    put(&barrier, "kv/a", new_version(&[("n", "1")])).await.unwrap();
    let name = barrier.physical(&KV.name_key(&path("kv/a")).unwrap()).await.unwrap();
    let mount = barrier.physical(&KV.name_key(&path("kv")).unwrap()).await.unwrap();
    let mut changes = barrier.changes(barrier.revision().await.unwrap()).await.unwrap();
    commit(&barrier, KV.delete_versions(&barrier, &path("kv/a"), &[], NOW).await).await.unwrap();
    let change = changes.next().await.unwrap().unwrap();
    assert!(change.key == name && change.present && name.is_within(&mount));
}
