//! MySQL, from version 8.0, and MariaDB, from version 10.5.
//!
//! There are no transactions for users here: a statement that fails leaves what those before it did, and whoever asked for
//! the user ends it. A user is a name at several hosts, each an account of its own: all of them are ended, in steps that hold
//! whatever happens between them: locked, connections killed and seen to be gone, accounts dropped.

use std::collections::BTreeSet;

use async_trait::async_trait;
use coffer_secret::SecretString;
use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use tokio::time::{Instant, sleep};

use crate::{
    Connection, Database, DatabaseError, Fault, Kind, NewUser, SESSIONS_LOOK, SESSIONS_TIME_MAX, STATEMENT_TIME_MAX, USERS_MAX,
    endpoint::Endpoint,
    pool::Connections,
    template::{Values, moment, render_all},
};

mod client;
mod login;
mod packet;
mod scramble;

use client::{Client, Failed, Row, Told};
use login::Login;
use scramble::native_hash;

/// Characters of a password that show in what a server says: so many are a part of it, and no accident.
const SHOWN_CHARS: usize = 4;

/// A MySQL or MariaDB server.
pub(crate) struct MySql {
    connections: Connections<Login>,
}

impl MySql {
    pub(crate) fn new(connection: &Connection) -> Result<Self, DatabaseError> {
        let login = Login {
            endpoint: Endpoint::new(connection)?,
            user: connection.user.clone(),
            password: connection.password.duplicate(),
            database: connection.database.clone(),
        };
        Ok(Self { connections: Connections::new(login, connection.connections)? })
    }
}

impl Manager for Login {
    type Type = Client;
    type Error = DatabaseError;

    async fn create(&self) -> Result<Client, DatabaseError> {
        let (packets, version) = self.connect().await?;
        let mut client = Client::new(packets, &version);
        client.query(&settings(client.is_mariadb)).await.map_err(|error| failed(None, error))?;
        Ok(client)
    }

    async fn recycle(&self, client: &mut Client, _: &Metrics) -> RecycleResult<DatabaseError> {
        client.ping().await.map_err(|error| RecycleError::Backend(failed(None, error)))
    }
}

/// What holds for a connection, whatever the server was set up with: how texts are read, and how long a statement may take.
fn settings(is_mariadb: bool) -> String {
    let secs = STATEMENT_TIME_MAX.as_secs();
    // A user is made by CREATE USER, and never by a GRANT that names none; MySQL knows nothing else.
    let (mode, limit) = if is_mariadb {
        ("NO_AUTO_CREATE_USER,", format!("max_statement_time = {secs}"))
    } else {
        ("", format!("max_execution_time = {}", STATEMENT_TIME_MAX.as_millis()))
    };
    format!(
        "SET NAMES utf8mb4; SET SESSION sql_mode = '{mode}STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', SESSION {limit}, \
         SESSION lock_wait_timeout = {secs}, SESSION innodb_lock_wait_timeout = {secs}, SESSION long_query_time = 3600, \
         SESSION time_zone = '+00:00'"
    )
}

/// What the server says of a statement.
fn failed(number: Option<usize>, error: Failed) -> DatabaseError {
    let at = number.map(|number| format!("statement {number}: ")).unwrap_or_default();
    match error {
        Failed::Broken(error) => DatabaseError::new(Fault::Lost, format!("{at}{error}")),
        Failed::Told(told) => DatabaseError::new(fault(told.code), format!("{at}{told}")),
    }
}

const fn fault(code: u16) -> Fault {
    match code {
        // A lock was not to be had, or the time was over.
        1205 | 1213 | 1317 | 1969 | 3024 => Fault::Timeout,
        // The server goes down, or somebody closed the connection.
        1053 | 1927 | 3169 | 4031 => Fault::Lost,
        1040 | 1203 | 1226 => Fault::Busy,
        _ => Fault::Statement,
    }
}

