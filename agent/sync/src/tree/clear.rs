//! Directories that hold nothing but directories make way for a file. Nothing with content is ever removed here: rmdir(2)
//! refuses what is not empty, whatever happens meanwhile.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Root, TreeError, split};

/// How deep is looked; deeper ones stay.
const DEPTH_MAX: usize = 32;

impl Root {
    /// Removes the directory at `name` if there is nothing but directories in it. Whether it is gone.
    pub(crate) fn clear(&self, name: &str) -> Result<bool, TreeError> {
        let failed = |errno| TreeError::new("clear", name, errno);
        let (parent, leaf) = split(name);
        let parent = self.directory(parent).map_err(failed)?;
        let empty = open(parent.as_fd(), leaf).and_then(|dir| is_bare(&dir, DEPTH_MAX));
        match empty {
            Ok(true) => {}
            Ok(false) | Err(Errno::LOOP | Errno::NOTDIR) => return Ok(false),
            Err(errno) => return Err(failed(errno)),
        }
        match remove(parent.as_fd(), leaf) {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY | Errno::NOTDIR | Errno::LOOP) => {
                Ok(false)
            }
            Err(errno) => Err(failed(errno)),
        }
    }
}

fn open(parent: impl AsFd, leaf: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, leaf, flags, Mode::empty())
}

/// Whether there is nothing but directories below `dir`.
fn is_bare(dir: &OwnedFd, depth: usize) -> Result<bool, Errno> {
    for entry in fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if depth == 0 || !is_directory || !is_bare(&open(dir, name)?, depth - 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn remove(parent: impl AsFd, leaf: impl rustix::path::Arg + Copy) -> Result<(), Errno> {
    let dir = open(&parent, leaf)?;
    for entry in fs::Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            remove(&dir, name)?;
        }
    }
    fs::unlinkat(parent, leaf, AtFlags::REMOVEDIR)
}
