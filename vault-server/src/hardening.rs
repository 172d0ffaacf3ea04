//! What the process takes from itself: core dumps, being looked into by others of the same user, and making files that
//! others may open.

use rustix::{
    fs::Mode,
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask},
};

pub(crate) fn apply() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // What is for others to read is said so, file by file.
    umask(Mode::RWXG | Mode::RWXO);
    Ok(())
}