fn lost(error: Failed) -> DatabaseError {
    failed(None, error)
}

/// What the server says, without what stands near a mistake: statements with a password have that there.
fn without(told: Told, password: &SecretString) -> Told {
    let (mut words, secret) = (told.words, password.expose().as_bytes());
    if let Some((before, _)) = words.split_once(" near ").filter(|_| told.code == 1064) {
        words = before.to_owned();
    }
    if secret.windows(SHOWN_CHARS).any(|part| words.as_bytes().windows(SHOWN_CHARS).any(|shown| shown == part)) {
        "(what the server says has a part of the password in it)".clone_into(&mut words);
    }
    Told { code: told.code, words }
}

/// A text in quotes, in the mode that [`settings`] has. Names of a server's own users may have anything in them.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn texts(rows: Vec<Row>) -> impl Iterator<Item = String> {
    rows.into_iter().filter_map(|row| row.into_iter().next().flatten())
}

/// The accounts of a user, one for each of its hosts, in quotes.
async fn accounts(client: &mut Client, name: &str) -> Result<Vec<String>, DatabaseError> {
    // MariaDB's roles are in the same table.
    let no_role = if client.is_mariadb { " AND is_role = 'N'" } else { "" };
    let name = quoted(name);
    let hosts = format!("SELECT Host FROM mysql.user WHERE CAST(User AS BINARY) = {name}{no_role}");
    let hosts = texts(client.query(&hosts).await.map_err(lost)?);
    Ok(hosts.map(|host| format!("{name}@{}", quoted(&host))).collect())
}

/// Ends a user's connections, and sees that they are gone. One who may log in no more can go on trying, and has its name in the list
/// of connections while it does: who is there now is waited for, and nobody who comes later.
async fn end_sessions(client: &mut Client, name: &str) -> Result<(), DatabaseError> {
    // Without the right to see others' connections the list below would be empty; this fails then.
    client.query("SELECT 1 FROM information_schema.INNODB_CMP LIMIT 1").await.map_err(lost)?;
    let theirs = format!("SELECT ID FROM information_schema.PROCESSLIST WHERE CAST(USER AS BINARY) = {}", quoted(name));
    let end = Instant::now() + SESSIONS_TIME_MAX;
    let mut left = numbers(client, &theirs).await?;
    while !left.is_empty() {
        for id in &left {
            match client.query(&format!("KILL CONNECTION {id}")).await {
                // It is gone already.
                Err(Failed::Told(Told { code: 1094, .. })) | Ok(_) => {}
                Err(error) => return Err(lost(error)),
            }
        }
        if Instant::now() >= end {
            return Err(DatabaseError::new(Fault::Sessions, format!("{} left", left.len())));
        }
        sleep(SESSIONS_LOOK).await;
        let there = numbers(client, &theirs).await?;
        left.retain(|id| there.contains(id));
    }
    Ok(())
}

/// Numbers that a query finds.
async fn numbers(client: &mut Client, query: &str) -> Result<BTreeSet<u64>, DatabaseError> {
    Ok(texts(client.query(query).await.map_err(lost)?).filter_map(|id| id.parse().ok()).collect())
}

#[async_trait]
impl Database for MySql {
    fn kind(&self) -> Kind {
        Kind::MySql
    }

    async fn check(&self) -> Result<(), DatabaseError> {
        self.connections.act(async |client| client.query("SELECT 1").await.map(drop).map_err(lost)).await
    }

    async fn create_user(&self, statements: &[String], user: &NewUser<'_>) -> Result<(), DatabaseError> {
        let (password_hash, expiration) = (native_hash(user.password), moment(user.expires_secs)?);
        let password = user.password.expose();
        let values = Values { name: user.name, password, password_hash: &password_hash, expiration: &expiration };
        let statements = render_all(statements, &values)?;
        self.connections
            .act(async |client| {
                for (number, statement) in (1..).zip(&statements) {
                    client.query(statement.expose()).await.map_err(|error| match error {
                        Failed::Told(told) => failed(Some(number), Failed::Told(without(told, user.password))),
                        broken @ Failed::Broken(_) => failed(Some(number), broken),
                    })?;
                }
                Ok(())
            })
            .await
    }

