//! Tells which files below a directory were written, by inotify: new directories are watched as they come, and what they held
//! before they were watched counts as written; when the kernel lost events, everything does. Touches the destination.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::local;
use crate::config::Filters;
use crate::names;
use crate::tree::Root;

/// The most names that are remembered at a time; with more, everything is looked at.
const NAMES_MAX: usize = 10_000;

/// What happened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stir {
    /// Names of files that were written, moved or deleted.
    pub(super) names: BTreeSet<Box<str>>,
    /// Events were lost: anything may have happened.
    pub(super) all: bool,
}

/// Watches one directory with everything below.
#[derive(Debug)]
pub(super) struct Watcher {
    events: AsyncFd<OwnedFd>,
    directories: HashMap<i32, String>,
}

const WANTED: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR);

impl Watcher {
    /// Watches `directories` of `root`.
    ///
    /// # Errors
    /// If the system has no watches left (`fs.inotify.max_user_watches`, `max_user_instances`).
    pub(super) fn new(root: &Root, directories: &[String]) -> io::Result<Self> {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an OwnedFd is owned, so what makes it so does not concern us"
        )]
        let events = AsyncFd::with_interest(events, Interest::READABLE)?;
        let mut watcher = Self {
            events,
            directories: HashMap::new(),
        };
        for name in directories {
            watcher.watch(root, name)?;
        }
        Ok(watcher)
    }

    fn watch(&mut self, root: &Root, name: &str) -> io::Result<()> {
        let dir = match root.directory(name) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        // by the open directory: its path may be another one by now
        let path = format!(
            "/proc/self/fd/{}",
            std::os::fd::AsFd::as_fd(&dir).as_raw_fd()
        );
        match inotify::add_watch(self.events.get_ref(), path, WANTED) {
            Ok(watch) => {
                self.directories.insert(watch, name.to_owned());
                Ok(())
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for something to happen; safe to cancel.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.events.readable().await.map(|mut guard| {
            // whoever is told reads all there is; what comes then is told again
            guard.clear_ready();
        })
    }

    /// What happened since the last time. Watches directories that are new.
    pub(super) fn take(&mut self, root: &Root, filters: &Filters) -> io::Result<Stir> {
        let mut stir = Stir::default();
        let mut fresh = Vec::new();
        self.drain(&mut stir, &mut fresh)?;
        while let Some(name) = fresh.pop() {
            let found = local::walk(root, &name, filters).map_err(io::Error::other)?;
            for directory in found.directories {
                self.watch(root, &directory)?;
            }
            // what came between the two looks
            let again = local::walk(root, &name, filters).map_err(io::Error::other)?;
            stir.names.extend(again.files.into_keys());
        }
        if stir.names.len() > NAMES_MAX {
            stir = Stir {
                all: true,
                ..Stir::default()
            };
        }
        Ok(stir)
    }

    fn drain(&mut self, stir: &mut Stir, fresh: &mut Vec<String>) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(self.events.get_ref(), &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => break,
                Err(errno) => return Err(errno.into()),
            };
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                stir.all = true;
                continue;
            }
            let folder = self.directories.get(&event.wd());
            let leaf = event.file_name().map(std::ffi::CStr::to_bytes);
            let (Some(folder), Some(leaf)) = (folder, leaf) else {
                continue;
            };
            let Ok(leaf) = std::str::from_utf8(leaf) else {
                continue;
            };
            if leaf.starts_with(names::RESERVED) {
                continue;
            }
            let name = if folder.is_empty() {
                leaf.to_owned()
            } else {
                format!("{folder}/{leaf}")
            };
            if flags.contains(ReadFlags::ISDIR) {
                if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                    fresh.push(name);
                } else if flags.intersects(ReadFlags::MOVED_FROM | ReadFlags::DELETE) {
                    // everything below went with it
                    stir.all = true;
                }
                continue;
            }
            stir.names.insert(name.into());
        }
        // watches of directories that are gone end by themselves
        Ok(())
    }
}
