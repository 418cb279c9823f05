//! Everything done below the destination, and nothing outside of it: names are resolved from an open directory without ever
//! following a symbolic link, content is written aside and takes its name whole. Blocking; call it off the runtime's workers.

mod clear;
mod link;
mod owner;
mod staged;
mod trash;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::config::{Config, Fsync};
use crate::index::Fingerprint;
use crate::names::{RESERVED, Refusal};
use crate::plan::Observed;
use crate::sum::{Sum, Way};

pub use owner::OwnerError;
pub(crate) use owner::check as check_owner;
pub(crate) use staged::Staged;

/// Where content is written before it takes its name; below the destination, so that a rename can bring it there.
pub(crate) const STAGING: &str = ".lamplighter-staging";
/// Nobody but the agent looks into it, the web server least of all.
const STAGING_MODE: u32 = 0o700;

/// Why something could not be done below the destination.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    /// No space, no inodes, a quota, a limit on file sizes; or `min_free` would be touched.
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// This name cannot be, the others can.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Anything else the system says.
    #[error("cannot {what} {path}")]
    Io {
        what: &'static str,
        path: String,
        source: io::Error,
    },
    /// The owner cannot be found.
    #[error(transparent)]
    Owner(#[from] OwnerError),
}

impl TreeError {
    /// Whether no other file would fare better.
    pub(crate) fn is_general(&self) -> bool {
        match self {
            Self::DiskFull(_) | Self::Owner(_) => true,
            Self::Refused(_) => false,
            Self::Io { source, .. } => matches!(
                Errno::from_io_error(source),
                Some(Errno::ROFS | Errno::IO | Errno::MFILE | Errno::NFILE | Errno::NOMEM)
            ),
        }
    }

    pub(crate) fn new(what: &'static str, path: &str, errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => {
                Self::DiskFull(format!("cannot {what} {path}: {}", io::Error::from(errno)))
            }
            // the way is barred, or a directory stands where the file should be
            Errno::LOOP
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::NOTEMPTY
            | Errno::EXIST
            | Errno::XDEV => Self::Refused(Refusal::InTheWay),
            Errno::NAMETOOLONG => Self::Refused(Refusal::SegmentTooLong),
            other => Self::Io {
                what,
                path: path.to_owned(),
                source: other.into(),
            },
        }
    }

    pub(crate) fn io(what: &'static str, path: &str, error: &io::Error) -> Self {
        let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
        Self::new(what, path, errno)
    }
}

/// The destination.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    dir: OwnedFd,
    staging: Arc<OwnedFd>,
    policy: Policy,
    /// Begins the names in staging, so that what an aborted pass still does cannot touch this one's.
    token: u64,
    sequence: AtomicU64,
    /// Whether this kernel lacks openat2 (before Linux 5.6, or filtered away).
    no_openat2: AtomicBool,
    /// Whether files can be made here that have no name until they are whole.
    nameless: bool,
}

/// How files should be.
#[derive(Debug, Clone, Copy)]
struct Policy {
    file_mode: u32,
    dir_mode: u32,
    uid: Option<u32>,
    gid: Option<u32>,
    fsync: Fsync,
    min_free: u64,
}

impl Policy {
    fn new(config: &Config) -> Result<Self, OwnerError> {
        Ok(Self {
            file_mode: config.file_mode.bits(),
            dir_mode: config.dir_mode.bits(),
            uid: config.owner.as_deref().map(owner::uid).transpose()?,
            gid: config.group.as_deref().map(owner::gid).transpose()?,
            fsync: config.fsync,
            min_free: config.min_free.get(),
        })
    }
}

impl Root {
    /// Opens the destination, making it and the staging directory if they are missing, and clears what an earlier process
    /// left in staging.
    pub(crate) fn open(config: &Config) -> Result<Self, TreeError> {
        let shown = config.path.display().to_string();
        let policy = Policy::new(config)?;
        let existed = config.path.exists();
        std::fs::create_dir_all(&config.path)
            .map_err(|error| TreeError::io("make", &shown, &error))?;
        let dir = open_directory(&config.path)?;
        if !existed {
            apply_policy(&dir, policy.dir_mode, policy)
                .map_err(|errno| TreeError::new("set the mode of", &shown, errno))?;
        }
        let staging = open_staging(&dir).map_err(|errno| TreeError::new("open", STAGING, errno))?;
        let mut root = Self::new(config, policy, dir, staging);
        root.sweep()?;
        root.nameless = root.can_be_nameless();
        Ok(root)
    }

