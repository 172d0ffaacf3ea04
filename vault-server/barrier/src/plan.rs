//! From a batch to a transaction of the store.

use std::{collections::BTreeMap, sync::Arc};

use coffer_core::clock::Timestamp;
use coffer_store::{Condition, Store, Transaction, Write};

use crate::{
    batch::{Batch, Change, Expect, ScopeStep, Step},
    envelope::Place,
    error::BarrierError,
    key::Scope,
    keyring::{Keyring, KeyringRecord},
    root::Root,
};

/// The keyrings that a batch needs.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Those that its records are encrypted under.
    keyrings: BTreeMap<Scope, Arc<Keyring>>,
    /// Those that it makes, as they will be stored.
    made: BTreeMap<Scope, (Vec<u8>, Vec<u8>)>,
    /// Those that get other terms: where they stand, as they will be stored, and their versions before.
    turned: BTreeMap<Scope, (Vec<u8>, Vec<u8>, u64)>,
    /// Where those that it deletes stand, and their versions.
    deleted: Vec<(Vec<u8>, u64)>,
}

impl Plan {
    pub(crate) async fn new(root: &Root, store: &dyn Store, batch: &Batch) -> Result<Self, BarrierError> {
        batch.check()?;
        let mut plan = Self::default();
        for (tenant, now) in batch.created() {
            plan.make(root, Scope::Tenant(tenant), now)?;
        }
        for (scope, step) in batch.turned() {
            plan.turn(root, store, scope, step).await?;
        }
        for scope in batch.scopes() {
            if !plan.is_written(scope) {
                plan.keyrings.insert(scope, root.keyring(store, scope).await?);
            }
        }
        for tenant in batch.deleted() {
            let scope = Scope::Tenant(tenant);
            let (_, version) = root.read(store, scope).await?.ok_or(BarrierError::NoScope)?;
            plan.deleted.push((root.place(scope), version));
        }
        Ok(plan)
    }

    /// Adds a new keyring.
    pub(crate) fn make(&mut self, root: &Root, scope: Scope, now: Timestamp) -> Result<(), BarrierError> {
        let (value, keyring) = root.wrap(scope, &KeyringRecord::generate(scope, now)?, 1)?;
        self.keyrings.insert(scope, Arc::new(keyring));
        self.made.insert(scope, (root.place(scope), value));
        Ok(())
    }

    /// Changes a keyring's terms.
    async fn turn(&mut self, root: &Root, store: &dyn Store, scope: Scope, step: &ScopeStep) -> Result<(), BarrierError> {
        let (mut record, version) = root.read(store, scope).await?.ok_or(BarrierError::NoScope)?;
        match step {
            ScopeStep::AddTerm(_, now) => record.add_term(*now)?,
            ScopeStep::DropTerms(_, from) => record.drop_terms(*from),
            ScopeStep::Create(..) | ScopeStep::Delete(_) => return Err(BarrierError::Internal("not a change of terms")),
        }
        let next = version.checked_add(1).ok_or(BarrierError::Internal("a version number"))?;
        let (value, keyring) = root.wrap(scope, &record, next)?;
        self.keyrings.insert(scope, Arc::new(keyring));
        self.turned.insert(scope, (root.place(scope), value, version));
        Ok(())
    }

    /// Whether the batch itself writes a scope's keyring.
    fn is_written(&self, scope: Scope) -> bool {
        self.made.contains_key(&scope) || self.turned.contains_key(&scope)
    }

    /// The keyring of a scope.
    pub(crate) fn keyring(&self, scope: Scope) -> Result<&Keyring, BarrierError> {
        self.keyrings.get(&scope).map(AsRef::as_ref).ok_or(BarrierError::NoScope)
    }

    /// What the store is to do.
    pub(crate) fn transaction(&self, batch: &Batch) -> Result<Transaction, BarrierError> {
        let mut transaction = Transaction::default();
        for (scope, keyring) in &self.keyrings {
            if let Some((place, value)) = self.made.get(scope) {
                transaction.conditions.push(Condition::Absent(place.clone()));
                transaction.writes.push(Write::Put(place.clone(), value.clone()));
            } else if let Some((place, value, version)) = self.turned.get(scope) {
                transaction.conditions.push(Condition::Version(place.clone(), *version));
                transaction.writes.push(Write::Put(place.clone(), value.clone()));
            } else {
                // So that nothing is written under an old term, or for a tenant that is gone.
                transaction.conditions.push(keyring.condition());
            }
        }
        for (place, version) in &self.deleted {
            transaction.conditions.push(Condition::Version(place.clone(), *version));
            transaction.writes.push(Write::Delete(place.clone()));
        }
        for step in &batch.steps {
            self.add(&mut transaction, step)?;
        }
        Ok(transaction)
    }

    fn add(&self, transaction: &mut Transaction, step: &Step) -> Result<(), BarrierError> {
        let keyring = self.keyring(step.key.scope())?;
        let physical = keyring.physical(&step.key)?.into_bytes();
        match &step.change {
            Change::Put(value) => {
                // The condition below makes this the version that the write will have.
                let version = match step.expect {
                    Expect::Absent | Expect::New => 1,
                    Expect::Version(version) => version.checked_add(1).ok_or(BarrierError::Conflict)?,
                    Expect::Any => return Err(BarrierError::Internal("a record is written over whatever it is")),
                };
                let value = keyring.seal(Place { key: &physical, version }, value.expose())?;
                transaction.writes.push(match step.expect {
                    Expect::New => Write::Create(physical.clone(), value),
                    _ => Write::Put(physical.clone(), value),
                });
            }
            Change::Delete | Change::Require if step.expect == Expect::New => {
                return Err(BarrierError::Internal("a record that was never there is deleted or required"));
            }
            Change::Delete if step.expect == Expect::Any => transaction.writes.push(Write::Erase(physical.clone())),
            Change::Delete => transaction.writes.push(Write::Delete(physical.clone())),
            Change::Require => {}
        }
        match step.expect {
            Expect::Absent => transaction.conditions.push(Condition::Absent(physical)),
            Expect::Version(version) => transaction.conditions.push(Condition::Version(physical, version)),
            Expect::New | Expect::Any => {}
        }
        Ok(())
    }

    /// Whether a keyring that the plan was made with is no longer the one that is stored. Reads them anew.
    pub(crate) async fn is_outdated(&self, root: &Root, store: &dyn Store) -> Result<bool, BarrierError> {
        let mut outdated = false;
        for (scope, keyring) in self.keyrings.iter().filter(|(scope, _)| !self.is_written(**scope)) {
            outdated |= root.reload(store, *scope).await?.condition() != keyring.condition();
        }
        Ok(outdated)
    }

    /// Takes note that the transaction was applied.
    pub(crate) fn applied(self, root: &Root, batch: &Batch) {
        for (scope, keyring) in self.keyrings {
            if self.made.contains_key(&scope) || self.turned.contains_key(&scope) {
                root.learn(scope, keyring);
            }
        }
        for tenant in batch.deleted() {
            root.forget(Scope::Tenant(tenant));
        }
    }
}
