//! Whole-system tests: the real server as a process, spoken to as clients speak to it.

#![expect(
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "these are tests: a panic is a failure"
)]

mod api_server;
mod audit;
mod certificates;
mod clock;
mod cluster_lost;
mod command;
mod core_files;
mod crash;
mod damage;
mod database;
mod disk_full;
mod gate;
mod images;
mod key_file;
mod keys;
mod kubernetes;
mod leaks;
mod limits;
mod memory;
mod mounts;
mod opening;
mod outage;
mod peers;
mod pki;
mod posture;
mod power;
mod rpcs;
mod scan;
mod serve;
mod service_accounts;
mod snapshots;
mod store_faults;
mod stores;
mod tokens;
mod transit;
mod vault;
mod watch;
mod way;

/// Whether tests that repeat something at random do it ten times as often: `tests/run --long`.
fn long() -> bool {
    std::env::var_os("COFFER_TEST_LONG").is_some()
}
