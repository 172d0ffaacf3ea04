//! Files that are not as they were: noticed, or without effect, but never other content.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use coffer_store::{Entry, Key, Revision, StoreError, sled::OpenError};
use std::collections::BTreeMap;

use super::folder::{content, copy, filled, forget_journal, open, put, temporary};

type Content = (BTreeMap<Key, Entry>, Revision);

/// Whether damage was noticed; fails where it was not and the content is another.
async fn noticed(path: &Path, expected: &Content, what: &str) -> bool {
    let store = match open(path) {
        Ok(store) => store,
        Err(OpenError::Corrupt(_) | OpenError::Newer { .. } | OpenError::Io(_)) => return true,
        Err(error @ OpenError::InUse) => panic!("{what}: {error:?}"),
    };
    match content(&store).await {
        Ok(found) => {
            assert!(found == *expected, "{what}: other content, unnoticed");
            false
        }
        Err(StoreError::Corrupt(_) | StoreError::Unavailable(_)) => true,
        Err(error) => panic!("{what}: {error:?}"),
    }
}

/// A filled store as a clean close leaves it, and as a kill does.
async fn images(folder: &Path) -> (Content, [std::path::PathBuf; 2]) {
    let (killed, closed) = (folder.join("killed"), folder.join("closed"));
    let store = filled(&closed).await;
    let expected = content(&store).await.unwrap();
    copy(&closed, &killed);
    drop(store);
    (expected, [killed, closed])
}

#[tokio::test]
async fn a_flipped_byte_is_noticed_or_without_effect() {
    let (folder, _) = temporary();
    let (expected, images) = images(folder.path()).await;
    let (mut tried, mut found) = (0, 0);
    for image in images {
        for file in fs::read_dir(image.join("data")).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let bytes = fs::read(image.join("data").join(&name)).unwrap_or_default();
            let used: Vec<usize> = (0..bytes.len()).filter(|offset| bytes[*offset] != 0).collect();
            let step = (used.len() / 24).max(1);
            for offset in used.into_iter().step_by(step) {
                let damaged = folder.path().join("damaged");
                copy(&image, &damaged);
                let file = OpenOptions::new().write(true).open(damaged.join("data").join(&name)).unwrap();
                file.write_all_at(&[bytes[offset] ^ 0x10], offset as u64).unwrap();
                tried += 1;
                found += usize::from(noticed(&damaged, &expected, &format!("{name} at {offset}")).await);
                fs::remove_dir_all(&damaged).unwrap();
            }
        }
    }
    println!("{found} of {tried} flipped bytes were noticed");
    assert!(tried > 80 && found * 3 > tried, "{found} of {tried}");
}

/// Cuts a file of an image at several places; how often that was noticed. `acceptable` where it need not be.
async fn cut(folder: &Path, image: &Path, name: &str, expected: &Content, acceptable: impl Fn(u64, u64) -> bool) -> u32 {
    let bytes = fs::read(image.join("data").join(name)).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    let mut found = 0;
    for cut in (0..16).map(|part| used * part / 16).chain([used - 1, used - 100, bytes.len() as u64 - 1]) {
        let damaged = folder.join("damaged");
        copy(image, &damaged);
        OpenOptions::new().write(true).open(damaged.join("data").join(name)).unwrap().set_len(cut).unwrap();
        let was = noticed(&damaged, expected, &format!("{name} cut at {cut} of {used}")).await;
        assert!(was || acceptable(cut, used), "{name} cut at {cut} of {used}, unnoticed");
        found += u32::from(was);
        fs::remove_dir_all(&damaged).unwrap();
    }
    found
}

#[tokio::test]
async fn a_log_that_was_cut_off_is_noticed_or_complete() {
    let (folder, _) = temporary();
    let (expected, [_, closed]) = images(folder.path()).await;
    forget_journal(&closed);
    let found = cut(folder.path(), &closed, "db", &expected, |cut, used| cut > used / 2).await;
    assert!(found >= 10, "{found}");
}

#[tokio::test]
async fn a_journal_that_was_cut_off_is_noticed_or_not_needed() {
    let (folder, _) = temporary();
    let (expected, [killed, closed]) = images(folder.path()).await;
    let found = cut(folder.path(), &killed, "journal.0", &expected, |cut, used| cut > used).await;
    assert!(found >= 17, "{found}");
    let found = cut(folder.path(), &closed, "journal.0", &expected, |_, _| true).await;
    assert_eq!(found, 0, "all of it is in sled");
}

#[tokio::test]
async fn a_store_from_before_the_journal_is_given_one() {
    let (_folder, path) = temporary();
    let store = filled(&path).await;
    let expected = content(&store).await.unwrap();
    drop(store);
    let data = path.join("data");
    fs::write(data.join("format"), "coffer-store sled 1\n").unwrap();
    for name in ["journal.0", "journal.1"] {
        fs::remove_file(data.join(name)).unwrap();
    }
    // As an upgrade that was cut short leaves it.
    fs::write(data.join("format.new"), "coffer").unwrap();
    let store = open(&path).unwrap();
    assert!(content(&store).await.unwrap() == expected);
    put(&store, "k", b"newer").await.unwrap();
    drop(store);
    assert_eq!(fs::read_to_string(data.join("format")).unwrap(), "coffer-store sled 2\n");
}

#[tokio::test]
async fn a_log_that_was_put_back_is_noticed() {
    let (folder, path) = temporary();
    let store = filled(&path).await;
    let old = folder.path().join("old");
    copy(&path.join("data"), &old);
    put(&store, "k", b"newer").await.unwrap();
    drop(store);
    // All but the mark, which a full restore of the folder would bring back, too.
    fs::copy(path.join("data/mark"), old.join("mark")).unwrap();
    fs::remove_dir_all(path.join("data")).unwrap();
    fs::rename(old, path.join("data")).unwrap();
    assert!(matches!(open(&path), Err(OpenError::Corrupt(_))));
}

#[tokio::test]
async fn a_newer_format_is_refused_and_named() {
    let (_folder, path) = temporary();
    drop(open(&path).unwrap());
    fs::write(path.join("data/format"), "coffer-store sled 3\n").unwrap();
    assert!(matches!(open(&path), Err(OpenError::Newer { found: 3, supported: 2 })));
    for wrong in ["coffer-store sled 0\n", "coffer-store sled\n", "", "other 1\n"] {
        fs::write(path.join("data/format"), wrong).unwrap();
        assert!(matches!(open(&path), Err(OpenError::Corrupt(_))), "{wrong}");
    }
}

#[tokio::test]
async fn a_missing_file_is_noticed() {
    for name in ["format", "mark", "db", "journal.0", "journal.1"] {
        let (_folder, path) = temporary();
        drop(filled(&path).await);
        fs::remove_file(path.join("data").join(name)).unwrap();
        assert!(matches!(open(&path), Err(OpenError::Corrupt(_))), "{name}");
    }
}

#[tokio::test]
async fn a_log_that_was_emptied_is_noticed() {
    let (_folder, path) = temporary();
    drop(filled(&path).await);
    for file in fs::read_dir(path.join("data")).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with("snap") {
            fs::remove_file(file.path()).unwrap();
        }
    }
    fs::write(path.join("data/db"), b"").unwrap();
    assert!(matches!(open(&path), Err(OpenError::Corrupt(_))));
}
