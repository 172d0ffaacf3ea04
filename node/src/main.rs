//! The node agent's program: `coffer-node`.

use std::process::ExitCode;

fn main() -> ExitCode {
    coffer_node::main(std::env::args_os())
}
