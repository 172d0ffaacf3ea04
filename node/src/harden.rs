//! What the process forbids itself.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::Failure;

/// No core dump of this process, and no other process of the same user may read its memory: prctl(2), PR_SET_DUMPABLE.
pub(crate) fn forbid_core_dumps() -> Result<(), Failure> {
    let fail = |what: &str, why: rustix::io::Errno| Failure::Internal(format!("{what}: {why}"));
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(|why| fail("core dumps cannot be forbidden", why))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|why| fail("the process cannot be made undumpable", why))
}
