//! Releases below one directory: each whole, side by side, the live one told by a symbolic link that is switched at once.
//!
//! ```text
//!  <path>/current            -> releases/<id>     what the web server serves
//!  <path>/releases/<id>/     whole; never written to once it has its name, but to repair what was damaged
//!  <path>/releases/.building what is being made: hard links to what did not change, then what did
//! ```
//! Beside the index of each release the state directory keeps the order of the switches. Blocking; call it off the runtime's
//! workers. Touches the destination and the state directory.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::index::{self, Kind, Record};
use crate::manifest::is_release_id;
use crate::tree::{Root, STAGING, TreeError};

/// What the web server serves.
const CURRENT: &str = "current";
const RELEASES: &str = "releases";
const BUILDING: &str = ".building";

/// One switch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Switch {
    /// The release that became live.
    pub(crate) release: String,
    /// When, in seconds since the epoch.
    pub(crate) at: u64,
}

/// What is remembered about the releases of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
struct Memory {
    /// The order of switches, oldest first.
    switches: Vec<Switch>,
    /// Rolled back from this one: it is not taken again as long as it is what is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<String>,
}

/// The most switches that are remembered.
const SWITCHES_MAX: usize = 200;

/// The most releases beyond those kept that stay for their grace.
const GRACED_MAX: usize = 20;

/// The releases of one entry.
#[derive(Debug, Clone)]
pub(crate) struct Releases {
    path: PathBuf,
    state: PathBuf,
    identity: String,
    keep: usize,
    grace: std::time::Duration,
    dir_mode: u32,
}

impl Releases {
    /// The releases of `config`; indexes are kept in `<state_dir>/<name>.releases`.
    pub(crate) fn new(config: &Config, state_dir: &Path, identity: String) -> Self {
        Self {
            path: config.path.clone(),
            state: state_dir.join(format!("{}.releases", config.name)),
            identity,
            keep: usize::from(config.keep_releases),
            grace: config.release_grace.get(),
            dir_mode: config.dir_mode.bits(),
        }
    }

