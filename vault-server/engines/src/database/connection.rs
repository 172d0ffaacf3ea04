//! Connections: how a database is reached.

use coffer_barrier::{Barrier, Batch, Expect, encoding::SecretField};
use coffer_core::{
    clock::Timestamp,
    limits::{CA_BYTES_MAX, DATABASE_HOST_BYTES_MAX, DATABASE_NAME_BYTES_MAX, DATABASE_PASSWORD_BYTES_MAX},
    principal::Name,
};
use coffer_databases::{CONNECTIONS_DEFAULT, CONNECTIONS_MAX, Connection, Kind, Naming, Protection};
use coffer_secret::SecretString;
use serde::{Deserialize, Serialize};

use super::{DatabaseEngineError, Databases, Directory, RoleRecord, Stored};
use crate::Planned;

/// What is set about a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionSettings {
    /// The kind's name.
    pub kind: String,
    /// Host name or address.
    pub host: String,
    /// Port; 0 for the kind's own.
    pub port: u16,
    /// The database's name; empty where the kind needs none.
    pub database: String,
    /// The vault's user.
    pub user: String,
    /// CA certificates, PEM.
    pub ca_pem: String,
    /// The name in the certificate; empty for the host.
    pub server_name: String,
    /// Whether there is no TLS.
    pub plaintext: bool,
    /// Connections at once; 0 for [`CONNECTIONS_DEFAULT`].
    pub connections: u32,
}

impl ConnectionSettings {
    /// The kind.
    pub(super) fn kind(&self) -> Result<Kind, DatabaseEngineError> {
        let found = Kind::ALL.iter().copied().find(|kind| kind.name() == self.kind);
        found.ok_or(DatabaseEngineError::Setting("the kind of a database is postgresql, mysql or redis"))
    }

    /// Refuses what cannot be.
    pub fn check(&self) -> Result<(), DatabaseEngineError> {
        let kind = self.kind()?;
        let refuse = |wrong: bool, message| if wrong { Err(DatabaseEngineError::Setting(message)) } else { Ok(()) };
        let text = |text: &str, max: usize| (1..=max).contains(&text.len()) && !text.chars().any(char::is_control);
        refuse(
            !text(&self.host, DATABASE_HOST_BYTES_MAX) || self.host.contains(['/', ' ', '@']),
            "the host is a name or an address of 1 to 253 bytes",
        )?;
        let (is_named, is_name) = (!self.database.is_empty(), text(&self.database, DATABASE_NAME_BYTES_MAX));
        match kind.database() {
            Naming::Needed => refuse(!is_name, "the database's name has 1 to 63 bytes")?,
            Naming::Possible => refuse(is_named && !is_name, "the database's name has at most 63 bytes")?,
            Naming::None => refuse(is_named, "Redis has no database to name: its users are those of all its databases")?,
        }
        refuse(!text(&self.user, DATABASE_NAME_BYTES_MAX), "the user has 1 to 63 bytes")?;
        refuse(self.ca_pem.len() > CA_BYTES_MAX, "the CA certificates have at most 64 KiB")?;
        refuse(self.connections > CONNECTIONS_MAX, "at most 32 connections at once")?;
        refuse(
            self.plaintext && !(self.ca_pem.is_empty() && self.server_name.is_empty()),
            "a connection without TLS has no CA and no name in a certificate",
        )?;
        refuse(
            !self.plaintext && self.ca_pem.is_empty(),
            "CA certificates that the database's must chain to are needed, or plaintext for a database on the same machine",
        )
    }
}

/// A connection as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionRecord {
    /// What is set.
    pub settings: ConnectionSettings,
    /// The password of the vault's user.
    password: SecretField,
    /// A password that was being given to it: whether the database has it already is not known.
    next: Option<SecretField>,
    /// When it was written.
    pub updated: Timestamp,
    /// When the vault gave its user a password of its own.
    pub rotated: Option<Timestamp>,
}

impl ConnectionRecord {
    /// How the database is reached; `with_next` for the password that was being given to the vault's user.
    pub fn connection(&self, with_next: bool) -> Result<Option<Connection>, DatabaseEngineError> {
        let settings = &self.settings;
        let kind = settings.kind()?;
        let password = if with_next { self.next.as_ref() } else { Some(&self.password) };
        let Some(SecretField(password)) = password else { return Ok(None) };
        let password = password.duplicate().into_text().map_err(|_| DatabaseEngineError::Record)?;
        let protection = if settings.plaintext {
            Protection::None
        } else {
            let server_name = (!settings.server_name.is_empty()).then(|| settings.server_name.clone());
            Protection::Tls { ca_pem: settings.ca_pem.clone(), server_name }
        };
        Ok(Some(Connection {
            kind,
            host: settings.host.clone(),
            port: if settings.port == 0 { kind.port() } else { settings.port },
            database: settings.database.clone(),
            user: settings.user.clone(),
            password,
            protection,
            connections: if settings.connections == 0 { CONNECTIONS_DEFAULT } else { settings.connections },
        }))
    }
}

