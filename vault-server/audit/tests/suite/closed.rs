//! A log that was closed and is opened again: what of it is read, and that nothing is believed that may be otherwise.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use coffer_audit::{
    fault::Problem,
    format::CLOSED_BYTES_MAX,
    log::{Log, LogConfig, LogError, Opened},
    merkle::{Hash, Tree},
    note,
    verify::verify,
};
use coffer_crypto::sign::SigningKey;
use coffer_secret::SecretArray;
use tempfile::TempDir;

use crate::support::{config, copy, entries, files, id, key, open, origin, record, verifier, write_log};

const ENTRIES: u64 = 12;

fn epoch(dir: &Path) -> PathBuf {
    dir.join("epoch-000001")
}

fn closed(dir: &Path) -> PathBuf {
    epoch(dir).join("closed")
}

/// Opens and closes.
async fn reopened(dir: &Path) -> Opened {
    let (log, opened) = open(dir);
    log.close().await;
    opened
}

async fn written() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path()).await;
    dir
}

#[tokio::test]
async fn a_log_that_was_closed_is_opened_without_reading_it() {
    let dir = written().await;
    for turn in 0..3 {
        let (log, opened) = open(dir.path());
        assert_eq!((opened.size, opened.unread), (ENTRIES + turn, ENTRIES + turn));
        assert_eq!(log.append(record(ENTRIES + turn)).await.unwrap().index, ENTRIES + turn);
        log.close().await;
    }
    let report = verify(dir.path(), Some(&verifier())).unwrap();
    assert_eq!(report.entries, ENTRIES + 3);
}

#[tokio::test]
async fn what_was_not_read_is_known_as_if_it_was() {
    let dir = written().await;
    // A copy has other inodes: all of it is read.
    let copied = tempfile::tempdir().unwrap();
    copy(dir.path(), copied.path());
    fs::copy(closed(dir.path()), closed(copied.path())).unwrap();
    let ((unread, first), (read, second)) = (open(dir.path()), open(copied.path()));
    assert_eq!((first.unread, second.unread), (ENTRIES, 0));
    assert_eq!((first.size, first.root, &first.last_checkpoint), (second.size, second.root, &second.last_checkpoint));
    assert_eq!((&first.truncated_tail, &first.truncated_checkpoint), (&None, &None));
    assert_eq!(entries(&unread), entries(&read));
    let mut tree = Tree::new();
    for (index, line) in unread.read(0, 100).unwrap() {
        assert_eq!(unread.root_at(index).unwrap(), Some(tree.root()));
        assert_eq!(unread.read(index, 1).unwrap(), [(index, line.clone())]);
        tree.push(Hash::of_leaf(line.as_bytes()));
    }
    for number in 0..=ENTRIES {
        assert_eq!(unread.contains_recent(&id(number)), number < ENTRIES);
    }
    // Both go on in the same way.
    for log in [&unread, &read] {
        log.append(record(ENTRIES)).await.unwrap();
        log.checkpoint_now(10).await.unwrap();
    }
    assert_eq!(unread.latest_checkpoint(), read.latest_checkpoint());
    unread.close().await;
    assert_eq!(verify(dir.path(), Some(&verifier())).unwrap().entries, ENTRIES + 1);
}

#[tokio::test]
async fn any_file_that_was_touched_has_all_of_them_read() {
    let dir = written().await;
    for file in files(dir.path()) {
        let bytes = fs::read(&file).unwrap();
        // The same bytes again: only the time tells.
        fs::OpenOptions::new().write(true).open(&file).unwrap().write_all(&bytes).unwrap();
        let opened = reopened(dir.path()).await;
        assert_eq!((opened.size, opened.unread), (ENTRIES, 0), "{}", file.display());
        // The same bytes in another file, with the times of the first.
        let times = fs::metadata(&file).unwrap();
        let times = fs::FileTimes::new().set_modified(times.modified().unwrap()).set_accessed(times.accessed().unwrap());
        let other = file.with_extension("other");
        fs::write(&other, &bytes).unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_times(times).unwrap();
        fs::rename(&other, &file).unwrap();
        let opened = reopened(dir.path()).await;
        assert_eq!((opened.size, opened.unread), (ENTRIES, 0), "{}", file.display());
        let opened = reopened(dir.path()).await;
        assert_eq!((opened.size, opened.unread), (ENTRIES, ENTRIES), "{}", file.display());
    }
}

#[tokio::test]
async fn a_change_right_after_the_end_is_found() {
    for turn in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open(dir.path());
        log.append(record(0)).await.unwrap();
        log.close().await;
        let segment = epoch(dir.path()).join("log-000000000000.jsonl");
        let changed = fs::read_to_string(&segment).unwrap().replace("payments-0", "payments-1");
        fs::OpenOptions::new().write(true).open(&segment).unwrap().write_all(changed.as_bytes()).unwrap();
        let (_, opened) = open(dir.path());
        assert_eq!(opened.unread, 0, "turn {turn}");
    }
    let dir = written().await;
    let segment = epoch(dir.path()).join("log-000000000000.jsonl");
    let changed = fs::read_to_string(&segment).unwrap().replace("payments-0", "payments-1");
    fs::OpenOptions::new().write(true).open(&segment).unwrap().write_all(changed.as_bytes()).unwrap();
    let Err(LogError::Invalid(error)) = Log::open(config(dir.path()), key()) else { panic!("a changed entry was not noticed") };
    assert!(matches!(error.problem, Problem::Changed { first: 0, .. }), "{error}");
}

