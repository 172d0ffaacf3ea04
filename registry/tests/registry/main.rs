//! What the client makes of registries: Debian's own, and some that no registry should be.

#![expect(clippy::unwrap_used, reason = "what is wrong with a test's own parts ends the test")]

mod beside;
mod docker;
mod kit;
mod odd;
