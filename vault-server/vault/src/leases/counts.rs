//! How many leases there are: of the tenant, of each mount, of each principal. The counts are stored with the leases that they
//! count, so that none has to be counted at the start.

use std::sync::atomic::Ordering;

use coffer_barrier::{Batch, Expect, RecordKey};
use coffer_core::{
    limits::{LEASES_MAX, LEASES_PER_MOUNT_MAX, LEASES_PER_PRINCIPAL_MAX},
    reason::Reason,
};
use coffer_crypto::hash;

use super::{LeaseRecord, index::Index};
use crate::{Failure, Record, Unsealed, codec, trail::StoredRecord};

/// Whose the first count is.
const TENANT: &str = "in the tenant";

impl Unsealed {
    /// Adds to a batch that there is one lease more; gives how many there are then. To be called, and the batch written, under
    /// the lock of lease counts.
    pub(super) async fn count_one_more(&self, batch: &mut Batch, lease: &LeaseRecord) -> Result<u64, Failure> {
        let mut of_tenant = 0;
        for (key, max, whose) in self.counters(lease)? {
            let (count, expect) = self.counted(&key).await?;
            if count >= max {
                let message = format!("there are {count} leases {whose}: revoke some, or let them last less long");
                return Err(Failure::told(Reason::LimitExceeded, message));
            }
            if whose == TENANT {
                of_tenant = count + 1;
            }
            batch.put(key, expect, codec::encode(&(count + 1))?);
        }
        Ok(of_tenant)
    }

    /// The same for one lease less.
    pub(super) async fn count_one_less(&self, batch: &mut Batch, lease: &LeaseRecord) -> Result<u64, Failure> {
        let mut of_tenant = 0;
        for (key, _, whose) in self.counters(lease)? {
            let (count, expect) = self.counted(&key).await?;
            if whose == TENANT {
                of_tenant = count.saturating_sub(1);
            }
            match count {
                0 if expect == Expect::Absent => {}
                0 | 1 => drop(batch.delete(key, expect)),
                _ => drop(batch.put(key, expect, codec::encode(&(count - 1))?)),
            }
        }
        Ok(of_tenant)
    }

    /// Writes what changes how many leases there are; gives nothing where others wrote meanwhile.
    pub(super) async fn write_counted(&self, batch: Batch, record: &Record, count: u64) -> Result<Option<StoredRecord>, Failure> {
        match self.write(batch, record).await {
            Ok(stored) => {
                self.leases.store(count, Ordering::Relaxed);
                Ok(Some(stored))
            }
            Err(failure) if failure.reason == Reason::Conflict => Ok(None),
            Err(failure) => {
                // It may be written all the same.
                self.let_go_of(record);
                if let Ok(count) = self.leases_count().await {
                    self.leases.store(count, Ordering::Relaxed);
                }
                Err(failure)
            }
        }
    }

    /// How many leases a mount has.
    pub(crate) async fn leases_of_mount(&self, mount: coffer_core::id::MountId) -> Result<u64, Failure> {
        let key = Index(self.tenant.id).at([b"count".as_slice(), b"mount", mount.as_bytes()])?;
        Ok(self.counted(&key).await?.0)
    }

    /// How many leases there are, as is stored.
    pub(crate) async fn leases_count(&self) -> Result<u64, Failure> {
        Ok(self.counted(&Index(self.tenant.id).at([b"count".as_slice(), b"tenant"])?).await?.0)
    }

    async fn counted(&self, key: &RecordKey) -> Result<(u64, Expect), Failure> {
        let stored = self.barrier.get(key).await?;
        let expect = Expect::unchanged(stored.as_ref());
        let count = stored.map(|record| codec::decode(record.value.expose())).transpose()?;
        Ok((count.unwrap_or(0), expect))
    }

    fn counters(&self, lease: &LeaseRecord) -> Result<[(RecordKey, u64, &'static str); 3], Failure> {
        let index = Index(self.tenant.id);
        let principal = hash::sha256(lease.principal.as_bytes());
        Ok([
            (index.at([b"count".as_slice(), b"tenant"])?, LEASES_MAX, TENANT),
            (index.at([b"count".as_slice(), b"mount", lease.mount.as_bytes()])?, LEASES_PER_MOUNT_MAX, "of the mount"),
            (index.at([b"count".as_slice(), b"principal", &principal])?, LEASES_PER_PRINCIPAL_MAX, "of the caller"),
        ])
    }
}
