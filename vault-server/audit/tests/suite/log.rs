//! The log as its writer uses it.

use std::{collections::BTreeSet, fs, sync::Arc};

use crate::support::{config, copy, entries, id, key, open, origin, record, verifier, write_log};
use coffer_audit::{
    fault::Problem,
    format::LINE_BYTES_MAX,
    log::{Log, LogConfig, LogError, READ_ENTRIES_MAX, Rollback},
    merkle::{Hash, Tree},
    verify::{Warning, verify},
};

#[tokio::test]
async fn a_log_that_is_opened_again_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let note = write_log(dir.path()).await;
    let (log, opened) = open(dir.path());
    assert_eq!((opened.size, log.size()), (12, 12));
    assert_eq!(opened.truncated_tail, None);
    assert_eq!(opened.truncated_checkpoint, None);
    assert_eq!(opened.last_checkpoint.unwrap().note, note);
    assert_eq!(log.latest_checkpoint().unwrap(), note);
    assert_eq!(log.verifier_key(), verifier());
    assert_eq!(log.append(record(12)).await.unwrap().index, 12);
    assert_eq!(log.checkpoint_now(9).await.unwrap().checkpoint.size, 13);
    log.close().await;
    let report = verify(dir.path(), Some(&verifier())).unwrap();
    assert_eq!((report.entries, report.checkpoints, report.warnings), (13, 4, vec![]));
}

#[tokio::test]
async fn what_is_recorded_is_what_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path()).await;
    let (log, _) = open(dir.path());
    log.append(record(12)).await.unwrap();
    let read: Vec<_> = entries(&log).into_iter().map(|entry| entry.record).collect();
    assert_eq!(read, (0..13).map(record).collect::<Vec<_>>());
    assert_eq!(log.read(13, 5).unwrap(), []);
    assert_eq!(log.read(u64::MAX, 5).unwrap(), []);
    assert_eq!(log.read(0, 0).unwrap(), []);
    assert_eq!(log.read(11, 5).unwrap().len(), 2);
}

#[tokio::test]
async fn every_earlier_root_can_be_told() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path()).await;
    let (log, opened) = open(dir.path());
    let mut tree = Tree::new();
    for (index, line) in log.read(0, 100).unwrap() {
        assert_eq!(log.root_at(index).unwrap(), Some(tree.root()));
        tree.push(Hash::of_leaf(line.as_bytes()));
    }
    assert_eq!(log.root_at(12).unwrap(), Some(opened.root));
    assert_eq!(log.root_at(13).unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_64_appenders_record_is_durable_and_in_order() {
    const APPENDERS: u64 = 64;
    const EACH: u64 = 25;
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(LogConfig { segment_bytes: 64 << 10, ..config(dir.path()) }, key()).unwrap();
    let log = Arc::new(log);
    let mut sizes = log.subscribe();
    let mut tasks = tokio::task::JoinSet::new();
    for appender in 0..APPENDERS {
        let log = Arc::clone(&log);
        tasks.spawn(async move {
            let mut places = Vec::new();
            for turn in 0..EACH {
                let number = appender * EACH + turn;
                let receipt = log.append(record(number)).await.unwrap();
                assert!(receipt.index < log.size(), "durable when told");
                assert!(log.contains_recent(&id(number)));
                places.push((number, receipt.index));
            }
            assert!(places.is_sorted_by_key(|(_, index)| *index), "an appender's records are in its order");
            places
        });
    }
    let places: Vec<_> = tasks.join_all().await.concat();
    let told: BTreeSet<_> = places.iter().map(|(_, index)| *index).collect();
    assert!(told.into_iter().eq(0..APPENDERS * EACH), "every place is given once");
    sizes.wait_for(|size| *size == APPENDERS * EACH).await.unwrap();
    log.checkpoint_now(1).await.unwrap();
    log.close().await;

    let (log, _) = open(dir.path());
    let written = entries(&log);
    for (number, index) in places {
        assert_eq!(written[usize::try_from(index).unwrap()].record, record(number));
    }
    let report = verify(dir.path(), Some(&verifier())).unwrap();
    assert_eq!((report.entries, report.warnings), (APPENDERS * EACH, vec![]));
}

#[tokio::test]
async fn a_checkpoint_is_made_only_where_something_happened() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    assert_eq!(log.latest_checkpoint(), None);
    let first = log.checkpoint_now(3).await.unwrap();
    assert_eq!(log.checkpoint_now(3).await.unwrap(), first);
    assert_eq!(log.checkpoint_now(2).await.unwrap(), first, "the store had reached 3 already");
    assert_eq!(log.checkpoint_now(4).await.unwrap().checkpoint.store_revision, 4);
    log.append(record(0)).await.unwrap();
    assert_eq!(log.checkpoint_now(4).await.unwrap().checkpoint.size, 1);
    log.close().await;
    assert_eq!(verify(dir.path(), Some(&verifier())).unwrap().checkpoints, 3);
}

