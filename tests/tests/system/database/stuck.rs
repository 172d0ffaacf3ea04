//! Credentials that cannot be ended again and again: people are told, and the vault goes on trying until it is told to forget.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use coffer_client::proto::{GetLeaseRequest, Lease, LeaseState, RevokeLeaseRequest, SweepConnectionRequest};
use coffer_tests::{command::Coffer, postgres::Postgres};
use tokio::time::{Duration, Instant, sleep};

use super::{BOB, DEADLINE, Databases, User, reason};
use crate::{
    clock::TimeOfDay,
    command::person,
    serve::{get, parse, web},
    vault::{ADMIN, Vault},
};

/// How often ending fails before somebody should look.
const FAILURES: u32 = 8;
/// Further than any wait between two tries.
const STEP_SECS: i64 = 700;

/// How far the clock stands from the true time at first, to come near it at last: what the server signs then is valid by the
/// true time, too.
const BEGIN_SECS: i64 = -7_200;

/// Databases, a clock, and an admin with a command.
struct Stuck {
    databases: Databases<Postgres>,
    clock: TimeOfDay,
    ahead_secs: i64,
}

impl Stuck {
    async fn new() -> Result<Self> {
        let mut server = crate::serve::server()?;
        let clock = TimeOfDay::of(&mut server)?;
        clock.set(BEGIN_SECS)?;
        let databases =
            Databases::with(Vault::on(server).await?, Postgres::start()?, |connection| connection.plaintext = true).await?;
        databases.let_bob().await?;
        Ok(Self { databases, clock, ahead_secs: BEGIN_SECS })
    }

    /// Stops the vault well, and starts it when the next try of everything is due.
    async fn later(&mut self) -> Result<()> {
        self.databases.vault.server.terminate()?;
        self.ahead_secs += STEP_SECS;
        self.clock.set(self.ahead_secs)?;
        self.databases.vault.restart().await
    }

    async fn lease(&self, user: &User) -> Result<Lease> {
        let admin = self.databases.vault.operator(ADMIN).await?;
        let shown = admin.leases().get_lease(GetLeaseRequest { id: user.lease.id.clone() }).await?.into_inner();
        shown.lease.context("it is shown")
    }

