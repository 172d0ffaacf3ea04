//! Looking for damage while no server has the store open.

use std::{fs, os::unix::fs::FileExt as _, path::Path};

use coffer_store::{
    Store as _,
    sled::{Inspection, OpenError, SledOptions, inspect},
};

use super::folder::{content, copy, filled, forget_journal, open, temporary};

fn look(store: &Path) -> Result<Inspection, OpenError> {
    let scratch = tempfile::tempdir().unwrap();
    inspect(store, scratch.path(), &SledOptions::default(), b"")
}

/// Every file with its bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder.join("data")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            files.push((path.display().to_string(), fs::read(path).unwrap()));
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn a_store_that_holds_is_counted_and_not_changed() {
    let (_folder, path) = temporary();
    let store = filled(&path).await;
    let (entries, revision) = content(&store).await.unwrap();
    assert!(matches!(look(&path), Err(OpenError::InUse)), "it is open");
    drop(store);
    let before = files(&path);
    let found = look(&path).unwrap();
    assert_eq!(found.findings, [], "{found:?}");
    assert_eq!((found.values, found.revision), (entries.len() as u64, Some(revision)));
    let bytes: u64 = entries.values().map(|entry| entry.value.len() as u64).sum();
    assert_eq!(found.value_bytes, bytes);
    assert!(files(&path) == before, "looking changed it");
    assert_eq!(open(&path).unwrap().revision().await.unwrap(), revision);
}

#[tokio::test]
async fn damage_is_found_where_opening_or_reading_finds_it() {
    let (folder, path) = temporary();
    drop(filled(&path).await);
    forget_journal(&path);
    let bytes = fs::read(path.join("data/db")).unwrap();
    let used: Vec<usize> = (0..bytes.len()).filter(|offset| bytes[*offset] != 0).collect();
    let mut found = 0;
    for offset in used.iter().step_by((used.len() / 40).max(1)) {
        let damaged = folder.path().join("damaged");
        copy(&path, &damaged);
        let file = fs::OpenOptions::new().write(true).open(damaged.join("data/db")).unwrap();
        file.write_all_at(&[bytes[*offset] ^ 0x10], *offset as u64).unwrap();
        // What the store itself would notice.
        let looked = look(&damaged).unwrap();
        let noticed = match open(&damaged) {
            Ok(store) => content(&store).await.is_err(),
            Err(_) => true,
        };
        assert!(!noticed || looked.findings_count > 0, "a flipped byte at {offset} is noticed by the store alone");
        found += u32::from(looked.findings_count > 0);
        fs::remove_dir_all(&damaged).unwrap();
    }
    assert!(found > 0, "no flipped byte was found");
}

#[tokio::test]
async fn missing_and_foreign_files_are_named() {
    let (folder, path) = temporary();
    drop(filled(&path).await);
    for (file, bytes) in
        [("mark", None), ("mark", Some(&b"not a mark!!"[..])), ("format", Some(b"?")), ("db", None), ("journal.0", None)]
    {
        let damaged = folder.path().join("damaged");
        copy(&path, &damaged);
        let name = damaged.join("data").join(file);
        match bytes {
            Some(bytes) => fs::write(name, bytes).unwrap(),
            None => fs::remove_file(name).unwrap(),
        }
        let found = look(&damaged).unwrap();
        assert!(
            found.findings.iter().any(|finding| finding.place == format!("data/{}", file.trim_end_matches(".0"))),
            "{file}: {found:?}"
        );
        fs::remove_dir_all(&damaged).unwrap();
    }
    assert!(matches!(look(&folder.path().join("nothing")), Err(OpenError::Io(_))));
}