#[tokio::test]
async fn a_log_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    assert!(matches!(Log::open(config(dir.path()), key()), Err(LogError::Locked(_))));
    log.close().await;
    assert!(matches!(log.append(record(0)).await, Err(LogError::Closed)));
    assert!(matches!(log.checkpoint_now(0).await, Err(LogError::Closed)));
    log.close().await;
    open(dir.path());
}

#[tokio::test]
async fn a_record_is_refused_where_its_line_would_be_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let sized = |bytes: usize| {
        let mut record = record(0);
        let used = serde_json::to_string(&record).unwrap().len();
        record.resource.as_mut().unwrap().push_str(&"x".repeat(bytes - used));
        record
    };
    let most = LINE_BYTES_MAX - 32;
    assert!(matches!(log.append(sized(most + 1)).await, Err(LogError::RecordTooLarge)));
    log.append(sized(most)).await.unwrap();
    log.append(record(1)).await.unwrap();
    log.close().await;
    let (log, _) = open(dir.path());
    assert_eq!(entries(&log).len(), 2);
}

#[tokio::test]
async fn reading_gives_a_page_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(LogConfig::new(dir.path(), origin()), key()).unwrap();
    let log = Arc::new(log);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..READ_ENTRIES_MAX as u64 + 1 {
        let log = Arc::clone(&log);
        tasks.spawn(async move { log.append(record(number)).await.unwrap() });
    }
    tasks.join_all().await;
    assert_eq!(log.read(0, READ_ENTRIES_MAX).unwrap().len(), READ_ENTRIES_MAX);
    assert_eq!(log.read(0, usize::MAX).unwrap().len(), READ_ENTRIES_MAX);
    assert_eq!(log.read(READ_ENTRIES_MAX as u64, usize::MAX).unwrap().len(), 1);
}

#[tokio::test]
async fn an_older_copy_of_log_or_store_is_told() {
    let (dir, old, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (log, _) = open(dir.path());
    log.append(record(0)).await.unwrap();
    log.checkpoint_now(5).await.unwrap();
    log.close().await;
    copy(dir.path(), old.path());
    let note = write_more(&dir).await;

    let (log, _) = open(dir.path());
    log.compare(Some(&note), 6).unwrap();
    log.compare(None, 6).unwrap();
    assert_eq!(rollback(log.compare(Some(&note), 5)), Rollback::StoreBehind { revision: 5, known: 6 });
    let (older, _) = open(old.path());
    assert_eq!(rollback(older.compare(Some(&note), 6)), Rollback::LogBehind { entries: 1, known: 2 });
    older.append(record(7)).await.unwrap();
    assert_eq!(rollback(older.compare(Some(&note), 6)), Rollback::LogDiffers { known: 2 });
    let config = LogConfig { origin: origin().with_epoch(2), ..config(other.path()) };
    let (foreign, _) = Log::open(config, key()).unwrap();
    assert!(matches!(rollback(foreign.compare(Some(&note), 6)), Rollback::Foreign(_)));
}

fn rollback(compared: Result<(), LogError>) -> Rollback {
    match compared {
        Err(LogError::Rollback(rollback)) => rollback,
        other => panic!("{other:?}"),
    }
}

async fn write_more(dir: &tempfile::TempDir) -> String {
    let (log, _) = open(dir.path());
    log.append(record(1)).await.unwrap();
    let note = log.checkpoint_now(6).await.unwrap().note;
    log.close().await;
    note
}

#[tokio::test]
async fn an_epoch_begins_a_log_of_its_own_and_ends_the_ones_before() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path()).await;
    let second = LogConfig { origin: origin().with_epoch(2), ..config(dir.path()) };
    let (log, opened) = Log::open(second, key()).unwrap();
    assert_eq!(opened.size, 0);
    log.append(record(12)).await.unwrap();
    log.checkpoint_now(10).await.unwrap();
    log.close().await;
    assert!(matches!(Log::open(config(dir.path()), key()), Err(LogError::EpochBehind { asked: 1, found: 2 })));
    let report = verify(dir.path(), Some(&verifier())).unwrap();
    assert_eq!((report.entries, report.epochs.len(), report.warnings), (13, 2, vec![]));
    fs::remove_dir_all(dir.path().join("epoch-000001")).unwrap();
    let report = verify(dir.path(), Some(&verifier())).unwrap();
    assert_eq!(report.warnings, [Warning::EpochMissing(1)]);
}

#[tokio::test]
async fn a_log_of_another_key_or_name_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path()).await;
    let stranger = coffer_crypto::sign::SigningKey::from_seed(coffer_secret::SecretArray::copied_from(&[1; 32]));
    let Err(LogError::Invalid(error)) = Log::open(config(dir.path()), stranger) else { panic!("opened") };
    assert!(matches!(error.problem, Problem::Key), "{error}");
    let other = coffer_audit::checkpoint::Origin::new(origin().vault(), "coffer-1", 1).unwrap();
    let Err(LogError::Invalid(error)) = Log::open(LogConfig { origin: other, ..config(dir.path()) }, key()) else {
        panic!("opened")
    };
    assert!(matches!(error.problem, Problem::Origin { .. }), "{error}");
}
