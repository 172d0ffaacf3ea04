//! The agent's program: `coffer-agent init`, `coffer-agent sidecar`, `coffer-agent probe`.

use std::process::ExitCode;

fn main() -> ExitCode {
    coffer_agent::main(std::env::args_os())
}
