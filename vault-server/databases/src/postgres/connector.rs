//! Connections to PostgreSQL: made with TLS that is checked, and seen to be alive before use.

use coffer_secret::SecretString;
use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use tokio_postgres::{Client, Config, NoTls, config::SslMode, error::SqlState};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::TaskTracker;

use crate::{
    CONNECT_TIME_MAX, Connection, DatabaseError, Fault, Protection, UNCHECKED_MAX,
    tls::{self, believing},
};

/// What the vault's connections are called in the server's views.
const APPLICATION: &str = "coffer";
/// What a server says of its own accord to whoever connects.
const IS_SUPERUSER: &str = "is_superuser";
const ON: &str = "on";

/// A connection.
pub(crate) struct Session {
    pub(super) client: Client,
    /// Whether the vault's user was a superuser when it connected. Is it none any more, what it may not do fails, and with that
    /// this connection ends.
    pub(super) is_superuser: bool,
}

pub(crate) struct Connector {
    /// Without a password.
    config: Config,
    password: SecretString,
    tls: Option<MakeRustlsConnect>,
    /// The connections: each ends when its client is dropped.
    tasks: TaskTracker,
}

impl Connector {
    pub(crate) fn new(connection: Connection) -> Result<Self, DatabaseError> {
        let mut config = Config::new();
        config
            .application_name(APPLICATION)
            .port(connection.port)
            .dbname(&connection.database)
            .user(&connection.user)
            .connect_timeout(CONNECT_TIME_MAX)
            .keepalives(true);
        let tls = match &connection.protection {
            Protection::None => {
                config.ssl_mode(SslMode::Disable).host(&connection.host);
                None
            }
            Protection::Tls { ca_pem, server_name } => {
                config.ssl_mode(SslMode::Require);
                match server_name {
                    // TLS is for the name, the connection for the address.
                    Some(name) => {
                        let address = connection.host.parse().map_err(|_| {
                            let detail = "another name in the certificate goes with an IP address as the host";
                            DatabaseError::new(Fault::Configuration, detail)
                        })?;
                        config.host(name).hostaddr(address);
                    }
                    None => {
                        config.host(&connection.host);
                    }
                }
                Some(MakeRustlsConnect::new(believing(ca_pem)?))
            }
        };
        Ok(Self { config, password: connection.password, tls, tasks: TaskTracker::new() })
    }

    async fn connect(&self) -> Result<Session, DatabaseError> {
        let mut config = self.config.clone();
        config.password(self.password.expose());
        let (client, is_superuser) = match &self.tls {
            None => {
                let (client, connection) = config.connect(NoTls).await.map_err(|error| unconnected(&error))?;
                let is_superuser = connection.parameter(IS_SUPERUSER) == Some(ON);
                self.tasks.spawn(watched(connection));
                (client, is_superuser)
            }
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await.map_err(|error| unconnected(&error))?;
                let is_superuser = connection.parameter(IS_SUPERUSER) == Some(ON);
                self.tasks.spawn(watched(connection));
                (client, is_superuser)
            }
        };
        // Statements that are ours are nobody's concern in the database's log, where we may say so.
        drop(client.batch_execute("SET log_min_duration_statement = -1; SET log_statement = 'none'").await);
        Ok(Session { client, is_superuser })
    }
}

/// Lets a connection work until it ends.
async fn watched(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to a database ended");
    }
}

fn unconnected(error: &tokio_postgres::Error) -> DatabaseError {
    if let Some(told) = error.as_db_error() {
        let fault = match *told.code() {
            SqlState::TOO_MANY_CONNECTIONS => Fault::Busy,
            SqlState::CANNOT_CONNECT_NOW | SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => Fault::Unreachable,
            _ => Fault::Refused,
        };
        return DatabaseError::new(fault, format!("{} {}", told.code().code(), told.message()));
    }
    tls::unconnected(error)
}

impl Manager for Connector {
    type Type = Session;
    type Error = DatabaseError;

    async fn create(&self) -> Result<Session, DatabaseError> {
        self.connect().await
    }

    async fn recycle(&self, Session { client, .. }: &mut Session, metrics: &Metrics) -> RecycleResult<DatabaseError> {
        // A server that closes it, or ends, is heard at once.
        if client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        // What is gone without a word, as behind a firewall that forgot the connection, takes longer than this.
        if metrics.last_used() < UNCHECKED_MAX {
            return Ok(());
        }
        client.batch_execute("SELECT 1").await.map_err(|error| RecycleError::Backend(unconnected(&error)))
    }
}
