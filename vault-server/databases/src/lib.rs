//! Databases outside the vault: users made, renewed and ended in them.
//!
//! [`Database`] is the port, [`connect`] makes an adapter for a [`Connection`]. Every act can be repeated: ending a user who
//! is gone is no error, and ends the sessions that it left behind. Every act has a deadline, within the database too. What a
//! database says stays here and in the server's log, without passwords; a caller learns the kind of an error.

mod endpoint;
mod error;
mod mysql;
mod pool;
mod postgres;
mod redis;
mod template;
mod tls;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use coffer_secret::SecretString;

pub use error::{DatabaseError, Fault};
pub use template::{STATEMENT_BYTES_MAX, STATEMENTS_MAX, TemplateError, check_templates};

/// How long an act may take: connecting, all its statements, waiting for sessions to end.
pub const ACT_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a statement may take within the database, and how long it may wait for a lock.
pub const STATEMENT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection may take.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Connections to a database, unless said otherwise.
pub const CONNECTIONS_DEFAULT: u32 = 4;
/// Connections to a database, at most.
pub const CONNECTIONS_MAX: u32 = 32;
/// How often it is looked whether sessions are gone.
const SESSIONS_LOOK: Duration = Duration::from_millis(10);
/// How long sessions may take to end.
const SESSIONS_TIME_MAX: Duration = Duration::from_secs(5);
/// How long after it was taken a connection to PostgreSQL is taken again without a question whether it still works.
const UNCHECKED_MAX: Duration = Duration::from_secs(1);
/// Names listed at most.
const USERS_MAX: i64 = 1_000;

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MySQL, and MariaDB.
    MySql,
    /// Redis, and Valkey.
    Redis,
}

/// Whether a connection names a database on its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// It must.
    Needed,
    /// It may.
    Possible,
    /// There is none to name.
    None,
}

impl Kind {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::Postgres, Self::MySql, Self::Redis];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::MySql => "mysql",
            Self::Redis => "redis",
        }
    }

    /// The port where nothing else is said.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Postgres => 5_432,
            Self::MySql => 3_306,
            Self::Redis => 6_379,
        }
    }

    /// Whether a connection names a database.
    #[must_use]
    pub const fn database(self) -> Naming {
        match self {
            Self::Postgres => Naming::Needed,
            Self::MySql => Naming::Possible,
            Self::Redis => Naming::None,
        }
    }

    /// Bytes in the name of a user, at most.
    #[must_use]
    pub const fn user_bytes_max(self) -> usize {
        match self {
            Self::Postgres | Self::Redis => 63,
            // MariaDB has 80.
            Self::MySql => 32,
        }
    }
}

/// How a connection is protected.
#[derive(Clone, PartialEq, Eq)]
pub enum Protection {
    /// TLS, with a certificate for the host (or another name) that chains to one of these CA certificates (PEM).
    Tls {
        /// The CA certificates.
        ca_pem: String,
        /// The name in the certificate, where it is not the host.
        server_name: Option<String>,
    },
    /// None: for a database on the same machine, or behind a tunnel of its own.
    None,
}

/// How to reach a database.
pub struct Connection {
    /// The kind.
    pub kind: Kind,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The database's name; empty where none is named.
    pub database: String,
    /// The user that makes other users.
    pub user: String,
    /// Its password.
    pub password: SecretString,
    /// How the connection is protected.
    pub protection: Protection,
    /// Connections at once: 1 to [`CONNECTIONS_MAX`].
    pub connections: u32,
}

/// Neither password nor certificates.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} {}:{}/{})", self.kind.name(), self.host, self.port, self.database)
    }
}

/// A user to be made. Names have a-z, 0-9 and `_`, passwords letters and digits: nothing that needs quoting anywhere.
pub struct NewUser<'a> {
    /// The name.
    pub name: &'a str,
    /// The password.
    pub password: &'a SecretString,
    /// When it ends, in seconds since 1970: set in the database, too, where that knows expiry.
    pub expires_secs: u64,
}

/// A database in use.
#[async_trait]
pub trait Database: Send + Sync {
    /// The kind.
    fn kind(&self) -> Kind;

    /// Tries whether the database answers, and lets us in.
    async fn check(&self) -> Result<(), DatabaseError>;

    /// Makes a user with these statements, in one transaction where the database has such.
    async fn create_user(&self, statements: &[String], user: &NewUser<'_>) -> Result<(), DatabaseError>;

    /// Has a user end at another time, where the database knows expiry.
    async fn renew_user(&self, name: &str, expires_secs: u64) -> Result<(), DatabaseError>;

    /// Ends a user: it can log in no more, its sessions are ended, and the statements (or those that belong to the kind,
    /// where there are none) are run. Well where the user is gone already.
    async fn end_user(&self, statements: &[String], name: &str) -> Result<(), DatabaseError>;

    /// Gives a user another password.
    async fn set_password(&self, name: &str, password: &SecretString) -> Result<(), DatabaseError>;

    /// The names of users that begin so: at most 1,000.
    async fn users(&self, prefix: &str) -> Result<Vec<String>, DatabaseError>;
}

/// An adapter for a connection. Nothing is connected yet.
pub fn connect(connection: Connection) -> Result<Arc<dyn Database>, DatabaseError> {
    match connection.kind {
        Kind::Postgres => Ok(Arc::new(postgres::Postgres::new(connection)?)),
        Kind::MySql => Ok(Arc::new(mysql::MySql::new(&connection)?)),
        Kind::Redis => Ok(Arc::new(redis::Redis::new(&connection)?)),
    }
}
