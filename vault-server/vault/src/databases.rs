//! Databases: their configuration, and connections to them that are in use.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use coffer_core::{clock::Timestamp, id::MountId, path::Path, principal::Name, reason::Reason};
use coffer_databases::{Database, DatabaseError, Fault, NewUser, connect};
use coffer_engines::database::{
    ConnectionSettings, DatabaseEngineError, Databases, RoleSettings, Stored, new_password, user_name, users_prefix,
};
use coffer_secret::SecretString;

use crate::{
    Engine, Failure, Planned, Record, Unsealed,
    leases::{LeaseRecord, Target, Which, told, untold},
};

/// How long a user lasts in the database that is made to try a role, should its end fail.
const TRIAL_SECS: u64 = 5 * 60;

/// Databases in use, by mount and connection.
#[derive(Default)]
pub(crate) struct InUse(Mutex<BTreeMap<(MountId, String), Used>>);

/// A database, and which write of its record it was made of.
type Used = (u64, Arc<dyn Database>);

impl InUse {
    /// The one that was made of this version of its record.
    fn get(&self, mount: MountId, name: &Name, version: u64) -> Option<Arc<dyn Database>> {
        let in_use = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, database) = in_use.get(&(mount, name.to_string()))?;
        (*of == version).then(|| Arc::clone(database))
    }

    fn put(&self, mount: MountId, name: &Name, version: u64, database: &Arc<dyn Database>) {
        let mut in_use = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.insert((mount, name.to_string()), (version, Arc::clone(database)));
    }

    /// Closes what is in use of a mount, or of one of its connections: passwords of what is gone are not kept.
    pub(crate) fn close(&self, mount: MountId, name: Option<&Name>) {
        let mut in_use = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.retain(|(of, connection), _| *of != mount || name.is_some_and(|name| name.as_str() != connection));
    }
}

impl From<DatabaseEngineError> for Failure {
    fn from(error: DatabaseEngineError) -> Self {
        let told = |reason| Self::told(reason, error.to_string());
        match error {
            DatabaseEngineError::Name | DatabaseEngineError::Setting(_) | DatabaseEngineError::Statements(_) => {
                told(Reason::InvalidArgument)
            }
            DatabaseEngineError::NotFound | DatabaseEngineError::NoConnection => told(Reason::NotFound),
            DatabaseEngineError::Needed(_) | DatabaseEngineError::Taken(_) => told(Reason::Conflict),
            DatabaseEngineError::TooMany => told(Reason::LimitExceeded),
            DatabaseEngineError::Record => Self::internal("a record of the engine database cannot be read"),
            DatabaseEngineError::Barrier(error) => error.into(),
        }
    }
}

/// A path of the engine's configuration.
pub struct DatabasePath {
    /// The whole path.
    pub path: Path,
    name: Option<Name>,
}

impl DatabasePath {
    /// A path `MOUNT/DIRECTORY/NAME`, or `MOUNT/DIRECTORY` where a list is asked for.
    ///
    /// # Errors
    /// Fails where it is another.
    pub fn parse(text: &str, directory: &'static str, of_list: bool) -> Result<Self, Failure> {
        let path: Path = text.parse()?;
        let below: Vec<&str> = path.below_mount().collect();
        let name = match below.as_slice() {
            [given] if *given == directory && of_list => None,
            [given, name] if *given == directory && !of_list => Some(name.parse().map_err(|_| {
                Failure::invalid("the name of a connection or role has 1 to 64 of a-z 0-9 . - _ and begins with a letter")
            })?),
            _ => {
                let name = if of_list { "" } else { "/NAME" };
                return Err(Failure::told(Reason::PathInvalid, format!("the path is MOUNT/{directory}{name}")));
            }
        };
        Ok(Self { path, name })
    }

    pub(crate) fn name(&self) -> Result<&Name, Failure> {
        self.name.as_ref().ok_or_else(|| Failure::internal("a path without a name"))
    }
}

/// The name of a connection, as a role or a lease has it.
pub(crate) fn connection_name(stored: &str) -> Result<Name, Failure> {
    stored.parse().map_err(|_| Failure::internal("a connection's name is not one"))
}

impl Unsealed {
    pub(crate) fn databases(&self, path: &DatabasePath) -> Result<(Databases, MountId), Failure> {
        let mount = self.mount_of(&path.path, Engine::Database)?;
        Ok((Databases::new(self.tenant.id, mount), mount))
    }

