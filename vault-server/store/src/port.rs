//! The port: what every adapter promises.

use std::{fmt, io};

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
/// Bytes in a page of a range, keys and values. A page that would hold more is refused, so who reads large values asks
/// for few at a time: up to 51 entries always fit.
pub const PAGE_BYTES_MAX: usize = 64 << 20;

/// The store's revision: grows with every transaction that changes something; 0 before the first (etcd begins higher).
///
/// Two transactions may be further apart than one: etcd counts what others write, too.
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

/// What must hold for a transaction to be applied, before any of its writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The key has no value.
    Absent(Key),
    /// The key's value is of this version. Never holds for version 0.
    Version(Key, u64),
}

impl Condition {
    /// The key that it is about.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Absent(key) | Self::Version(key, _) => key,
        }
    }
}

/// One write of a transaction. A transaction writes a key once at most.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Gives the key a value.
    Put(Key, Vec<u8>),
    /// Gives the key a value. The caller knows that it has none, as with a name made of random numbers: nobody looks. Where it
    /// had one after all, its version may begin anew.
    Create(Key, Vec<u8>),
    /// Takes the key's value away; nothing happens where it has none.
    Delete(Key),
    /// As [`Write::Delete`], and nobody looks: where the key had no value, this may count as a change all the same.
    Erase(Key),
}

impl Write {
    /// The key that it changes.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Create(key, _) | Self::Delete(key) | Self::Erase(key) => key,
        }
    }
}

/// Conditions and writes that are applied all or not at all.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// All must hold; [`TRANSACTION_OPERATIONS_MAX`] at most.
    pub conditions: Vec<Condition>,
    /// All are done; [`TRANSACTION_OPERATIONS_MAX`] at most.
    pub writes: Vec<Write>,
}

impl Transaction {
    /// What counts against [`TRANSACTION_BYTES_MAX`]: the bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let conditions = self.conditions.iter().map(|condition| condition.key().len());
        let writes = self.writes.iter().map(|write| match write {
            Write::Put(key, value) | Write::Create(key, value) => key.len().saturating_add(value.len()),
            Write::Delete(key) | Write::Erase(key) => key.len(),
        });
        conditions.chain(writes).fold(0, usize::saturating_add)
    }
}

/// One change, as a feed tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl StoreError {
    /// Whether the cause is a disk without room. Trying again cannot help until somebody makes some.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Unknown(cause) | Self::Unavailable(cause) if is_disk_full(&**cause))
    }
}

/// Whether an error, or what caused it, is that a disk has no room.
#[must_use]
pub fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let full = |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    error.downcast_ref().is_some_and(full) || error.source().is_some_and(is_disk_full)
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
    /// behind the last key (the key and a zero byte). A page with fewer than `limit` entries is the last. An empty `end`
    /// means no end. Pages are each consistent, but not with one another. Refused where the page would hold more than
    /// [`PAGE_BYTES_MAX`].
    async fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// Applies a transaction, durably: when this returns, it survives a loss of power. Answers with the revision of
    /// the transaction, or the last one where it changed nothing. Who drops the future does not stop the transaction.
    async fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError>;

    /// The revision of the last transaction that changed something.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// Changes after `since`, in order, and then as they happen. Ends with an error where changes were missed: with
    /// [`StoreError::Compacted`] where the reader was too slow, began too far back (adapters that keep no history on
    /// disk forget it with every start), or names a revision that the store has not reached. The error comes from here or
    /// from the feed. A transaction's changes have one revision: to resume, name the last but one seen.
    async fn changes(&self, since: Revision) -> Result<Feed, StoreError>;
}

/// A stream of changes.
pub type Feed = tokio_stream::wrappers::ReceiverStream<Result<Change, StoreError>>;
