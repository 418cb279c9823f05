//! One file on its way: written without a name or in the staging directory, then given its name; gone if it never gets there.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rustix::fs::{self, AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Root, TreeError, apply_policy, fingerprint, split};
use crate::config::Fsync;
use crate::index::Fingerprint;

/// From this size on the space is asked for in advance, so that a disk that is too small is found at once.
const PREALLOCATE_MIN: u64 = 1024 * 1024;

/// Below this size a file is made without any name where it can be: one name less to make, and no directory that all
/// downloads share. A longer one has a name in staging, where it can be seen.
const NAMELESS_BELOW: u64 = PREALLOCATE_MIN;

/// A file that has no name of its own yet.
#[derive(Debug)]
pub(crate) struct Staged {
    staging: Arc<OwnedFd>,
    /// Its name in staging, or the one it gets if its own is taken.
    name: String,
    file: File,
    written: u64,
    /// It is in staging under its name there.
    in_staging: bool,
}

impl Root {
    /// Begins a file of `size` bytes, that will be `name` if that is known.
    pub(crate) fn stage(&self, name: Option<&str>, size: u64) -> Result<Staged, TreeError> {
        let failed = |errno| TreeError::new("write in", super::STAGING, errno);
        room(&*self.staging, size.saturating_add(self.policy.min_free), 1)?;
        let nameless = name
            .filter(|_| self.nameless && size < NAMELESS_BELOW)
            .and_then(|name| self.directory(split(name).0).ok())
            .and_then(|parent| without_name(parent).ok());
        let staging_name = format!(
            "{:016x}-{:x}",
            self.token,
            self.sequence.fetch_add(1, Ordering::Relaxed)
        );
        let in_staging = nameless.is_none();
        let file = match nameless {
            Some(file) => file,
            None => self.named_in_staging(&staging_name).map_err(failed)?,
        };
        let staged = Staged {
            staging: Arc::clone(&self.staging),
            name: staging_name,
            file: file.into(),
            written: 0,
            in_staging,
        };
        if size >= PREALLOCATE_MIN {
            match fs::fallocate(&staged.file, FallocateFlags::KEEP_SIZE, 0, size) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(staged)
    }

    fn named_in_staging(&self, name: &str) -> Result<OwnedFd, Errno> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(&*self.staging, name, flags, MODE).map_err(|errno| match errno {
            // the directory was taken away under us: its parts are gone with it
            Errno::NOENT => Errno::IO,
            other => other,
        })
    }

    /// Whether the file system makes files without a name (O_TMPFILE, open(2)) and gives them one later. A file that is given
    /// away before it has a name cannot be named any more (`fs.protected_hardlinks`, proc(5)).
    pub(super) fn can_be_nameless(&self) -> bool {
        if self.policy.uid.is_some() || self.policy.gid.is_some() {
            return false;
        }
        let Ok(file) = without_name(&*self.staging) else {
            return false;
        };
        let probe = format!("{:016x}-probe", self.token);
        let named = give_name(&file, &*self.staging, &probe).is_ok();
        // swept at the next start if it stays
        let _left = fs::unlinkat(&*self.staging, &probe, AtFlags::empty());
        named
    }
}

/// What a file is while nobody but us should read it.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

fn without_name(dir: impl AsFd) -> Result<OwnedFd, Errno> {
    fs::openat(
        dir,
        ".",
        OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC,
        MODE,
    )
}

/// By way of /proc, for which no capability is needed (linkat(2)).
fn give_name(file: impl AsFd, dir: impl AsFd, name: &str) -> Result<(), Errno> {
    let open = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    fs::linkat(fs::CWD, open, dir, name, AtFlags::SYMLINK_FOLLOW)
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
        let mut slices: Vec<_> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
        let written = write_slices(&mut self.file, &mut slices)
            .map_err(|error| TreeError::io("write in", super::STAGING, &error))?;
        self.written += written;
        Ok(())
    }

    /// The same on a disk that takes no more.
    #[cfg(test)]
    pub(crate) fn on_a_full_disk(mut self) -> Self {
        self.file = File::options().write(true).open("/dev/full").unwrap();
        self
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
        if !self.in_staging {
            match give_name(&self.file, &dir, leaf) {
                // a name that is taken is taken over by a rename
                Err(Errno::EXIST) => {
                    give_name(&self.file, &*self.staging, &self.name).map_err(failed)?;
                    self.in_staging = true;
                }
                named => named.map_err(failed)?,
            }
        }
        if self.in_staging {
            fs::renameat(&*self.staging, &self.name, dir.as_fd(), leaf).map_err(failed)?;
            self.in_staging = false;
        }
        // of the open file, not of the name: whatever takes the name from now on is not what was written
        let stat = fs::fstat(&self.file).map_err(failed)?;
        Ok(fingerprint(&stat))
    }
}

/// All of them in as few calls as it takes. How many bytes that was.
fn write_slices(mut output: impl Write, mut slices: &mut [IoSlice<'_>]) -> io::Result<u64> {
    let mut written = 0;
    // an empty one is no end
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match output.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                written += u64::try_from(count).unwrap_or(0);
                IoSlice::advance_slices(&mut slices, count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.in_staging {
            // a leftover is swept at the next start
            let _left = fs::unlinkat(&*self.staging, &self.name, AtFlags::empty());
        }
    }
}