    /// The destination as it is, only to be looked at; `None` if it does not exist.
    pub(crate) fn look(config: &Config) -> Result<Option<Self>, TreeError> {
        if !config.path.exists() {
            return Ok(None);
        }
        let policy = Policy::new(config)?;
        let dir = open_directory(&config.path)?;
        // looking needs no staging; nothing is ever written through this one
        let staging = open_directory(&config.path)?;
        Ok(Some(Self::new(config, policy, dir, staging)))
    }

    fn new(config: &Config, policy: Policy, dir: OwnedFd, staging: OwnedFd) -> Self {
        Self {
            path: config.path.clone(),
            dir,
            staging: Arc::new(staging),
            policy,
            token: getrandom::u64().unwrap_or_default(),
            sequence: AtomicU64::new(0),
            no_openat2: AtomicBool::new(false),
            nameless: false,
        }
    }

    /// Whether the destination folds case: two blobs that differ only in case would be one file.
    pub(crate) fn folds_case(&self) -> bool {
        let made = fs::mkdirat(&*self.staging, "case", Mode::from_raw_mode(STAGING_MODE));
        let folds = fs::statat(&*self.staging, "CASE", AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if made.is_ok() {
            // a leftover is swept at the next start
            let _left = fs::unlinkat(&*self.staging, "case", AtFlags::REMOVEDIR);
        }
        folds
    }

    /// Removes what is left in staging; only files and empty directories can be there.
    fn sweep(&self) -> Result<(), TreeError> {
        let failed = |errno| TreeError::new("sweep", STAGING, errno);
        let mut swept = 0_u64;
        for entry in fs::Dir::read_from(&*self.staging).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let flags = if entry.file_type() == FileType::Directory {
                AtFlags::REMOVEDIR
            } else {
                AtFlags::empty()
            };
            fs::unlinkat(&*self.staging, name, flags).map_err(failed)?;
            swept += 1;
        }
        if swept > 0 {
            tracing::info!(path = %self.path.display(), files = swept, "removed what an earlier process left half done");
        }
        Ok(())
    }

    /// Opens the directory `name` (empty: the destination itself) without following any link.
    pub(crate) fn directory(&self, name: &str) -> Result<Directory<'_>, Errno> {
        if name.is_empty() {
            return Ok(Directory::Root(self.dir.as_fd()));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if !self.no_openat2.load(Ordering::Relaxed) {
            let resolve =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match fs::openat2(&self.dir, name, flags, Mode::empty(), resolve) {
                Err(Errno::NOSYS | Errno::PERM) => self.no_openat2.store(true, Ordering::Relaxed),
                other => return other.map(Directory::Below),
            }
        }
        // one segment at a time comes to the same: no segment is "..", none may be a link
        let mut current = Directory::Root(self.dir.as_fd());
        for segment in name.split('/') {
            current = Directory::Below(fs::openat(current.as_fd(), segment, flags, Mode::empty())?);
        }
        Ok(current)
    }

    /// What stands at `name`; `near` remembers the directory from name to name.
    pub(crate) fn observe(&self, name: &str, near: &mut Near) -> Result<Observed, TreeError> {
        let (parent, leaf) = split(name);
        if near.parent.as_deref() != Some(parent) {
            let dir = match self.directory(parent) {
                Ok(Directory::Root(_)) => Place::Root,
                Ok(Directory::Below(fd)) => Place::Below(fd),
                Err(Errno::NOENT) => Place::Missing,
                Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => Place::Barred,
                Err(errno) => return Err(TreeError::new("open", parent, errno)),
            };
            *near = Near {
                parent: Some(parent.into()),
                place: dir,
            };
        }
        let dir = match &near.place {
            Place::Root => self.dir.as_fd(),
            Place::Below(fd) => fd.as_fd(),
            Place::Missing => return Ok(Observed::Missing),
            Place::Barred => return Ok(Observed::Barred),
        };
        match fs::statat(dir, leaf, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(self.classify(&stat)),
            Err(Errno::NOENT) => Ok(Observed::Missing),
            Err(errno) => Err(TreeError::new("look at", name, errno)),
        }
    }

