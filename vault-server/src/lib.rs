//! The vault server: arguments, configuration, wiring, drain. What it does is in the crates beside this one.

mod arguments;
mod config;
mod files;
mod first;
mod hardening;
mod in_cluster;
mod log;
mod metered;
mod metrics;
mod process;
mod reload;
mod serve;
mod tls_files;
mod web;

use std::{env, process::ExitCode, thread};

use anyhow::Context;
use clap::Parser;
use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// Wipes all memory that is given back: what TLS, HTTP/2 and gRPC keep in buffers has secrets in it, too, and a sealed
/// server must not have them.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

/// The variable that names the number of threads which deal with requests, where the default does not fit.
const THREADS: &str = "TOKIO_WORKER_THREADS";

/// How many threads deal with requests: half as many as there are processors. The others are for connecting, the store
/// and the audit log; threads that contend cost more than they bring.
fn threads() -> usize {
    thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

/// Runs the server until it is told to stop.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    let done = match &arguments.command {
        None => start(&arguments),
        Some(command) => in_cluster::run(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the log may not be there yet")]
            {
                eprintln!("coffer-server: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &arguments::Arguments) -> anyhow::Result<()> {
    hardening::small_pages();
    let config = config::Config::read(&arguments.config)?;
    let log = log::start(&config.log)?;
    hardening::apply().context("the process cannot be hardened")?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if env::var_os(THREADS).is_none() {
        runtime.worker_threads(threads());
    }
    let runtime = runtime.enable_all().build().context("no threads")?;
    runtime.block_on(serve::serve(&arguments.config, config, log))
}
