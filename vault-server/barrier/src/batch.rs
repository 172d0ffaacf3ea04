//! Records, and changes of them.

use std::collections::BTreeSet;

use coffer_core::{clock::Timestamp, id::TenantId};
use coffer_secret::SecretBytes;
use coffer_store::{Revision, TRANSACTION_OPERATIONS_MAX};

use crate::{
    error::BarrierError,
    key::{RecordKey, Scope},
};

/// A record's value.
#[derive(Debug)]
pub struct Record {
    /// The value.
    pub value: SecretBytes,
    /// Which write of this record this is, from 1, since it was last absent.
    pub version: u64,
    /// The store's revision when it was written.
    pub modified: Revision,
}

/// What a record must be for a batch to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Not there.
    Absent,
    /// Never there before: a name with random numbers in it, or named once by a record that is expected to be of a version.
    /// Nobody looks. Only for what is written.
    New,
    /// Of this version.
    Version(u64),
    /// Anything, or not there: for the deletion of what is written once and named by nothing else. Re-encryption changes
    /// the version of such a record, and nothing that it says.
    Any,
}

impl Expect {
    /// What is expected of a record that was read as `record`.
    #[must_use]
    pub fn unchanged(record: Option<&Record>) -> Self {
        record.map_or(Self::Absent, |record| Self::Version(record.version))
    }
}

#[derive(Debug)]
pub(crate) enum Change {
    Put(SecretBytes),
    Delete,
    Require,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) key: RecordKey,
    pub(crate) expect: Expect,
    pub(crate) change: Change,
}

#[derive(Debug)]
pub(crate) enum ScopeStep {
    Create(TenantId, Timestamp),
    Delete(TenantId),
    AddTerm(Scope, Timestamp),
    /// Drops the terms below this number.
    DropTerms(Scope, u32),
}

/// Steps in a [`Batch`]: as many as a transaction of the store has room for, beside those of the barrier's own.
pub const BATCH_STEPS_MAX: usize = 120;
/// Scopes in a [`Batch`].
pub const BATCH_SCOPES_MAX: usize = 8;
const _: () = assert!(BATCH_STEPS_MAX + BATCH_SCOPES_MAX <= TRANSACTION_OPERATIONS_MAX);

/// Changes that are written all or not at all, each on a condition. A record is named once at most.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) steps: Vec<Step>,
    pub(crate) scopes: Vec<ScopeStep>,
}

impl Batch {
    /// A batch without changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a record.
    pub fn put(&mut self, key: RecordKey, expect: Expect, value: SecretBytes) -> &mut Self {
        self.step(key, expect, Change::Put(value))
    }

    /// Deletes a record.
    pub fn delete(&mut self, key: RecordKey, expect: Expect) -> &mut Self {
        self.step(key, expect, Change::Delete)
    }

    /// Changes nothing about a record, and lets the batch fail where it is not as expected.
    pub fn require(&mut self, key: RecordKey, expect: Expect) -> &mut Self {
        self.step(key, expect, Change::Require)
    }

    /// Makes a tenant's keyring; records of the tenant can be in the same batch. The batch fails with
    /// [`BarrierError::Conflict`] where there is one.
    pub fn create_scope(&mut self, tenant: TenantId, now: Timestamp) -> &mut Self {
        self.scopes.push(ScopeStep::Create(tenant, now));
        self
    }

    /// Deletes a tenant's keyring: none of its records can be opened again.
    pub fn delete_scope(&mut self, tenant: TenantId) -> &mut Self {
        self.scopes.push(ScopeStep::Delete(tenant));
        self
    }

    /// Adds a term to a scope's keyring: what is written from then on, in this batch too, is encrypted under a new key.
    /// The batch fails with [`BarrierError::Conflict`] where another change of the keyring comes first.
    pub fn add_term(&mut self, scope: Scope, now: Timestamp) -> &mut Self {
        self.scopes.push(ScopeStep::AddTerm(scope, now));
        self
    }

