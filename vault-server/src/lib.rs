//! The vault server: arguments, configuration, wiring, drain. What it does is in the crates beside this one.

mod arguments;
mod config;
mod files;
mod hardening;
mod log;
mod metered;
mod metrics;
mod process;
mod reload;
mod serve;
mod tls_files;
mod web;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// Wipes all memory that is given back: what TLS, HTTP/2 and gRPC keep in buffers has secrets in it, too, and a sealed
/// server must not have them.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

/// Runs the server until it is told to stop.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    match start(&arguments) {
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
    let config = config::Config::read(&arguments.config)?;
    let log = log::start(&config.log)?;
    hardening::apply().context("the process cannot be hardened")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads")?;
    runtime.block_on(serve::serve(&arguments.config, config, log))
}
