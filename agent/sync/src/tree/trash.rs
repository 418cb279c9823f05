//! What is deleted is kept for a while, if the entry says so: below `.lamplighter-trash`, by the hour it was deleted in.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::{Root, TreeError, split};

/// Where it is kept; nobody but the agent looks into it.
const TRASH: &str = ".lamplighter-trash";
const TRASH_MODE: u32 = 0o700;

const HOUR: Duration = Duration::from_secs(3600);

impl Root {
    /// Moves the file `name` to the trash. Whether it was there; a directory in its place stays.
    pub(crate) fn trash_file(&self, name: &str, now: SystemTime) -> Result<bool, TreeError> {
        let failed = |errno| TreeError::new("move to the trash", name, errno);
        let (parent, leaf) = split(name);
        let dir = match self.directory(parent) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(false),
            Err(errno) => return Err(failed(errno)),
        };
        match fs::statat(dir.as_fd(), leaf, fs::AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if fs::FileType::from_raw_mode(stat.st_mode).is_dir() => return Ok(false),
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(failed(errno)),
        }
        let hour = hours(now).to_string();
        let mut to = make(self.dir.as_fd(), TRASH).map_err(failed)?;
        to = make(to.as_fd(), &hour).map_err(failed)?;
        for segment in parent.split('/').filter(|segment| !segment.is_empty()) {
            to = make(to.as_fd(), segment).map_err(failed)?;
        }
        fs::renameat(dir.as_fd(), leaf, &to, leaf).map_err(failed)?;
        Ok(true)
    }

    /// Removes from the trash what has been there for longer than `keep`. How many hours' worth.
    pub(crate) fn empty_trash(&self, keep: Duration, now: SystemTime) -> Result<usize, TreeError> {
        let trash = self.path.join(TRASH);
        let failed = |error: std::io::Error| TreeError::io("empty", TRASH, &error);
        let entries = match std::fs::read_dir(&trash) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(failed(error)),
        };
        let mut emptied = 0;
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let hour = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u64>().ok());
            let age = hour.map(|hour| {
                HOUR * u32::try_from(hours(now).saturating_sub(hour)).unwrap_or(u32::MAX)
            });
            // the hour is over for all of it only one hour later
            if age.is_some_and(|age| age > keep + HOUR) {
                std::fs::remove_dir_all(entry.path()).map_err(failed)?;
                emptied += 1;
            }
        }
        Ok(emptied)
    }
}

fn hours(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / HOUR.as_secs())
}

fn make(above: impl AsFd + Copy, name: &str) -> Result<OwnedFd, Errno> {
    match fs::mkdirat(above, name, Mode::from_raw_mode(TRASH_MODE)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(above, name, flags, Mode::empty())
}