#[tokio::test]
async fn segments_that_came_or_went_are_noticed() {
    let dir = written().await;
    fs::write(epoch(dir.path()).join("log-000000000099.jsonl"), "").unwrap();
    assert!(matches!(Log::open(config(dir.path()), key()), Err(LogError::Invalid(_))));
    let dir = written().await;
    fs::remove_file(files(dir.path()).pop().unwrap()).unwrap();
    assert!(matches!(Log::open(config(dir.path()), key()), Err(LogError::Invalid(_))));
    let dir = written().await;
    fs::remove_file(epoch(dir.path()).join("checkpoints")).unwrap();
    assert!(matches!(Log::open(config(dir.path()), key()), Err(LogError::Invalid(_))));
}

#[tokio::test]
async fn a_log_that_was_not_closed_is_read() {
    let dir = written().await;
    let (log, _) = open(dir.path());
    log.append(record(ENTRIES)).await.unwrap();
    drop(log);
    // The writer's thread ends by itself.
    let (log, opened) = loop {
        match Log::open(config(dir.path()), key()) {
            Ok(opened) => break opened,
            Err(LogError::Locked(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!((opened.size, opened.unread), (ENTRIES + 1, 0));
    log.close().await;
    fs::remove_file(closed(dir.path())).unwrap();
    assert_eq!(open(dir.path()).1.unread, 0);
}

/// Opens with another text in the place of the one that was left; gives how many entries were not read.
async fn unread_with(dir: &Path, note: &str) -> u64 {
    fs::write(closed(dir), note).unwrap();
    let opened = reopened(dir).await;
    assert_eq!(opened.size, ENTRIES);
    opened.unread
}

#[tokio::test]
async fn only_what_the_log_itself_signed_is_believed() {
    let dir = written().await;
    let left = fs::read_to_string(closed(dir.path())).unwrap();
    let verifier = origin().verifier_key(*key().public_key());
    let text = note::open(&left, &verifier).unwrap().to_owned();
    let name = origin().to_string();
    let stranger = SigningKey::from_seed(SecretArray::copied_from(&[1; 32]));
    let other = origin().with_epoch(2).to_string();
    for (what, note) in [
        ("another key", note::sign(&text, &name, &stranger).unwrap()),
        ("another log's name", note::sign(&text, &other, &key()).unwrap()),
        ("no signature", text.clone()),
        ("changed", left.replacen("\"size\":12", "\"size\":13", 1)),
        ("cut off", left.chars().take(left.len() / 2).collect()),
        ("empty", String::new()),
        ("a checkpoint", reopened(dir.path()).await.last_checkpoint.unwrap().note),
        ("another form", note::sign(&text.replace("closed 1", "closed 2"), &name, &key()).unwrap()),
        ("another size", note::sign(&text.replacen("\"size\":12", "\"size\":13", 1), &name, &key()).unwrap()),
    ] {
        assert_ne!(note, left, "{what}");
        assert_eq!(unread_with(dir.path(), &note).await, 0, "{what}");
    }
    assert_eq!(unread_with(dir.path(), &left).await, ENTRIES, "the right one is believed again");
}

#[tokio::test]
async fn no_more_than_so_many_bytes_are_believed() {
    let dir = written().await;
    let left = fs::read_to_string(closed(dir.path())).unwrap();
    let text = note::open(&left, &origin().verifier_key(*key().public_key())).unwrap().trim_end().to_owned();
    let sized = |bytes: usize| {
        let spaces = " ".repeat(bytes - left.len());
        note::sign(&format!("{text}{spaces}\n"), &origin().to_string(), &key()).unwrap()
    };
    assert_eq!(unread_with(dir.path(), &sized(CLOSED_BYTES_MAX)).await, ENTRIES);
    assert_eq!(unread_with(dir.path(), &sized(CLOSED_BYTES_MAX + 1)).await, 0);
}

#[tokio::test]
async fn what_was_left_of_another_epoch_is_not_believed() {
    let dir = written().await;
    let second = LogConfig { origin: origin().with_epoch(2), ..config(dir.path()) };
    let (log, opened) = Log::open(second.clone(), key()).unwrap();
    assert_eq!((opened.size, opened.unread), (0, 0));
    log.append(record(0)).await.unwrap();
    log.close().await;
    let folder = dir.path().join("epoch-000002");
    let (log, opened) = Log::open(second.clone(), key()).unwrap();
    assert_eq!(opened.unread, 1);
    log.close().await;
    fs::copy(closed(dir.path()), folder.join("closed")).unwrap();
    assert_eq!(Log::open(second, key()).unwrap().1.unread, 0);
}
