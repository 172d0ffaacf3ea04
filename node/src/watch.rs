//! Notices when something changes that must be told at once: swap, and mounts.
//!
//! The kernel tells it by poll(2) with POLLPRI on `/proc/swaps` and on the mounts of a process. Where it does not (a sandbox, a recorded host),
//! swap is looked at once a second, which costs microseconds; all else is looked at with the next gathering.

use std::{
    fs::File,
    future::pending,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{MissedTickBehavior, interval},
};

/// How often swap is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of the list of swaps that are compared.
const SWAPS_BYTES_MAX: u64 = 64 << 10;

/// What is watched of a node.
pub(crate) struct Watch {
    path: PathBuf,
    /// What the list of swaps said last.
    swaps: Vec<u8>,
    told: [Option<AsyncFd<File>>; 2],
}

impl Watch {
    /// Begins to watch what is below this folder.
    pub(crate) fn new(root: &Path) -> Self {
        let path = root.join("proc/swaps");
        let told = [polled(&path), polled(&root.join("proc/1/mounts"))];
        tracing::debug!(swaps = told.first().is_some_and(Option::is_some), "what the kernel tells of");
        Self { swaps: read(&path), path, told }
    }

    /// Waits until something is another.
    pub(crate) async fn changed(&mut self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let [swaps, mounts] = &self.told;
        loop {
            tokio::select! {
                () = event(swaps.as_ref()) => break,
                () = event(mounts.as_ref()) => break,
                _ = looks.tick() => if read(&self.path) != self.swaps { break },
            }
        }
        self.swaps = read(&self.path);
    }
}

fn read(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    // What cannot be read is the same as what could not be read before; the facts say why.
    if let Ok(file) = File::open(path) {
        drop(file.take(SWAPS_BYTES_MAX).read_to_end(&mut text));
    }
    text
}

/// A file whose changes the kernel tells; none where it does not.
#[expect(deprecated, reason = "the file stays open and the same while it is watched, and its successor is unsafe code")]
fn polled(path: &Path) -> Option<AsyncFd<File>> {
    AsyncFd::with_interest(File::open(path).ok()?, Interest::PRIORITY).ok()
}

async fn event(file: Option<&AsyncFd<File>>) {
    let Some(file) = file else { return pending().await };
    match file.ready(Interest::PRIORITY).await {
        Ok(mut ready) => ready.clear_ready(),
        Err(error) => {
            tracing::debug!("the kernel does not tell of changes any more: {error}");
            pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn swap_that_is_turned_on_is_noticed_where_the_kernel_tells_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("proc")).unwrap();
        let swaps = folder.path().join("proc/swaps");
        fs::write(&swaps, "Filename\n").unwrap();
        let mut watch = Watch::new(folder.path());
        assert!(watch.told.iter().all(Option::is_none), "these are files");
        fs::write(&swaps, "Filename\n/dev/sda2 partition 1 0 -2\n").unwrap();
        timeout(PATIENCE, watch.changed()).await.expect("it is noticed");
        // And once.
        assert!(timeout(LOOK * 2, watch.changed()).await.is_err());
        fs::remove_file(&swaps).unwrap();
        timeout(PATIENCE, watch.changed()).await.expect("that it is gone is noticed");
    }

    #[tokio::test]
    async fn the_kernel_tells_of_swaps_and_mounts_and_says_nothing_while_nothing_changes() {
        let watch = Watch::new(Path::new("/"));
        assert!(watch.told.iter().all(Option::is_some), "poll(2) works on /proc here");
        let [swaps, _] = &watch.told;
        assert!(timeout(LOOK, event(swaps.as_ref())).await.is_err());
    }
}
