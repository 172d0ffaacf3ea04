//! `cargo demo`: the main job of Coffer on one machine, with the real programs and without Kubernetes.
//!
//! The server, the agent and the command run as processes, as in production. A local issuer takes the place of the API
//! server: it signs service-account tokens of the projected kind, which the vault verifies with the same code.

mod account;
mod stage;
mod steps;

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::stage::Running;

/// Runs the main job of Coffer on this machine, and takes everything away again.
#[derive(Parser)]
#[command(name = "cargo demo")]
struct Arguments {
    /// Leave the server up, and say how to talk to it
    #[arg(long)]
    keep: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let running = Running::default();
    let work = {
        let running = running.clone();
        tokio::task::spawn_blocking(move || steps::run(&running, arguments.keep))
    };
    match interruptible(work, &running).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            account::failed(&error);
            ExitCode::FAILURE
        }
    }
}

/// Waits for the work. Where somebody wants to end it, its programs are killed: it then fails, and removes its files.
async fn interruptible(mut work: tokio::task::JoinHandle<Result<()>>, running: &Running) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        done = &mut work => return done?,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    running.end();
    drop(work.await);
    Err(anyhow!("interrupted; nothing is left behind"))
}
