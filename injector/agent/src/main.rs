//! The Coffer agent: puts a pod's secrets on tmpfs and keeps them fresh.
fn main() {}