    /// A database in use.
    ///
    /// # Errors
    /// Fails where there is no such connection, or it cannot be used as it is configured.
    pub(crate) async fn database(&self, mount: MountId, name: &Name) -> Result<Arc<dyn Database>, Failure> {
        let databases = Databases::new(self.tenant.id, mount);
        let stored = databases.connection(&self.barrier, name).await?;
        let Stored { record, version } =
            stored.ok_or_else(|| Failure::new(Reason::NotFound, "the connection of this role is not there any more"))?;
        if let Some(database) = self.databases_in_use.get(mount, name, version) {
            return Ok(database);
        }
        let connection = |with_next| Ok::<_, Failure>(record.connection(with_next)?);
        let current = connection(false)?.ok_or_else(|| Failure::internal("a connection without a password"))?;
        let mut database = connect(current).map_err(|error| told(&error))?;
        // A password was being given to the vault's user when the vault stopped: which of the two holds, the database knows.
        if let Some(next) = connection(true)?
            && matches!(database.check().await, Err(DatabaseError { fault: Fault::Refused, .. }))
        {
            database = connect(next).map_err(|error| told(&error))?;
            database.check().await.map_err(|error| untold(&error))?;
            let planned = databases.finish_rotation(&self.barrier, name, self.now()).await?;
            self.barrier.commit(planned.batch).await?;
            return Ok(database);
        }
        self.databases_in_use.put(mount, name, version, &database);
        Ok(database)
    }

    /// Tries a connection as it is to be.
    ///
    /// # Errors
    /// Fails where a setting cannot be, or the database cannot be used so.
    pub async fn try_connection(
        &self,
        path: &DatabasePath,
        settings: ConnectionSettings,
        password: Option<&SecretString>,
    ) -> Result<(), Failure> {
        let (databases, _) = self.databases(path)?;
        let new = databases.new_connection(&self.barrier, path.name()?, settings, password, self.now()).await?;
        let connection = new.record.connection(false)?.ok_or_else(|| Failure::internal("a connection without a password"))?;
        let database = connect(connection).map_err(|error| told(&error))?;
        database.check().await.map_err(|error| told(&error))
    }

    /// Plans a connection, new or changed.
    ///
    /// # Errors
    /// Fails where a setting cannot be.
    pub async fn put_connection(
        self: &Arc<Self>,
        path: &DatabasePath,
        settings: ConnectionSettings,
        password: Option<&SecretString>,
    ) -> Result<Planned<()>, Failure> {
        let (databases, mount) = self.databases(path)?;
        let new = databases.new_connection(&self.barrier, path.name()?, settings, password, self.now()).await?;
        let planned = databases.put_connection(&self.barrier, path.name()?, &new).await?;
        Ok(self.closing(planned, mount, path.name()?))
    }

    /// Has what is in use of a connection be closed once its record has changed.
    fn closing(self: &Arc<Self>, planned: coffer_engines::Planned<()>, mount: MountId, name: &Name) -> Planned<()> {
        let (vault, name) = (Arc::clone(self), name.clone());
        let mut planned = Planned::from(planned);
        planned.then.push(Box::new(move || vault.databases_in_use.close(mount, Some(&name))));
        planned
    }

