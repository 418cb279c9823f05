//! A fixture's own directory: short enough for unix sockets, removed when the test passed, kept when it failed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::keeper;

/// Where Linux keeps files in memory.
const MEMORY: &str = "/dev/shm";

/// So many bytes have to be free there.
const ROOM: u64 = 4 << 30;

/// A directory that lives as long as its owner. Readable by everyone, because some servers drop to another user.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    label: &'static str,
}

impl Scratch {
    /// A new empty directory; `label` names the owner in what a failed test prints.
    pub(crate) fn new(label: &'static str) -> Self {
        let base = std::env::temp_dir();
        // sun_path holds 108 bytes: leave room for the file names below
        let base = if base.as_os_str().len() > 48 {
            PathBuf::from("/tmp")
        } else {
            base
        };
        Self::within(&base, label)
    }

    /// As [`Scratch::new`], in memory if there is room: for tests of how long something takes that a slow disk would decide.
    pub(crate) fn in_memory(label: &'static str) -> Self {
        let has_room = rustix::fs::statvfs(MEMORY)
            .is_ok_and(|it| it.f_bavail.saturating_mul(it.f_frsize) >= ROOM);
        if has_room {
            Self::within(Path::new(MEMORY), label)
        } else {
            Self::new(label)
        }
    }

    fn within(base: &Path, label: &'static str) -> Self {
        let path = tempfile::Builder::new()
            .prefix("ll-")
            .tempdir_in(base)
            .expect("a temporary directory")
            .keep();
        fs::set_permissions(&path, Permissions::from_mode(0o755))
            .expect("the new directory is ours");
        keeper::guard_dir(&path);
        Self { path, label }
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` within.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file within, readable by everyone.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, contents).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Writes a file within that only its owner may read, as a secret must be.
    pub(crate) fn write_secret(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, contents.as_ref()))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: kept {} with its logs", self.label, self.path.display());
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{}: {}: {error}", self.label, self.path.display());
        }
        keeper::release_dir(&self.path);
    }
}
