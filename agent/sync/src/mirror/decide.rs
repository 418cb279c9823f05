//! What was agreed on last, what is here, what is there: what to do about one name. Pure; no IO.

use crate::config::{Config, Conflict, DeletePolicy, Direction};
use crate::index::FileRecord;
use crate::store::{ETag, Md5, Sum};

/// A file as it is on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Here {
    pub(super) size: u64,
    pub(super) md5: Md5,
}

/// A blob as it is in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct There {
    pub(super) size: u64,
    pub(super) etag: ETag,
    pub(super) md5: Option<Md5>,
    /// This instance wrote it.
    pub(super) own: bool,
}

impl There {
    /// What the container holds if nobody but us wrote to it.
    pub(super) fn as_agreed(record: &FileRecord) -> Self {
        Self {
            size: record.size,
            etag: record.etag.clone(),
            md5: record.sum.md5(),
            own: true,
        }
    }
}

/// What to do about one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// As it should be.
    Nothing,
    /// Both hold the same: agreed.
    Adopt(There),
    /// Send it: over this version, or where there is none.
    Put(Option<ETag>),
    /// Fetch it.
    Get,
    /// Delete it here.
    DeleteHere,
    /// Delete this version there.
    DeleteThere(ETag),
    /// It is gone on both sides.
    Forget,
    /// Changed on both sides: the local content gets another name, the container's keeps this one.
    KeepBoth,
    /// Changed on both sides, and the container's is left as it is: agreed to differ.
    Yield(There),
}

/// The part of the configuration that decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// The container's changes come here too.
    pub(super) both: bool,
    pub(super) conflict: Conflict,
    pub(super) push_deletes: bool,
    pub(super) delete: DeletePolicy,
}

impl Policy {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            both: config.direction == Direction::Both,
            conflict: config.conflict,
            push_deletes: config.push_deletes,
            delete: config.delete,
        }
    }

    /// Decides from what was `agreed`, and what is `here` and `there` now.
    ///
    /// Clocks are never compared; a change is another content than the one that was agreed on.
    pub(super) fn decide(
        &self,
        agreed: Option<&FileRecord>,
        here: Option<Here>,
        there: Option<There>,
    ) -> Act {
        let changed_here = match (agreed, here) {
            (None, here) => here.is_some(),
            (Some(agreed), Some(here)) => {
                Sum::Md5(here.md5) != agreed.sum || here.size != agreed.size
            }
            (Some(_), None) => true,
        };
        let changed_there = match (agreed, &there) {
            (None, there) => there.is_some(),
            (Some(agreed), Some(there)) => there.etag != agreed.etag,
            (Some(_), None) => true,
        };
        match (changed_here, changed_there) {
            (false, false) => Act::Nothing,
            (true, false) => self.sent(here, there),
            (false, true) => self.taken(here, there),
            (true, true) => self.met(here, there),
        }
    }

    /// Changed here only.
    fn sent(&self, here: Option<Here>, there: Option<There>) -> Act {
        match (here, there) {
            (Some(_), there) => Act::Put(there.map(|there| there.etag)),
            (None, Some(there)) if self.push_deletes => Act::DeleteThere(there.etag),
            (None, Some(_)) if self.both => Act::Get,
            (None, Some(_)) => Act::Nothing,
            (None, None) => Act::Forget,
        }
    }

    /// Changed there only.
    fn taken(&self, here: Option<Here>, there: Option<There>) -> Act {
        match (here, there) {
            (Some(_), Some(_)) | (None, Some(_)) if self.both => Act::Get,
            (Some(_), None) if self.both && self.delete == DeletePolicy::Managed => Act::DeleteHere,
            // here is the truth, and it is missing there
            (Some(_), None) => Act::Put(None),
            (Some(_), Some(_)) | (None, Some(_)) => Act::Nothing,
            (None, None) => Act::Forget,
        }
    }

    /// Changed on both sides.
    fn met(&self, here: Option<Here>, there: Option<There>) -> Act {
        let (here, there) = match (here, there) {
            (None, None) => return Act::Forget,
            // what was changed outlives what was deleted
            (Some(_), None) => return Act::Put(None),
            (None, Some(_)) if self.both => return Act::Get,
            (None, Some(_)) => return Act::Nothing,
            (Some(here), Some(there)) => (here, there),
        };
        if there.md5 == Some(here.md5) && there.size == here.size {
            return Act::Adopt(there);
        }
        if there.own {
            // our own earlier version, whose record was lost
            return Act::Put(Some(there.etag));
        }
        match self.conflict {
            Conflict::LocalWins => Act::Put(Some(there.etag)),
            Conflict::RemoteWins if self.both => Act::Get,
            Conflict::RemoteWins => Act::Yield(there),
            Conflict::KeepBoth => Act::KeepBoth,
        }
    }
}

/// The name that the local content of a conflict gets: the same on every instance that has the same content, before the
/// extension, so that it stays what it is.
pub(super) fn conflict_name(name: &str, md5: Md5) -> String {
    let digits = crate::store::hex(&md5.0);
    let mark = format!(".conflict-{}", digits.get(..8).unwrap_or_default());
    let (folder, leaf) = name.rsplit_once('/').map_or(("", name), |(f, l)| (f, l));
    let leaf = match leaf.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => format!("{stem}{mark}.{extension}"),
        _ => format!("{leaf}{mark}"),
    };
    if folder.is_empty() {
        leaf
    } else {
        format!("{folder}/{leaf}")
    }
}
