//! Whole-system tests: the real server as a process, spoken to as clients speak to it.

#![expect(
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "these are tests: a panic is a failure"
)]

mod audit;
mod command;
mod crash;
mod kubernetes;
mod leaks;
mod rpcs;
mod stores;
mod tokens;
mod vault;
mod way;
