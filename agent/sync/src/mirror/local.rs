//! The directory as something to be sent: walked without following a link, read only while it holds still. Blocking; call it
//! off the runtime's workers.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use bytes::Bytes;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::config::Filters;
use crate::index::Fingerprint;
use crate::names::{self, Refusal};
use crate::tree::{Root, TreeError};

/// How deep is looked.
const DEPTH_MAX: usize = 64;

/// A file as it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) size: u64,
    pub(super) fingerprint: Fingerprint,
}

/// Everything below the root.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) files: BTreeMap<Box<str>, Look>,
    /// Directories, with the root as the empty name.
    pub(super) directories: Vec<String>,
    /// Local names that are no names of blobs.
    pub(super) refused: BTreeMap<Refusal, u64>,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Walks the tree from `from` on (empty: all of it).
pub(super) fn walk(root: &Root, from: &str, filters: &Filters) -> Result<Walk, TreeError> {
    let mut found = Walk::default();
    let dir = match open(root, from) {
        Ok(dir) => dir,
        // gone, or no directory (any more)
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(found),
        Err(errno) => return Err(TreeError::new("open", from, errno)),
    };
    visit(&dir, from, filters, DEPTH_MAX, &mut found)?;
    Ok(found)
}

fn open(root: &Root, name: &str) -> Result<OwnedFd, Errno> {
    let dir = root.directory(name)?;
    fs::openat(dir.as_fd(), ".", DIRECTORY, Mode::empty())
}

fn visit(
    dir: &OwnedFd,
    at: &str,
    filters: &Filters,
    depth: usize,
    found: &mut Walk,
) -> Result<(), TreeError> {
    let failed = |errno| TreeError::new("read", at, errno);
    found.directories.push(at.to_owned());
    for entry in fs::Dir::read_from(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let bytes = entry.file_name().to_bytes();
        if matches!(bytes, b"." | b"..") || bytes.starts_with(names::RESERVED.as_bytes()) {
            continue;
        }
        let Ok(leaf) = std::str::from_utf8(bytes) else {
            *found.refused.entry(Refusal::Control).or_default() += 1;
            continue;
        };
        let name = if at.is_empty() {
            leaf.to_owned()
        } else {
            format!("{at}/{leaf}")
        };
        let stat = match fs::statat(dir, leaf, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(failed(errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth > 0 => {
                match fs::openat(dir, leaf, DIRECTORY, Mode::empty()) {
                    Ok(below) => visit(&below, &name, filters, depth - 1, found)?,
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(errno) => return Err(failed(errno)),
                }
            }
            FileType::RegularFile if filters.wants(&name) => match names::check(&name, 0) {
                Ok(()) => {
                    let look = Look {
                        size: u64::try_from(stat.st_size).unwrap_or(0),
                        fingerprint: crate::tree::fingerprint(&stat),
                    };
                    found.files.insert(name.into(), look);
                }
                Err(reason) => *found.refused.entry(reason).or_default() += 1,
            },
            // links are never followed, nor sent
            _ => {}
        }
    }
    Ok(())
}

/// How the file `name` looks now; `None` if there is no regular file.
pub(super) fn look(root: &Root, name: &str) -> Result<Option<Look>, TreeError> {
    match root.observe(name, &mut crate::tree::Near::default())? {
        crate::plan::Observed::File {
            size, fingerprint, ..
        } => Ok(Some(Look { size, fingerprint })),
        _ => Ok(None),
    }
}

/// `length` bytes of `name` from `at` on, if it still looks as it did; `None` if not.
pub(super) fn read(
    root: &Root,
    name: &str,
    looked: Look,
    at: u64,
    length: u64,
) -> Result<Option<Bytes>, TreeError> {
    let failed = |errno| TreeError::new("read", name, errno);
    let (parent, leaf) = name.rsplit_once('/').unwrap_or(("", name));
    let gone = |errno: Errno| matches!(errno, Errno::NOENT | Errno::LOOP | Errno::NOTDIR);
    let dir = match root.directory(parent) {
        Ok(dir) => dir,
        Err(errno) if gone(errno) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match fs::openat(dir.as_fd(), leaf, flags, Mode::empty()) {
        Ok(file) => file,
        Err(errno) if gone(errno) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    let same = |file: &OwnedFd| {
        let stat = fs::fstat(file).map_err(failed)?;
        Ok::<_, TreeError>(crate::tree::fingerprint(&stat) == looked.fingerprint)
    };
    if !same(&file)? {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        let offset = at + u64::try_from(filled).unwrap_or(0);
        let room = bytes.get_mut(filled..).unwrap_or_default();
        let count = rustix::io::pread(&file, room, offset).map_err(failed)?;
        if count == 0 {
            return Ok(None);
        }
        filled += count;
    }
    Ok(same(&file)?.then(|| bytes.into()))
}
