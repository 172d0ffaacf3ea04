//! Certificates that are renewed and injectors that are made anew under a stream of pods: none is refused.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{ASKING, Deployed, POD_PATIENCE, chart, pod};

/// Renewed as often as this, a certificate has a second left when the next is shown.
const SHORTEST_LIFETIME: &str = "injector.certs.lifetime=3s";
/// For as long as this, and it is another every three seconds at least: they are dated in whole seconds.
const RENEWED_FOR: Duration = Duration::from_secs(60);

pub(super) fn nothing_that_comes_and_goes_refuses_a_pod(deployed: &Deployed) -> Result<()> {
    injectors_are_made_anew(deployed)?;
    let mut seen = BTreeSet::new();
    let pods = asked(deployed, |deployed| {
        seen.insert(shown(deployed)?);
        Ok(seen.len() == 3)
    })?;
    println!("{pods} pods were asked about under {} certificates", seen.len());
    if crate::long() {
        certificates_are_renewed_without_a_pause(deployed)?;
    }
    Ok(())
}

/// Asks about one pod after the other until that is so; gives how many there were.
fn asked(deployed: &Deployed, mut is_done: impl FnMut(&Deployed) -> Result<bool>) -> Result<u32> {
    let mut pods = 0;
    while !is_done(deployed)? {
        deployed.creates(&pod("tried", &ASKING), &["--dry-run=server"])?;
        pods += 1;
    }
    Ok(pods)
}

fn shown(deployed: &Deployed) -> Result<String> {
    deployed.cluster.kubectl(["-n", "coffer", "get", "secret", "coffer-injector-tls", "-o", "jsonpath={.data.tls\\.crt}"])
}

/// The pods of before are gone whole when this is done.
fn injectors_are_made_anew(deployed: &Deployed) -> Result<()> {
    let (before, begin) = (deployed.injectors()?, Instant::now());
    deployed.cluster.kubectl(["-n", "coffer", "rollout", "restart", "deployment", "coffer-injector"])?;
    let pods = asked(deployed, |_| {
        ensure!(begin.elapsed() < POD_PATIENCE, "the injectors of before are still there");
        Ok(deployed.injectors()?.is_disjoint(&before))
    })?;
    println!("{pods} pods were asked about while {} injectors were made anew", before.len());
    Ok(())
}

fn certificates_are_renewed_without_a_pause(deployed: &Deployed) -> Result<()> {
    let chart = chart().display().to_string();
    deployed.cluster.helm([
        "upgrade",
        "coffer",
        &chart,
        "--reuse-values",
        "--set",
        SHORTEST_LIFETIME,
        "--wait",
        "--timeout",
        "120s",
    ])?;
    let (mut seen, begin) = (BTreeSet::new(), Instant::now());
    let pods = asked(deployed, |deployed| {
        seen.insert(shown(deployed)?);
        Ok(begin.elapsed() >= RENEWED_FOR)
    })?;
    println!("{pods} pods were asked about under {} certificates in {RENEWED_FOR:?}", seen.len());
    ensure!(u64::try_from(seen.len())? * 3 >= RENEWED_FOR.as_secs(), "there were {} certificates", seen.len());
    Ok(())
}
