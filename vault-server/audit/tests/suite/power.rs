//! The log when the power is cut: a disk that keeps only what was synced, and of the rest what chance will have it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use coffer_audit::{
    files::{AppendFile, Files},
    log::{Log, LogConfig},
    verify::verify,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::{config, entries, files, id, key, record, verifier, write_log};

/// Bytes in a page: small, so that a batch has many.
const PAGE: usize = 128;
const APPENDERS: u64 = 8;
const EACH: u64 = 12;

/// Numbers that look random and can be had again (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// A file: what programs see, and what the disk has.
#[derive(Default, Clone)]
struct Content {
    seen: Vec<u8>,
    kept: Vec<u8>,
}

impl Content {
    /// What is there after the power was cut.
    fn after_cut(&self, chance: Option<&mut Chance>) -> Vec<u8> {
        let Some(chance) = chance else { return self.kept.clone() };
        let lengths = [self.kept.len(), self.seen.len(), self.seen.len().saturating_sub(PAGE).max(self.kept.len())];
        let length = lengths[usize::try_from(chance.next() % 3).unwrap()];
        let mut left = Vec::new();
        while left.len() < length {
            let source = if chance.coin() { &self.kept } else { &self.seen };
            let page = left.len()..(left.len() + PAGE).min(length);
            left.extend(page.map(|at| source.get(at).copied().unwrap_or(0)));
        }
        left
    }
}

/// The disk. Names are kept when their folder is synced.
#[derive(Default)]
struct Model {
    contents: Vec<Content>,
    seen: BTreeMap<PathBuf, usize>,
    kept: BTreeMap<PathBuf, usize>,
    operations: u64,
    /// At which operation the power is cut, with what chance, and what was told to callers by then.
    cut_at: u64,
    chance: Option<Chance>,
    told: Vec<(u64, u64)>,
    signed: Vec<u64>,
    cut: Option<Cut>,
}

struct Cut {
    files: BTreeMap<PathBuf, Vec<u8>>,
    told: Vec<(u64, u64)>,
    signed: Vec<u64>,
}

impl Model {
    /// Counts an operation, before it is done.
    fn count(&mut self) {
        self.operations += 1;
        if self.operations == self.cut_at {
            self.cut_now();
        }
    }

    fn cut_now(&mut self) {
        let mut files = BTreeMap::new();
        let names = if self.chance.as_mut().is_some_and(Chance::coin) { &self.seen } else { &self.kept };
        for (path, content) in names {
            files.insert(path.clone(), self.contents[*content].after_cut(self.chance.as_mut()));
        }
        self.cut = Some(Cut { files, told: self.told.clone(), signed: self.signed.clone() });
    }
}

/// Works on a real folder, and keeps a model of what the disk has of it.
#[derive(Clone)]
struct Fragile(Arc<Mutex<Model>>);

struct FragileFile {
    model: Arc<Mutex<Model>>,
    file: fs::File,
    content: usize,
}

impl Fragile {
    /// Everything that is in the folder is durable.
    fn new(dir: &Path, cut_at: u64, chance: Option<Chance>) -> Self {
        let mut model = Model { cut_at, chance, ..Model::default() };
        for path in files(dir) {
            let bytes = fs::read(&path).unwrap();
            model.seen.insert(path, model.contents.len());
            model.contents.push(Content { seen: bytes.clone(), kept: bytes });
        }
        model.kept = model.seen.clone();
        Self(Arc::new(Mutex::new(model)))
    }

    fn file(&self, path: &Path, content: usize, length: u64) -> io::Result<Box<dyn AppendFile>> {
        let file = fs::OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(length)?;
        Ok(Box::new(FragileFile { model: Arc::clone(&self.0), file, content }))
    }
}

impl Files for Fragile {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let mut model = self.0.lock().unwrap();
        model.count();
        let content = model.contents.len();
        model.contents.push(Content::default());
        model.seen.insert(path.to_owned(), content);
        drop(model);
        self.file(path, content, 0)
    }

    fn open(&self, path: &Path, length: u64) -> io::Result<Box<dyn AppendFile>> {
        let mut model = self.0.lock().unwrap();
        model.count();
        let content = model.seen[path];
        model.contents[content].seen.truncate(usize::try_from(length).unwrap());
        drop(model);
        self.file(path, content, length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut model = self.0.lock().unwrap();
        model.count();
        let content = model.seen.remove(from).unwrap();
        model.seen.insert(to.to_owned(), content);
        drop(model);
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut model = self.0.lock().unwrap();
        model.count();
        let Model { seen, kept, .. } = &mut *model;
        kept.retain(|path, _| path.parent() != Some(dir));
        kept.extend(seen.iter().filter(|(path, _)| path.parent() == Some(dir)).map(|(path, content)| (path.clone(), *content)));
        Ok(())
    }
}

impl AppendFile for FragileFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut model = self.model.lock().unwrap();
        model.count();
        model.contents[self.content].seen.extend_from_slice(bytes);
        io::Write::write_all(&mut self.file, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut model = self.model.lock().unwrap();
        model.count();
        let content = &mut model.contents[self.content];
        content.kept = content.seen.clone();
        Ok(())
    }
}

