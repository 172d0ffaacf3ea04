//! Static roles: when their users are given new passwords, and when those before end.
//!
//! Each role has one turn at a time. What a turn does follows from the role as it is stored, so that it can begin anywhere: a
//! password that was being given is given again, one whose time has come is replaced, a user whose successor has reached
//! everybody is retired. Retiring is to give a user a password that nobody has.

mod due;
mod holders;
mod turn;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coffer_barrier::PhysicalKey;
use coffer_core::{clock::Timestamp, id::MountId, path::Path, principal::Name, reason::Reason};
use coffer_engines::database::{DatabaseEngineError, Databases, StaticRoleSettings};
use coffer_secret::SecretBytes;

use crate::{
    Authenticated, DatabasePath, Engine, Failure, Newest, Planned, Unsealed,
    leases::{Owner, told},
};

pub(crate) use due::StaticTurns;

use turn::Turn;

/// The directory of paths below which static credentials are.
pub(crate) const STATIC_CREDENTIALS: &str = "static-creds";

/// How long a credential is good at least, as told, where its rotation is late.
const EXPIRES_MIN: Duration = Duration::from_secs(60);

/// A role of a mount.
type Key = (MountId, Name);

/// A static credential as it is given out.
pub(crate) struct StaticCredential {
    /// What its holder gets, as of a secret.
    pub fields: BTreeMap<String, SecretBytes>,
    /// Its version.
    pub version: u64,
    /// When it was made.
    pub rotated: Timestamp,
    /// When there is another at the latest, if all goes well: with one user it ends then.
    pub expires: Timestamp,
}

/// A static role as it is shown.
pub struct StaticRoleInfo {
    /// What is set.
    pub settings: StaticRoleSettings,
    /// When it was written.
    pub updated: Timestamp,
    /// The version of its credential; 0 before the first rotation.
    pub version: u64,
    /// The user in turn.
    pub user: Option<String>,
    /// When that was given its password.
    pub rotated: Option<Timestamp>,
    /// When the next rotation is due.
    pub next_rotation: Timestamp,
    /// The user before, while it is good, and until when.
    pub previous: Option<(String, Timestamp)>,
    /// How many hold the credential before, and have not acknowledged the present one.
    pub waiting_for: usize,
    /// Why the last step failed.
    pub error: String,
}

impl Unsealed {
    /// Tries whether the database has a role's users.
    ///
    /// # Errors
    /// Fails where it has not, or cannot be asked.
    pub async fn try_static_role(&self, path: &DatabasePath, settings: &StaticRoleSettings) -> Result<(), Failure> {
        let (_, mount) = self.databases(path)?;
        let connection: Name = settings.connection.parse().map_err(|_| DatabaseEngineError::NoConnection)?;
        let database = self.database(mount, &connection).await?;
        for user in &settings.users {
            let found = database.users(user).await.map_err(|error| told(&error))?;
            if !found.contains(user) {
                let message = "the database has no user of this name: make it first, with the rights that it needs";
                return Err(Failure::new(Reason::TargetRefused, message));
            }
        }
        Ok(())
    }

    /// Plans a static role, new or changed; its turn is next.
    ///
    /// # Errors
    /// Fails where a setting cannot be.
    pub async fn put_static_role(
        self: &Arc<Self>,
        path: &DatabasePath,
        settings: StaticRoleSettings,
    ) -> Result<Planned<()>, Failure> {
        let (databases, mount) = self.databases(path)?;
        let name = path.name()?.clone();
        let planned = databases.put_static_role(&self.barrier, &name, settings, self.now()).await?;
        let vault = Arc::clone(self);
        let mut planned = Planned::from(planned);
        planned.then.push(Box::new(move || vault.static_turns.look_at((mount, name), vault.now())));
        Ok(planned)
    }

