//! PostgreSQL, from version 13.
//!
//! Passwords never reach the server: it gets a SCRAM verifier (RFC 5802), so that none is in its logs or statistics. A
//! user is ended in steps that hold whatever happens between them: no login, sessions terminated and seen to be gone, what
//! it owns given to the vault's user, then the role dropped.

use async_trait::async_trait;
use coffer_crypto::scram;
use coffer_secret::SecretString;
use futures_util::future;
use tokio::time::{Instant, sleep};
use tokio_postgres::{
    Client,
    error::SqlState,
    types::{ToSql, Type},
};

use crate::{
    Connection, Database, DatabaseError, Fault, Kind, NewUser, SESSIONS_LOOK, SESSIONS_TIME_MAX, USERS_MAX,
    pool::Connections,
    template::{Values, moment, render_all},
};

mod connector;
mod words;

use connector::{Connector, Session};
use words::{Tries, Wrong, at_once, lost, transaction, try_at_once};

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

    /// Runs a statement of the vault's own.
    async fn run(&self, statement: SecretString) -> Result<(), DatabaseError> {
        self.connections.act(async |session| at_once(&session.client, statement.expose()).await).await
    }
}

/// A name in quotes. Names of a server's own users may have anything in them.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A time as PostgreSQL reads it.
fn expiration(secs: u64) -> Result<String, DatabaseError> {
    Ok(format!("{}+00", moment(secs)?))
}

fn verifier(password: &SecretString) -> Result<SecretString, DatabaseError> {
    scram::verifier(password).map_err(|error| DatabaseError::new(Fault::Statement, error.to_string()))
}

/// Has a user log in no more, and begins to end its sessions: gives how many there were, and nothing where there is no such user.
async fn lock_out(session: &Session, name: &str, own: &str, is_ours: bool) -> Result<Option<usize>, DatabaseError> {
    let mut tries = Tries::default();
    loop {
        if let Some(done) = tries.settled(try_lock_out(session, name, own, is_ours).await) {
            return done;
        }
    }
}

/// All is said at once, and each thing holds before the next is done: nobody logs in behind the look at sessions.
async fn try_lock_out(session: &Session, name: &str, own: &str, is_ours: bool) -> Result<Option<usize>, Wrong> {
    let (client, role) = (&session.client, quoted(name));
    // What ends the user is durable, and then so is all before it: where the server stops in between, all is done again.
    let soon = if is_ours { "SET LOCAL synchronous_commit = off; " } else { "" };
    let (lock, join) = (format!("{soon}ALTER ROLE {role} NOLOGIN"), format!("{soon}GRANT {role} TO {own}"));
    let joined = async {
        // Who is no superuser may end the sessions of, and take over from, roles that it is a member of.
        if session.is_superuser { Ok(()) } else { try_at_once(client, &join).await }
    };
    let (locked, joined, ended) = future::join3(try_at_once(client, &lock), joined, terminate(client, name)).await;
    if let Err((_, error)) = &locked
        && error.code() == Some(&SqlState::UNDEFINED_OBJECT)
    {
        return Ok(None);
    }
    locked.and(joined)?;
    ended.map(Some)
}

/// Tells the sessions of a user to end; gives how many there were.
async fn terminate(client: &Client, name: &str) -> Result<usize, Wrong> {
    let sessions = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = $1";
    let told = client.query_typed(sessions, &[(&name, Type::NAME)]).await;
    told.map(|rows| rows.len()).map_err(|error| (None, error))
}

/// Ends the sessions of a user of whom there were some, and sees that they are gone.
async fn end_sessions(client: &Client, name: &str, mut left: usize) -> Result<(), DatabaseError> {
    let end = Instant::now() + SESSIONS_TIME_MAX;
    while left > 0 {
        if Instant::now() >= end {
            return Err(DatabaseError::new(Fault::Sessions, format!("{left} left")));
        }
        sleep(SESSIONS_LOOK).await;
        left = terminate(client, name).await.map_err(|(_, error)| lost(&error))?;
    }
    Ok(())
}

#[async_trait]
impl Database for Postgres {
    fn kind(&self) -> Kind {
        Kind::Postgres
    }

    async fn check(&self) -> Result<(), DatabaseError> {
        self.connections.act(async |session| session.client.batch_execute("SELECT 1").await.map_err(|error| lost(&error))).await
    }

    async fn create_user(&self, statements: &[String], user: &NewUser<'_>) -> Result<(), DatabaseError> {
        let (verifier, expiration) = (verifier(user.password)?, expiration(user.expires_secs)?);
        let values = Values { password: verifier.expose(), expiration: &expiration, ..Values::of(user.name) };
        let statements = render_all(statements, &values)?;
        self.connections.act(async |session| transaction(&session.client, &statements).await).await
    }

    async fn renew_user(&self, name: &str, expires_secs: u64) -> Result<(), DatabaseError> {
        let statement = format!("ALTER ROLE {} VALID UNTIL '{}'", quoted(name), expiration(expires_secs)?);
        self.run(statement.into()).await
    }

    async fn end_user(&self, statements: &[String], name: &str) -> Result<(), DatabaseError> {
        let given = render_all(statements, &Values::of(name))?;
        let (role, own) = (quoted(name), quoted(&self.user));
        let default = format!("REASSIGN OWNED BY {role} TO {own}; DROP OWNED BY {role}; DROP ROLE IF EXISTS {role}");
        self.connections
            .act(async |session| {
                let client = &session.client;
                let Some(sessions) = lock_out(session, name, &own, given.is_empty()).await? else { return Ok(()) };
                end_sessions(client, name, sessions).await?;
                if !given.is_empty() {
                    return transaction(client, &given).await;
                }
                at_once(client, &default).await
            })
            .await
    }

    async fn set_password(&self, name: &str, password: &SecretString) -> Result<(), DatabaseError> {
        let statement = format!("ALTER ROLE {} PASSWORD '{}'", quoted(name), verifier(password)?.expose());
        self.run(statement.into()).await
    }

    async fn users(&self, prefix: &str) -> Result<Vec<String>, DatabaseError> {
        let users = "SELECT rolname FROM pg_catalog.pg_roles WHERE pg_catalog.starts_with(rolname::text, $1) ORDER BY 1 LIMIT $2";
        let values: [(&(dyn ToSql + Sync), Type); 2] = [(&prefix, Type::TEXT), (&USERS_MAX, Type::INT8)];
        self.connections
            .act(async |session| {
                let rows = session.client.query_typed(users, &values).await.map_err(|error| lost(&error))?;
                rows.iter().map(|row| row.try_get(0).map_err(|error| lost(&error))).collect()
            })
            .await
    }
}