impl Databases {
    /// A connection; `None` where there is none of this name.
    pub async fn connection(
        &self,
        barrier: &Barrier,
        name: &Name,
    ) -> Result<Option<Stored<ConnectionRecord>>, DatabaseEngineError> {
        self.find(barrier, Directory::Connections, name).await
    }

    /// The names of connections.
    pub async fn connections(&self, barrier: &Barrier) -> Result<Vec<String>, DatabaseEngineError> {
        self.names(barrier, Directory::Connections).await
    }

    /// The record that a connection is to become: `password` in place of the one that there is, which stays where none is
    /// given. Fails where there is none and none is given, or a setting cannot be.
    pub async fn new_connection(
        &self,
        barrier: &Barrier,
        name: &Name,
        settings: ConnectionSettings,
        password: Option<&SecretString>,
        now: Timestamp,
    ) -> Result<Stored<ConnectionRecord>, DatabaseEngineError> {
        settings.check()?;
        if password.is_some_and(|password| password.len() > DATABASE_PASSWORD_BYTES_MAX) {
            return Err(DatabaseEngineError::Setting("the password has at most 1,024 bytes"));
        }
        let before = self.connection(barrier, name).await?;
        // Its roles and leases have statements of its kind.
        if before.as_ref().is_some_and(|before| before.record.settings.kind != settings.kind) {
            return Err(DatabaseEngineError::Setting("a connection stays of its kind: another needs a name of its own"));
        }
        let version = before.as_ref().map_or(0, |before| before.version);
        let record = match (password, before) {
            (Some(password), _) => ConnectionRecord {
                settings,
                password: SecretField(password.duplicate().into_bytes()),
                next: None,
                updated: now,
                rotated: None,
            },
            // A password goes to the host that it was given for, and to no other.
            (None, Some(before)) if same_server(&before.record.settings, &settings) => {
                ConnectionRecord { settings, updated: now, ..before.record }
            }
            (None, Some(_)) => {
                return Err(DatabaseEngineError::Setting("another host, port, user or protection needs the password anew"));
            }
            (None, None) => return Err(DatabaseEngineError::Setting("a new connection needs the password of its user")),
        };
        Ok(Stored { record, version })
    }

    /// Plans to write a connection over the version that it was made of; 0 for none.
    pub async fn put_connection(
        &self,
        barrier: &Barrier,
        name: &Name,
        connection: &Stored<ConnectionRecord>,
    ) -> Result<Planned<()>, DatabaseEngineError> {
        let before = (connection.version > 0).then_some(connection.version);
        let batch = self.put(barrier, Directory::Connections, name, before, &connection.record).await?;
        Ok(Planned { batch, outcome: () })
    }

    /// Plans to note a password that the vault's user is about to be given.
    pub async fn begin_rotation(
        &self,
        barrier: &Barrier,
        name: &Name,
        next: &SecretString,
    ) -> Result<Planned<()>, DatabaseEngineError> {
        let mut stored = self.connection(barrier, name).await?.ok_or(DatabaseEngineError::NotFound)?;
        stored.record.next = Some(SecretField(next.duplicate().into_bytes()));
        self.put_connection(barrier, name, &stored).await
    }

    /// Plans that the password that was being given is the one that holds.
    pub async fn finish_rotation(
        &self,
        barrier: &Barrier,
        name: &Name,
        now: Timestamp,
    ) -> Result<Planned<()>, DatabaseEngineError> {
        let mut stored = self.connection(barrier, name).await?.ok_or(DatabaseEngineError::NotFound)?;
        if let Some(next) = stored.record.next.take() {
            stored.record.password = next;
            stored.record.rotated = Some(now);
        }
        self.put_connection(barrier, name, &stored).await
    }

    /// Plans that a connection goes. Fails where a role needs it.
    pub async fn delete_connection(&self, barrier: &Barrier, name: &Name) -> Result<Planned<()>, DatabaseEngineError> {
        let stored = self.connection(barrier, name).await?.ok_or(DatabaseEngineError::NotFound)?;
        for role in self.roles(barrier).await? {
            let role: Name = role.parse().map_err(|_| DatabaseEngineError::Record)?;
            let found: Option<Stored<RoleRecord>> = self.role(barrier, &role).await?;
            if found.is_some_and(|found| found.record.settings.connection == name.as_str()) {
                return Err(DatabaseEngineError::Needed(role.to_string()));
            }
        }
        for role in self.static_roles(barrier).await? {
            let role: Name = role.parse().map_err(|_| DatabaseEngineError::Record)?;
            let found = self.static_role(barrier, &role).await?;
            if found.is_some_and(|found| found.record.settings.connection == name.as_str()) {
                return Err(DatabaseEngineError::Needed(role.to_string()));
            }
        }
        let mut batch = Batch::default();
        batch.delete(self.key(Directory::Connections, name)?, Expect::Version(stored.version));
        Ok(Planned { batch, outcome: () })
    }
}

fn same_server(a: &ConnectionSettings, b: &ConnectionSettings) -> bool {
    let server = |settings: &ConnectionSettings| {
        (settings.kind.clone(), settings.host.clone(), settings.port, settings.user.clone(), settings.plaintext)
    };
    server(a) == server(b)
}