    /// A static role.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub async fn static_role(&self, path: &DatabasePath) -> Result<StaticRoleInfo, Failure> {
        let (databases, mount) = self.databases(path)?;
        let name = path.name()?.clone();
        let found = databases.static_role(&self.barrier, &name).await?.ok_or(DatabaseEngineError::NotFound)?.record;
        let (waiting_for, error) = self.static_turns.of((mount, name), |turns| {
            let waiting = if found.previous.is_some() { turns.holders.behind(found.version) } else { 0 };
            (waiting, turns.error.clone())
        });
        Ok(StaticRoleInfo {
            updated: found.updated,
            version: found.version,
            user: found.user().map(str::to_owned),
            rotated: found.rotated,
            next_rotation: found.due(),
            previous: found.previous.map(|previous| (previous.user, previous.until)),
            settings: found.settings,
            waiting_for,
            error,
        })
    }

    /// The names of a mount's static roles.
    ///
    /// # Errors
    /// Fails where there is no such mount.
    pub async fn static_roles(&self, path: &DatabasePath) -> Result<Vec<String>, Failure> {
        Ok(self.databases(path)?.0.static_roles(&self.barrier).await?)
    }

    /// Plans that a static role goes. Its users stay, with the passwords that they have.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub async fn delete_static_role(self: &Arc<Self>, path: &DatabasePath) -> Result<Planned<()>, Failure> {
        let (databases, mount) = self.databases(path)?;
        let name = path.name()?.clone();
        let mut planned = Planned::from(databases.delete_static_role(&self.barrier, &name).await?);
        let vault = Arc::clone(self);
        planned.then.push(Box::new(move || vault.static_turns.forget(&(mount, name))));
        Ok(planned)
    }

    /// Rotates a static role now; gives the new version.
    ///
    /// # Errors
    /// Fails where the database does not do it, or the credential before is good still and is not to end at once.
    pub async fn rotate_static_role(&self, path: &DatabasePath, at_once: bool) -> Result<u64, Failure> {
        let (_, mount) = self.databases(path)?;
        self.static_turn(&(mount, path.name()?.clone()), Turn::Rotate { at_once }).await.map_err(|trouble| trouble.told())
    }

    /// The credential of a path, `MOUNT/static-creds/ROLE`, noting that its owner has it from now on.
    ///
    /// # Errors
    /// Fails where there is none, or it is not known which password holds.
    pub(crate) async fn static_credential(&self, who: &Authenticated, path: &Path) -> Result<StaticCredential, Failure> {
        let owner = Owner::of(&who.claims.holder)?;
        let key = self.static_key(path)?;
        let databases = Databases::new(self.tenant.id, key.0);
        let read = async || {
            let found = databases.static_role(&self.barrier, &key.1).await?;
            Ok::<_, Failure>(
                found.ok_or_else(|| Failure::new(Reason::NotFound, "there is no static role of this name in the mount"))?.record,
            )
        };
        let mut role = read().await?;
        if role.user().is_none() || role.in_doubt() {
            self.static_turn(&key, Turn::Settle).await.map_err(|trouble| trouble.untold())?;
            role = read().await?;
        }
        let no_password = || Failure::new(Reason::TargetUnavailable, "the database was not given the password yet: try again");
        let (user, password) = role.current()?.ok_or_else(no_password)?;
        let fields = BTreeMap::from([
            ("password".to_owned(), password.into_bytes()),
            ("username".to_owned(), SecretBytes::copied_from(user.as_bytes())),
        ]);
        let version = role.version;
        self.static_turns.of(key, |turns| turns.holders.given(owner, version));
        // A rotation that is late does not end it.
        let expires = role.due().max(self.now().plus(EXPIRES_MIN));
        Ok(StaticCredential { fields, version, rotated: role.rotated.unwrap_or(role.updated), expires })
    }

    /// Notes that the caller uses this version of a static credential, or a later one, and none before.
    ///
    /// # Errors
    /// Fails where there is no such credential.
    pub async fn acknowledge_credential(&self, who: &Authenticated, path: &Path, version: u64) -> Result<(), Failure> {
        let owner = Owner::of(&who.claims.holder)?;
        let key = self.static_key(path)?;
        let found = Databases::new(self.tenant.id, key.0).static_role(&self.barrier, &key.1).await?;
        let role = found.ok_or(DatabaseEngineError::NotFound)?.record;
        if version > role.version {
            return Err(Failure::invalid("there is no such version of the credential yet"));
        }
        self.static_turns.of(key.clone(), |turns| turns.holders.acknowledged(&owner, version));
        if role.previous.is_some() {
            self.static_turns.look_at(key, self.now());
        }
        Ok(())
    }

    /// Whether a path is that of a static credential: of a mount of the engine, below its directory.
    pub(crate) fn is_static_credential(&self, path: &Path) -> bool {
        path.below_mount().next() == Some(STATIC_CREDENTIALS) && self.mount_of(path, Engine::Database).is_ok()
    }

    fn static_key(&self, path: &Path) -> Result<Key, Failure> {
        let path = DatabasePath::parse(path.as_str(), STATIC_CREDENTIALS, false)?;
        Ok((self.mount_of(&path.path, Engine::Database)?, path.name()?.clone()))
    }

    /// What changes in the store when a static credential does.
    pub(crate) async fn static_credential_key(&self, path: &Path) -> Result<PhysicalKey, Failure> {
        let (mount, name) = self.static_key(path)?;
        Ok(self.barrier.physical(&Databases::new(self.tenant.id, mount).static_role_key(&name)?).await?)
    }

    /// The newest version of a static credential; none where there is none yet.
    pub(crate) async fn newest_static(&self, path: &Path) -> Result<Option<Newest>, Failure> {
        let (mount, name) = self.static_key(path)?;
        let found = Databases::new(self.tenant.id, mount).static_role(&self.barrier, &name).await?;
        let newest = found.and_then(|found| Some((found.record.version, found.record.rotated?)));
        Ok(newest.map(|(version, created)| Newest { version, created, expires: None }))
    }
}
