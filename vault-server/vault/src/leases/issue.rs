//! Making credentials: intended, done, confirmed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coffer_barrier::Batch;
use coffer_core::{
    clock::Timestamp,
    id::{LeaseId, MountId, RequestId},
    path::Path,
    principal::Name,
    reason::Reason,
};
use coffer_crypto::random;
use coffer_databases::{ACT_TIME_MAX, NewUser};
use coffer_engines::database::{Databases, RoleRecord, Stored, new_password, user_name};
use coffer_secret::SecretBytes;

use super::{
    LeaseInfo, LeaseName, LeaseRecord, LeaseState, Owner, Target,
    counts::Change,
    index::{Index, Place},
    targets::untold,
};
use crate::{Authenticated, Engine, Failure, Planned, PolicyChange, Record, Unsealed, databases::connection_name};

/// A credential that is made outside, and not yet confirmed.
pub(crate) struct Leased {
    /// What its owner gets, as of a secret.
    pub(crate) fields: BTreeMap<String, SecretBytes>,
    /// What its lease is called.
    name: LeaseName,
    place: Place,
    /// When it ends where it is good, if that is sooner than its lease says.
    ends: Option<Timestamp>,
}

impl Leased {
    /// Notes when it ends where it is good.
    pub(crate) const fn ends_by(&mut self, ends: Timestamp) {
        self.ends = Some(ends);
    }
}

/// A lease that is new.
pub(crate) struct NewLease {
    pub(crate) id: LeaseId,
    pub(crate) mount: MountId,
    pub(crate) owner: Owner,
    pub(crate) now: Timestamp,
    pub(crate) expires: Timestamp,
    /// When it ends at the latest.
    pub(crate) expires_at_most: Timestamp,
    /// How long it may take to make the credential.
    pub(crate) act: Duration,
    /// The request that it is made for.
    pub(crate) request: RequestId,
    pub(crate) target: Target,
}

impl Unsealed {
    /// Makes a user of a database, as the role of a path says. It is not to be given out before it is confirmed.
    ///
    /// # Errors
    /// Fails where there is no such role, a limit is reached, or the target fails: what was begun there is undone then.
    pub(crate) async fn make_user(
        self: &Arc<Self>,
        who: &Authenticated,
        (path, role): (&Path, Name),
        ttl: Option<Duration>,
        request: RequestId,
    ) -> Result<Leased, Failure> {
        self.time_is_right()?;
        let owner = Owner::of(&who.claims.holder)?;
        let mount = self.mount_of(path, Engine::Database)?;
        let databases = Databases::new(self.tenant.id, mount);
        let Stored { record: RoleRecord { settings, .. }, .. } = databases
            .role(&self.barrier, &role)
            .await?
            .ok_or_else(|| Failure::new(Reason::NotFound, "there is no role of this name in the mount"))?;
        let connection = connection_name(&settings.connection)?;
        let database = self.database(mount, &connection).await?;

        let no_random = |_| Failure::internal("no random numbers");
        let user = user_name(&self.barrier.vault_id(), &role, database.kind().user_bytes_max());
        let (user, password) = (user, new_password());
        let (user, password) = (user.map_err(no_random)?, password.map_err(no_random)?);
        let now = self.now();
        let expires = whole_second(now.plus(settings.ttl(ttl)));
        let new = NewLease {
            id: LeaseId::from_bytes(random::bytes().map_err(no_random)?),
            mount,
            owner,
            now,
            expires,
            expires_at_most: whole_second(now.plus(settings.max_ttl())),
            act: ACT_TIME_MAX,
            request,
            target: Target::Database { connection: connection.to_string(), user: user.clone(), revocation: settings.revocation },
        };
        let mut leased = self.intended(who, path, role, new).await?;
        let new = NewUser { name: &user, password: &password, expires_secs: expires.secs() };
        if let Err(error) = database.create_user(&settings.creation, &new).await {
            self.undo(&leased).await;
            return Err(untold(&error));
        }
        leased.fields = BTreeMap::from([
            ("password".to_owned(), password.into_bytes()),
            ("username".to_owned(), SecretBytes::copied_from(user.as_bytes())),
        ]);
        Ok(leased)
    }

    /// Stores what is about to be done: a lease without a credential yet.
    ///
    /// # Errors
    /// Fails where there are too many leases, or the store fails.
    pub(crate) async fn intended(
        self: &Arc<Self>,
        who: &Authenticated,
        path: &Path,
        role: Name,
        new: NewLease,
    ) -> Result<Leased, Failure> {
        let lease = LeaseRecord {
            mount: new.mount,
            mount_name: path.mount().to_owned(),
            role: role.to_string(),
            principal: who.caller.principal.to_string(),
            owner: new.owner,
            issued: new.now,
            expires: new.expires,
            expires_at_most: new.expires_at_most,
            state: LeaseState::Pending,
            // Not confirmed by then, it never will be.
            due: new.now.plus(2 * new.act),
            attempts: 0,
            error: String::new(),
            request: new.request,
            target: new.target,
            conditional: self.is_conditional(who, path),
        };
        let place = Place { mount: new.mount, role: role.to_string(), id: new.id };
        let name = LeaseName { mount: lease.mount_name.clone(), role, id: new.id };
        self.intend(&name, &place, lease).await?;
        Ok(Leased { fields: BTreeMap::new(), name, place, ends: None })
    }

