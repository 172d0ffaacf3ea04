//! Directories.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{TENANT, key, memory, put, vault};
use coffer_barrier::{Child, RecordKey, Scope};
use proptest::{collection::btree_set, prelude::*};

fn child(name: &str, record: bool, below: bool) -> Child {
    Child { name: name.as_bytes().to_vec(), record, below }
}

#[tokio::test]
async fn a_directory_lists_what_is_directly_below_in_byte_order() {
    let barrier = vault(&memory()).await;
    for name in ["a/x", "a/b", "a/b/c", "a/b/d", "a/f/g/h", "z", "A"] {
        put(&barrier, name, "x").await;
    }
    let root = RecordKey::root(Scope::Tenant(TENANT));
    let expected = vec![child("A", true, false), child("a", false, true), child("z", true, false)];
    assert_eq!(barrier.children(&root).await.unwrap().to_vec(), expected);
    let expected = vec![child("b", true, true), child("f", false, true), child("x", true, false)];
    assert_eq!(barrier.children(&key("a")).await.unwrap().to_vec(), expected);
    assert_eq!(barrier.children(&key("a/x")).await.unwrap().to_vec(), vec![]);
    assert_eq!(barrier.children(&key("nothing")).await.unwrap().to_vec(), vec![]);
    assert_eq!(barrier.children(&RecordKey::root(Scope::System)).await.unwrap().to_vec(), vec![]);
    let records = barrier.children_records(&key("a")).await.unwrap();
    let records: Vec<_> = records.iter().map(|(name, record)| (name.as_slice(), record.value.expose())).collect();
    assert_eq!(records, [(b"b".as_slice(), b"x".as_slice()), (b"x", b"x")]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_directory_lists_what_a_tree_would(paths in btree_set("[ab]{1,2}(/[abc]{1,3}){0,4}", 0..200), at in "[ab]{1,2}(/[abc]{1,3}){0,2}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let barrier = vault(&memory()).await;
            for path in &paths {
                put(&barrier, path, path).await;
            }
            let mut expected = BTreeMap::<&str, (bool, bool)>::new();
            for rest in paths.iter().filter_map(|path| path.strip_prefix(&at)?.strip_prefix('/')) {
                let (name, below) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
                let child = expected.entry(name).or_default();
                child.0 |= !below;
                child.1 |= below;
            }
            let listed: Vec<_> = expected.iter().map(|(name, (record, below))| child(name, *record, *below)).collect();
            assert_eq!(barrier.children(&key(&at)).await.unwrap().to_vec(), listed);
            let records = barrier.children_records(&key(&at)).await.unwrap();
            let values: BTreeSet<_> = records.iter().map(|(_, record)| record.value.expose().to_vec()).collect();
            let named = expected.iter().filter(|(_, (record, _))| *record).map(|(name, _)| format!("{at}/{name}").into_bytes());
            assert_eq!(values, named.collect::<BTreeSet<_>>());
        });
    }
}
