//! The barrier: reads and writes encrypted records.

use std::{fmt, sync::Arc};

use coffer_core::{
    clock::Timestamp,
    id::{TenantId, VaultId},
};
use coffer_crypto::{derive::Label, key::Key};
use coffer_store::{Revision, Store, StoreError, Transaction};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{
    batch::{Batch, Record},
    error::BarrierError,
    feed::Changes,
    key::{PhysicalKey, RecordKey, Scope},
    keyring::{Keyring, Term},
    listing::{self, Bounds, Child},
    listings::Listings,
    plan::Plan,
    root::Root,
    seal::Header,
};

/// Reads and writes the vault's records. Exists only while the vault is unsealed, and owns the keys: dropping it is
/// sealing.
pub struct Barrier {
    store: Arc<dyn Store>,
    root: Arc<Root>,
    listings: Listings,
    /// Whoever writes goes through; a snapshot closes it for a moment.
    gate: RwLock<()>,
}

impl Barrier {
    pub(crate) fn new(store: Arc<dyn Store>, root: Arc<Root>) -> Self {
        Self { store, root, listings: Listings::default(), gate: RwLock::new(()) }
    }

    /// Waits until writes are let through; they are while this is held.
    pub(crate) async fn pass(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().await
    }

    /// Waits for the writes under way, and lets no other through while this is held.
    pub(crate) async fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().await
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// The vault's id.
    #[must_use]
    pub fn vault_id(&self) -> VaultId {
        self.root.vault()
    }

