//! A store that fails, delays, or does what it says that it may not have done, at each of its calls once: requests are
//! answered well or with an advice that helps, and nothing is lost, doubled or without its record.

use anyhow::{Context as _, Result, ensure};
use coffer_client::Error;
use coffer_tests::wait;
use tokio::time::{Instant, timeout};

use crate::{
    crash::verify_log,
    rpcs::{named, recorded},
    vault::{ADMIN, AUDITOR, CLUSTER, Vault, secret},
};

const PATH: &str = "kv/faults/secret";
/// What becomes of calls, and that in one life of a server every so many-th call meets it; the next life begins one call
/// later. To unseal takes many ranges, and must come through when it is tried again.
const FAULTS: [(&str, u64); 5] =
    [("get:_:before", 11), ("range:_:before", 31), ("commit:_:before", 7), ("commit:_:after", 7), ("commit:_:delay", 7)];
/// Calls of a life that are planned for; it has fewer.
const CALLS_MAX: u64 = 400;
/// Writes of a life.
const WRITES: u64 = 6;
/// How often something is tried before it counts as failed: the fault does not come twice in a row.
const TRIES: u32 = 3;
pub(crate) const FAULT: &str = "a planned fault";

#[tokio::test(flavor = "multi_thread")]
async fn each_call_of_the_store_may_fail_or_delay_or_take_effect_in_secret() -> Result<()> {
    let mut vault = Vault::new().await?;
    vault.grant_read(PATH, &format!("k8s:{CLUSTER}/shop/api")).await?;
    let mut version = vault.put(PATH, "value", "1").await?;
    let mut met = 0;
    for (fault, stride) in FAULTS {
        for first in 1..=stride {
            let calls = (first..=CALLS_MAX).step_by(stride.try_into()?);
            let plan = calls.map(|call| fault.replace('_', &call.to_string())).collect::<Vec<_>>().join(",");
            vault.server.kill()?;
            vault.server.set("store", "faults", plan);
            let from = vault.server.log()?.len();
            version = live(&mut vault, version).await.with_context(|| format!("{fault} from {first}"))?;
            met += vault.server.log()?.get(from..).context("the log only grows")?.matches(FAULT).count();
        }
    }
    println!("{met} calls of the store met their fault");
    ensure!(met >= 60, "{met} calls only: the plans were not followed");
    Ok(())
}

/// One life of a server with faults, then one without, which shows what became of it. Gives the newest version.
async fn live(vault: &mut Vault, mut version: u64) -> Result<u64> {
    if let Err(error) = vault.server.start() {
        // A server that cannot read its store does not serve: it ends, and whatever started it starts it again.
        ensure!(format!("{error:#}").contains(FAULT), "it does not start: {error:#}");
        return without_faults(vault, version, &[]).await;
    }
    again(async || vault.unseal().await).await.context("not unsealed")?;
    let admin = again(async || vault.operator(ADMIN).await).await.context("no login")?;
    let mut acknowledged = Vec::new();
    for number in 0..WRITES {
        let id = format!("{version}-{number}");
        for attempt in 0..TRIES {
            // The same idempotency key: what was done and not known to be is not done again.
            let mut request = named(secret(PATH, "value", &(version + 1).to_string()), &format!("{id}-{attempt}"));
            request.get_mut().idempotency_key.clone_from(&id);
            match timeout(wait::PATIENCE, admin.kv().put_secret(request)).await.context("no answer")? {
                Ok(answer) => {
                    let found = answer.into_inner().version.context("it is shown")?.version;
                    ensure!(found == version + 1, "version {found} rather than {}", version + 1);
                    version = found;
                    acknowledged.push(format!("{id}-{attempt}"));
                    break;
                }
                Err(status) => {
                    let error = Error::from(status);
                    ensure!(error.detail().retryable, "it is told not to come again: {error}");
                    ensure!(attempt + 1 < TRIES, "a write fails again and again: {error}");
                }
            }
        }
    }
    let found = again(async || vault.newest(PATH).await).await.context("no read")?;
    ensure!(found == (version, version.to_string()), "{found:?} is read, version {version} was acknowledged");

    without_faults(vault, version, &acknowledged).await
}

/// What is there in a life without faults. Gives the newest version.
async fn without_faults(vault: &mut Vault, version: u64, acknowledged: &[String]) -> Result<u64> {
    vault.server.kill()?;
    vault.server.unset("store", "faults");
    vault.restart().await.context("without faults")?;
    let read = vault.newest(PATH).await?;
    ensure!(read == (version, version.to_string()), "{read:?} is there, version {version} was acknowledged");
    let auditor = vault.operator(AUDITOR).await?;
    for id in acknowledged {
        ensure!(recorded(&auditor, id).await?, "{id} was acknowledged, and is not on record");
    }
    verify_log(vault).await?;
    Ok(version)
}

/// Tries something that may meet a fault.
async fn again<T>(mut what: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    let mut failed = Vec::new();
    for _ in 0..TRIES {
        match what().await {
            Ok(done) => return Ok(done),
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    anyhow::bail!("in {:?}: {failed:?}", begun.elapsed())
}
