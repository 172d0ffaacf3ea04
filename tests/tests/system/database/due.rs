//! When credentials are due, in the corners: written late, with a clock that was ahead, beside a database that is away.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use coffer_client::proto::{PutConnectionRequest, RevokeLeasesRequest};
use coffer_tests::{
    issuer::{Pod, now_secs},
    postgres::Postgres,
    process::Process,
    wait::{self, PATIENCE},
};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

use super::{BOB, DEADLINE, Databases, KEEPER_PASSWORD, Target, User, issue};
use crate::{
    clock::TimeOfDay,
    vault::{ADMIN, Vault},
};

const HOUR_SECS: i64 = 3_600;

async fn with_clock(ahead: impl FnOnce() -> Result<i64>) -> Result<(Databases<Postgres>, TimeOfDay)> {
    let mut server = crate::serve::server()?;
    let clock = TimeOfDay::of(&mut server)?;
    let mut vault = Vault::on(server).await?;
    let target = Postgres::start()?;
    vault.server.terminate()?;
    clock.set(ahead()?)?;
    vault.restart().await?;
    Ok((Databases::with(vault, target, |connection| connection.plaintext = true).await?, clock))
}

/// A user that lasts a second.
async fn made(databases: &Databases<Postgres>) -> Result<User> {
    let bob = databases.vault.operator(BOB).await?;
    let user = User::of(&issue(&bob, 1).await?)?;
    databases.vault.server.canaries().add("a database password", &user.password);
    Ok(user)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_user_ends_in_time_though_the_clock_was_ahead_before() -> Result<()> {
    let (mut databases, clock) = with_clock(|| Ok(HOUR_SECS)).await?;
    databases.let_bob().await?;
    // It ends, so the vault has looked what is due, and noted how far.
    made(&databases).await?;
    databases.settles(&BTreeSet::new()).await?;
    databases.vault.server.terminate()?;
    clock.set(0)?;
    databases.vault.server.set("audit", "accept_divergence", true);
    databases.vault.restart().await?;
    made(&databases).await?;
    databases.settles(&BTreeSet::new()).await.context("what is due now is before what was due then")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_user_ends_whose_lease_was_over_before_it_was_confirmed_in_another_minute() -> Result<()> {
    // The vault's minute is over in a quarter of one: by then it has been seen that nothing is due in it.
    let (databases, _clock) = with_clock(|| Ok(60 + 45 - i64::try_from(now_secs() % 60)?)).await?;
    databases.let_bob().await?;
    let folder = coffer_tests::memory::folder()?;
    let mut lock = databases.target.client(None);
    // Roles are made when this lets go of them.
    lock.args(["-c", "BEGIN; LOCK TABLE pg_authid IN SHARE MODE; SELECT pg_sleep(9); ROLLBACK"]);
    let held = "SELECT count(*) FROM pg_locks WHERE relation = 'pg_authid'::regclass AND mode = 'ShareLock' AND granted";
    let bob = databases.vault.operator(BOB).await?;
    // The lease is over before the minute is, and its user is made after that.
    let ahead = databases.vault.server.folder().join("clock-ahead");
    let ahead: i64 = std::fs::read_to_string(ahead)?.trim().parse()?;
    let second = || anyhow::Ok((i64::try_from(now_secs())? + ahead) % 60);
    let end = Instant::now() + DEADLINE;
    while !(53..=55).contains(&second()?) {
        ensure!(Instant::now() < end, "a minute without its last seconds");
        sleep(Duration::from_millis(20)).await;
    }
    let locker = Process::start(&mut lock, &folder.path().join("log"))?;
    wait::until(PATIENCE, "the lock", || Ok((databases.target.sql(held)? == "1").then_some(())))?;
    let user = User::of(&issue(&bob, 1).await?)?;
    databases.vault.server.canaries().add("a database password", &user.password);
    ensure!(second()? < 30, "it was made within the minute: nothing is tested");
    drop(locker);
    databases.settles(&BTreeSet::new()).await
}

/// A database that takes connections and says nothing takes all the time that an ending may take: others do not wait for that.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_database_that_is_away_does_not_keep_users_in_others_from_ending() -> Result<()> {
    const OF_THE_SILENT: usize = 96;
    /// Tried at once, and so not counted yet.
    const ENDINGS_MAX: usize = 16;
    let databases = Databases::<Postgres>::new().await?;
    let admin = databases.vault.operator(ADMIN).await?;
    let silent = Postgres::start()?;
    silent.set_up()?;
    let mut connection = silent.connection();
    connection.plaintext = true;
    let request = |connection| PutConnectionRequest {
        path: "database/config/silent".into(),
        connection: Some(connection),
        password: KEEPER_PASSWORD.into(),
    };
    admin.databases().put_connection(request(connection)).await?;
    let role = coffer_client::proto::DatabaseRole { connection: "silent".into(), ..Postgres::role() };
    let role = coffer_client::proto::PutRoleRequest { path: "database/roles/silent".into(), role: Some(role) };
    admin.databases().put_role(role).await?;
    databases.vault.grant_read("database/creds/silent", "k8s:test/shop/api").await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    for _ in 0..OF_THE_SILENT {
        let request = coffer_client::proto::IssueCredentialRequest { path: "database/creds/silent".into(), ..Default::default() };
        let user = User::of(&pod.leases().issue_credential(request).await?.into_inner())?;
        databases.vault.server.canaries().add("a database password", &user.password);
    }
    let port = silent.port();
    drop(silent);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((caller, _)) = listener.accept().await {
            held.push(caller);
        }
    });
    let revoke = RevokeLeasesRequest { path: "database/creds/silent".into(), principal: String::new() };
    ensure!(admin.leases().revoke_leases(revoke).await?.into_inner().count == u64::try_from(OF_THE_SILENT)?);
    let user = User::of(&issue(&pod, 1).await?)?;
    databases.vault.server.canaries().add("a database password", &user.password);
    databases.settles(&BTreeSet::new()).await?;
    let left = databases.leases().await?;
    ensure!(left.iter().filter(|lease| lease.id != user.lease.id).count() == OF_THE_SILENT, "{}", left.len());
    let waiting = left.iter().filter(|lease| lease.attempts == 0).count();
    ensure!(waiting > ENDINGS_MAX, "all were tried before the other's turn came: {waiting} were not");
    held.abort();
    Ok(())
}