    /// The kind of the store, as users name it.
    #[must_use]
    pub fn store_kind(&self) -> &'static str {
        self.store.kind()
    }

    /// The revision of the last transaction that was applied.
    pub async fn revision(&self) -> Result<Revision, BarrierError> {
        Ok(self.store.revision().await?)
    }

    /// The seal's header as it is stored now.
    pub async fn header(&self) -> Result<Header, BarrierError> {
        Header::load(&*self.store).await?.ok_or_else(|| BarrierError::corrupt("the header is missing"))
    }

    /// Reads a record; `None` where there is none.
    pub async fn get(&self, key: &RecordKey) -> Result<Option<Record>, BarrierError> {
        let mut keyring = self.root.keyring(&*self.store, key.scope()).await?;
        let physical = keyring.physical(key)?;
        let Some(entry) = self.store.get(physical.as_bytes()).await? else { return Ok(None) };
        if !keyring.knows(&entry.value) {
            keyring = self.root.reload(&*self.store, key.scope()).await?;
        }
        keyring.open(&physical, &entry).map(Some)
    }

    /// Writes a batch, all or nothing, durably. Fails with [`BarrierError::Conflict`] where a record is not as expected.
    pub async fn commit(&self, batch: Batch) -> Result<Revision, BarrierError> {
        let _gate = self.pass().await;
        let mut plan = Plan::new(&self.root, &*self.store, &batch).await?;
        let mut result = self.apply(plan.transaction(&batch)?).await;
        if matches!(result, Err(StoreError::Conflict)) && plan.is_outdated(&self.root, &*self.store).await? {
            // Not the caller's conflict: another node added a term. Once is enough: a second time is answered as a
            // conflict, and the caller tries again.
            plan = Plan::new(&self.root, &*self.store, &batch).await?;
            result = self.apply(plan.transaction(&batch)?).await;
        }
        let revision = result?;
        plan.applied(&self.root, &batch);
        Ok(revision)
    }

    /// Has the store apply a transaction, and forgets the directories whose names it changes.
    pub(crate) async fn apply(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        let mut changing = self.listings.changing(&transaction);
        let result = self.store.commit(transaction).await;
        if !matches!(result, Err(StoreError::Unknown(_))) {
            changing.is_known = true;
        }
        result
    }

    /// The names below a key, in byte order. Fails with [`BarrierError::Limit`] where there are more than
    /// [`CHILDREN_MAX`](crate::CHILDREN_MAX).
    pub async fn children(&self, key: &RecordKey) -> Result<Arc<[Child]>, BarrierError> {
        let keyring = self.root.keyring(&*self.store, key.scope()).await?;
        let directory = keyring.physical(key)?;
        let reading = match self.listings.begin(&directory) {
            Ok(children) => return Ok(children),
            Err(reading) => reading,
        };
        let children = listing::children(&*self.store, &keyring, &directory, Bounds::DEFAULT).await?.into();
        self.listings.end(&directory, &reading, &children);
        Ok(children)
    }

    /// As [`children`](Self::children), without remembering them: for directories that change all the time.
    pub async fn children_once(&self, key: &RecordKey) -> Result<Vec<Child>, BarrierError> {
        let keyring = self.root.keyring(&*self.store, key.scope()).await?;
        listing::children(&*self.store, &keyring, &keyring.physical(key)?, Bounds::DEFAULT).await
    }

    /// The records directly below a key, with their names, in byte order. For small directories: fails with
    /// [`BarrierError::Limit`] past [`CHILDREN_MAX`](crate::CHILDREN_MAX) names or
    /// [`CHILDREN_BYTES_MAX`](crate::CHILDREN_BYTES_MAX).
    pub async fn children_records(&self, key: &RecordKey) -> Result<Vec<(Vec<u8>, Record)>, BarrierError> {
        let keyring = self.root.keyring(&*self.store, key.scope()).await?;
        let physical = keyring.physical(key)?;
        let records = listing::records(&*self.store, &keyring, &physical, Bounds::DEFAULT).await;
        if matches!(records, Err(BarrierError::Corrupt(_))) {
            let stored = self.root.reload(&*self.store, key.scope()).await?;
            if stored.condition() != keyring.condition() {
                // Another node wrote under a term that was not known here.
                return listing::records(&*self.store, &stored, &physical, Bounds::DEFAULT).await;
            }
        }
        records
    }

    /// Some of the records directly below a key, `limit` at most, in no order: for a directory that is worked off. Behind one
    /// of them, in the order of the store, where that is given.
    pub async fn some_records(
        &self,
        key: &RecordKey,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Record)>, BarrierError> {
        let keyring = self.root.keyring(&*self.store, key.scope()).await?;
        let (physical, after) = (keyring.physical(key)?, child_of(&keyring, key, after)?);
        listing::some_records(&*self.store, &keyring, &physical, after.as_ref(), limit).await
    }

    /// Some of the names below a key, `limit` or a few more, in no order: for directories that may grow past
    /// [`CHILDREN_MAX`](crate::CHILDREN_MAX). Behind one of them, in the order of the store, where that is given; none at the
    /// end.
    pub async fn some_children(&self, key: &RecordKey, after: Option<&[u8]>, limit: usize) -> Result<Vec<Child>, BarrierError> {
        let keyring = self.root.keyring(&*self.store, key.scope()).await?;
        let (physical, after) = (keyring.physical(key)?, child_of(&keyring, key, after)?);
        listing::some_children(&*self.store, &keyring, &physical, after.as_ref(), limit).await
    }

    /// Changes of records after `since`, in order, and then as they happen.
    pub async fn changes(&self, since: Revision) -> Result<Changes, BarrierError> {
        Ok(Changes::new(self.store.changes(since).await?, Arc::downgrade(&self.root)))
    }

    /// The name of a record or directory as the store, and a [`Change`](crate::Change), has it.
    pub async fn physical(&self, key: &RecordKey) -> Result<PhysicalKey, BarrierError> {
        self.root.keyring(&*self.store, key.scope()).await?.physical(key)
    }

    /// The scope's own key for a use outside the store.
    pub async fn derived(&self, scope: Scope, label: Label) -> Result<Key, BarrierError> {
        Ok(self.root.keyring(&*self.store, scope).await?.derived(label))
    }

    /// Makes a tenant's keyring. Fails with [`BarrierError::Conflict`] where there is one. To write records with it, use
    /// [`Batch::create_scope`].
    pub async fn create_scope(&self, tenant: TenantId, now: Timestamp) -> Result<Revision, BarrierError> {
        let mut batch = Batch::new();
        batch.create_scope(tenant, now);
        self.commit(batch).await
    }

    /// Adds a term to a scope's keyring: what is written from then on is encrypted under a new key. Fails with
    /// [`BarrierError::Conflict`] where another change of the keyring came first.
    pub async fn add_term(&self, scope: Scope, now: Timestamp) -> Result<Revision, BarrierError> {
        let mut batch = Batch::new();
        batch.add_term(scope, now);
        self.commit(batch).await
    }

    /// The terms of a scope's keyring as it is stored now, the oldest first.
    pub async fn terms(&self, scope: Scope) -> Result<Vec<Term>, BarrierError> {
        let (record, _) = self.root.read(&*self.store, scope).await?.ok_or(BarrierError::NoScope)?;
        Ok(record.terms())
    }
}

/// The name in the store of one child of a key.
fn child_of(keyring: &Keyring, key: &RecordKey, name: Option<&[u8]>) -> Result<Option<PhysicalKey>, BarrierError> {
    let not_one = |_| BarrierError::corrupt("a record's name");
    name.map(|name| keyring.physical(&key.child(name).map_err(not_one)?)).transpose()
}

/// Names no key.
impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Barrier({:?})", self.root.vault())
    }
}
