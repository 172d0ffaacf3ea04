//! The keys that records are encrypted under: their terms, and new ones.

use coffer_barrier::{Batch, Scope, TERMS_MAX, Term};
use coffer_core::reason::Reason;

use crate::{Failure, Planned, PolicyChange, Unsealed};

/// What the system's keyring is called.
const SYSTEM: &str = "system";

/// A keyring, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    /// Whose it is: `system`, or a tenant's name.
    pub name: String,
    /// Its terms, the oldest first; the last one writes.
    pub terms: Vec<Term>,
}

impl Unsealed {
    /// The scopes of the vault, with their keyrings' names.
    pub(crate) fn scopes(&self) -> [(Scope, String); 2] {
        [(Scope::System, SYSTEM.to_owned()), (Scope::Tenant(self.tenant.id), self.tenant_name().to_owned())]
    }

    /// The keyrings as they are stored now.
    ///
    /// # Errors
    /// Fails where the store does.
    pub async fn keyrings(&self) -> Result<Vec<Keyring>, Failure> {
        let mut keyrings = Vec::new();
        for (scope, name) in self.scopes() {
            keyrings.push(Keyring { name, terms: self.barrier.terms(scope).await? });
        }
        Ok(keyrings)
    }

    /// Plans a new term in every keyring.
    ///
    /// # Errors
    /// Fails where a keyring has as many as it can have.
    pub async fn rotate(&self) -> Result<Planned<Vec<Keyring>>, Failure> {
        let now = self.now();
        let mut batch = Batch::default();
        let mut keyrings = self.keyrings().await?;
        for ((scope, _), keyring) in self.scopes().into_iter().zip(&mut keyrings) {
            if keyring.terms.len() >= TERMS_MAX {
                let message =
                    format!("the keyring '{}' has {TERMS_MAX} terms: coffer operator rewrap drops old ones", keyring.name);
                return Err(Failure::told(Reason::LimitExceeded, message));
            }
            batch.add_term(scope, now);
            let number = keyring.terms.last().map_or(1, |term| term.number + 1);
            keyring.terms.push(Term { number, created: now });
        }
        Ok(Planned { batch, answer: keyrings, then: Vec::new(), policy: PolicyChange::None })
    }
}