    /// Drops the terms of a scope's keyring whose number is below `from`, and never the newest: what is still encrypted
    /// under one of them cannot be opened again, so they must have been counted ([`Barrier::survey`](crate::Barrier::survey)).
    pub fn drop_terms(&mut self, scope: Scope, from: u32) -> &mut Self {
        self.scopes.push(ScopeStep::DropTerms(scope, from));
        self
    }

    /// Adds the changes of another batch.
    pub fn append(&mut self, mut other: Self) -> &mut Self {
        self.steps.append(&mut other.steps);
        self.scopes.append(&mut other.scopes);
        self
    }

    /// Records that are named: [`BATCH_STEPS_MAX`] at most.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is nothing to write and nothing to check.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.scopes.is_empty()
    }

    fn step(&mut self, key: RecordKey, expect: Expect, change: Change) -> &mut Self {
        self.steps.push(Step { key, expect, change });
        self
    }

    /// The tenants whose keyring the batch makes, and when.
    pub(crate) fn created(&self) -> impl Iterator<Item = (TenantId, Timestamp)> + '_ {
        self.scopes.iter().filter_map(|step| match step {
            ScopeStep::Create(tenant, now) => Some((*tenant, *now)),
            ScopeStep::Delete(_) | ScopeStep::AddTerm(..) | ScopeStep::DropTerms(..) => None,
        })
    }

    /// The tenants whose keyring the batch deletes.
    pub(crate) fn deleted(&self) -> impl Iterator<Item = TenantId> + '_ {
        self.scopes.iter().filter_map(|step| match step {
            ScopeStep::Delete(tenant) => Some(*tenant),
            ScopeStep::Create(..) | ScopeStep::AddTerm(..) | ScopeStep::DropTerms(..) => None,
        })
    }

    /// The scopes whose keyrings get other terms, and how.
    pub(crate) fn turned(&self) -> impl Iterator<Item = (Scope, &ScopeStep)> + '_ {
        self.scopes.iter().filter_map(|step| match step {
            ScopeStep::AddTerm(scope, _) | ScopeStep::DropTerms(scope, _) => Some((*scope, step)),
            ScopeStep::Create(..) | ScopeStep::Delete(_) => None,
        })
    }

    /// The scopes whose keyrings the batch makes, changes or needs.
    pub(crate) fn scopes(&self) -> BTreeSet<Scope> {
        let created = self.created().map(|(tenant, _)| Scope::Tenant(tenant));
        let turned = self.turned().map(|(scope, _)| scope);
        self.steps.iter().map(|step| step.key.scope()).chain(created).chain(turned).collect()
    }

    /// Refuses what the store would understand differently, or not at all.
    pub(crate) fn check(&self) -> Result<(), BarrierError> {
        if self.steps.len() > BATCH_STEPS_MAX {
            return Err(BarrierError::Limit("records in a batch"));
        }
        let mut keys: Vec<_> = self.steps.iter().map(|step| &step.key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(BarrierError::Internal("a batch names a record twice"));
        }
        if keys.iter().any(|key| key.is_root()) {
            return Err(BarrierError::Internal("the top directory of a scope holds no record"));
        }
        if self.scopes().len() + self.deleted().count() > BATCH_SCOPES_MAX {
            return Err(BarrierError::Limit("scopes in a batch"));
        }
        let tenants = self.created().map(|(tenant, _)| tenant).chain(self.deleted()).map(Scope::Tenant);
        let mut keyrings: Vec<_> = tenants.chain(self.turned().map(|(scope, _)| scope)).collect();
        keyrings.sort_unstable();
        if keyrings.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(BarrierError::Internal("a batch names a keyring twice"));
        }
        if self.deleted().any(|tenant| keys.iter().any(|key| key.scope() == Scope::Tenant(tenant))) {
            return Err(BarrierError::Internal("a batch names records of a tenant whose keyring it deletes"));
        }
        Ok(())
    }
}
