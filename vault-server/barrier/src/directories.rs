//! Physical keys of directories that were computed before.
//!
//! A record's key is its directory's and one segment more: requests come back to the same directories, and each segment
//! costs as much as opening a small value. What is remembered is as secret as the names, and goes with the keyring.

use std::sync::{Arc, Mutex, PoisonError};

use coffer_core::recent::Recent;

/// Directories remembered.
const DIRECTORIES_MAX: usize = 8_192;

type Segments = Vec<Box<[u8]>>;

/// The physical keys of some directories, by their segments.
pub(crate) struct Directories(Mutex<Recent<Segments, Arc<[u8]>>>);

impl Default for Directories {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(DIRECTORIES_MAX)))
    }
}

impl Directories {
    /// The physical key of the directory with these segments, if it is remembered.
    pub(crate) fn get(&self, segments: &[Box<[u8]>]) -> Option<Arc<[u8]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(segments).cloned()
    }

    /// Remembers a directory.
    pub(crate) fn put(&self, segments: &[Box<[u8]>], physical: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(segments.to_vec(), physical.into());
    }
}
