//! Leases as they are shown, and what people do about them.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use coffer_core::{
    action::Action,
    clock::Timestamp,
    id::{LeaseId, MountId},
    path::Path,
    policy::Resource,
    principal::Name,
    reason::Reason,
};

use super::{
    LeaseName, LeaseRecord, LeaseState, Owner, Target,
    ending::{Why, is_stuck, name_of},
    index::{Index, Place},
    record::CREDENTIALS,
};
use crate::{Authenticated, Failure, Unsealed};

/// A lease as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseInfo {
    /// What it is called.
    pub name: LeaseName,
    /// Whose it is.
    pub principal: String,
    /// Its pod's UID; `None` for an operator's.
    pub pod_uid: Option<String>,
    /// When it was made.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When it ends at the latest.
    pub expires_at_most: Timestamp,
    /// Its state.
    pub state: LeaseState,
    /// Whether somebody should look.
    pub stuck: bool,
    /// How often ending it has failed.
    pub attempts: u32,
    /// Why, the last time.
    pub error: String,
    /// When it is tried again.
    pub due: Timestamp,
}

impl LeaseInfo {
    pub(super) fn new(name: LeaseName, lease: &LeaseRecord) -> Self {
        Self {
            name,
            principal: lease.principal.clone(),
            pod_uid: match &lease.owner {
                Owner::Pod(_, uid) => Some(uid.clone()),
                Owner::Operator(_) => None,
            },
            issued: lease.issued,
            expires: lease.expires,
            expires_at_most: lease.expires_at_most,
            state: lease.state,
            stuck: is_stuck(lease),
            attempts: lease.attempts,
            error: lease.error.clone(),
            due: lease.due,
        }
    }
}

/// Which leases are meant.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Those of credentials at or below this path.
    pub path: Option<Path>,
    /// Those of this principal.
    pub principal: Option<String>,
    /// Only those that somebody should look at.
    pub stuck: bool,
}

fn absent() -> Failure {
    Failure::new(Reason::NotFound, "there is no such lease (any more)")
}

impl Unsealed {
    /// Where the lease of this name is.
    fn place_of(&self, name: &LeaseName) -> Result<Place, Failure> {
        let mount = self.mounts.find(&name.mount).ok_or_else(absent)?.value.id;
        Ok(Place { mount, role: name.role.to_string(), id: name.id })
    }

    /// A lease of the caller's own.
    pub(super) async fn own_lease(&self, who: &Authenticated, name: &LeaseName) -> Result<(Place, LeaseRecord, u64), Failure> {
        let place = self.place_of(name)?;
        let (lease, version) = self.lease(&place).await?.ok_or_else(absent)?;
        let is_own = lease.principal == who.caller.principal.to_string() && Owner::of(&who.claims.holder)? == lease.owner;
        if is_own { Ok((place, lease, version)) } else { Err(absent()) }
    }

    /// The lease of this name: one's own, or any for whom policy permits this action.
    async fn lease_for(&self, who: &Authenticated, name: &LeaseName, action: Action) -> Result<(Place, LeaseRecord), Failure> {
        if self.decide(who, action, &Resource::System).permitted {
            let place = self.place_of(name)?;
            let (lease, _) = self.lease(&place).await?.ok_or_else(absent)?;
            return Ok((place, lease));
        }
        // Somebody else's looks like one that is not there.
        match self.own_lease(who, name).await {
            Ok((place, lease, _)) => Ok((place, lease)),
            Err(failure) if failure.reason == Reason::NotFound => Err(Failure::not_found_or_denied()),
            Err(failure) => Err(failure),
        }
    }

    /// A lease.
    ///
    /// # Errors
    /// Fails where there is none that the caller may see.
    pub async fn show_lease(&self, who: &Authenticated, name: &LeaseName) -> Result<LeaseInfo, Failure> {
        let (_, lease) = self.lease_for(who, name, Action::LeasesRead).await?;
        Ok(LeaseInfo::new(name.clone(), &lease))
    }

    /// Ends a credential: when this returns, it has ended.
    ///
    /// # Errors
    /// Fails where there is none that the caller may end, or it cannot be ended now; then that is tried again.
    pub async fn revoke_lease(self: &Arc<Self>, who: &Authenticated, name: &LeaseName) -> Result<(), Failure> {
        let (place, _) = self.lease_for(who, name, Action::LeasesManage).await?;
        self.end_lease(&place, Why::Revoked).await
    }

    /// Begins to end credentials; answers how many.
    ///
    /// # Errors
    /// Fails where the store does.
    pub async fn revoke_leases(self: &Arc<Self>, which: &Which) -> Result<u64, Failure> {
        let mut count = 0;
        for (mount, _) in self.mounts_of(which) {
            for role in self.roles_with_leases(mount, which).await? {
                for shard in self.shards(mount, &role).await? {
                    for (_, place) in self.leases_in(shard, mount, &role, which).await? {
                        if !self.end_in_turn(place.clone(), Why::Revoked).await {
                            self.end_soon(&place).await?;
                        }
                        count += 1;
                    }
                }
            }
        }
        Ok(count)
    }

