//! The log when its disk is slow, fails, or loses power.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::support::{config, entries, id, key, open, record, verifier};
use coffer_audit::{
    files::{AppendFile, Disk, Files},
    log::{Log, LogConfig, LogError},
    verify::verify,
};
use tokio::task::JoinSet;

const DEADLINE: Duration = Duration::from_secs(20);

/// What the gate does to writes and syncs of segments.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    StallSync,
    FailSync,
    /// Half of the bytes are written, as on a full disk.
    FailWrite,
}

struct Gate {
    mode: Mutex<Mode>,
    changed: Condvar,
    stalled: AtomicU64,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self { mode: Mutex::new(Mode::Pass), changed: Condvar::new(), stalled: AtomicU64::new(0) })
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
        self.changed.notify_all();
    }

    fn wait_for_stall(&self) {
        let mode = self.mode.lock().unwrap();
        let stalled = self.changed.wait_timeout_while(mode, DEADLINE, |_| self.stalled.load(Ordering::SeqCst) == 0);
        assert!(!stalled.unwrap().1.timed_out(), "no sync was stalled");
    }
}

struct Gated(Arc<Gate>);
struct GatedFile(Box<dyn AppendFile>, Arc<Gate>);

impl Files for Gated {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        Disk::default().create_dir(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(GatedFile(Disk::default().create(path)?, Arc::clone(&self.0))))
    }

    fn open(&self, path: &Path, length: u64) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(GatedFile(Disk::default().open(path, length)?, Arc::clone(&self.0))))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk::default().rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Disk::default().sync_dir(dir)
    }
}

impl AppendFile for GatedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if *self.1.mode.lock().unwrap() == Mode::FailWrite {
            self.0.append(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mode = self.1.mode.lock().unwrap();
        if *mode == Mode::StallSync {
            self.1.stalled.fetch_add(1, Ordering::SeqCst);
            self.1.changed.notify_all();
        }
        let mode = self.1.changed.wait_while(mode, |mode| *mode == Mode::StallSync).unwrap();
        if *mode == Mode::FailSync {
            return Err(io::Error::other("the disk is gone"));
        }
        drop(mode);
        self.0.sync()
    }
}

fn gated(dir: &Path) -> (Arc<Log>, Arc<Gate>) {
    let gate = Gate::new();
    let (log, _) = Log::open_with(config(dir), key(), Box::new(Gated(Arc::clone(&gate)))).unwrap();
    (Arc::new(log), gate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_answered_while_the_sync_is_stalled() {
    let dir = tempfile::tempdir().unwrap();
    let (log, gate) = gated(dir.path());
    gate.set(Mode::StallSync);
    let mut tasks = JoinSet::new();
    let append = |tasks: &mut JoinSet<_>, number| {
        let log = Arc::clone(&log);
        tasks.spawn(async move { log.append(record(number)).await.map(drop) })
    };
    let mut waiting = vec![append(&mut tasks, 0)];
    gate.wait_for_stall();
    waiting.extend((1..20).map(|number| append(&mut tasks, number)));
    let signer = Arc::clone(&log);
    waiting.push(tasks.spawn(async move { signer.checkpoint_now(1).await.map(drop) }));
    assert!(waiting.iter().all(|task| !task.is_finished()));
    assert_eq!(log.size(), 0);
    assert!(!log.contains_recent(&id(0)));
    assert_eq!(log.read(0, 10).unwrap(), []);
    assert_eq!(log.latest_checkpoint(), None);
    gate.set(Mode::Pass);
    for answer in tasks.join_all().await {
        answer.unwrap();
    }
    assert_eq!(log.size(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_file_stalls_the_log_of_a_real_process() {
    let dir = tempfile::tempdir().unwrap();
    let stall_file = dir.path().join("stall");
    let log_dir = dir.path().join("log");
    let (log, _) = Log::open(LogConfig { stall_file: Some(stall_file.clone()), ..config(&log_dir) }, key()).unwrap();
    let log = Arc::new(log);
    fs::write(&stall_file, "").unwrap();
    let mut tasks = JoinSet::new();
    let appender = Arc::clone(&log);
    let waiting = tasks.spawn(async move { appender.append(record(0)).await.unwrap() });
    let segment = log_dir.join("epoch-000001/log-000000000000.jsonl");
    let written = async {
        while !fs::read_to_string(&segment).unwrap().contains("payments-0") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, written).await.unwrap();
    assert!(!waiting.is_finished());
    assert_eq!(log.size(), 0);
    fs::remove_file(&stall_file).unwrap();
    tokio::time::timeout(DEADLINE, tasks.join_all()).await.unwrap();
    assert_eq!(log.size(), 1);
}

#[tokio::test]
async fn a_log_that_failed_records_nothing_until_it_is_opened_again() {
    for failure in [Mode::FailSync, Mode::FailWrite] {
        let dir = tempfile::tempdir().unwrap();
        let (log, gate) = gated(dir.path());
        log.append(record(0)).await.unwrap();
        gate.set(failure);
        // What is written finds no room, and what is synced another fault: callers are told which, and it stays.
        let told = |error: Option<LogError>| match error {
            Some(LogError::Full(_)) => failure == Mode::FailWrite,
            Some(LogError::Failed(_)) => failure == Mode::FailSync,
            _ => false,
        };
        assert!(told(log.append(record(1)).await.err()));
        gate.set(Mode::Pass);
        assert!(told(log.append(record(2)).await.err()), "the failure stays");
        assert!(told(log.checkpoint_now(1).await.err()));
        assert_eq!(log.size(), 1);
        log.close().await;

        let (log, opened) = open(dir.path());
        assert_eq!(opened.truncated_tail.is_some(), failure == Mode::FailWrite, "half a line was cut off");
        assert_eq!(entries(&log)[0].record, record(0));
        log.append(record(3)).await.unwrap();
        log.checkpoint_now(1).await.unwrap();
        log.close().await;
        assert_eq!(verify(dir.path(), Some(&verifier())).unwrap().warnings, []);
    }
}

#[tokio::test]
async fn a_failed_checkpoint_fails_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (log, gate) = gated(dir.path());
    log.append(record(0)).await.unwrap();
    gate.set(Mode::FailWrite);
    assert!(matches!(log.checkpoint_now(1).await, Err(LogError::Full(_))));
    gate.set(Mode::Pass);
    assert!(matches!(log.append(record(1)).await, Err(LogError::Full(_))));
    log.close().await;
    let (log, opened) = open(dir.path());
    assert!(opened.truncated_checkpoint.is_some());
    assert_eq!((opened.size, opened.last_checkpoint), (1, None));
    log.checkpoint_now(1).await.unwrap();
    log.close().await;
    assert_eq!(verify(dir.path(), Some(&verifier())).unwrap().warnings, []);
}

#[tokio::test]
async fn a_new_segment_that_cannot_be_made_fails_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (log, gate) = gated(dir.path());
    let mut number = 0;
    while !fs::exists(dir.path().join("epoch-000001/log-000000000004.jsonl")).unwrap() {
        log.append(record(number)).await.unwrap();
        number += 1;
        assert!(number < 100, "there is no second segment");
    }
    gate.set(Mode::FailWrite);
    assert!(matches!(log.append(record(number)).await, Err(LogError::Full(_))));
}
