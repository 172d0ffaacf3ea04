//! PostgreSQL, from version 13.
//!
//! Passwords never reach the server: it gets a SCRAM verifier (RFC 5802), so that none is in its logs or statistics. A
//! user is ended in steps that hold whatever happens between them: no login, sessions terminated and seen to be gone, what
//! it owns given to the vault's user, then the role dropped.

use async_trait::async_trait;
use coffer_secret::SecretString;
use postgres_protocol::password::scram_sha_256;
use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;

use crate::{
    Connection, Database, DatabaseError, Fault, Kind, NewUser, SESSIONS_LOOK, SESSIONS_TIME_MAX, STATEMENT_TIME_MAX, USERS_MAX,
    pool::Connections,
    template::{Values, moment, render_all},
};

mod connector;

use connector::Connector;

/// How often statements are tried that others are in the way of: four connections of ours may be.
const TRIES_MAX: usize = 32;

/// A PostgreSQL server.
pub(crate) struct Postgres {
    connections: Connections<Connector>,
    /// The vault's user: what ended users owned becomes its own.
    user: String,
}

impl Postgres {
    pub(crate) fn new(connection: Connection) -> Result<Self, DatabaseError> {
        let (user, at_once) = (connection.user.clone(), connection.connections);
        Ok(Self { connections: Connections::new(Connector::new(connection)?, at_once)?, user })
    }
}

/// What the server says of a statement, which has no password in it.
fn failed(number: Option<usize>, error: &tokio_postgres::Error) -> DatabaseError {
    let at = number.map(|number| format!("statement {number}: ")).unwrap_or_default();
    let Some(told) = error.as_db_error() else {
        return DatabaseError::new(Fault::Lost, format!("{at}{error}"));
    };
    let fault = match *told.code() {
        SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => Fault::Timeout,
        SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW => Fault::Lost,
        SqlState::TOO_MANY_CONNECTIONS => Fault::Busy,
        _ if is_in_the_way(error) => Fault::Timeout,
        _ => Fault::Statement,
    };
    DatabaseError::new(fault, format!("{at}{} {}", told.code().code(), told.message()))
}

fn lost(error: &tokio_postgres::Error) -> DatabaseError {
    failed(None, error)
}

/// Whether others did something to the same things at the same moment: two who grant on one table cannot both have their way.
fn is_in_the_way(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|told| match *told.code() {
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => true,
        // PostgreSQL has no code for it.
        SqlState::INTERNAL_ERROR => told.message().starts_with("tuple concurrently "),
        _ => false,
    })
}

/// Runs statements in one transaction; once more, where others were in the way.
async fn transaction(client: &tokio_postgres::Client, statements: &[SecretString]) -> Result<(), DatabaseError> {
    for _ in 1..TRIES_MAX {
        match try_transaction(client, statements).await {
            Err((_, error)) if is_in_the_way(&error) => {
                client.batch_execute("ROLLBACK").await.map_err(|error| lost(&error))?;
            }
            done => return done.map_err(|(number, error)| failed(number, &error)),
        }
    }
    try_transaction(client, statements).await.map_err(|(number, error)| failed(number, &error))
}

/// A statement's number, and what was wrong with it.
type Wrong = (Option<usize>, tokio_postgres::Error);

async fn try_transaction(client: &tokio_postgres::Client, statements: &[SecretString]) -> Result<(), Wrong> {
    let millis = STATEMENT_TIME_MAX.as_millis();
    let begin = format!("BEGIN; SET LOCAL statement_timeout = {millis}; SET LOCAL lock_timeout = {millis}");
    client.batch_execute(&begin).await.map_err(|error| (None, error))?;
    for (number, statement) in (1..).zip(statements) {
        client.batch_execute(statement.expose()).await.map_err(|error| (Some(number), error))?;
    }
    client.batch_execute("COMMIT").await.map_err(|error| (None, error))
}

/// A name in quotes. Names of a server's own users may have anything in them.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A time as PostgreSQL reads it.
fn expiration(secs: u64) -> Result<String, DatabaseError> {
    Ok(format!("{}+00", moment(secs)?))
}

