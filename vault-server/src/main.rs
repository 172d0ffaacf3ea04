//! The Coffer vault server.
fn main() {}
