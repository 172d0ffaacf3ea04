//! The content of a snapshot, as a server takes it that holds no vault yet: whole and signed, or nothing is left of it.

use std::sync::Arc;

use coffer_barrier::{
    Store,
    snapshot::{Restore, RestoreError, clear},
};
use coffer_core::clock::Timestamp;
use coffer_store::memory::MemoryStore;

use crate::block_on;

/// What the snapshot among the seeds says about itself.
pub(crate) const ABOUT: &str = r#"{"format":1}"#;
/// A content that is whole.
const WHOLE: &[u8] = include_bytes!("../seeds/snapshot/whole");
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// The first byte says in pieces of how many bytes the content comes; the rest is the content.
pub(crate) fn check(input: &[u8]) {
    let Some((size, content)) = input.split_first() else { return };
    block_on(async {
        let whole = restored(content, content.len()).await;
        let pieces = restored(content, usize::from(*size) * 16 + 1).await;
        assert_eq!(whole, pieces, "in pieces it is another snapshot");
        let genuine = WHOLE.split_first().is_some_and(|(_, genuine)| genuine == content);
        assert_eq!(genuine, whole.is_ok(), "{whole:?}");
    });
}

/// Restores it into an empty store; what came of it.
async fn restored(content: &[u8], piece: usize) -> Result<u64, String> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let done = restore(&store, content, piece).await;
    if done.is_err() {
        clear(&*store).await.expect("what was left can be cleared");
        let left = store.range(b"", b"", 1).await.expect("a good store");
        assert!(left.is_empty(), "something is left of a snapshot that was refused");
    }
    done.map_err(|error| error.to_string())
}

async fn restore(store: &Arc<dyn Store>, content: &[u8], piece: usize) -> Result<u64, RestoreError> {
    let mut restore = Restore::begin(Arc::clone(store), ABOUT).await?;
    for piece in content.chunks(piece.max(1)) {
        restore.take(piece).await?;
    }
    restore.finish(NOW).await.map(|(_, restored)| restored.entries)
}