    /// Makes the directories.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(&self.state)?;
        for dir in [&self.path, &self.path.join(RELEASES)] {
            if !dir.exists() {
                fs::create_dir_all(dir)?;
                fs::set_permissions(dir, fs::Permissions::from_mode(self.dir_mode))?;
            }
        }
        let link = self.path.join(CURRENT);
        match link.symlink_metadata() {
            Ok(there) if !there.is_symlink() => Err(io::Error::other(format!(
                "{} is no symbolic link; move it away, or name another path",
                link.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Where the release `id` is.
    pub(crate) fn place(&self, id: &str) -> PathBuf {
        self.path.join(RELEASES).join(id)
    }

    /// Where the next one is made.
    pub(crate) fn building(&self) -> PathBuf {
        self.place(BUILDING)
    }

    /// The index of the release `id`.
    pub(crate) fn index(&self, id: &str) -> index::Store {
        index::Store::new(self.index_path(id), self.identity.clone())
    }

    /// The index of the one that is being made.
    pub(crate) fn building_index(&self) -> index::Store {
        index::Store::new(self.building_index_path(), self.identity.clone())
    }

    fn index_path(&self, id: &str) -> PathBuf {
        self.state.join(format!("{id}.index"))
    }

    fn building_index_path(&self) -> PathBuf {
        self.state.join(".building.index")
    }

    /// The live release: the link points to it and it is there.
    pub(crate) fn current(&self) -> Option<String> {
        let target = fs::read_link(self.path.join(CURRENT)).ok()?;
        let id = target.strip_prefix(RELEASES).ok()?.to_str()?;
        (is_release_id(id) && self.place(id).is_dir()).then(|| id.to_owned())
    }

    /// Whether the release `id` is on disk, whole.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.place(id).is_dir() && self.index_path(id).exists()
    }

    /// Every release on disk.
    pub(crate) fn all(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path.join(RELEASES)) else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut ids: Vec<_> = names.filter(|name| is_release_id(name)).collect();
        ids.sort_unstable();
        ids
    }

    /// Whether what is being made was begun by an earlier pass and can be gone on with.
    pub(crate) fn is_begun(&self) -> bool {
        self.building().is_dir() && self.building_index_path().exists()
    }

    /// Begins the next release: from the live one, file by file, by hard links, as far as each still has the content that was
    /// written; from nothing if there is none. How many files were linked.
    pub(crate) fn begin(&self, building: &Config) -> Result<u64, TreeError> {
        let failed =
            |what| move |error: io::Error| TreeError::io(what, "the release that is made", &error);
        match fs::remove_dir_all(self.building()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove")(error));
            }
            _ => {}
        }
        let root = Root::open(building)?;
        let Some(current) = self.current() else {
            return Ok(0);
        };
        let Some(old) = self.index(&current).open().map_err(failed("read"))? else {
            return Ok(0);
        };
        let from = Config {
            path: self.place(&current),
            ..building.clone()
        };
        let Some(from) = Root::look(&from)? else {
            return Ok(0);
        };
        let mut writer = self.building_index().begin(None);
        let mut linked = 0;
        for record in old {
            let record = record.map_err(failed("read"))?;
            if let Some(record) = link(&from, &root, record)? {
                linked += u64::from(matches!(record.kind, Kind::File(_)));
                writer.put(&record).map_err(failed("write"))?;
            }
        }
        let finished = writer.finish().map_err(failed("write"))?;
        finished.publish().map_err(failed("write"))?;
        Ok(linked)
    }

    /// How many files of the live release the one that is made does not have, and how many the live one has.
    pub(crate) fn compare(&self) -> io::Result<(u64, u64)> {
        let Some(current) = self.current() else {
            return Ok((0, 0));
        };
        let (Some(old), Some(new)) = (self.index(&current).open()?, self.building_index().open()?)
        else {
            return Ok((0, 0));
        };
        let (mut gone, mut had) = (0, 0);
        let mut new = new.peekable();
        for old in old {
            let old = old?;
            if !matches!(old.kind, Kind::File(_)) {
                continue;
            }
            had += 1;
            while new
                .peek()
                .is_some_and(|new| new.as_ref().is_ok_and(|new| new.name < old.name))
            {
                new.next();
            }
            let kept = match new.peek() {
                Some(Ok(new)) => new.name == old.name,
                Some(Err(_)) => return Err(io::Error::other("the index cannot be read")),
                None => false,
            };
            gone += u64::from(!kept);
        }
        Ok((gone, had))
    }

    /// Gives what was made its name. Not live yet.
    pub(crate) fn finish(&self, id: &str) -> io::Result<()> {
        match fs::remove_dir(self.building().join(STAGING)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if self.place(id).exists() {
            // a leftover without an index, or one that is made again
            fs::remove_dir_all(self.place(id))?;
        }
        // a crash between the two leaves a directory without an index, which is begun anew
        fs::rename(self.building_index_path(), self.index_path(id))?;
        fs::rename(self.building(), self.place(id))?;
        sync(&self.path.join(RELEASES))
    }

    /// Makes the release `id` live, at once.
    pub(crate) fn switch(&self, id: &str) -> io::Result<()> {
        let _turn = self.turn()?;
        self.switch_now(id)
    }

    /// Switches of the agent and of a command take turns.
    fn turn(&self) -> io::Result<fs::File> {
        fs::create_dir_all(&self.state)?;
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.state.join("switch.lock"))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(file)
    }

    fn switch_now(&self, id: &str) -> io::Result<()> {
        let next = self.path.join(".current.lamplighter");
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(Path::new(RELEASES).join(id), &next)?;
        fs::rename(&next, self.path.join(CURRENT))?;
        sync(&self.path)?;
        let mut memory = self.memory();
        memory.switches.push(Switch {
            release: id.to_owned(),
            at: seconds_now(),
        });
        let extra = memory.switches.len().saturating_sub(SWITCHES_MAX);
        memory.switches.drain(..extra);
        self.remember(&memory)
    }

    /// Goes back to `to`, or to the release that was live before the one that is. The release that is live then. What is
    /// published now is not taken again until something else is.
    pub(crate) fn roll_back(&self, to: Option<&str>) -> Result<String, RollbackError> {
        let _turn = self.turn()?;
        let current = self.current().ok_or(RollbackError::NothingLive)?;
        let memory = self.memory();
        let before = memory.switches.iter().rev().map(|switch| &switch.release);
        let target = match to {
            Some(id) if self.has(id) => id.to_owned(),
            Some(id) => {
                return Err(RollbackError::Unknown {
                    id: id.to_owned(),
                    known: self.all().join(", "),
                });
            }
            None => before
                .skip_while(|id| **id == current)
                .find(|id| **id != current && self.has(id))
                .ok_or(RollbackError::NoOther)?
                .clone(),
        };
        if target == current {
            return Err(RollbackError::Already(target));
        }
        self.remember(&Memory {
            left: Some(current),
            ..memory
        })?;
        self.switch_now(&target)?;
        Ok(target)
    }

    /// The release that was rolled back from and is not to be taken again.
    pub(crate) fn left(&self) -> Option<String> {
        self.memory().left
    }

    /// Something else is published: what was rolled back from is history.
    pub(crate) fn forget_left(&self) -> io::Result<()> {
        let memory = self.memory();
        if memory.left.is_none() {
            return Ok(());
        }
        self.remember(&Memory {
            left: None,
            ..memory
        })
    }

    /// Removes what is beyond the number that is kept, the longest not live first.
    pub(crate) fn prune(&self) -> io::Result<()> {
        let (current, memory) = (self.current(), self.memory());
        let mut ids = self.all();
        let last_live = |id: &String| {
            memory
                .switches
                .iter()
                .rposition(|switch| switch.release == *id)
        };
        ids.sort_by_key(last_live);
        let extra = ids.len().saturating_sub(self.keep);
        let now = seconds_now();
        // live until the switch after its last one
        let in_use = |id: &String| {
            let ended = last_live(id).and_then(|last| memory.switches.get(last + 1));
            ended.is_some_and(|next| now.saturating_sub(next.at) < self.grace.as_secs())
        };
        let may_go = |id: &&String| Some(*id) != current.as_ref();
        for (place, id) in ids.iter().filter(may_go).take(extra).enumerate() {
            // a publisher that goes mad must not fill the disk
            if in_use(id) && extra - place <= GRACED_MAX {
                continue;
            }
            // out of sight first, so that nobody takes a half removed one for whole
            let doomed = self.place(&format!(".{id}.old"));
            fs::rename(self.place(id), &doomed)?;
            fs::remove_file(self.index_path(id)).or_else(absent)?;
        }
        self.sweep()
    }

    /// Removes what is doomed.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.path.join(RELEASES))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') && name.ends_with(".old") {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    fn memory_path(&self) -> PathBuf {
        self.state.join("switches.json")
    }

