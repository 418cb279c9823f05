//! What the process asks of the kernel before it does anything else: descriptors enough, and no memory image of its secrets.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Raises the descriptor limit to what the system allows and turns core dumps off. Neither is worth not starting for.
pub fn harden_process() {
    let files = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = ?files.current, "cannot raise the limit of open files");
    }
    // passwords and tokens live in this memory; a dump would write them to disk
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "cannot turn core dumps off");
    }
    // a core pattern that starts with `|` ignores the limit (core(5)), this it does not
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "cannot turn core dumps off");
    }
}
