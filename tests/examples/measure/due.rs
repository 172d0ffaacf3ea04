//! Many leases that are due in the same second: how fast their users end, beside how fast the database ends them by itself, and
//! what reads cost meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::Client;
use coffer_databases::{Database, NewUser, connect};
use coffer_secret::SecretString;
use coffer_tests::postgres::Postgres;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::{
    databases::{CREDENTIALS, bare, creation, issue, postgres, use_postgres},
    pressure::{READERS, read, tell},
    vault::Vault,
};

/// Those who ask for users.
const CLIENTS: usize = 8;
/// As many as the vault ends at once.
const AT_ONCE: usize = 16;
/// Users that show how long it takes to make them.
const TRIED: usize = 200;
/// How long reads are measured before the leases are due.
const BEFORE: Duration = Duration::from_secs(10);
/// How often it is looked how many users are left.
const LOOK: Duration = Duration::from_millis(500);
/// How long all this may take.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Measures it with so many leases.
pub(crate) async fn run(leases: usize) -> Result<()> {
    let vault = Vault::start().await?;
    vault.put(vec![b'x'; 1_024]).await?;
    let postgres = Arc::new(postgres()?);
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(vault.reader().await?);
    }
    println!("{:<44} {:>7} {:>9} {:>9} {:>9} {:>9}", "meanwhile", "reads", "p50", "p90", "p99", "max");
    let alone = by_itself(&postgres, &readers, leases).await?;
    println!("{leases} users end in {:.1} s by themselves, {:.0} a second", alone.as_secs_f64(), rate(leases, alone));

    use_postgres(&vault, &postgres).await?;
    let mut askers = Vec::new();
    for number in 0..CLIENTS {
        vault.grant(&format!("asker-{number}"), &["read"], CREDENTIALS).await?;
        let client = vault.stranger()?;
        vault.log_in(&client, &format!("asker-{number}")).await?;
        askers.push(client);
    }
    let began = Instant::now();
    let tried = make(&askers, TRIED, 0).await?;
    let each = began.elapsed() / u32::try_from(TRIED)?;
    let due = now()? + each.mul_f64(1.3) * u32::try_from(leases)? + 2 * BEFORE;
    let made = make(&askers, leases, due.as_secs()).await?;
    let last = made.iter().max().context("there are some")?;
    let spread = last - made.iter().min().context("there are some")?;
    println!("{leases} leases are due within {} s; {:.0} a second were made", spread + 1, rate(1, each));
    ensure!(tried.len() == TRIED);
    let over = Duration::from_secs(last + 1);
    sleep(over.saturating_sub(BEFORE + Duration::from_secs(spread + 1)).saturating_sub(now()?)).await;
    let end = Instant::now() + BEFORE;
    let before = read(&readers, Arc::new(move || Instant::now() >= end)).await?;
    tell("nothing is due", &before);

    sleep(over.saturating_sub(now()?)).await;
    let began = Instant::now();
    let reading = Reading::begin(&readers);
    loop {
        let postgres = Arc::clone(&postgres);
        let left = tokio::task::spawn_blocking(move || users(&postgres)).await??;
        if left <= TRIED {
            break;
        }
        ensure!(began.elapsed() < PATIENCE, "{left} users are left");
        sleep(LOOK).await;
    }
    let took = began.elapsed();
    tell("they end", &reading.end().await?);
    println!(
        "{leases} users have ended in {:.1} s, {:.0} a second: {:.2} of the database's own rate",
        took.as_secs_f64(),
        rate(leases, took),
        alone.as_secs_f64() / took.as_secs_f64()
    );
    Ok(())
}

/// Reads until it is told to end.
struct Reading {
    done: Arc<AtomicBool>,
    task: JoinHandle<Result<Vec<Duration>>>,
}

impl Reading {
    fn begin(readers: &[Client]) -> Self {
        let (readers, done) = (readers.to_vec(), Arc::<AtomicBool>::default());
        let is_done = Arc::clone(&done);
        let task = tokio::spawn(async move { read(&readers, Arc::new(move || is_done.load(Ordering::Relaxed))).await });
        Self { done, task }
    }

    async fn end(self) -> Result<Vec<Duration>> {
        self.done.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

fn rate(count: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64()
}

fn now() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

fn users(postgres: &Postgres) -> Result<usize> {
    Ok(postgres.sql("SELECT count(*) FROM pg_roles WHERE starts_with(rolname, 'cf')")?.parse()?)
}

/// Makes users that end at a time (or in a day); gives when each ends.
async fn make(askers: &[Client], count: usize, end_secs: u64) -> Result<Vec<u64>> {
    let mut tasks = JoinSet::new();
    for (first, client) in askers.iter().enumerate() {
        let client = client.clone();
        tasks.spawn(async move {
            let mut ends = Vec::new();
            for _ in (first..count).step_by(CLIENTS) {
                let left = end_secs.saturating_sub(now()?.as_secs());
                ensure!(end_secs == 0 || left > 0, "making them took longer than was thought");
                let (_, _, lease) = issue(&client, left).await?;
                ends.push(u64::try_from(lease.expires.context("it ends")?.seconds)?);
            }
            Ok(ends)
        });
    }
    let mut ends = Vec::new();
    for made in tasks.join_all().await {
        ends.extend(made?);
    }
    Ok(ends)
}

/// How long the database takes to end so many users, by the same statements over as many connections, without the vault, which
/// is read from meanwhile: what that costs is the database's doing.
async fn by_itself(postgres: &Postgres, readers: &[Client], count: usize) -> Result<Duration> {
    let database = connect(bare(postgres))?;
    each(&database, count, async |database, name| {
        let password = SecretString::copied_from("of-nobody");
        let user = NewUser { name: &name, password: &password, expires_secs: 4_000_000_000 };
        Ok(database.create_user(&creation(), &user).await?)
    })
    .await?;
    let (began, reading) = (Instant::now(), Reading::begin(readers));
    each(&database, count, async |database, name| Ok(database.end_user(&[], &name).await?)).await?;
    let took = began.elapsed();
    tell("users end without the vault", &reading.end().await?);
    Ok(took)
}

async fn each<A>(database: &Arc<dyn Database>, count: usize, act: A) -> Result<()>
where
    A: AsyncFn(Arc<dyn Database>, String) -> Result<()> + Copy + 'static,
{
    let tasks = tokio::task::LocalSet::new();
    for first in 0..AT_ONCE {
        let database = Arc::clone(database);
        tasks.spawn_local(async move {
            for number in (first..count).step_by(AT_ONCE) {
                if let Err(error) = act(Arc::clone(&database), format!("bare_{number}")).await {
                    println!("bare_{number}: {error:#}");
                }
            }
        });
    }
    tasks.await;
    Ok(())
}
