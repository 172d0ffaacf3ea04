//! What the process takes from itself: core dumps, being looked into by others of the same user, and making files that
//! others may open. And what it gives itself: as many descriptors as it may have.

use rustix::{
    fs::Mode,
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask},
};

pub(crate) fn apply() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // What is for others to read is said so, file by file.
    umask(Mode::RWXG | Mode::RWXO);
    Ok(())
}

/// Has memory come in pages of 4 KiB. The allocator asks for pages of 2 MiB, which stay whole while anything in them is in
/// use: an idle server kept three times as much. Best at the very start, for pages that there are stay as they are.
pub(crate) fn small_pages() {
    // A kernel that does not know it has no large pages either.
    rustix::thread::disable_transparent_huge_pages(true).unwrap_or(());
}

/// Raises the number of descriptors that may be open to the most that this process may ask for; answers with it. A shell
/// gives 1,024 of them, for programs of long ago.
pub(crate) fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // The kernel knows no process without such a limit, even where none is set.
    let wanted = limit.maximum.unwrap_or(1 << 20);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, "the number of open descriptors cannot be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
