//! The vault's store fails, delays, does what it says that it may not have done, panics, or goes away, at each of its calls once,
//! while users of a database are made, renewed, revoked and due: afterwards the users are those of the live leases.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client, Error,
    proto::{DatabaseRole, DeleteMountRequest, LeaseState, RenewLeaseRequest, RevokeLeaseRequest, RevokeLeasesRequest},
};
use coffer_tests::{postgres::Postgres, process::Process};
use tokio::time::{Duration, Instant, sleep};

use super::{BOB, DEADLINE, Databases, Target, User, issue, put_role};
use crate::{
    clock::TimeOfDay,
    crash::verify_log,
    serve::{get, parse, web},
    store_faults::FAULT,
    vault::{ADMIN, Vault},
};

/// What becomes of calls, and that in one life of a server every so many-th call meets it; the next life begins one call later.
const FAULTS: [(&str, usize); 8] = [
    ("commit:_:before", 5),
    ("commit:_:after", 5),
    ("commit:_:delay", 5),
    ("commit:_:panic", 5),
    ("get:_:before", 17),
    ("get:_:delay", 17),
    ("get:_:panic", 17),
    ("range:_:before", 31),
];
/// From one commit on nothing goes any more: the server is to be killed.
const OFF: [&str; 2] = ["commit:_:off-before", "commit:_:off-after"];
/// Commits of a life.
const COMMITS: usize = 28;
/// Of this many lives that differ by where their faults are, one is lived, unless all are asked for.
const SOME: usize = 6;
/// Calls of a life that are planned for.
const CALLS_MAX: usize = 600;
/// How often something is tried before it counts as failed.
const TRIES: u32 = 4;
/// How far the clock stands from the true time at first, to come near it at last: what the server signs then is valid by the
/// true time, too.
const BEGIN_SECS: i64 = -30_000;
/// How long users last: beyond the true time.
const LASTS_SECS: u64 = 40_000;
/// Between two lives: what the one left is due in the next, and what it made lasts for some.
const STEP_SECS: i64 = 100;
/// Further than anything waits but the time of a lease.
const SETTLE_SECS: i64 = 130;
/// How long a life waits for what is due in it.
const MOMENT: Duration = Duration::from_secs(3);

struct Lives {
    databases: Databases<Postgres>,
    clock: TimeOfDay,
    ahead_secs: i64,
    /// Users that were told to somebody, by their lease.
    told: BTreeMap<String, User>,
    /// Faults that were met.
    met: usize,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn each_call_of_the_store_may_fail_while_users_are_made_and_ended() -> Result<()> {
    let mut server = crate::serve::server()?;
    let clock = TimeOfDay::of(&mut server)?;
    clock.set(BEGIN_SECS)?;
    let databases =
        Databases::with(Vault::on(server).await?, Postgres::start()?, |connection| connection.plaintext = true).await?;
    databases.let_bob().await?;
    // The database goes by the true time.
    let role = DatabaseRole { default_ttl_seconds: LASTS_SECS, max_ttl_seconds: LASTS_SECS + 1_000, ..Postgres::role() };
    put_role(&databases.vault.operator(ADMIN).await?, role).await?;
    let mut lives = Lives { databases, clock, ahead_secs: BEGIN_SECS, told: BTreeMap::new(), met: 0 };
    let step = if crate::long() { 1 } else { SOME };
    for (fault, stride) in FAULTS {
        for first in (1..=stride).step_by(step.min(stride.div_ceil(2))) {
            let calls = (first..=CALLS_MAX).step_by(stride);
            let plan = calls.map(|call| fault.replace('_', &call.to_string())).collect::<Vec<_>>().join(",");
            lives.live(&plan, true).await.with_context(|| format!("{fault} from {first}"))?;
        }
        lives.settle().await.with_context(|| fault)?;
    }
    for fault in OFF {
        for call in (1..=COMMITS).step_by(step) {
            let plan = fault.replace('_', &call.to_string());
            lives.live(&plan, false).await.with_context(|| plan.clone())?;
        }
        lives.settle().await.with_context(|| fault)?;
    }
    println!("{} calls of the store met their fault; {} users were told", lives.met, lives.told.len());
    ensure!(lives.met >= 60, "{} calls only: the plans were not followed", lives.met);
    lives.nothing_is_left().await
}

impl Lives {
    fn vault(&mut self) -> &mut Vault {
        &mut self.databases.vault
    }

