//! The coffer command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(coffer_cli::run(std::env::args_os().collect()).code())
}
