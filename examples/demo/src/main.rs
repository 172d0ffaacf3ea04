//! cargo demo: the main job on one machine.
fn main() {}