    async fn renew_user(&self, _: &str, _: u64) -> Result<(), DatabaseError> {
        // These servers know passwords that expire in days, and no users that do.
        Ok(())
    }

    async fn end_user(&self, statements: &[String], name: &str) -> Result<(), DatabaseError> {
        let given = render_all(statements, &Values::of(name))?;
        self.connections
            .act(async |client| {
                let accounts = accounts(client, name).await?;
                for account in &accounts {
                    client.query(&format!("ALTER USER IF EXISTS {account} ACCOUNT LOCK")).await.map_err(lost)?;
                }
                end_sessions(client, name).await?;
                if accounts.is_empty() {
                    return Ok(());
                }
                for (number, statement) in (1..).zip(&given) {
                    client.query(statement.expose()).await.map_err(|error| failed(Some(number), error))?;
                }
                if given.is_empty() {
                    client.query(&format!("DROP USER IF EXISTS {}", accounts.join(", "))).await.map_err(lost)?;
                }
                // Who was being let in when the accounts were locked had no name in the list of connections yet.
                end_sessions(client, name).await
            })
            .await
    }

    async fn set_password(&self, name: &str, password: &SecretString) -> Result<(), DatabaseError> {
        let hash = native_hash(password);
        self.connections
            .act(async |client| {
                let accounts = accounts(client, name).await?;
                if accounts.is_empty() {
                    return Err(DatabaseError::new(Fault::Statement, "there is no such user"));
                }
                for account in accounts {
                    let statement = if client.is_mariadb {
                        format!("ALTER USER {account} IDENTIFIED BY PASSWORD '{hash}'")
                    } else {
                        format!("ALTER USER {account} IDENTIFIED BY {}", quoted(password.expose()))
                    };
                    let statement = SecretString::from(statement);
                    client.query(statement.expose()).await.map_err(|error| match error {
                        Failed::Told(told) => lost(Failed::Told(without(told, password))),
                        broken @ Failed::Broken(_) => lost(broken),
                    })?;
                }
                Ok(())
            })
            .await
    }

    async fn users(&self, prefix: &str) -> Result<Vec<String>, DatabaseError> {
        let prefix = quoted(prefix);
        let names = format!(
            "SELECT DISTINCT User FROM mysql.user WHERE LEFT(CAST(User AS BINARY), LENGTH({prefix})) = {prefix} \
             ORDER BY 1 LIMIT {USERS_MAX}"
        );
        self.connections.act(async |client| Ok(texts(client.query(&names).await.map_err(lost)?).collect())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_ends_where_it_is_to() {
        for (text, expected) in
            [("a", "'a'"), ("a'b", "'a''b'"), ("a\\", "'a\\\\'"), ("\\'; DROP USER x; --", "'\\\\''; DROP USER x; --'")]
        {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn no_part_of_a_password_is_in_what_is_told_of_a_statement() {
        let password = SecretString::copied_from("Zx81Qy72Wv63Ut54Sr45Pq36On27Ml18");
        let of = |code, words: &str| without(Told { code, words: words.to_owned() }, &password).words;
        assert_eq!(of(1146, "Table 'shop.orders' doesn't exist"), "Table 'shop.orders' doesn't exist");
        let near = "You have an error in your SQL syntax near ''Zx8' at line 1";
        assert_eq!(of(1064, near), "You have an error in your SQL syntax", "a part that is too short to be found");
        for words in [password.expose(), "Unknown thing 'Zx81'", "Ml18", "what Pq36On says"] {
            assert!(!of(1105, words).contains(words), "{words}");
        }
    }
}