/// Lets many record at once, and cuts the power at an operation. Gives what is left then, or nothing where there were
/// not as many operations.
async fn run(dir: &Path, first: u64, cut_at: u64, chance: Option<Chance>) -> Option<Cut> {
    let fragile = Fragile::new(dir, cut_at, chance);
    let config = LogConfig { segment_bytes: 4_000, ..config(dir) };
    let (log, _) = Log::open_with(config, key(), Box::new(fragile.clone())).unwrap();
    let log = Arc::new(log);
    let mut tasks = JoinSet::new();
    for appender in 0..APPENDERS {
        let (log, model) = (Arc::clone(&log), Arc::clone(&fragile.0));
        tasks.spawn(async move {
            for turn in 0..EACH {
                let number = first + appender * EACH + turn;
                let index = log.append(record(number)).await.unwrap().index;
                model.lock().unwrap().told.push((number, index));
                if turn == appender {
                    let size = log.checkpoint_now(number).await.unwrap().checkpoint.size;
                    model.lock().unwrap().signed.push(size);
                }
            }
        });
    }
    tasks.join_all().await;
    log.close().await;
    fragile.0.lock().unwrap().cut.take()
}

/// Puts what is left into a folder of its own, and checks that all that was told is in it.
async fn survive(from: &Path, cut: &Cut, what: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in &cut.files {
        let target = dir.path().join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, bytes).unwrap();
    }
    let (log, opened) = Log::open(config(dir.path()), key()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let left = entries(&log);
    for (number, index) in &cut.told {
        let entry = left.get(usize::try_from(*index).unwrap());
        assert!(entry.is_some_and(|entry| entry.record == record(*number)), "{what}: record {number} is lost");
        assert!(log.contains_recent(&id(*number)));
    }
    let signed = opened.last_checkpoint.map_or(0, |last| last.checkpoint.size);
    assert!(signed >= cut.signed.iter().copied().max().unwrap_or(0), "{what}: a checkpoint is lost");
    log.checkpoint_now(u64::MAX).await.unwrap();
    log.close().await;
    let report = verify(dir.path(), Some(&verifier())).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(report.warnings, [], "{what}");
    dir
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_survives_a_cut_at_any_operation() {
    for cut_at in 1.. {
        let dir = tempfile::tempdir().unwrap();
        let Some(cut) = run(dir.path(), 0, cut_at, None).await else {
            assert!(cut_at > 30, "there were {cut_at} operations only");
            break;
        };
        survive(dir.path(), &cut, &format!("cut at {cut_at}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_survives_cuts_that_keep_pages_by_chance() {
    let mut torn = 0;
    for seed in 0..120 {
        let what = format!("seed {seed}");
        let mut chance = Chance(seed);
        let (first, second) = (chance.next() % 60 + 1, chance.next() % 60 + 1);
        let dir = tempfile::tempdir().unwrap();
        let Some(cut) = run(dir.path(), 0, first, Some(Chance(seed + 1_000))).await else { continue };
        torn += u32::from(cut.files.values().any(|bytes| bytes.contains(&0)));
        let left = tempfile::tempdir().unwrap();
        for (path, bytes) in &cut.files {
            let target = left.path().join(path.strip_prefix(dir.path()).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::write(target, bytes).unwrap();
        }
        survive(dir.path(), &cut, &what).await;
        // A second cut, which may come while the torn end of the first is cut off.
        let Some(mut again) = run(left.path(), 1_000, second, Some(Chance(seed + 2_000))).await else { continue };
        again.told.extend(&cut.told);
        survive(left.path(), &again, &format!("{what}, second cut")).await;
    }
    assert!(torn > 5, "pages were lost in {torn} cases only");
}

/// A process that is killed leaves to the kernel what it did not sync. Who opens the log then sees it, so it must be
/// durable before anybody counts on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_left_unsynced_is_durable_once_it_is_seen() {
    let whole = tempfile::tempdir().unwrap();
    write_log(whole.path()).await;
    let newest = files(whole.path()).pop().unwrap();
    let checkpoints = newest.with_file_name("checkpoints");
    for unsynced in [Some(&newest), Some(&checkpoints), None] {
        let fragile = Fragile::new(whole.path(), u64::MAX, None);
        {
            let mut model = fragile.0.lock().unwrap();
            let content = model.seen[unsynced.unwrap_or(&newest)];
            if unsynced.is_some() {
                let header = model.contents[content].seen.iter().position(|byte| *byte == b'\n').unwrap();
                model.contents[content].kept.truncate(header + 1);
            } else {
                // The segment's new name is not durable either.
                model.kept.remove(&newest);
            }
        }
        let (log, opened) = Log::open_with(config(whole.path()), key(), Box::new(fragile.clone())).unwrap();
        assert!(opened.size == 12 && log.contains_recent(&id(11)));
        log.close().await;
        let cut = {
            let mut model = fragile.0.lock().unwrap();
            model.told = (0..12).map(|number| (number, number)).collect();
            model.signed = vec![12];
            model.cut_now();
            model.cut.take().unwrap()
        };
        survive(whole.path(), &cut, &format!("unsynced {unsynced:?}")).await;
    }
}
