//! What is said to PostgreSQL, and how it answers. What belongs together is said at once, and the answers are read then: the
//! server does one thing after the other all the same.

use coffer_secret::SecretString;
use futures_util::{TryStreamExt as _, future};
use tokio_postgres::{Client, error::SqlState};

use crate::{DatabaseError, Fault, STATEMENT_TIME_MAX};

/// How often statements are tried that others are in the way of: four connections of ours may be.
const TRIES_MAX: usize = 32;

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

pub(super) fn lost(error: &tokio_postgres::Error) -> DatabaseError {
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

/// A statement's number, where it is somebody's, and what was wrong with it.
pub(super) type Wrong = (Option<usize>, tokio_postgres::Error);

/// How often something was tried.
#[derive(Default)]
pub(super) struct Tries(usize);

impl Tries {
    /// What came of it; nothing where it is to be tried once more, for others were in the way. No transaction is open then.
    pub(super) fn settled<T>(&mut self, done: Result<T, Wrong>) -> Option<Result<T, DatabaseError>> {
        self.0 += 1;
        match done {
            Err((_, error)) if self.0 < TRIES_MAX && is_in_the_way(&error) => None,
            done => Some(done.map_err(|(number, error)| failed(number, &error))),
        }
    }
}

/// Runs statements of a role's in one transaction.
pub(super) async fn transaction(client: &Client, statements: &[SecretString]) -> Result<(), DatabaseError> {
    let mut tries = Tries::default();
    loop {
        if let Some(done) = tries.settled(try_transaction(client, statements).await) {
            return done;
        }
    }
}

/// Each statement is a message of its own, so that it means what it means alone, and it is known which one fails. What was said
/// behind that one does nothing, for the transaction has failed, and `COMMIT` is a `ROLLBACK` then. Could no transaction begin, for
/// somebody cancels even that, they do what they do, and it is told to have failed: it is ended, or done again.
async fn try_transaction(client: &Client, statements: &[SecretString]) -> Result<(), Wrong> {
    let begin = format!("BEGIN; {}", bounds());
    let numbered = (1..).zip(statements).map(|(number, statement)| (Some(number), statement.expose()));
    let mut said = Vec::with_capacity(statements.len() + 2);
    for (number, words) in [(None, begin.as_str())].into_iter().chain(numbered).chain([(None, "COMMIT")]) {
        // It is on its way when this returns.
        said.push((number, client.simple_query_raw(words).await.map_err(|error| (number, error))?));
    }
    let mut done = Ok(());
    for (number, answer) in said {
        let answered = answer.try_for_each(|_| future::ready(Ok(()))).await;
        done = done.and_then(|()| answered.map_err(|error| (number, error)));
    }
    done
}

/// Runs what is the vault's own in one transaction.
pub(super) async fn at_once(client: &Client, words: &str) -> Result<(), DatabaseError> {
    let mut tries = Tries::default();
    loop {
        if let Some(done) = tries.settled(try_at_once(client, words).await) {
            return done;
        }
    }
}

/// The transaction is the one that the server makes of one message: where something fails, nothing of it is left, and no
/// transaction is open.
pub(super) async fn try_at_once(client: &Client, words: &str) -> Result<(), Wrong> {
    let words = SecretString::from(format!("{}; {words}", bounds()));
    client.batch_execute(words.expose()).await.map_err(|error| (None, error))
}

/// Holds until the transaction's end.
fn bounds() -> String {
    let millis = STATEMENT_TIME_MAX.as_millis();
    format!("SET LOCAL statement_timeout = {millis}; SET LOCAL lock_timeout = {millis}")
}
