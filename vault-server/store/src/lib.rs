//! The store: a durable key-value engine under everything, behind one small port.
//!
//! What the barrier puts in is encrypted; nothing here knows or cares. Adapters: [`memory`], [`sled`], [`etcd`], and
//! [`faulty`], which fails on purpose. One contract suite (`tests/contract.rs`) runs on all of them: it is the port's
//! fine print. Start with [`Store`].

pub mod etcd;
pub mod faulty;
pub mod memory;
pub mod sled;

mod check;
mod feed;
mod port;

pub use self::feed::{FEED_BUFFER_CHANGES, FEED_HISTORY_BYTES_MAX, FEED_HISTORY_CHANGES_MAX};
pub use self::port::{
    Change, Condition, Entry, Feed, KEY_BYTES_MAX, Key, PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, Revision, Store, StoreError,
    TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX, Transaction, Write, is_disk_full,
};
