//! A small file system of its own, to be filled, made read-only and taken away. Root's right.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::scratch::Scratch;

/// What [`Disk::fill`] leaves there.
const FILLING: &str = "filling";

/// The file system; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    scratch: Scratch,
}

impl Disk {
    /// Mounts one of `size`, as tmpfs(5) writes it: `"4m"`.
    pub(crate) fn mount(size: &str) -> Self {
        let scratch = Scratch::new("disk");
        let options = format!("size={size},mode=0755");
        let disk = Self { scratch };
        let mounted = disk.run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"]);
        assert!(mounted, "mounting a tmpfs needs root and CAP_SYS_ADMIN");
        disk
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Leaves no room on it.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.path().join(FILLING)).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    /// Takes [`Self::fill`] back.
    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.path().join(FILLING)).expect("what fills it");
    }

    /// Lets nobody write to it who comes by its path: a read-only view of it lies above it.
    pub(crate) fn forbid_writing(&self) {
        let bound = Command::new("mount")
            .arg("--bind")
            .args([self.path(), self.path()])
            .status();
        assert!(
            bound.is_ok_and(|status| status.success()),
            "bound above itself"
        );
        assert!(
            self.run("mount", &["-o", "remount,bind,ro"]),
            "made read-only"
        );
    }

    /// Takes [`Self::forbid_writing`] back.
    pub(crate) fn allow_writing(&self) {
        assert!(self.unmount(), "the view above it is unmounted");
    }

    /// Lazily: the agent may still stand in it.
    fn unmount(&self) -> bool {
        self.run("umount", &["-l"])
    }

    fn run(&self, program: &str, words: &[&str]) -> bool {
        let mut command = Command::new(program);
        let status = command.args(words).arg(self.path()).status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let gone = self.unmount();
        assert!(
            gone || std::thread::panicking(),
            "the small disk is unmounted"
        );
    }
}
