//! Redis, from version 6, and Valkey.
//!
//! A user is a list of rules, made and ended in one step each. Passwords never reach the server: it gets their SHA-256, which
//! is all that it keeps itself. Users are gone with a restart, but where the server has an ACL file: then they are written to it
//! with every change, so that none comes back that was ended.

use async_trait::async_trait;
use coffer_secret::SecretString;
use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use redis::Value;
use sha2::{Digest as _, Sha256};
use tokio_util::task::TaskTracker;

use crate::{
    Connection, Database, DatabaseError, Fault, Kind, NewUser, USERS_MAX,
    endpoint::Endpoint,
    pool::Connections,
    template::{Values, render_all},
};

mod client;
mod rules;

use client::{Client, Failed};
pub(crate) use rules::check as check_rules;
use rules::rules;

/// A Redis server.
pub(crate) struct Redis {
    connections: Connections<Login>,
}

/// Who logs in, and where to.
pub(crate) struct Login {
    endpoint: Endpoint,
    user: String,
    password: SecretString,
    /// The connections: each ends when its client is dropped.
    tasks: TaskTracker,
}

impl Redis {
    pub(crate) fn new(connection: &Connection) -> Result<Self, DatabaseError> {
        let login = Login {
            endpoint: Endpoint::new(connection)?,
            user: connection.user.clone(),
            password: connection.password.duplicate(),
            tasks: TaskTracker::new(),
        };
        Ok(Self { connections: Connections::new(login, connection.connections)? })
    }
}

impl Manager for Login {
    type Type = Client;
    type Error = DatabaseError;

    async fn create(&self) -> Result<Client, DatabaseError> {
        let stream = self.endpoint.secure(self.endpoint.dial().await?).await?;
        let refused = |error| match error {
            Failed::Refused(words) => DatabaseError::new(fault(&words).unwrap_or(Fault::Refused), words),
            Failed::Broken(words) => DatabaseError::new(Fault::Unreachable, words),
        };
        let mut client = Client::new(stream, &self.tasks).await.map_err(refused)?;
        client.ask(&["AUTH", &self.user, self.password.expose()]).await.map_err(refused)?;
        Ok(client)
    }

    async fn recycle(&self, client: &mut Client, _: &Metrics) -> RecycleResult<DatabaseError> {
        done(client, &["PING"]).await.map(drop).map_err(RecycleError::Backend)
    }
}

/// What the server's state is to blame for.
fn fault(words: &str) -> Option<Fault> {
    let code = words.split(' ').next().unwrap_or_default();
    match code {
        "LOADING" | "MASTERDOWN" => Some(Fault::Unreachable),
        "BUSY" => Some(Fault::Busy),
        "NOAUTH" | "WRONGPASS" | "DENIED" => Some(Fault::Refused),
        _ if words.contains("max number of clients") => Some(Fault::Busy),
        _ => None,
    }
}

/// Has a command done.
async fn done(client: &mut Client, words: &[&str]) -> Result<Value, DatabaseError> {
    client.ask(words).await.map_err(|error| match error {
        Failed::Refused(words) => DatabaseError::new(fault(&words).unwrap_or(Fault::Statement), words),
        Failed::Broken(words) => DatabaseError::new(Fault::Lost, words),
    })
}

/// Writes users to the server's file; gives whether it has one.
async fn save(client: &mut Client) -> Result<bool, DatabaseError> {
    match done(client, &["ACL", "SAVE"]).await {
        Err(error) if error.detail.contains("not configured to use an ACL file") => Ok(false),
        saved => saved.map(|_| true),
    }
}

/// What the server keeps of a password.
fn hash(password: &SecretString) -> String {
    format!("#{}", hex::encode(Sha256::digest(password.expose())))
}

#[async_trait]
impl Database for Redis {
    fn kind(&self) -> Kind {
        Kind::Redis
    }

    async fn check(&self) -> Result<(), DatabaseError> {
        self.connections.act(async |client| done(client, &["PING"]).await.map(drop)).await
    }

    async fn create_user(&self, statements: &[String], user: &NewUser<'_>) -> Result<(), DatabaseError> {
        let statements = render_all(statements, &Values::of(user.name))?;
        let hash = hash(user.password);
        let mut words = vec!["ACL", "SETUSER", user.name, "reset", "on", hash.as_str()];
        words.extend(statements.iter().flat_map(|statement| rules(statement.expose())));
        self.connections
            .act(async |client| {
                done(client, &words).await?;
                save(client).await.map(drop)
            })
            .await
    }

    async fn renew_user(&self, _: &str, _: u64) -> Result<(), DatabaseError> {
        // Redis knows no users that expire.
        Ok(())
    }

    async fn end_user(&self, _: &[String], name: &str) -> Result<(), DatabaseError> {
        self.connections
            .act(async |client| {
                // Closes the user's connections, too.
                done(client, &["ACL", "DELUSER", name]).await?;
                // Also where it was gone: whoever deleted it may not have come to this.
                save(client).await.map(drop)
            })
            .await
    }

    async fn set_password(&self, name: &str, password: &SecretString) -> Result<(), DatabaseError> {
        let hash = hash(password);
        self.connections
            .act(async |client| {
                if !save(client).await? {
                    let detail = "the server has no ACL file (aclfile): with a restart, the password of before would hold again";
                    return Err(DatabaseError::new(Fault::Configuration, detail));
                }
                if done(client, &["ACL", "GETUSER", name]).await? == Value::Nil {
                    return Err(DatabaseError::new(Fault::Statement, "there is no such user"));
                }
                done(client, &["ACL", "SETUSER", name, "resetpass", &hash]).await?;
                save(client).await.map(drop)
            })
            .await
    }

    async fn users(&self, prefix: &str) -> Result<Vec<String>, DatabaseError> {
        self.connections
            .act(async |client| {
                let Value::Array(names) = done(client, &["ACL", "USERS"]).await? else {
                    return Err(DatabaseError::new(Fault::Lost, "a list of users that is none"));
                };
                let name = |value| if let Value::BulkString(name) = value { String::from_utf8(name).ok() } else { None };
                let names = names.into_iter().filter_map(name).filter(|name| name.starts_with(prefix));
                Ok(names.take(usize::try_from(USERS_MAX).unwrap_or(0)).collect())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_given_what_it_keeps_of_a_password() {
        let password = SecretString::copied_from("foobared");
        // printf foobared | sha256sum
        assert_eq!(hash(&password), "#1b58ee375b42e41f0e48ef2ff27d10a5b1f6924a9acdcdba7cae868e7adce6bf");
    }

    #[test]
    fn what_a_server_says_is_told_by_its_code() {
        for (words, expected) in [
            ("LOADING Redis is loading the dataset in memory", Some(Fault::Unreachable)),
            ("WRONGPASS invalid username-password pair or user is disabled.", Some(Fault::Refused)),
            ("ERR max number of clients reached", Some(Fault::Busy)),
            ("DENIED Redis is running in protected mode", Some(Fault::Refused)),
            ("ERR Error in ACL SETUSER modifier '+x': Unknown command", None),
            ("NOPERM this user has no permissions to run the 'acl|save' command", None),
        ] {
            assert_eq!(fault(words), expected, "{words}");
        }
    }
}