fn verifier(password: &SecretString) -> String {
    scram_sha_256(password.expose().as_bytes())
}

async fn role_is_there(client: &tokio_postgres::Client, name: &str) -> Result<bool, DatabaseError> {
    let rows = client.query("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1", &[&name]).await;
    Ok(!rows.map_err(|error| lost(&error))?.is_empty())
}

/// Ends a user's sessions, and sees that they are gone.
async fn end_sessions(client: &tokio_postgres::Client, name: &str) -> Result<(), DatabaseError> {
    let end = Instant::now() + SESSIONS_TIME_MAX;
    loop {
        let ended = client
            .query("SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = $1", &[&name])
            .await
            .map_err(|error| lost(&error))?;
        if ended.is_empty() {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(DatabaseError::new(Fault::Sessions, format!("{} left", ended.len())));
        }
        sleep(SESSIONS_LOOK).await;
    }
}

#[async_trait]
impl Database for Postgres {
    fn kind(&self) -> Kind {
        Kind::Postgres
    }

    async fn check(&self) -> Result<(), DatabaseError> {
        self.connections.act(async |client| client.batch_execute("SELECT 1").await.map_err(|error| lost(&error))).await
    }

    async fn create_user(&self, statements: &[String], user: &NewUser<'_>) -> Result<(), DatabaseError> {
        let (verifier, expiration) = (verifier(user.password), expiration(user.expires_secs)?);
        let values = Values { password: &verifier, expiration: &expiration, ..Values::of(user.name) };
        let statements = render_all(statements, &values)?;
        self.connections.act(async |client| transaction(client, &statements).await).await
    }

    async fn renew_user(&self, name: &str, expires_secs: u64) -> Result<(), DatabaseError> {
        let statement = format!("ALTER ROLE {} VALID UNTIL '{}'", quoted(name), expiration(expires_secs)?);
        self.connections.act(async |client| transaction(client, &[statement.into()]).await).await
    }

    async fn end_user(&self, statements: &[String], name: &str) -> Result<(), DatabaseError> {
        let given = render_all(statements, &Values::of(name))?;
        let (role, own) = (quoted(name), quoted(&self.user));
        self.connections
            .act(async |client| {
                if !role_is_there(client, name).await? {
                    return Ok(());
                }
                transaction(client, &[format!("ALTER ROLE {role} NOLOGIN").into()]).await?;
                let row = client
                    .query_one("SELECT pg_catalog.current_setting('is_superuser') = 'on'", &[])
                    .await
                    .map_err(|error| lost(&error))?;
                let is_superuser: bool = row.try_get(0).map_err(|error| lost(&error))?;
                if !is_superuser {
                    // Who is no superuser may end the sessions of, and take over from, roles that it is a member of.
                    transaction(client, &[format!("GRANT {role} TO {own}").into()]).await?;
                }
                end_sessions(client, name).await?;
                if !given.is_empty() {
                    return transaction(client, &given).await;
                }
                let default = [
                    format!("REASSIGN OWNED BY {role} TO {own}").into(),
                    format!("DROP OWNED BY {role}").into(),
                    format!("DROP ROLE IF EXISTS {role}").into(),
                ];
                transaction(client, &default).await
            })
            .await
    }

    async fn set_password(&self, name: &str, password: &SecretString) -> Result<(), DatabaseError> {
        let statement = format!("ALTER ROLE {} PASSWORD '{}'", quoted(name), verifier(password));
        self.connections.act(async |client| transaction(client, &[statement.into()]).await).await
    }

    async fn users(&self, prefix: &str) -> Result<Vec<String>, DatabaseError> {
        self.connections
            .act(async |client| {
                let rows = client
                .query(
                    "SELECT rolname FROM pg_catalog.pg_roles WHERE pg_catalog.starts_with(rolname::text, $1) ORDER BY 1 LIMIT $2",
                    &[&prefix, &USERS_MAX],
                )
                .await
                .map_err(|error| lost(&error))?;
                rows.iter().map(|row| row.try_get(0).map_err(|error| lost(&error))).collect()
            })
            .await
    }
}