    /// Waits until ending a user's lease has failed so often.
    async fn failed(&self, user: &User, attempts: u32) -> Result<Lease> {
        let end = Instant::now() + DEADLINE;
        loop {
            let lease = self.lease(user).await?;
            if lease.attempts >= attempts {
                return Ok(lease);
            }
            ensure!(Instant::now() < end, "not tried {attempts} times: {lease:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn metric(&self, name: &str) -> Result<f64> {
        let samples = parse(&get(web(&self.databases.vault.server)?, "/metrics")?.1)?.0;
        samples.get(name).copied().with_context(|| format!("no {name}"))
    }

    /// Waits until so many leases are shown to be stuck.
    async fn shows(&self, stuck: f64) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        while self.metric("coffer_leases_stuck")? != stuck {
            ensure!(Instant::now() < end, "{} are shown to be stuck, not {stuck}", self.metric("coffer_leases_stuck")?);
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn listed(&self, admin: &Coffer) -> Result<String> {
        admin.ok(["lease", "list", "--stuck"])
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_credential_that_cannot_be_ended_is_told_to_people_and_ends_when_its_database_is_back() -> Result<()> {
    let mut stuck = Stuck::new().await?;
    let bob = stuck.databases.vault.operator(BOB).await?;
    let (one, two) = (stuck.databases.issue(&bob).await?, stuck.databases.issue(&bob).await?);
    stuck.databases.target.stop()?;
    for attempt in 1..=FAILURES {
        // Their time is over by now, and so is the wait after the failure before.
        stuck.later().await?;
        for user in [&one, &two] {
            let lease = stuck.failed(user, attempt).await?;
            ensure!(lease.last_error.starts_with("the database cannot be reached"), "{lease:?}");
            let is_stuck = lease.attempts >= FAILURES;
            ensure!((lease.state() == LeaseState::Stuck) == is_stuck, "{lease:?}");
        }
    }
    let admin = person(&stuck.databases.vault, ADMIN)?;
    stuck.shows(2.0).await?;
    let listed = stuck.listed(&admin)?;
    for user in [&one, &two] {
        ensure!(listed.contains(&user.lease.id) && listed.contains("stuck"), "{listed}");
        let shown = admin.ok(["lease", "get", &user.lease.id])?;
        ensure!(shown.contains("the database cannot be reached"), "it does not say why: {shown}");
    }
    ensure!(stuck.databases.vault.has_logged(r#""event":"lease_stuck""#).await?, "the audit log does not tell");
    ensure!(stuck.databases.vault.server.log()?.contains("a credential cannot be ended"), "the server's log does not tell");
    ensure!(stuck.metric("coffer_leases")? == 2.0);

    // Who does not wait for the next try says so.
    stuck.databases.target.resume()?;
    admin.ok(["lease", "revoke", &one.lease.id, "--yes"])?;
    ensure!(stuck.databases.users()? == BTreeSet::from([two.name.clone()]), "it is answered once it has ended");
    stuck.shows(1.0).await?;
    ensure!(!stuck.listed(&admin)?.contains(&one.lease.id));
    // And by itself it comes to the same.
    stuck.later().await?;
    stuck.databases.settles(&BTreeSet::new()).await?;
    stuck.shows(0.0).await?;
    let end = Instant::now() + DEADLINE;
    while !stuck.databases.leases().await?.is_empty() {
        ensure!(Instant::now() < end, "leases of users that have ended");
        sleep(Duration::from_millis(20)).await;
    }
    ensure!(stuck.metric("coffer_leases")? == 0.0);
    let admin = person(&stuck.databases.vault, ADMIN)?;
    ensure!(!stuck.listed(&admin)?.contains(&two.lease.id));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_lease_is_forgotten_once_it_is_stuck_and_its_user_is_found_by_a_sweep() -> Result<()> {
    let mut stuck = Stuck::new().await?;
    let bob = stuck.databases.vault.operator(BOB).await?;
    let (lost, stays) = (stuck.databases.issue(&bob).await?, stuck.databases.issue(&bob).await?);
    let admin = person(&stuck.databases.vault, ADMIN)?;
    stuck.databases.target.stop()?;
    let mut attempts = 0;
    while attempts < FAILURES {
        let refused = admin.run(["lease", "forget", &lost.lease.id, "--yes"])?;
        ensure!(refused.code != 0 && refused.stderr.contains("not stuck"), "after {attempts}: {refused:?}");
        let revoke = RevokeLeaseRequest { id: lost.lease.id.clone() };
        let told = reason(bob.leases().revoke_lease(revoke).await);
        // The vault may be at it by itself.
        ensure!(told == "TARGET_UNAVAILABLE" || told == "BUSY", "{told}");
        attempts = stuck.lease(&lost).await?.attempts;
    }
    stuck.shows(1.0).await?;
    ensure!(stuck.listed(&admin)?.contains(&lost.lease.id));
    let forgotten = admin.ok(["lease", "forget", &lost.lease.id, "--yes"])?;
    ensure!(forgotten.contains("is forgotten"), "{forgotten}");
    stuck.shows(0.0).await?;
    ensure!(stuck.metric("coffer_leases")? == 1.0);
    ensure!(stuck.databases.vault.has_logged(r#""why":"forgotten""#).await?, "the audit log does not tell");
    ensure!(!admin.ok(["lease", "list"])?.contains(&lost.lease.id));

    // The vault does nothing more about it, and a sweep does.
    stuck.databases.target.resume()?;
    stuck.later().await?;
    stuck.databases.settles(&BTreeSet::from([lost.name.clone()])).await.context("the other's time is over")?;
    ensure!(!stuck.databases.users()?.contains(&stays.name));
    let client = stuck.databases.vault.operator(ADMIN).await?;
    let sweep = SweepConnectionRequest { path: "database/config/main".into(), dry_run: false };
    ensure!(client.databases().sweep_connection(sweep).await?.into_inner().users == [lost.name]);
    ensure!(stuck.databases.users()?.is_empty());
    Ok(())
}