    /// A connection's settings, when they were written, and when its password was made by the vault.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub async fn connection(&self, path: &DatabasePath) -> Result<(ConnectionSettings, Timestamp, Option<Timestamp>), Failure> {
        let (databases, _) = self.databases(path)?;
        let stored = databases.connection(&self.barrier, path.name()?).await?.ok_or(DatabaseEngineError::NotFound)?;
        Ok((stored.record.settings, stored.record.updated, stored.record.rotated))
    }

    /// The names of a mount's connections.
    ///
    /// # Errors
    /// Fails where there is no such mount.
    pub async fn connections(&self, path: &DatabasePath) -> Result<Vec<String>, Failure> {
        Ok(self.databases(path)?.0.connections(&self.barrier).await?)
    }

    /// Plans that a connection goes.
    ///
    /// # Errors
    /// Fails where a role or a lease needs it.
    pub async fn delete_connection(self: &Arc<Self>, path: &DatabasePath) -> Result<Planned<()>, Failure> {
        let (databases, mount) = self.databases(path)?;
        let mount_name: Path = path.path.mount().parse()?;
        let which = Which { path: Some(mount_name), ..Which::default() };
        let needs = |lease: &LeaseRecord| match &lease.target {
            Target::Database { connection, .. } => path.name.as_ref().is_some_and(|name| name.as_str() == connection),
            Target::Token { .. } => false,
        };
        if self.any_lease(&which, needs).await? {
            let message = "leases need the connection to be ended: coffer lease revoke --path MOUNT";
            return Err(Failure::new(Reason::Conflict, message));
        }
        let planned = databases.delete_connection(&self.barrier, path.name()?).await?;
        Ok(self.closing(planned, mount, path.name()?))
    }

    /// Gives the vault's user of a database a password that nobody else knows.
    ///
    /// # Errors
    /// Fails where the database does not do it; which password holds is found out with the next use.
    pub async fn rotate_connection(&self, path: &DatabasePath) -> Result<(), Failure> {
        let (databases, mount) = self.databases(path)?;
        let name = path.name()?;
        let _one_at_a_time = self.rotating.lock().await;
        let password = new_password().map_err(|_| Failure::internal("no random numbers"))?;
        let database = self.database(mount, name).await?;
        let stored = databases.connection(&self.barrier, name).await?.ok_or(DatabaseEngineError::NotFound)?;
        // Stored before it is given, so that it cannot be lost.
        let planned = databases.begin_rotation(&self.barrier, name, &password).await?;
        self.barrier.commit(planned.batch).await?;
        database.set_password(&stored.record.settings.user, &password).await.map_err(|error| told(&error))?;
        let planned = databases.finish_rotation(&self.barrier, name, self.now()).await?;
        let record = Record::event("database_rotated", self.now())?.detailed("connection", &path.path);
        let stored = self.write(planned.batch, &record).await?;
        self.append_written(stored).await
    }

    /// Finds users that this vault made and that no lease knows; ends them unless they are only to be found.
    ///
    /// # Errors
    /// Fails where the database does not do it: what was ended is.
    pub async fn sweep_connection(&self, path: &DatabasePath, only_find: bool) -> Result<Vec<String>, Failure> {
        let (_, mount) = self.databases(path)?;
        let name = path.name()?;
        let database = self.database(mount, name).await?;
        // First the users, then the leases: a user is made after its lease.
        let mut users = database.users(&users_prefix(&self.barrier.vault_id())).await.map_err(|error| told(&error))?;
        let which = Which { path: Some(path.path.mount().parse()?), ..Which::default() };
        let leased = self.leased_users(&which, name).await?;
        users.retain(|user| !leased.contains(user));
        if only_find {
            return Ok(users);
        }
        for user in &users {
            database.end_user(&[], user).await.map_err(|error| told(&error))?;
            let record =
                Record::event("database_user_swept", self.now())?.detailed("connection", &path.path).detailed("user", user);
            self.append(record).await?;
        }
        Ok(users)
    }

    /// Plans a role, new or changed.
    ///
    /// # Errors
    /// Fails where its statements or times cannot be, or there is no such connection.
    pub async fn put_role(&self, path: &DatabasePath, settings: RoleSettings) -> Result<Planned<()>, Failure> {
        let (databases, _) = self.databases(path)?;
        Ok(databases.put_role(&self.barrier, path.name()?, settings, self.now()).await?.into())
    }

    /// A role, and when it was written.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub async fn role(&self, path: &DatabasePath) -> Result<(RoleSettings, Timestamp), Failure> {
        let (databases, _) = self.databases(path)?;
        let stored = databases.role(&self.barrier, path.name()?).await?.ok_or(DatabaseEngineError::NotFound)?;
        Ok((stored.record.settings, stored.record.updated))
    }

    /// The names of a mount's roles.
    ///
    /// # Errors
    /// Fails where there is no such mount.
    pub async fn roles(&self, path: &DatabasePath) -> Result<Vec<String>, Failure> {
        Ok(self.databases(path)?.0.roles(&self.barrier).await?)
    }

    /// Plans that a role goes. Users that were made with it stay.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub async fn delete_role(&self, path: &DatabasePath) -> Result<Planned<()>, Failure> {
        let (databases, _) = self.databases(path)?;
        Ok(databases.delete_role(&self.barrier, path.name()?).await?.into())
    }

    /// Tries a role: makes a user, and ends it.
    ///
    /// # Errors
    /// Fails where either does.
    pub async fn check_role(&self, path: &DatabasePath) -> Result<(), Failure> {
        let (databases, mount) = self.databases(path)?;
        let name = path.name()?;
        let role = databases.role(&self.barrier, name).await?.ok_or(DatabaseEngineError::NotFound)?.record.settings;
        let connection = connection_name(&role.connection)?;
        let database = self.database(mount, &connection).await?;
        let no_random = |_| Failure::internal("no random numbers");
        let user = user_name(&self.barrier.vault_id(), name, database.kind().user_bytes_max()).map_err(no_random)?;
        let password = new_password().map_err(no_random)?;
        let new = NewUser { name: &user, password: &password, expires_secs: self.now().secs() + TRIAL_SECS };
        let made = database.create_user(&role.creation, &new).await;
        let ended = database.end_user(&role.revocation, &user).await;
        if let Err(error) = made {
            return Err(Failure { message: format!("making a user: {error}").into(), ..told(&error) });
        }
        ended.map_err(|error| Failure { message: format!("ending it: {error}").into(), ..told(&error) })
    }
}
