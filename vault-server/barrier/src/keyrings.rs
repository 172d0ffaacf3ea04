//! Every keyring that is stored: for what walks over all records.

use std::{collections::HashMap, sync::Arc};

use coffer_store::{Entry, Store};

use crate::{
    error::BarrierError,
    key::{PhysicalKey, Scope},
    keyring::{Keyring, record_keyring},
    root::{KEYRINGS, KEYRINGS_END, Root},
};

/// Keyrings at once in memory: tenants there can be.
pub const KEYRINGS_MAX: usize = 100_000;
/// Keyrings read at once: few, since one with all its terms is not small.
const PAGE_ENTRIES: usize = 32;

/// The keyrings by their ids, with their scopes.
pub(crate) struct Keyrings(HashMap<[u8; 16], (Scope, Arc<Keyring>)>);

impl Keyrings {
    pub(crate) async fn load(store: &dyn Store, root: &Root) -> Result<Self, BarrierError> {
        let mut keyrings = HashMap::new();
        let mut start = KEYRINGS.to_vec();
        loop {
            let page = store.range(&start, KEYRINGS_END, PAGE_ENTRIES).await?;
            let full = page.len() == PAGE_ENTRIES;
            for entry in page {
                let (scope, keyring) = root.open_keyring(&entry)?;
                keyrings.insert(keyring.id(), (scope, Arc::new(keyring)));
                start = behind(&entry.key);
            }
            if keyrings.len() > KEYRINGS_MAX {
                return Err(BarrierError::Limit("keyrings of a vault"));
            }
            if !full {
                return Ok(Self(keyrings));
            }
        }
    }

    /// The keyring of a record, and its scope; nothing where the keyring is gone and the record cannot be opened.
    pub(crate) fn of(&self, key: &[u8]) -> Option<(Scope, &Arc<Keyring>)> {
        self.0.get(record_keyring(key)?).map(|(scope, keyring)| (*scope, keyring))
    }

    /// Whether the keys of this record's value are here.
    pub(crate) fn know(&self, entry: &Entry) -> bool {
        self.of(&entry.key).is_some_and(|(_, keyring)| keyring.knows(&entry.value))
    }

    /// The scopes with the numbers of their newest terms.
    pub(crate) fn newest(&self) -> impl Iterator<Item = (Scope, u32)> + '_ {
        self.0.values().map(|(scope, keyring)| (*scope, keyring.newest()))
    }

    pub(crate) fn physical(entry: &Entry) -> PhysicalKey {
        PhysicalKey::new(entry.key.clone())
    }
}

/// The first key behind a key.
pub(crate) fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
