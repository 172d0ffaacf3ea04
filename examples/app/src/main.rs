//! An application that fetches its secret from Coffer directly.
fn main() {}
