//! Opening and beginning a log.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use coffer_crypto::sign::SigningKey;
use tokio::sync::{Semaphore, mpsc, watch};

use super::{
    Log, LogConfig, LogError, Opened, QUEUE_BYTES_MAX, QUEUE_RECORDS_MAX,
    closed::{self, Reopened},
    state::{Contents, Shared},
    writer::{Place, Writer},
};
use crate::{
    files::Files,
    format::{CHECKPOINTS_FILE, LOCK_FILE, checkpoints_header, epoch_dir, epoch_of, segment_first},
    merkle::Tree,
    scan::{Expected, Torn, scan},
};

pub(super) fn open(config: LogConfig, key: SigningKey, files: Box<dyn Files>) -> Result<(Log, Opened), LogError> {
    let LogConfig { dir, origin, segment_bytes, .. } = config;
    files.create_dir(&dir).map_err(at(&dir))?;
    let lock = lock(&dir)?;
    let newest = names(&dir)?.iter().filter_map(|name| epoch_of(name)).max();
    if let Some(found) = newest.filter(|found| *found > origin.epoch()) {
        return Err(LogError::EpochBehind { asked: origin.epoch(), found });
    }
    let place = Place { dir: epoch_dir(&dir, origin.epoch()), origin, files };
    let verifier = place.origin.verifier_key(*key.public_key());
    if begun(&place.dir)? {
        // A folder that was made just before a loss of power may not have its name yet.
        place.files.sync_dir(&dir).map_err(at(&dir))?;
    } else {
        begin(&place, &dir, &checkpoints_header(&place.origin, &verifier))?;
    }

    let (found, unread) = match closed::read(&place.dir, &verifier).map(Found::from) {
        Some(found) => {
            let unread = found.tree.size();
            (found, unread)
        }
        None => (read_all(&place, &key)?, 0),
    };
    let Found { mut contents, tree, end, checkpoints, truncated_tail, truncated_checkpoint } = found;
    let opened = Opened {
        size: tree.size(),
        unread,
        root: tree.root(),
        last_checkpoint: contents.last_checkpoint.clone(),
        truncated_tail,
        truncated_checkpoint,
    };

    // What a killed process wrote may be in memory alone: it counts from here on, so it must be durable.
    let path = place.dir.join(CHECKPOINTS_FILE);
    let mut checkpoints = place.files.open(&path, checkpoints).map_err(at(&path))?;
    checkpoints.sync().map_err(at(&path))?;
    let segment = match end {
        Some((path, whole)) => {
            let mut file = place.files.open(&path, whole).map_err(at(&path))?;
            file.sync().map_err(at(&path))?;
            (file, whole)
        }
        None => {
            let (path, file, bytes) = place.begin_segment(&tree).map_err(at(&place.dir))?;
            contents.begin_segment(&path, &tree);
            (file, bytes)
        }
    };
    place.files.sync_dir(&place.dir).map_err(at(&place.dir))?;

    let shared = Arc::new(Shared::new(contents));
    let (commands, queue) = mpsc::channel(QUEUE_RECORDS_MAX);
    let (publish, size) = watch::channel(opened.size);
    let writer = Writer {
        place,
        key,
        tree,
        segment: segment.0,
        written: segment.1,
        segment_bytes,
        checkpoints,
        shared: Arc::clone(&shared),
        size: publish,
        served: 0,
        lock,
    };
    let thread = thread::Builder::new().name("audit-log".into());
    // Nobody waits for the thread: it ends when the log is closed or dropped.
    drop(thread.spawn(move || writer.run(queue)).map_err(at(&dir))?);
    let queue_bytes = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
    Ok((Log { shared, commands, queue_bytes, size, key: verifier }, opened))
}

/// What there is of a log that is opened.
struct Found {
    contents: Contents,
    tree: Tree,
    /// The last segment, and how many of its bytes are whole.
    end: Option<(PathBuf, u64)>,
    /// How many bytes of the file with the checkpoints are whole.
    checkpoints: u64,
    truncated_tail: Option<Torn>,
    truncated_checkpoint: Option<Torn>,
}

impl From<Reopened> for Found {
    fn from(reopened: Reopened) -> Self {
        let Reopened { contents, tree, end, checkpoints } = reopened;
        Self { contents, tree, end: Some(end), checkpoints, truncated_tail: None, truncated_checkpoint: None }
    }
}

/// Reads and checks the whole log.
fn read_all(place: &Place, key: &SigningKey) -> Result<Found, LogError> {
    let mut contents = Contents::default();
    let expected = Expected { origin: Some(&place.origin), public: Some(key.public_key()), known: None };
    let scanned = scan(&place.dir, &expected, &mut contents)?;
    contents.last_checkpoint = scanned.notes.last;
    Ok(Found {
        contents,
        tree: scanned.tree,
        end: scanned.end,
        checkpoints: scanned.notes.whole,
        truncated_tail: scanned.torn,
        truncated_checkpoint: scanned.notes.torn,
    })
}

fn at(path: &Path) -> impl Fn(io::Error) -> LogError {
    let path = path.to_owned();
    move |error| LogError::File(path.clone(), error)
}

fn names(dir: &Path) -> Result<Vec<String>, LogError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        names.extend(entry.map_err(at(dir))?.file_name().into_string());
    }
    Ok(names)
}

/// Takes the lock that lasts as long as the file is open.
fn lock(dir: &Path) -> Result<File, LogError> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked(path)),
        Err(TryLockError::Error(error)) => Err(LogError::File(path, error)),
    }
}

/// Whether there is something of a log in the folder.
fn begun(dir: &Path) -> Result<bool, LogError> {
    match names(dir) {
        Ok(names) => Ok(names.iter().any(|name| name == CHECKPOINTS_FILE || segment_first(name).is_some())),
        Err(LogError::File(_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the folder and the file with the checkpoints. The first segment comes after it, so that a loss of power in
/// between is told from a log that lost its checkpoints.
fn begin(place: &Place, dir: &Path, header: &str) -> Result<(), LogError> {
    place.files.create_dir(&place.dir).map_err(at(&place.dir))?;
    let above: Option<PathBuf> = fs::canonicalize(dir).map_err(at(dir))?.parent().map(Path::to_owned);
    for dir in above.as_deref().into_iter().chain([dir]) {
        place.files.sync_dir(dir).map_err(at(dir))?;
    }
    place.begin_file(CHECKPOINTS_FILE, header).map_err(at(&place.dir))?;
    Ok(())
}
