//! The Coffer agent: puts a pod's secrets on tmpfs and keeps them fresh. docs/agent.md is its manual.
//!
//! `init` writes once, `sidecar` follows changes, `probe` says whether all files are there. The way of a secret:
//! `agent` reads it through `coffer-client`, `render` makes a file's content of it, `output` puts all files on tmpfs as
//! one, `notify` tells the application. `config` has the settings, checked before anything is done.
//!
//! What it is not: a proxy to the vault, or something that runs other programs.

mod agent;
mod args;
mod config;
mod credentials;
mod failure;
mod harden;
mod health;
mod init;
mod notify;
mod output;
#[doc(hidden)]
pub mod reading;
mod refusal;
mod render;
mod sidecar;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
    time::{Duration, Instant, sleep},
};
use tracing::level_filters::LevelFilter;

use crate::{
    agent::Agent,
    args::{Cli, Command},
    config::Config,
    failure::Failure,
    output::OutputDir,
};

/// How long a probe waits for the files. With what else it takes it is within a second, the usual limit of probes.
const PROBE_WAIT_MAX: Duration = Duration::from_millis(700);
/// How often it looks.
const PROBE_LOOK: Duration = Duration::from_millis(10);

/// Runs the agent with these arguments, the program's name first, until it has done its work or is stopped.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(answer) => {
            let shown = answer.print();
            return match shown.is_ok() && !answer.use_stderr() {
                true => ExitCode::SUCCESS,
                false => Failure::Config(String::new()).exit(),
            };
        }
    };
    match run(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut stderr = io::stderr().lock();
            for line in failure.to_string().lines() {
                if writeln!(stderr, "coffer-agent: {line}").is_err() {
                    break;
                }
            }
            failure.exit()
        }
    }
}

fn run(command: &Command) -> Result<(), Failure> {
    harden::forbid_core_dumps()?;
    let config = Config::load(command.flags())?;
    if matches!(command, Command::Probe(_)) {
        return runtime()?.block_on(probe(&config));
    }
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from(config.log_level))
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    runtime()?.block_on(async {
        // As the first process of a container the agent gets no signal that it has not asked for.
        let mut terminate = stop_signal(SignalKind::terminate())?;
        let mut interrupt = stop_signal(SignalKind::interrupt())?;
        let mut agent = Agent::new(config)?;
        let work = async {
            match command {
                Command::Init(_) => init::run(&mut agent).await,
                Command::Sidecar(_) | Command::Probe(_) => sidecar::run(&mut agent).await,
            }
        };
        let stopped = tokio::select! {
            end = work => return end,
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        match command {
            Command::Init(_) => Err(Failure::Unavailable(format!("stopped by {stopped} before all files were written"))),
            Command::Sidecar(_) | Command::Probe(_) => {
                agent.revoke().await;
                tracing::info!(signal = stopped, "stopped; the files stay as they are");
                Ok(())
            }
        }
    })
}

fn runtime() -> Result<Runtime, Failure> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::Internal(format!("the asynchronous runtime cannot be started: {error}")))
}

fn stop_signal(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::Internal(format!("signals cannot be received: {error}")))
}

/// Kubernetes asks once a second at most: who waits here sees the files as soon as they are there.
async fn probe(config: &Config) -> Result<(), Failure> {
    let end = Instant::now() + PROBE_WAIT_MAX;
    loop {
        let missing = OutputDir::open(&config.output)?.missing(config.secrets.iter().map(|file| file.name.as_str())).join(", ");
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(Failure::NotReady(format!("not ready: not written yet: {missing}")));
        }
        sleep(PROBE_LOOK).await;
    }
}
