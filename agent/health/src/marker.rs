//! The mark in the runtime directory that this machine has once been `Healthy` since it was booted. Application Health gives an
//! instance its grace period only once: an agent that is restarted later must answer `Healthy` from its first answer, or the
//! scale set replaces a machine that works. Touches one small file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::verdict::Past;

/// The mark's file name.
const NAME: &str = "healthy";

/// Changes at every boot (random(4), "/proc interfaces").
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Reads and writes the mark.
#[derive(Debug, Clone)]
pub(crate) struct Marker {
    path: PathBuf,
    boot: String,
}

impl Marker {
    /// The mark in `runtime_dir`.
    pub(crate) fn new(runtime_dir: &Path) -> Self {
        Self::of_boot(
            runtime_dir,
            &fs::read_to_string(BOOT_ID).unwrap_or_default(),
        )
    }

    /// The mark names the boot, so that one on a disk that survives a reboot, or in an image, is not believed.
    fn of_boot(runtime_dir: &Path, boot: &str) -> Self {
        Self {
            path: runtime_dir.join(NAME),
            boot: boot.trim().to_owned(),
        }
    }

    /// What the mark says.
    pub(crate) fn past(&self) -> Past {
        match fs::read_to_string(&self.path) {
            Ok(text) if text.trim() == self.boot => Past::Served,
            _ => Past::Fresh,
        }
    }

    /// Leaves the mark.
    ///
    /// # Errors
    /// If the file cannot be written; a later restart will then look like a boot.
    pub(crate) fn write(&self) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, format!("{}\n", self.boot))?;
        fs::rename(&fresh, &self.path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_for_the_boot_it_was_made_in() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let marker = Marker::of_boot(&run, "one\n");
        assert_eq!(marker.past(), Past::Fresh);
        marker.write().unwrap();
        assert_eq!(marker.past(), Past::Served);
        assert_eq!(Marker::of_boot(&run, "two").past(), Past::Fresh);
        assert_eq!(Marker::new(&run).past(), Past::Fresh);
    }
}
