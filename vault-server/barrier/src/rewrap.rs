//! Re-encrypting what is stored under the newest terms, page by page.

use std::collections::BTreeMap;

use coffer_store::{Condition, Entry, StoreError, TRANSACTION_BYTES_MAX, Transaction, Write};

use crate::{
    barrier::Barrier,
    envelope::{self, Place},
    error::BarrierError,
    key::{RecordKey, Scope},
    keyring::{RECORDS, RECORDS_END},
    keyrings::{Keyrings, behind},
};

/// Records looked at in one step of [`Barrier::rewrap`] and [`Barrier::survey`]: with the largest values 20 MiB.
pub const REWRAP_ENTRIES: usize = 16;
/// Bytes that a step re-encrypts in one transaction.
const TRANSACTION_BYTES: usize = TRANSACTION_BYTES_MAX - (64 << 10);

/// What a step of [`Barrier::rewrap`] did.
#[derive(Debug, Default)]
pub struct Rewrapped {
    /// Records looked at.
    pub seen: u64,
    /// The records that were re-encrypted, with their versions, which have grown by one; what they say has not changed.
    pub changed: Vec<(RecordKey, u64)>,
    /// Where to go on; nothing at the end.
    pub next: Option<Vec<u8>>,
}

/// How many records there are under each term.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Records by scope and term.
    pub records: BTreeMap<(Scope, u32), u64>,
    /// The newest term of each scope.
    pub newest: BTreeMap<Scope, u32>,
}

impl Survey {
    /// Records that are not under their scope's newest term.
    #[must_use]
    pub fn old(&self) -> u64 {
        let old = self.records.iter().filter(|((scope, term), _)| self.newest.get(scope).is_some_and(|newest| term < newest));
        old.map(|(_, count)| count).sum()
    }

    /// Records in all.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.records.values().sum()
    }
}

impl Barrier {
    /// Counts the records of the next page by their terms. `after` is where the page begins: empty, or what the step
    /// before gave. Answers where to go on.
    ///
    /// A count from beginning to end that finds none under an old term proves that there is none and will be none: every
    /// write requires that its keyring is the one that is stored.
    pub async fn survey(&self, after: &[u8], survey: &mut Survey) -> Result<Option<Vec<u8>>, BarrierError> {
        let (page, next) = self.page(after).await?;
        let keyrings = Keyrings::load(self.store(), self.root()).await?;
        survey.newest = keyrings.newest().collect();
        for entry in &page {
            if let Some((scope, _)) = keyrings.of(&entry.key) {
                let term = envelope::key_name(&entry.value)?.term;
                *survey.records.entry((scope, term)).or_default() += 1;
            }
        }
        Ok(next)
    }

    /// Re-encrypts those records of the next page that are not under the newest term of their keyring. `after` is where
    /// the page begins: empty, or what the step before gave. A record that is changed or deleted meanwhile is left as it
    /// then is, which is under the newest term.
    pub async fn rewrap(&self, after: &[u8]) -> Result<Rewrapped, BarrierError> {
        let (page, next) = self.page(after).await?;
        let seen = u64::try_from(page.len()).unwrap_or(u64::MAX);
        let mut done = Rewrapped { seen, changed: Vec::new(), next };
        let keyrings = Keyrings::load(self.store(), self.root()).await?;
        let (mut together, mut bytes) = (Vec::new(), 0);
        for entry in page {
            let Some((_, keyring)) = keyrings.of(&entry.key) else { continue };
            if envelope::key_name(&entry.value)?.term >= keyring.newest() {
                continue;
            }
            let size = 2 * entry.key.len() + entry.value.len();
            if bytes + size > TRANSACTION_BYTES {
                self.rewrap_all(&keyrings, std::mem::take(&mut together), &mut done.changed).await?;
                bytes = 0;
            }
            bytes += size;
            together.push(entry);
        }
        self.rewrap_all(&keyrings, together, &mut done.changed).await?;
        Ok(done)
    }

    async fn page(&self, after: &[u8]) -> Result<(Vec<Entry>, Option<Vec<u8>>), BarrierError> {
        let start = if after.is_empty() { RECORDS } else { after };
        let page = self.store().range(start, RECORDS_END, REWRAP_ENTRIES).await?;
        let full = page.len() == REWRAP_ENTRIES;
        let next = page.last().filter(|_| full).map(|last| behind(&last.key));
        Ok((page, next))
    }

    /// All in one transaction, or else each in one of its own.
    async fn rewrap_all(
        &self,
        keyrings: &Keyrings,
        entries: Vec<Entry>,
        changed: &mut Vec<(RecordKey, u64)>,
    ) -> Result<(), BarrierError> {
        if entries.is_empty() || self.rewrap_these(keyrings, &entries, changed).await? {
            return Ok(());
        }
        for entry in &entries {
            self.rewrap_these(keyrings, std::slice::from_ref(entry), changed).await?;
        }
        Ok(())
    }

    /// Answers whether it was done: it is not where something was changed meanwhile.
    async fn rewrap_these(
        &self,
        keyrings: &Keyrings,
        entries: &[Entry],
        changed: &mut Vec<(RecordKey, u64)>,
    ) -> Result<bool, BarrierError> {
        let mut transaction = Transaction::default();
        let mut written = Vec::new();
        for entry in entries {
            let Some((scope, keyring)) = keyrings.of(&entry.key) else { continue };
            let condition = keyring.condition();
            if !transaction.conditions.contains(&condition) {
                transaction.conditions.push(condition);
            }
            let value = keyring.open(&Keyrings::physical(entry), entry)?.value;
            let version = entry.version.checked_add(1).ok_or(BarrierError::Internal("a version number"))?;
            let sealed = keyring.seal(Place { key: &entry.key, version }, value.expose())?;
            written.push((keyring.logical(scope, &entry.key)?, version));
            transaction.conditions.push(Condition::Version(entry.key.clone(), entry.version));
            transaction.writes.push(Write::Put(entry.key.clone(), sealed));
        }
        let _gate = self.pass().await;
        match self.store().commit(transaction).await {
            Ok(_) => {
                changed.append(&mut written);
                Ok(true)
            }
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