    /// Whether one of these leases is such.
    pub(crate) async fn any_lease(&self, which: &Which, such: impl Fn(&LeaseRecord) -> bool) -> Result<bool, Failure> {
        for (mount, _) in self.mounts_of(which) {
            for role in self.roles_with_leases(mount, which).await? {
                for shard in self.shards(mount, &role).await? {
                    if self.leases_in(shard, mount, &role, which).await?.iter().any(|(lease, _)| such(lease)) {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// The users of a connection's database that leases know.
    pub(crate) async fn leased_users(&self, which: &Which, of: &Name) -> Result<BTreeSet<String>, Failure> {
        let users = Mutex::new(BTreeSet::new());
        let note = |lease: &LeaseRecord| {
            match &lease.target {
                Target::Database { connection, user, .. } if connection == of.as_str() => {
                    users.lock().unwrap_or_else(PoisonError::into_inner).insert(user.clone());
                }
                Target::Database { .. } | Target::Token { .. } => {}
            }
            false
        };
        self.any_lease(which, note).await?;
        Ok(users.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets a lease whose credential cannot be ended.
    ///
    /// # Errors
    /// Fails where there is none, or ending it has not failed often enough.
    pub async fn forget_lease(self: &Arc<Self>, name: &LeaseName) -> Result<(), Failure> {
        let place = self.place_of(name)?;
        let (lease, _) = self.lease(&place).await?.ok_or_else(absent)?;
        if !is_stuck(&lease) {
            return Err(Failure::new(
                Reason::Conflict,
                "the lease is not stuck: revoke it, and the vault ends the credential by itself",
            ));
        }
        self.remove_lease(&place, "forgotten").await
    }

    /// A page of leases behind a token, and the token of the next.
    ///
    /// # Errors
    /// Fails where the token is none of this list's, or the store fails.
    pub async fn list_leases(
        &self,
        which: &Which,
        after: &str,
        limit: usize,
    ) -> Result<(Vec<LeaseInfo>, Option<String>), Failure> {
        let after: Option<LeaseName> = if after.is_empty() { None } else { Some(after.parse()?) };
        let mut page: Vec<LeaseInfo> = Vec::new();
        for (mount, mount_name) in self.mounts_of(which) {
            if after.as_ref().is_some_and(|after| mount_name < after.mount) {
                continue;
            }
            let in_mount = after.as_ref().filter(|after| after.mount == mount_name);
            for role in self.roles_with_leases(mount, which).await? {
                if in_mount.is_some_and(|after| role.as_str() < after.role.as_str()) {
                    continue;
                }
                let from = in_mount.filter(|after| after.role.as_str() == role).map(|after| after.id);
                for shard in self.shards(mount, &role).await? {
                    if from.is_some_and(|from| from.as_bytes().first().is_some_and(|first| shard < *first)) {
                        continue;
                    }
                    let found = self.leases_in(shard, mount, &role, which).await?;
                    for (lease, place) in found.into_iter().filter(|(_, place)| from.is_none_or(|from| place.id > from)) {
                        if page.len() == limit {
                            return Ok((page.clone(), page.last().map(|last| last.name.to_string())));
                        }
                        page.push(LeaseInfo::new(name_of(&place, &lease)?, &lease));
                    }
                }
            }
        }
        Ok((page, None))
    }

    /// The mounts that are meant, by name.
    fn mounts_of(&self, which: &Which) -> Vec<(MountId, String)> {
        let meant = |name: &str| which.path.as_ref().is_none_or(|path| path.mount() == name);
        self.mounts.all().into_iter().filter(|(name, _)| meant(name)).map(|(name, row)| (row.value.id, name)).collect()
    }

    /// The roles of a mount that have leases and are meant.
    async fn roles_with_leases(&self, mount: MountId, which: &Which) -> Result<Vec<String>, Failure> {
        let wanted = match &which.path {
            None => None,
            Some(path) => {
                let below: Vec<&str> = path.below_mount().collect();
                match below.as_slice() {
                    [] | [CREDENTIALS] => None,
                    [CREDENTIALS, role] => Some((*role).to_owned()),
                    _ => return Err(Failure::new(Reason::PathInvalid, "leases are at MOUNT, or MOUNT/creds/ROLE")),
                }
            }
        };
        let roles = self.barrier.children_once(&Index(self.tenant.id).of_mount(mount)?).await?;
        let roles = roles.into_iter().filter_map(|child| String::from_utf8(child.name).ok());
        Ok(roles.filter(|role| wanted.as_ref().is_none_or(|wanted| wanted == role)).collect())
    }

    async fn shards(&self, mount: MountId, role: &str) -> Result<Vec<u8>, Failure> {
        let shards = self.barrier.children_once(&Index(self.tenant.id).of_role(mount, role)?).await?;
        Ok(shards.iter().filter_map(|child| child.name.first().copied()).collect())
    }

    /// The leases of a role that are meant and whose ids begin with this byte, in the order of their ids.
    async fn leases_in(
        &self,
        shard: u8,
        mount: MountId,
        role: &str,
        which: &Which,
    ) -> Result<Vec<(LeaseRecord, Place)>, Failure> {
        let mut leases = Vec::new();
        let directory = Index(self.tenant.id).at([b"at".as_slice(), mount.as_bytes(), role.as_bytes(), &[shard]])?;
        for (name, stored) in self.barrier.children_records(&directory).await? {
            let Ok(id) = <[u8; 16]>::try_from(name.as_slice()) else { continue };
            let lease: LeaseRecord = crate::codec::decode(stored.value.expose())?;
            let meant = which.principal.as_ref().is_none_or(|principal| *principal == lease.principal)
                && (!which.stuck || is_stuck(&lease));
            if meant {
                leases.push((lease, Place { mount, role: role.to_owned(), id: LeaseId::from_bytes(id) }));
            }
        }
        Ok(leases)
    }
}
