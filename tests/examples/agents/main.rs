//! Measures agents. docs/performance.md says how to run it, and what came of it.
//!
//! `cargo run -p coffer-tests --example agents -- push [AGENTS [ROTATIONS]]` or `-- start AGENT [STARTS]`, or with
//! `COFFER_TEST_BINARIES` naming the folder of other builds.

#![expect(clippy::print_stdout, reason = "this prints what it measured")]

mod push;
mod start;
mod vault;

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize, usual| arguments.get(at).map_or(Ok(usual), |text| text.parse::<usize>());
    match arguments.first().map(String::as_str) {
        Some("push") => push::run(number(1, 1)?, number(2, 100)?).await,
        Some("start") => {
            let agent = PathBuf::from(arguments.get(1).context("start AGENT [STARTS]: which agent?")?);
            start::run(&agent, number(2, 50)?).await
        }
        _ => bail!("push [AGENTS [ROTATIONS]], or start AGENT [STARTS]"),
    }
}
