//! Measures what a server and its agents do together. docs/performance.md says how to run it, and what came of it.
//!
//! `cargo run -p coffer-tests --example measure -- push [AGENTS [ROTATIONS]]`, `-- start AGENT [STARTS]`,
//! `-- pressure [SECONDS [IDLE]]`, `-- size [SECRETS]`, `-- grants [GRANTS [READS]]`, `-- command [STARTS]`, `-- leases [LEASES]`,
//! `-- due [LEASES]`, `-- ends [PODS]` or `-- pods [PODS]`, or with `COFFER_TEST_BINARIES` naming the folder of other builds.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "this prints what it measured, and ends where anything is wrong"
)]

mod command;
mod databases;
mod due;
mod ends;
mod grants;
mod leases;
mod pods;
mod pressure;
mod push;
mod size;
mod start;
mod vault;

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use tokio::{runtime::Runtime, task::LocalSet};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize, usual| arguments.get(at).map_or(Ok(usual), |text| text.parse::<usize>());
    match arguments.first().map(String::as_str) {
        Some("push") => Runtime::new()?.block_on(push::run(number(1, 1)?, number(2, 100)?)),
        Some("start") => {
            let agent = PathBuf::from(arguments.get(1).context("start AGENT [STARTS]: which agent?")?);
            Runtime::new()?.block_on(start::run(&agent, number(2, 50)?))
        }
        Some("pressure") => pressure::run(number(1, 10)?.try_into()?, number(2, 2_000)?),
        Some("size") => LocalSet::new().block_on(&Runtime::new()?, size::run(number(1, 100_000)?)),
        Some("grants") => LocalSet::new().block_on(&Runtime::new()?, grants::run(number(1, 10_000)?, number(2, 50_000)?)),
        Some("command") => Runtime::new()?.block_on(command::run(number(1, 20)?)),
        Some("leases") => LocalSet::new().block_on(&Runtime::new()?, leases::run(number(1, 300_000)?)),
        Some("due") => Runtime::new()?.block_on(due::run(number(1, 10_000)?)),
        Some("pods") => pods::run(number(1, 50)?),
        Some("ends") => Runtime::new()?.block_on(ends::run(number(1, 100)?)),
        _ => bail!(
            "push [AGENTS [ROTATIONS]], start AGENT [STARTS], pressure [SECONDS [IDLE]], size [SECRETS], grants [GRANTS [READS]], \
             command [STARTS], leases [LEASES], due [LEASES], ends [PODS] or pods [PODS]"
        ),
    }
}
