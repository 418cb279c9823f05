//! One file on its way: written in the staging directory, then renamed to its name; removed if it never gets there.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use md5::{Digest, Md5 as Hasher};
use rustix::fs::{self, AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use sha2::Sha256 as Sha256Hasher;

use super::{Root, TreeError, apply_policy, fingerprint, split};
use crate::config::Fsync;
use crate::index::Fingerprint;
use crate::store::{Md5, Sha256};

/// From this size on the space is asked for in advance, so that a disk that is too small is found at once.
const PREALLOCATE_MIN: u64 = 1024 * 1024;

/// A file that has no name yet.
#[derive(Debug)]
pub(crate) struct Staged {
    staging: Arc<OwnedFd>,
    name: String,
    file: File,
    hasher: Hasher,
    summer: Option<Sha256Hasher>,
    written: u64,
    named: bool,
}

impl Root {
    /// Begins a file of `size` bytes; `summed`: its SHA-256 is wanted too.
    pub(crate) fn stage(&self, size: u64, summed: bool) -> Result<Staged, TreeError> {
        let failed = |errno| TreeError::new("write in", super::STAGING, errno);
        room(&*self.staging, size.saturating_add(self.policy.min_free), 1)?;
        let name = format!(
            "{:016x}-{:x}",
            self.token,
            self.sequence.fetch_add(1, Ordering::Relaxed)
        );
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = match fs::openat(&*self.staging, &name, flags, mode) {
            // the directory was taken away under us: its parts are gone with it
            Err(Errno::NOENT) => return Err(failed(Errno::IO)),
            other => other.map_err(failed)?,
        };
        let staged = Staged {
            staging: Arc::clone(&self.staging),
            name,
            file: file.into(),
            hasher: Hasher::new(),
            summer: summed.then(Sha256Hasher::new),
            written: 0,
            named: false,
        };
        if size >= PREALLOCATE_MIN {
            match fs::fallocate(&staged.file, FallocateFlags::KEEP_SIZE, 0, size) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(staged)
    }
}

/// The directory of a destination, or the nearest above it that is there: it says how much room there is.
#[derive(Debug)]
pub(crate) struct Ground(OwnedFd);

impl Root {
    /// The place of `path`.
    pub(crate) fn open_directory_of(path: &std::path::Path) -> Result<Ground, TreeError> {
        let there = path.ancestors().find(|dir| dir.is_dir());
        super::open_directory(there.unwrap_or(path)).map(Ground)
    }
}

impl Ground {
    /// Whether `bytes` and `files` more fit.
    pub(crate) fn has_room(&self, bytes: u64, files: u64) -> Result<(), TreeError> {
        room(&self.0, bytes, files)
    }
}

fn room(dir: impl AsFd, bytes: u64, files: u64) -> Result<(), TreeError> {
    let space = fs::fstatvfs(dir)
        .map_err(|errno| TreeError::new("look at the space of", super::STAGING, errno))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free < bytes {
        return Err(TreeError::DiskFull(format!(
            "{free} bytes free, {bytes} wanted (min_free included)"
        )));
    }
    // file systems without a fixed number of inodes say zero of zero
    if space.f_files > 0 && space.f_favail < files {
        return Err(TreeError::DiskFull(format!(
            "{} inodes left, {files} wanted",
            space.f_favail
        )));
    }
    Ok(())
}

impl Staged {
    /// How many bytes there are.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// Adds to the end.
    pub(crate) fn write(&mut self, chunks: &[Bytes]) -> Result<(), TreeError> {
        for chunk in chunks {
            self.file
                .write_all(chunk)
                .map_err(|error| TreeError::io("write in", super::STAGING, &error))?;
            self.hasher.update(chunk);
            if let Some(summer) = &mut self.summer {
                summer.update(chunk);
            }
            self.written += u64::try_from(chunk.len()).unwrap_or(0);
        }
        Ok(())
    }

    /// The MD5 of what there is.
    pub(crate) fn md5(&self) -> Md5 {
        Md5(self.hasher.clone().finalize().into())
    }

    /// The SHA-256 of what there is, if it was wanted.
    pub(crate) fn sha256(&self) -> Option<Sha256> {
        let summer = self.summer.clone()?;
        Some(Sha256(summer.finalize().into()))
    }

    /// Gives it mode, owner and name; replaces what is a file, a link or a socket there. How it looks then.
    pub(crate) fn commit(mut self, root: &Root, name: &str) -> Result<Fingerprint, TreeError> {
        let failed = |errno| TreeError::new("write", name, errno);
        apply_policy(&self.file, root.policy.file_mode, root.policy).map_err(failed)?;
        if root.policy.fsync == Fsync::File {
            fs::fsync(&self.file).map_err(failed)?;
        }
        let (parent, leaf) = split(name);
        let dir = root.directory(parent).map_err(failed)?;
        fs::renameat(&*self.staging, &self.name, dir.as_fd(), leaf).map_err(failed)?;
        self.named = true;
        // of the open file, not of the name: whatever takes the name from now on is not what was written
        let stat = fs::fstat(&self.file).map_err(failed)?;
        Ok(fingerprint(&stat))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.named {
            // a leftover is swept at the next start
            let _left = fs::unlinkat(&*self.staging, &self.name, AtFlags::empty());
        }
    }
}