    fn classify(&self, stat: &Stat) -> Observed {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Observed::File {
                size: u64::try_from(stat.st_size).unwrap_or(0),
                fingerprint: fingerprint(stat),
                attributes_ok: stat.st_mode & 0o7777 == self.policy.file_mode
                    && self.policy.uid.is_none_or(|uid| uid == stat.st_uid)
                    && self.policy.gid.is_none_or(|gid| gid == stat.st_gid),
            },
            FileType::Directory => Observed::Directory,
            _ => Observed::Other,
        }
    }

    /// Makes the directory `name` and those above it; gives the names (with a final slash) of those it made, outermost first.
    pub(crate) fn make_directories(&self, name: &str) -> Result<Vec<Box<str>>, TreeError> {
        match self.directory(name) {
            Ok(_) => return Ok(Vec::new()),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(TreeError::new("open", name, errno)),
        }
        let mut made = Vec::new();
        let mut above = Directory::Root(self.dir.as_fd());
        let mut path = String::with_capacity(name.len() + 1);
        for segment in name.split('/') {
            path.push_str(segment);
            let failed = |errno| TreeError::new("make", name, errno);
            let new = match fs::mkdirat(
                above.as_fd(),
                segment,
                Mode::from_raw_mode(self.policy.dir_mode),
            ) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(errno) => return Err(failed(errno)),
            };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let dir = fs::openat(above.as_fd(), segment, flags, Mode::empty()).map_err(failed)?;
            path.push('/');
            if new {
                apply_policy(&dir, self.policy.dir_mode, self.policy).map_err(failed)?;
                made.push(path.as_str().into());
            }
            above = Directory::Below(dir);
        }
        Ok(made)
    }

    /// What the file at `name` sums up to in this `way`, its size, and how it looked; `None` if it is not a regular file or changed
    /// while it was read.
    pub(crate) fn hash(
        &self,
        name: &str,
        way: Way,
    ) -> Result<Option<(Sum, u64, Fingerprint)>, TreeError> {
        let failed = |errno| TreeError::new("read", name, errno);
        let (parent, leaf) = split(name);
        let dir = match self.directory(parent) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        // NONBLOCK: a fifo put there meanwhile must not hold us
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match fs::openat(dir.as_fd(), leaf, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let before = fs::fstat(&file).map_err(failed)?;
        if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let mut summing = way.begin();
        let mut buffer = vec![0; 128 * 1024];
        let mut size = 0_u64;
        loop {
            let count = rustix::io::read(&file, &mut buffer[..]).map_err(failed)?;
            if count == 0 {
                break;
            }
            summing.update(buffer.get(..count).unwrap_or_default());
            size += u64::try_from(count).unwrap_or(0);
        }
        let after = fs::fstat(&file).map_err(failed)?;
        let unchanged = fingerprint(&before) == fingerprint(&after);
        Ok(unchanged.then(|| (summing.end(), size, fingerprint(&after))))
    }

    /// Gives the file at `name` the mode and owner it should have, if it still looks as it was `seen`; how it looks then.
    pub(crate) fn set_attributes(
        &self,
        name: &str,
        seen: Fingerprint,
    ) -> Result<Option<Fingerprint>, TreeError> {
        let failed = |errno| TreeError::new("set the mode of", name, errno);
        let (parent, leaf) = split(name);
        let dir = self.directory(parent).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match fs::openat(dir.as_fd(), leaf, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let stat = fs::fstat(&file).map_err(failed)?;
        match self.classify(&stat) {
            Observed::File { fingerprint, .. } if fingerprint != seen => Ok(None),
            Observed::File {
                attributes_ok: true,
                ..
            } => Ok(Some(seen)),
            Observed::File { .. } => {
                apply_policy(&file, self.policy.file_mode, self.policy).map_err(failed)?;
                let stat = fs::fstat(&file).map_err(failed)?;
                Ok(Some(fingerprint(&stat)))
            }
            _ => Ok(None),
        }
    }

    /// Removes the file at `name`. A directory in its place stays. Whether nothing is left of the file.
    pub(crate) fn delete_file(&self, name: &str) -> Result<bool, TreeError> {
        let (parent, leaf) = split(name);
        let dir = match self.directory(parent) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(true),
            Err(errno) => return Err(TreeError::new("open", parent, errno)),
        };
        match fs::unlinkat(dir.as_fd(), leaf, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok(true),
            Err(errno) => Err(TreeError::new("delete", name, errno)),
        }
    }

    /// Removes the directory `name` (with its final slash) if it is empty. Whether it is gone.
    pub(crate) fn delete_directory(&self, name: &str) -> Result<bool, TreeError> {
        let name = name.trim_end_matches('/');
        let (parent, leaf) = split(name);
        let dir = match self.directory(parent) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(true),
            Err(errno) => return Err(TreeError::new("open", parent, errno)),
        };
        match fs::unlinkat(dir.as_fd(), leaf, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => Ok(false),
            Err(errno) => Err(TreeError::new("delete", name, errno)),
        }
    }

    /// Forces everything written so far to disk, if the policy says so.
    pub(crate) fn sync(&self) -> Result<(), TreeError> {
        if self.policy.fsync == Fsync::Never {
            return Ok(());
        }
        fs::syncfs(&self.dir)
            .map_err(|errno| TreeError::new("sync", &self.path.display().to_string(), errno))
    }
}

