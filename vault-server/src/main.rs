//! The Coffer vault server.

use std::process::ExitCode;

fn main() -> ExitCode {
    coffer_server::run()
}
