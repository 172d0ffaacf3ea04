//! Simulated losses of power: the real server works under a shim that records every change of its disk, the disk is made
//! again as it may be after a loss of power at any point, and a server is started on it.
//!
//! docs/faults.md says what is simulated. COFFER_TEST_LONG has ten times as many points; COFFER_TEST_SEED repeats a run.

pub(crate) mod check;
pub(crate) mod disk;
mod load;
pub(crate) mod shim;

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{memory, server::Server};
use tempfile::TempDir;
use tokio::{sync::Semaphore, task::JoinSet, time};

use self::{
    check::Expected,
    disk::{Coins, Disk, Mode, Record},
    load::Known,
};
use crate::vault::{AUDITOR, CLUSTER, Vault};

/// How long the clients work: beyond the interval of the audit log's checkpoints, 10 s.
const LOAD_SECS: u64 = 12;
/// Servers that are started at once.
const SERVERS: usize = 2;

/// What happened to a disk, and where from.
struct Traced {
    vault: Vault,
    /// The folders as they were before the trace: synced, since the server had ended by itself.
    before: TempDir,
    records: Vec<Record>,
    /// Records before the first answer to a client of the load.
    quiet: usize,
    verifier_key: String,
}

/// A vault, at work for a while under the shim.
async fn traced() -> Result<Traced> {
    let mut vault = Vault::quiet().await?;
    for path in ["kv/power/**", "kv/granted"] {
        vault.grant_read(path, &format!("k8s:{CLUSTER}/shop/api")).await?;
    }
    vault.put("kv/granted", "value", "granted").await?;
    let auditor = vault.operator(AUDITOR).await?;
    let request = coffer_client::proto::GetCheckpointRequest {};
    let verifier_key = auditor.audit().get_checkpoint(request).await?.into_inner().verifier_key;
    ensure!(vault.server.terminate()?.success(), "the server did not end well");

    let before = memory::folder()?;
    let roots = roots(&vault.server);
    Disk::of(&roots)?.rebuild(before.path(), Mode::Strict, &mut Coins(0))?;
    let trace = vault.server.folder().join("trace");
    vault.server.set_environment(shim::environment(&vault.server, Some(&trace), None)?);
    vault.restart().await?;
    load::run(&vault, &trace, async {
        time::sleep(time::Duration::from_secs(LOAD_SECS)).await;
        Ok(())
    })
    .await?;
    vault.server.kill()?;
    let records = disk::trace(&trace)?;
    let quiet = records.iter().position(|record| matches!(record, Record::Note(_))).context("no answer was noted")?;
    Ok(Traced { vault, before, records, quiet, verifier_key })
}

fn roots(server: &Server) -> Vec<PathBuf> {
    vec![server.store(), server.audit()]
}

impl Traced {
    /// The disk as it was before the trace.
    fn disk(&self) -> Result<Disk> {
        let mut disk = Disk::of(&[self.before.path().join("store"), self.before.path().join("audit")])?;
        disk.rename_roots(&roots(&self.vault.server));
        Ok(disk)
    }

    /// Cuts the power at random points, and gives what was wrong after which.
    async fn cut(&self, points: usize, mode: Mode, seed: u64, without_datasync: bool) -> Result<Vec<String>> {
        let mut coins = Coins(seed);
        let mut places: Vec<usize> = (0..points).map(|_| self.quiet + coins.below(self.records.len() - self.quiet)).collect();
        places.sort_unstable();
        let mut disk = self.disk()?;
        disk.without_datasync = without_datasync;
        let (mut known, mut done) = (Known::default(), 0);
        let (room, mut checks, mut wrong) = (Arc::new(Semaphore::new(SERVERS)), JoinSet::new(), Vec::new());
        for place in places {
            for record in &self.records[done..place] {
                disk.apply(record)?;
                if let Record::Note(note) = record {
                    known.add(note)?;
                }
            }
            done = place;
            let turn = Arc::clone(&room).acquire_owned().await?;
            let server = self.vault.server.twin()?;
            disk.rebuild(server.folder(), mode, &mut coins)?;
            let again = self.vault.server.twin()?;
            Disk::of(&roots(&server))?.rebuild(again.folder(), Mode::Strict, &mut Coins(0))?;
            let (vault, again) = (self.vault.moved_to(server), self.vault.moved_to(again));
            let expected = Expected { known: known.clone(), verifier_key: self.verifier_key.clone() };
            let total = self.records.len();
            checks.spawn(async move {
                let mut checked = check::check(vault, &expected).await;
                // A machine that stands still for half a minute is not a disk that lost something: the same disk once more.
                if let Some(error) = checked.as_ref().err().filter(|error| is_late(error)) {
                    println!("{mode:?}, point {place}, once more: {error:#}");
                    checked = check::check(again, &expected).await;
                }
                drop(turn);
                checked.err().map(|error| format!("{mode:?}, point {place} of {total}, seed {seed}: {error:#}"))
            });
            while let Some(checked) = checks.try_join_next() {
                wrong.extend(checked?);
            }
        }
        wrong.extend(checks.join_all().await.into_iter().flatten());
        Ok(wrong)
    }
}

/// Whether somebody waited in vain, and nothing else was wrong.
fn is_late(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    ["in time", "in vain", "Timeout expired"].iter().any(|late| text.contains(late))
}

/// The seed of this run, printed so that it can be repeated.
pub(crate) fn seed() -> Result<u64> {
    let seed = match std::env::var("COFFER_TEST_SEED") {
        Ok(seed) => seed.parse().context("COFFER_TEST_SEED is a number")?,
        Err(_) => coffer_tests::issuer::now_secs(),
    };
    println!("COFFER_TEST_SEED={seed}");
    Ok(seed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_of_power_takes_nothing_that_was_acknowledged() -> Result<()> {
    let points = if crate::long() { 1_000 } else { 100 };
    let traced = traced().await?;
    println!("{} records in the trace", traced.records.len());
    let (seed, begin) = (seed()?, time::Instant::now());
    for mode in [Mode::Strict, Mode::Subset] {
        let wrong = traced.cut(points, mode, seed, false).await?;
        println!("{mode:?}: {points} points, {} wrong, {} s so far", wrong.len(), begin.elapsed().as_secs());
        ensure!(wrong.is_empty(), "{} of {points} points are wrong:\n{}", wrong.len(), wrong.join("\n"));
    }
    // The same points with a disk that ignores the server's own syncs: a harness that finds nothing then finds nothing.
    let wrong = traced.cut(10, Mode::Strict, seed, true).await?;
    ensure!(wrong.len() >= 8, "without fdatasync 10 points have {} losses only:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
