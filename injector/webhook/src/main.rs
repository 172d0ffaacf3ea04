//! `coffer-injector`: the admission webhook.

use std::process::ExitCode;

fn main() -> ExitCode {
    coffer_injector::program::main()
}