    /// Kills the server, sets its clock, and starts it; not unsealed yet.
    fn begin(&mut self, later_secs: i64, plan: Option<&str>) -> Result<()> {
        self.vault().server.kill()?;
        self.ahead_secs += later_secs;
        self.clock.set(self.ahead_secs)?;
        match plan {
            Some(plan) => self.vault().server.set("store", "faults", plan),
            None => self.vault().server.unset("store", "faults"),
        }
        self.vault().server.start()
    }

    /// One life of a server with faults, which comes through where they pass.
    async fn live(&mut self, plan: &str, passes: bool) -> Result<()> {
        let from = self.vault().server.log()?.len();
        if let Err(error) = self.begin(STEP_SECS, Some(plan)) {
            // A server that cannot read its store does not serve: it ends, and whatever started it starts it again.
            ensure!(format!("{error:#}").contains(FAULT), "it does not start: {error:#}");
        } else {
            let lived = self.used(plan).await;
            if let Err(error) = lived
                && passes
            {
                let log = self.vault().server.log()?;
                anyhow::bail!("{error:#}\n{}", log.get(from..).unwrap_or_default());
            }
        }
        self.met += self.vault().server.log()?.get(from..).context("the log only grows")?.matches(FAULT).count();
        Ok(())
    }

    /// Users are made, one is renewed, one revoked while it is connected, one due. Tried again, each holds.
    async fn used(&mut self, plan: &str) -> Result<()> {
        let databases = &mut self.databases;
        again("unsealing", async || databases.vault.unseal().await).await?;
        let bob = again("a login", async || databases.vault.operator(BOB).await).await?;
        let mut made = async |ttl| {
            let user = again("a user", async || Ok(User::of(&issue(&bob, ttl).await.map_err(Error::from)?)?)).await?;
            databases.vault.server.canaries().add("a database password", &user.password);
            self.told.insert(user.lease.id.clone(), user.clone());
            anyhow::Ok(user)
        };
        let (stays, ends, short) = (made(0).await?, made(0).await?, made(1).await?);
        ensure!(databases.works(&stays)?, "it was told, and does not work");
        let renew = RenewLeaseRequest { id: stays.lease.id.clone(), ttl_seconds: LASTS_SECS + 900 };
        again("a renewal", async || Ok(bob.leases().renew_lease(renew.clone()).await.map_err(Error::from)?)).await?;

        let log = databases.vault.server.folder().join("idle.log");
        let mut open = Process::start(&mut databases.target.idle(&ends.name, &ends.password), &log)?;
        let end = Instant::now() + DEADLINE;
        while databases.target.idling(&ends.name)? != 1 {
            ensure!(Instant::now() < end, "the session does not begin: {}", open.log()?);
            sleep(Duration::from_millis(20)).await;
        }
        again("an end", async || revoked(&bob, &ends).await).await?;
        ensure!(!databases.users()?.contains(&ends.name), "it was told to have ended");
        ensure!(!open.wait(DEADLINE)?.success(), "its session was not ended");
        let end = Instant::now() + MOMENT;
        while databases.users()?.contains(&short.name) && Instant::now() < end {
            sleep(Duration::from_millis(50)).await;
        }
        if plan.starts_with("range") {
            // A list takes too many of them.
            return Ok(());
        }
        // What is counted is what is there, whatever became of the writes. They are not seen at the same moment.
        let end = Instant::now() + DEADLINE;
        loop {
            let listed = again("a list", async || databases.leases().await).await?.len();
            let counted = leases_metric(&databases.vault)?;
            if counted == f64::from(u32::try_from(listed)?) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{listed} leases are there, and {counted} are counted");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Lives without faults, until nothing is under way; then shows what became of all that.
    async fn settle(&mut self) -> Result<()> {
        let mut rounds = 0;
        let live = loop {
            self.begin(SETTLE_SECS, None)?;
            self.vault().unseal().await?;
            let end = Instant::now() + MOMENT;
            let leases = loop {
                let leases = self.databases.leases().await?;
                let is_settled = leases.iter().all(|lease| lease.state() == LeaseState::Live);
                if is_settled || Instant::now() > end {
                    break is_settled.then_some(leases);
                }
                sleep(Duration::from_millis(50)).await;
            };
            if let Some(leases) = leases {
                break leases;
            }
            rounds += 1;
            ensure!(rounds < 10, "it does not come to rest: {:?}", self.databases.leases().await?);
        };
        let (there, strays) = (self.databases.users()?, self.databases.target.strays()?);
        let told: Vec<_> = live.iter().filter_map(|lease| self.told.get(&lease.id)).collect();
        // Of some nobody heard, for the answer was lost: they have a lease, and a user, all the same.
        let missing: Vec<_> = told.iter().filter(|user| !there.contains(&user.name)).collect();
        ensure!(missing.is_empty(), "live leases without a user: {missing:?}");
        ensure!(live.len() == there.len(), "{} live leases, {} users: {live:?} {there:?}", live.len(), there.len());
        ensure!(strays == 0, "{strays} sessions of users who are gone");
        if let Some(user) = told.first() {
            ensure!(self.databases.works(user)?, "what was told holds");
        }
        let counted = leases_metric(&self.databases.vault)?;
        ensure!(counted == f64::from(u32::try_from(live.len())?), "{} leases are there, and {counted} are counted", live.len());
        // The next begin with none.
        self.end_all().await?;
        verify_log(&self.databases.vault).await
    }

    /// Ends all users; what is counted comes to nothing with them.
    async fn end_all(&self) -> Result<()> {
        let (databases, admin) = (&self.databases, self.databases.vault.operator(ADMIN).await?);
        admin.leases().revoke_leases(RevokeLeasesRequest { path: "database".into(), principal: String::new() }).await?;
        databases.settles(&BTreeSet::new()).await?;
        let end = Instant::now() + DEADLINE;
        while leases_metric(&databases.vault)? != 0.0 {
            ensure!(Instant::now() < end, "{} leases are counted", leases_metric(&databases.vault)?);
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// A mount goes only without leases, as they are counted.
    async fn nothing_is_left(self) -> Result<()> {
        let admin = self.databases.vault.operator(ADMIN).await?;
        admin.mounts().delete_mount(DeleteMountRequest { name: "database".into(), id: String::new() }).await?;
        verify_log(&self.databases.vault).await
    }
}

/// Ends a user; well where it has ended.
async fn revoked(client: &Client, user: &User) -> Result<()> {
    match client.leases().revoke_lease(RevokeLeaseRequest { id: user.lease.id.clone() }).await {
        Err(status) => {
            let error = Error::from(status);
            ensure!(error.reason() == "NOT_FOUND" || error.reason() == "NOT_FOUND_OR_DENIED", "{error:?}");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

fn leases_metric(vault: &Vault) -> Result<f64> {
    let samples = parse(&get(web(&vault.server)?, "/metrics")?.1)?.0;
    samples.get("coffer_leases").copied().context("it is counted")
}

/// Tries something that may meet a fault: the fault does not come at each call.
async fn again<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let mut failed = Vec::new();
    for _ in 0..TRIES {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    anyhow::bail!("{what} fails again and again: {failed:?}")
}
