//! What a vault does first when it was restored from a snapshot: a new epoch begins.
//!
//! Sessions and the bootstrap credential of before end: the vault that the snapshot was made of may still be at work, and
//! what it issues must not be believed here. The audit log is a new one, whose first record says what was restored.

use coffer_barrier::{Barrier, Batch, Expect, RecordKey};
use coffer_core::id::TenantId;
use coffer_crypto::{
    derive::{Label, derive},
    key::Key,
};

use crate::{
    Failure, codec,
    records::{EpochRecord, LogMarkRecord, TenantRecord},
    sessions::BOOTSTRAP,
    trail::mark_key,
    unsealed::{BOOTSTRAP_TABLE, SESSIONS, TENANT_DEFAULT, TENANTS, directory, system_directory},
};

/// Where the epoch is.
const EPOCH: &str = "epoch";
/// The one record there.
const NEWEST: &str = "newest";
/// The epoch of a vault that was never restored.
const FIRST: u64 = 1;
/// Sessions ended in one transaction.
const ENDED_AT_ONCE: usize = 100;

/// The epoch that the vault goes to work in.
pub(crate) struct Epoch {
    pub(crate) number: u64,
    /// The snapshot that it began with.
    pub(crate) restored: Option<EpochRecord>,
}

/// The key of sessions in an epoch.
pub(crate) fn sessions(key: Key, epoch: u64) -> Key {
    if epoch == FIRST { key } else { derive(&key, Label::Sessions, &epoch.to_be_bytes()) }
}

/// The epoch; where the store was restored since it was last at work, a new one.
pub(crate) async fn settle(barrier: &Barrier) -> Result<Epoch, Failure> {
    let key = child(system_directory(EPOCH)?, NEWEST)?;
    let stored = barrier.get(&key).await?;
    let expect = Expect::unchanged(stored.as_ref());
    let stored: Option<EpochRecord> = stored.map(|record| codec::decode(record.value.expose())).transpose()?;
    let before = stored.as_ref().map_or(FIRST, |record| record.epoch);
    let Some(restored) = barrier.restored().await? else { return Ok(Epoch { number: before, restored: stored }) };
    if let Some(record) = stored
        && record.digest == restored.digest.as_slice()
        && record.restored == restored.time
    {
        return Ok(Epoch { number: record.epoch, restored: Some(record) });
    }
    // Of two that are restored from one snapshot, each has an epoch of its own.
    let epoch = EpochRecord {
        epoch: restored.time.millis().max(before + 1),
        before,
        restored: restored.time,
        about: restored.about,
        digest: restored.digest.to_vec(),
        entries: restored.entries,
    };
    let mut last = end_sessions(barrier).await?;
    if let Some(mark) = barrier.get(&mark_key()?).await? {
        let expect = Expect::Version(mark.version);
        let mark: LogMarkRecord = codec::decode(mark.value.expose())?;
        // The log that it speaks of is another; the latest time seen stays.
        let mark = LogMarkRecord { checkpoint: String::new(), clock: mark.clock };
        last.put(mark_key()?, expect, codec::encode(&mark)?);
    }
    last.put(key, expect, codec::encode(&epoch)?);
    barrier.commit(last).await?;
    tracing::warn!(epoch = epoch.epoch, "the vault was restored from a snapshot: sessions of before have ended");
    Ok(Epoch { number: epoch.epoch, restored: Some(epoch) })
}

/// Deletes the records of sessions, and begins a batch that deletes the bootstrap credential.
async fn end_sessions(barrier: &Barrier) -> Result<Batch, Failure> {
    let record = barrier.get(&child(system_directory(TENANTS)?, TENANT_DEFAULT)?).await?;
    let record = record.ok_or_else(|| Failure::internal("the default tenant is missing"))?;
    let tenant: TenantId = codec::decode::<TenantRecord>(record.value.expose())?.id;
    let directory_of_sessions = directory(tenant, SESSIONS)?;
    let sessions = barrier.children(&directory_of_sessions).await?;
    for some in sessions.chunks(ENDED_AT_ONCE) {
        let mut batch = Batch::default();
        for session in some {
            batch.delete(child(directory_of_sessions.clone(), &session.name)?, Expect::Any);
        }
        barrier.commit(batch).await?;
    }
    let mut batch = Batch::default();
    batch.delete(child(directory(tenant, BOOTSTRAP_TABLE)?, BOOTSTRAP)?, Expect::Any);
    Ok(batch)
}

fn child(directory: RecordKey, name: impl AsRef<[u8]>) -> Result<RecordKey, Failure> {
    directory.child(name).map_err(|_| Failure::internal("a record's name is not one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_the_first_epoch_stay_and_each_other_has_its_own_key() {
        let key = || Key::from_bytes([7; 32]);
        assert!(sessions(key(), FIRST).same(&key()));
        assert!(!sessions(key(), 2).same(&key()));
        assert!(!sessions(key(), 2).same(&sessions(key(), 3)));
    }
}
