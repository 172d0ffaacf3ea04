//! The Coffer node agent: tells the vault what could take a secret out of a pod's memory on its node. docs/nodes.md is its manual.
//!
//! `host` opens the node's folders, `watch` notices when something changes there, `report` gathers facts, signs them and sends them.
//! Nothing is judged here: the vault has its own copy of the checks.
//!
//! What it is not: something that can be asked, or that changes anything. It has no privileges, and sees no more of the node than is mounted.

mod args;
mod harden;
mod health;
mod host;
mod report;
mod watch;

use std::{
    cell::Cell,
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use crate::{args::Args, report::Reporter};

/// Why the agent ends. `Display` is for the person who reads the pod's log: what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// A fault of the agent's own, or of the system under it.
    #[error("{0}")]
    Internal(String),
    /// Settings are wrong.
    #[error("{0}")]
    Config(String),
}

impl Failure {
    fn exit(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Internal(_) => 1,
            Self::Config(_) => 2,
        })
    }
}

/// Runs the agent with these arguments, the program's name first, until it is stopped.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(answer) => {
            let shown = answer.print();
            return match shown.is_ok() && !answer.use_stderr() {
                true => ExitCode::SUCCESS,
                false => Failure::Config(String::new()).exit(),
            };
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Where nobody reads, the exit code says it all the same.
            drop(writeln!(io::stderr().lock(), "coffer-node: {failure}"));
            failure.exit()
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    harden::forbid_core_dumps()?;
    tracing_subscriber::fmt().with_max_level(args.log_level).with_writer(io::stderr).with_ansi(false).with_target(false).init();
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Internal(format!("the asynchronous runtime cannot be started: {error}")))?;
    runtime.block_on(async {
        // As the first process of a container the agent gets no signal that it has not asked for.
        let stop = |kind| signal(kind).map_err(|error| Failure::Internal(format!("signals cannot be received: {error}")));
        let (mut terminate, mut interrupt) = (stop(SignalKind::terminate())?, stop(SignalKind::interrupt())?);
        let heard = Cell::new(None);
        let mut reporter = Reporter::new(args, &heard)?;
        let probes = match args.probe_listen {
            Some(address) => Some(health::listen(address).await?),
            None => None,
        };
        tokio::select! {
            () = reporter.run() => {}
            () = health::serve(probes, &heard) => {}
            _ = terminate.recv() => tracing::info!("stopped by SIGTERM"),
            _ = interrupt.recv() => tracing::info!("stopped by SIGINT"),
        }
        Ok(())
    })
}