    fn memory(&self) -> Memory {
        fs::read(self.memory_path())
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    fn remember(&self, memory: &Memory) -> io::Result<()> {
        fs::create_dir_all(&self.state)?;
        let next = self.state.join("switches.json.new");
        fs::write(&next, serde_json::to_vec(memory)?)?;
        fs::File::open(&next)?.sync_all()?;
        fs::rename(next, self.memory_path())
    }
}

/// Links one file of the live release into the next, if its content is still what was written.
fn link(from: &Root, to: &Root, record: Record) -> Result<Option<Record>, TreeError> {
    let Record { name, kind } = record;
    let Kind::File(file) = kind else {
        let made = to.make_directories(name.trim_end_matches('/'));
        return Ok(made.is_ok().then_some(Record { name, kind }));
    };
    match from.hash(&name, file.sum.way())? {
        Some((sum, size, _)) if sum == file.sum && size == file.size => {}
        _ => return Ok(None),
    }
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    if !folder.is_empty() {
        to.make_directories(folder)?;
    }
    let fingerprint = to.link_from(from, &name)?;
    let kind = Kind::File(index::FileRecord {
        fingerprint,
        ..file
    });
    Ok(Some(Record { name, kind }))
}

/// Why a rollback did nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RollbackError {
    #[error("no release is live yet")]
    NothingLive,
    #[error("there is no release to go back to")]
    NoOther,
    #[error("there is no release {id:?} on this machine; there are: {known}")]
    Unknown { id: String, known: String },
    #[error("{0} is live already")]
    Already(String),
    #[error("the link cannot be switched")]
    Io(#[from] io::Error),
}

fn seconds_now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

fn sync(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}
