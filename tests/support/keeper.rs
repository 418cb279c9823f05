//! Die with the parent: one helper process per test binary that outlives it by a moment.
//!
//! It reads what to guard from a pipe. When the test binary ends, however it ends, the pipe closes, and the keeper kills the
//! process groups and removes the directories that are still listed. A death signal set on each child would fire when the
//! *thread* that spawned it ends, which for a test is too early.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

static KEEPER: OnceLock<Mutex<Child>> = OnceLock::new();

/// Guards the process group `pid`.
pub(crate) fn guard_group(pid: u32) {
    tell(&format!("+group {pid}"));
}

/// The process group `pid` is gone.
pub(crate) fn release_group(pid: u32) {
    tell(&format!("-group {pid}"));
}

/// Guards the directory `path`.
pub(crate) fn guard_dir(path: &Path) {
    tell(&format!("+dir {}", path.display()));
}

/// The directory `path` is gone, or is to be kept.
pub(crate) fn release_dir(path: &Path) {
    tell(&format!("-dir {}", path.display()));
}

fn tell(line: &str) {
    let keeper = KEEPER.get_or_init(|| {
        let child = Command::new("bash")
            .args(["-c", include_str!("keeper.sh"), "lamplighter-test-keeper"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("bash starts");
        Mutex::new(child)
    });
    let mut keeper = keeper
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let pipe = keeper.stdin.as_mut().expect("the keeper's pipe");
    writeln!(pipe, "{line}").expect("the keeper lives as long as this process");
}
