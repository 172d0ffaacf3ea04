//! Where leases are in the store: at what they are of, at the second that they are due, at their owners.

use coffer_barrier::{Batch, Expect, RecordKey, Scope};
use coffer_core::{
    clock::Timestamp,
    id::{LeaseId, MountId, TenantId},
};
use coffer_secret::SecretBytes;
use serde::{Deserialize, Serialize};

use super::{LeaseRecord, Owner};
use crate::{Failure, codec};

/// Seconds in a directory of `due`.
const SECONDS: u64 = 60;

/// Where a lease is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) mount: MountId,
    pub(crate) role: String,
    pub(crate) id: LeaseId,
}

/// A tenant's leases in the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Index(pub(crate) TenantId);

impl Index {
    /// The directory of these names below `lease`.
    pub(crate) fn at<S: AsRef<[u8]>>(self, segments: impl IntoIterator<Item = S>) -> Result<RecordKey, Failure> {
        let not_one = |_| Failure::internal("a lease's name is not one");
        let top = RecordKey::new(Scope::Tenant(self.0), [b"lease"]).map_err(not_one)?;
        segments.into_iter().try_fold(top, |key, segment| key.child(segment).map_err(not_one))
    }

    /// The leases of a mount, by role.
    pub(crate) fn of_mount(self, mount: MountId) -> Result<RecordKey, Failure> {
        self.at([b"at".as_slice(), mount.as_bytes()])
    }

    /// The leases of a role, in directories by the first byte of their ids: one directory of all would grow too large.
    pub(crate) fn of_role(self, mount: MountId, role: &str) -> Result<RecordKey, Failure> {
        self.at([b"at".as_slice(), mount.as_bytes(), role.as_bytes()])
    }

    pub(crate) fn lease(self, place: &Place) -> Result<RecordKey, Failure> {
        let id = place.id.as_bytes();
        self.at([b"at".as_slice(), place.mount.as_bytes(), place.role.as_bytes(), id.get(..1).unwrap_or_default(), id])
    }

    /// The seconds of a minute in which something is due.
    pub(crate) fn due_minute(self, minute: u64) -> Result<RecordKey, Failure> {
        self.at([b"due".as_slice(), &minute.to_be_bytes()])
    }

    /// What is due in a second.
    pub(crate) fn due_second(self, minute: u64, second: u8) -> Result<RecordKey, Failure> {
        self.at([b"due".as_slice(), &minute.to_be_bytes(), &[second]])
    }

    fn due(self, due: Timestamp, id: LeaseId) -> Result<RecordKey, Failure> {
        let (minute, second) = bucket(due);
        self.at([b"due".as_slice(), &minute.to_be_bytes(), &[second], id.as_bytes()])
    }

    /// What an owner has.
    pub(crate) fn of_owner(self, owner: &Owner) -> Result<RecordKey, Failure> {
        match owner {
            Owner::Pod(cluster, uid) => self.at([b"pod".as_slice(), cluster.as_bytes(), uid.as_bytes()]),
            Owner::Operator(id) => self.at([b"operator".as_slice(), id.as_bytes()]),
        }
    }

    /// Adds a lease that is new.
    pub(crate) fn insert(self, batch: &mut Batch, place: &Place, lease: &LeaseRecord) -> Result<(), Failure> {
        let pointer = codec::encode(place)?;
        batch.put(self.lease(place)?, Expect::New, codec::encode(lease)?);
        batch.put(self.due(lease.due, place.id)?, Expect::New, pointer.duplicate());
        batch.put(self.owned(place, lease)?, Expect::New, pointer);
        Ok(())
    }

    /// Changes a lease that was read as `before`, of this version.
    pub(crate) fn update(
        self,
        batch: &mut Batch,
        place: &Place,
        (before, version): (&LeaseRecord, u64),
        after: &LeaseRecord,
    ) -> Result<(), Failure> {
        batch.put(self.lease(place)?, Expect::Version(version), codec::encode(after)?);
        if bucket(before.due) != bucket(after.due) {
            batch.delete(self.due(before.due, place.id)?, Expect::Any);
            batch.put(self.due(after.due, place.id)?, Expect::Absent, codec::encode(place)?);
        }
        Ok(())
    }

    /// Takes a lease away.
    pub(crate) fn remove(self, batch: &mut Batch, place: &Place, lease: &LeaseRecord, version: u64) -> Result<(), Failure> {
        batch.delete(self.lease(place)?, Expect::Version(version));
        batch.delete(self.due(lease.due, place.id)?, Expect::Any);
        batch.delete(self.owned(place, lease)?, Expect::Any);
        Ok(())
    }

    fn owned(self, place: &Place, lease: &LeaseRecord) -> Result<RecordKey, Failure> {
        self.of_owner(&lease.owner)?.child(place.id.as_bytes()).map_err(|_| Failure::internal("a lease's name is not one"))
    }
}

/// A pointer to a lease.
pub(crate) fn place(pointer: &SecretBytes) -> Result<Place, Failure> {
    codec::decode(pointer.expose())
}

/// The minute, and the second in it, that a moment is in: what is due then is due when the second is over.
pub(crate) fn bucket(moment: Timestamp) -> (u64, u8) {
    let secs = moment.secs();
    (secs / SECONDS, u8::try_from(secs % SECONDS).unwrap_or(0))
}
