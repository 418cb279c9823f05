//! Other names for files that are there: hard links between two trees, and within one.

use std::os::fd::AsFd;

use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use super::{Root, TreeError, fingerprint, split};
use crate::index::Fingerprint;

impl Root {
    /// Makes `name` a hard link to the file of the same name below `other`, which is on the same file system. How it looks then.
    pub(crate) fn link_from(&self, other: &Self, name: &str) -> Result<Fingerprint, TreeError> {
        let failed = |errno| TreeError::new("link", name, errno);
        let (parent, leaf) = split(name);
        let theirs = other.directory(parent).map_err(failed)?;
        let ours = self.directory(parent).map_err(failed)?;
        fs::linkat(theirs.as_fd(), leaf, ours.as_fd(), leaf, AtFlags::empty()).map_err(failed)?;
        let stat = fs::statat(ours.as_fd(), leaf, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        Ok(fingerprint(&stat))
    }

    /// Gives the file `name` the further name `other` in the same directory. Whether it could: the name may be taken, or the
    /// file gone.
    pub(crate) fn also_call(&self, name: &str, other: &str) -> Result<bool, TreeError> {
        let failed = |errno| TreeError::new("link", name, errno);
        let (parent, leaf) = split(name);
        let dir = self.directory(parent).map_err(failed)?;
        let (_, other) = split(other);
        match fs::linkat(dir.as_fd(), leaf, dir.as_fd(), other, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST | Errno::NOENT) => Ok(false),
            Err(errno) => Err(failed(errno)),
        }
    }
}