    async fn intend(self: &Arc<Self>, name: &LeaseName, place: &Place, lease: LeaseRecord) -> Result<(), Failure> {
        let record = Record::event("lease_intent", self.now())?
            .detailed("lease", name)
            .detailed("for", &lease.principal)
            .detailed("request", lease.request);
        self.count(Change::Added(place.clone(), Box::new((lease, record)))).await
    }

    /// Has a credential that was not made be ended at once, in the background.
    pub(crate) async fn undo(&self, leased: &Leased) {
        if let Err(failure) = self.end_soon(&leased.place).await {
            tracing::warn!(%failure, "what was begun in a target is undone later than at once");
        }
    }

    /// Plans that a credential that was made is given out: its lease is live from then on. Notes in the record what is
    /// released.
    ///
    /// # Errors
    /// Fails where the credential was ended meanwhile, for it took too long.
    pub(crate) async fn confirm_credential(&self, made: &Leased, record: &mut Record) -> Result<Planned<LeaseInfo>, Failure> {
        let late = || Failure::new(Reason::TargetUnavailable, "the credential took too long, and is being ended: ask again");
        let (lease, version) = self.lease(&made.place).await?.ok_or_else(late)?;
        if lease.state != LeaseState::Pending {
            return Err(late());
        }
        let latest = made.ends.unwrap_or(lease.expires_at_most).min(lease.expires_at_most);
        let expires = lease.expires.min(latest);
        let live = LeaseRecord { state: LeaseState::Live, expires, expires_at_most: latest, due: expires, ..lease.clone() };
        let mut batch = Batch::default();
        Index(self.tenant.id).update(&mut batch, &made.place, (&lease, version), &live)?;
        record.detail("lease", &made.name);
        record.detail("expires", live.expires.secs());
        record.values(made.fields.iter().map(|(name, value)| (name, self.values.hash(value.expose()))));
        let answer = LeaseInfo::new(made.name.clone(), &live);
        Ok(Planned { batch, answer, then: Vec::new(), policy: PolicyChange::None })
    }

    /// Lets a credential last longer where it is good, for its owner; gives the state to plan from.
    ///
    /// # Errors
    /// Fails where there is no such lease, it is somebody else's, or is not live.
    pub async fn renew_credential(
        &self,
        who: &Authenticated,
        name: &LeaseName,
        ttl: Option<Duration>,
    ) -> Result<Renewed, Failure> {
        self.time_is_right()?;
        let (place, lease, _) = self.own_lease(who, name).await?;
        if lease.state != LeaseState::Live {
            return Err(Failure::new(Reason::NotFound, "the credential is being ended"));
        }
        let asked = match &lease.target {
            Target::Database { .. } => {
                let databases = Databases::new(self.tenant.id, lease.mount);
                let role = databases.role(&self.barrier, &name.role).await?;
                let gone = || Failure::new(Reason::NotFound, "the credential's role is gone: it ends when it ends");
                self.now().plus(role.ok_or_else(gone)?.record.settings.ttl(ttl))
            }
            // As long as it ever will.
            Target::Token { .. } => lease.expires,
        };
        // Never shorter for being renewed, and never past what was told when it was made.
        let expires = whole_second(asked).max(lease.expires).min(lease.expires_at_most);
        if expires > lease.expires {
            self.renew_target(&lease, expires).await?;
        }
        Ok(Renewed { name: name.clone(), place, expires })
    }

    /// Plans that a lease lasts as long as its credential does.
    ///
    /// # Errors
    /// Fails where it is not live any more.
    pub async fn confirm_renewal(&self, renewed: &Renewed) -> Result<Planned<LeaseInfo>, Failure> {
        let ended = || Failure::new(Reason::NotFound, "the credential is being ended");
        let (lease, version) = self.lease(&renewed.place).await?.ok_or_else(ended)?;
        if lease.state != LeaseState::Live {
            return Err(ended());
        }
        let longer = LeaseRecord { expires: renewed.expires, due: renewed.expires, ..lease.clone() };
        let mut batch = Batch::default();
        Index(self.tenant.id).update(&mut batch, &renewed.place, (&lease, version), &longer)?;
        let answer = LeaseInfo::new(renewed.name.clone(), &longer);
        Ok(Planned { batch, answer, then: Vec::new(), policy: PolicyChange::None })
    }
}

/// A credential that lasts longer where it is good.
pub struct Renewed {
    name: LeaseName,
    place: Place,
    expires: Timestamp,
}

/// Targets know seconds: what is told is what holds there, too.
pub(crate) fn whole_second(moment: Timestamp) -> Timestamp {
    Timestamp::from_secs(moment.secs())
}
