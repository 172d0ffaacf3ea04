//! The agent as a program, before a vault that does what a real one cannot be made to do.

#[cfg(test)]
#[expect(dead_code, reason = "shared with the client's tests, which use the rest")]
#[path = "../../../../client/tests/vault/mod.rs"]
mod vault;

#[cfg(test)]
mod init;

#[cfg(test)]
mod sidecar;

#[cfg(test)]
mod world;
