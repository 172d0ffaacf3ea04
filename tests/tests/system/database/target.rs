//! What the tests need of a kind of database, beside the vault: real servers, and to see what is in them.

mod mariadb;
mod postgres;
mod redis;

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use anyhow::{Context as _, Result};
use coffer_client::proto::{DatabaseConnection, DatabaseRole};
use coffer_tests::{
    memory,
    process::Process,
    wait::{self, PATIENCE},
};

/// The vault's user in the database: it can make users, and pass on what it has, but is no superuser.
pub(super) const KEEPER: &str = "keeper";
pub(super) const KEEPER_PASSWORD: &str = "the-password-that-a-person-chose-for-keeper";
/// What every user's name begins with.
pub(super) const USERS: &str = "cf";
/// What is in the words of a server that refuses [`Target::broken`].
pub(super) const BROKEN: &str = "no_such_thing";

/// A server.
pub(super) trait Target: Sized + Send + Sync {
    /// Whether a server knows when a user ends.
    const KNOWS_EXPIRY: bool = false;
    /// Whether users are made and ended by statements.
    const HAS_STATEMENTS: bool = true;

    /// One that runs, without TLS.
    fn start() -> Result<Self>;
    /// One that runs, with this certificate and key (PEM).
    fn start_with_tls(certificate: &str, key: &str) -> Result<Self>;
    /// Makes [`KEEPER`], and two orders that users may count.
    fn set_up(&self) -> Result<()>;
    /// How the vault reaches it, without protection.
    fn connection(&self) -> DatabaseConnection;
    /// How its users are made: with statements of which the last does not work, or without it.
    fn creation(is_broken: bool) -> Vec<String>;

    /// Adds a user, as somebody else would.
    fn add(&self, user: &str) -> Result<()>;
    /// Adds a user who may count the orders.
    fn add_reader(&self, user: &str, password: &str) -> Result<()>;
    /// The users that the vault made and that are there.
    fn users(&self) -> Result<BTreeSet<String>>;
    /// Sessions of users whom the vault made and who are gone, or can log in no more.
    fn strays(&self) -> Result<usize>;
    /// Whether a user can log in.
    fn lets_in(&self, user: &str, password: &str) -> Result<bool>;
    /// Counts the orders as a user.
    fn count(&self, user: &str, password: &str) -> Result<Output>;
    /// Takes the orders away as a user, who may not.
    fn erase(&self, user: &str, password: &str) -> Result<Output>;
    /// A client of a user that does nothing for a long time.
    fn idle(&self, user: &str, password: &str) -> Command;
    /// How many such there are of a user.
    fn idling(&self, user: &str) -> Result<usize>;
    /// When a user ends, in seconds since 1970, for all that the server knows.
    fn expiry(&self, _user: &str) -> Result<Option<i64>> {
        Ok(None)
    }
    /// What the server wrote to its logs.
    fn log(&self) -> Result<String>;

    /// Takes all connections that there are, for as long as the process lives; none from before is left.
    fn fill(&mut self) -> Result<Process>;
    /// Gives them back.
    fn free(&self) -> Result<()>;
    /// Takes the server away.
    fn stop(&mut self) -> Result<()>;
    /// Brings it back.
    fn resume(&mut self) -> Result<()>;

    /// A role whose users may count the orders.
    fn role() -> DatabaseRole {
        DatabaseRole {
            connection: "main".into(),
            creation_statements: Self::creation(false),
            default_ttl_seconds: 600,
            max_ttl_seconds: 1_200,
            ..Default::default()
        }
    }

    /// Whether a user can count the orders, of which there are two.
    fn works(&self, user: &str, password: &str) -> Result<bool> {
        let told = self.count(user, password)?;
        Ok(told.status.success() && told.stdout.starts_with(b"2"))
    }
}

/// Ends all connections, and makes one of [`KEEPER`]: gives it.
fn only<T: Target>(target: &mut T) -> Result<Process> {
    target.stop()?;
    target.resume()?;
    let folder = memory::folder()?;
    let idle = Process::start(&mut target.idle(KEEPER, KEEPER_PASSWORD), &folder.path().join("log"))?;
    wait::until(PATIENCE, "a session of the vault's user", || Ok((target.idling(KEEPER)? == 1).then_some(())))
        .with_context(|| idle.log().unwrap_or_default())?;
    Ok(idle)
}

/// Tests that hold for every kind: each is run against each.
macro_rules! on_every_kind {
    ($($test:ident),* $(,)?) => {
        on_every_kind!(postgres Postgres "needs PostgreSQL: tests/run"; $($test)*);
        on_every_kind!(mariadb MariaDb "needs MariaDB: tests/run"; $($test)*);
        on_every_kind!(redis Redis "needs Redis: tests/run"; $($test)*);
    };
    ($kind:ident $server:ident $needs:literal; $($test:ident)*) => {
        mod $kind {
            $(
                #[tokio::test(flavor = "multi_thread")]
                #[ignore = $needs]
                async fn $test() -> anyhow::Result<()> {
                    super::$test::<coffer_tests::$kind::$server>().await
                }
            )*
        }
    };
}
pub(super) use on_every_kind;
