//! The store: a durable key-value engine under everything, behind one small port.
//!
//! What the barrier puts in is encrypted; nothing here knows or cares. Adapters: [`memory`], [`sled`], [`etcd`], and
//! [`faulty`], which fails on purpose. One contract suite runs on all of them.

use std::fmt;

/// A key: 1 to [`KEY_BYTES_MAX`] bytes, ordered byte by byte.
pub type Key = Vec<u8>;

/// Bytes in a key.
pub const KEY_BYTES_MAX: usize = 4_096;
/// Bytes in a transaction: keys and values of its conditions and writes. Enough for the largest secret with its
/// records, and below what etcd takes in one request (1.5 MiB).
pub const TRANSACTION_BYTES_MAX: usize = 1_310_720;
/// Conditions and writes in a transaction, each (etcd's default).
pub const TRANSACTION_OPERATIONS_MAX: usize = 128;
/// Entries in a page of a range.
pub const PAGE_ENTRIES_MAX: usize = 1_000;

/// The store's revision: grows with every transaction that is applied; 0 before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// A key's value.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Vec<u8>,
    /// Which write of this key this is, from 1, since the key was last absent.
    pub version: u64,
    /// The store's revision when it was written.
    pub modified: Revision,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} bytes, version {}, {:?})", self.value.len(), self.version, self.modified)
    }
}

/// What must hold for a transaction to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The key has no value.
    Absent(Key),
    /// The key's value is of this version.
    Version(Key, u64),
}

/// One write of a transaction. A transaction writes a key once at most.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Gives the key a value.
    Put(Key, Vec<u8>),
    /// Takes the key's value away; nothing happens where it has none.
    Delete(Key),
}

/// Conditions and writes that are applied all or not at all.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// All are done.
    pub writes: Vec<Write>,
}

/// One change, as a feed tells it.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// Whether it has a value now, rather than none.
    pub present: bool,
    /// The revision that changed it.
    pub revision: Revision,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A condition did not hold; nothing was written.
    #[error("a condition of the transaction does not hold")]
    Conflict,
    /// The request breaks a limit of the port.
    #[error("the request breaks a limit of the store: {0}")]
    Limit(&'static str),
    /// The feed's beginning is no longer kept.
    #[error("changes since then are no longer kept")]
    Compacted,
    /// Whether the transaction was applied is not known.
    #[error("whether the transaction was applied is not known")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store cannot be reached or written to; nothing was written.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is stored is not what was written.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
}

/// A durable key-value engine.
///
/// Reads see every transaction that was acknowledged before they began.
#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    /// The kind, as users name it: `memory`, `sled`, `etcd`.
    fn kind(&self) -> &'static str;

    /// The value of a key.
    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError>;

    /// Entries with `start <= key < end` in order, `limit` at most (1 to [`PAGE_ENTRIES_MAX`]). To go on, start again
    /// behind the last key. An empty `end` means no end. Pages are each consistent, but not with one another.
    async fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// Applies a transaction, durably: when this returns, it survives a loss of power. Answers with the revision.
    async fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError>;

    /// The revision of the last transaction applied.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// Changes after `since`, in order, and then as they happen. Ends with an error where changes were missed: with
    /// [`StoreError::Compacted`] where the reader was too slow or began too far back.
    async fn changes(&self, since: Revision) -> Result<Feed, StoreError>;
}

/// A stream of changes.
pub type Feed = tokio_stream::wrappers::ReceiverStream<Result<Change, StoreError>>;