/// The directory in which the last name was looked at: names come sorted, so the next one is mostly there too.
#[derive(Debug, Default)]
pub(crate) struct Near {
    parent: Option<Box<str>>,
    place: Place,
}

#[derive(Debug, Default)]
enum Place {
    Root,
    Below(OwnedFd),
    #[default]
    Missing,
    Barred,
}

#[derive(Debug)]
pub(crate) enum Directory<'a> {
    Root(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for Directory<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(fd) => *fd,
            Self::Below(fd) => fd.as_fd(),
        }
    }
}

/// Parent (empty for the destination itself) and last segment.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

pub(crate) fn fingerprint(stat: &Stat) -> Fingerprint {
    let nanoseconds = |seconds: i64, rest: u64| {
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(i64::try_from(rest).unwrap_or(0))
    };
    Fingerprint {
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        inode: stat.st_ino,
    }
}

fn apply_policy(file: impl AsFd, mode: u32, policy: Policy) -> Result<(), Errno> {
    if policy.uid.is_some() || policy.gid.is_some() {
        let uid = policy.uid.map(fs::Uid::from_raw);
        let gid = policy.gid.map(fs::Gid::from_raw);
        fs::fchown(&file, uid, gid)?;
    }
    // after the owner: a change of owner takes bits away
    fs::fchmod(file, Mode::from_raw_mode(mode))
}

fn open_directory(path: &Path) -> Result<OwnedFd, TreeError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::open(path, flags, Mode::empty())
        .map_err(|errno| TreeError::new("open", &path.display().to_string(), errno))
}

/// Opens the staging directory. Whatever else has its name is not followed and, if it is no directory, removed.
fn open_staging(root: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    for _ in 0..2 {
        match fs::mkdirat(root, STAGING, Mode::from_raw_mode(STAGING_MODE)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        match fs::openat(root, STAGING, flags, Mode::empty()) {
            Ok(dir) => {
                fs::fchmod(&dir, Mode::from_raw_mode(STAGING_MODE))?;
                return Ok(dir);
            }
            Err(Errno::LOOP | Errno::NOTDIR) => fs::unlinkat(root, STAGING, AtFlags::empty())?,
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::LOOP)
}

/// Whether `path` lies on a network or user-space file system, where other machines' writes are not seen by the kernel here.
pub(crate) fn remote_file_system(path: &Path) -> Option<&'static str> {
    // statfs(2), linux/magic.h
    const KINDS: [(u64, &str); 4] = [
        (0x6969, "NFS"),
        (0xff53_4d42, "SMB"),
        (0xfe53_4d42, "SMB"),
        (0x6573_5546, "FUSE"),
    ];
    let kind = fs::statfs(path).ok()?.f_type;
    let kind = u64::from(u32::try_from(kind & 0xffff_ffff).unwrap_or(0));
    KINDS
        .iter()
        .find(|(magic, _)| *magic == kind)
        .map(|(_, name)| *name)
}

const _: () = assert!(STAGING.len() > RESERVED.len());

#[cfg(test)]
mod tests;
