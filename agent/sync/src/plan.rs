//! Remote list against local index: which names are where, what to do with each, and whether the deletes may go ahead.
//! Pure; no IO.

use lamplighter_core::units::Percent;

use crate::config::{Config, DeletePolicy, Filters};
use crate::index::{FileRecord, Fingerprint, Kind, Record};
use crate::names::{self, Clashes, Refusal};
use crate::store::{Listed, RemoteFile, Sum};

/// One name and where it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Pair {
    /// In the container; perhaps in the index too.
    Remote(Listed, Option<Record>),
    /// Only in the index. `used` says that a directory still has names below it in the container.
    Local { record: Record, used: bool },
}

/// Merges a list that comes in pages with a sorted index, in memory for one page.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    last: Option<Box<str>>,
    peeked: Option<Record>,
}

/// Why a merge stopped.
#[derive(Debug)]
pub(crate) enum MergeError<E> {
    /// The list is not in byte order: some stores order by directory, or by UTF-16 units.
    Unsorted,
    /// The index cannot be read.
    Index(E),
}

impl Merge {
    /// Takes one page; `index` goes on where it was left.
    ///
    /// # Errors
    /// If the page does not go on in byte order, or the index cannot be read.
    pub(crate) fn page<E>(
        &mut self,
        page: Vec<Listed>,
        index: &mut impl Iterator<Item = Result<Record, E>>,
    ) -> Result<Vec<Pair>, MergeError<E>> {
        let mut pairs = Vec::with_capacity(page.len());
        for listed in page {
            if self
                .last
                .as_deref()
                .is_some_and(|last| *listed.name <= *last)
            {
                return Err(MergeError::Unsorted);
            }
            self.last = Some(listed.name.clone());
            loop {
                match self.next(index).map_err(MergeError::Index)? {
                    Some(record) if *record.name < *listed.name => {
                        let used = record.kind == Kind::Directory
                            && listed.name.starts_with(&*record.name);
                        pairs.push(Pair::Local { record, used });
                    }
                    Some(record) if record.name == listed.name => {
                        pairs.push(Pair::Remote(listed, Some(record)));
                        break;
                    }
                    later => {
                        self.peeked = later;
                        pairs.push(Pair::Remote(listed, None));
                        break;
                    }
                }
            }
        }
        Ok(pairs)
    }

    /// After the last page: up to `max` of the names that are only in the index; empty when none is left.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub(crate) fn rest<E>(
        &mut self,
        max: usize,
        index: &mut impl Iterator<Item = Result<Record, E>>,
    ) -> Result<Vec<Pair>, E> {
        let mut pairs = Vec::new();
        while pairs.len() < max {
            let Some(record) = self.next(index)? else {
                break;
            };
            pairs.push(Pair::Local {
                record,
                used: false,
            });
        }
        Ok(pairs)
    }

    /// The record that was read and not used yet.
    pub(crate) fn into_peeked(self) -> Option<Record> {
        self.peeked
    }

    fn next<E>(
        &mut self,
        index: &mut impl Iterator<Item = Result<Record, E>>,
    ) -> Result<Option<Record>, E> {
        match self.peeked.take() {
            Some(record) => Ok(Some(record)),
            None => index.next().transpose(),
        }
    }
}

/// What stands at a name on the local disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observed {
    /// Nothing.
    Missing,
    /// A regular file.
    File {
        size: u64,
        fingerprint: Fingerprint,
        attributes_ok: bool,
    },
    /// A directory.
    Directory,
    /// A symbolic link, a socket, a device: not followed, not opened, replaced as itself.
    Other,
    /// The way to it is barred: a file or a symbolic link where a directory should be.
    Barred,
}

/// Why a file is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Not known here.
    New,
    /// Another version in the container.
    Changed,
    /// Edited, truncated, replaced or deleted on this machine.
    Drift,
}

/// What to do with one name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Decision {
    /// As it should be.
    Keep(Record),
    /// The content is right, the index gets a new record.
    Adopt(Record),
    /// The content may be right: sum up the local file; adopt it if that gives `sum`, else fetch.
    Verify {
        remote: RemoteFile,
        sum: Sum,
        why: Why,
        had: Option<Record>,
    },
    /// Fetch and replace.
    Get {
        remote: RemoteFile,
        why: Why,
        had: Option<Record>,
    },
    /// A directory stands there: fetch if it holds nothing but directories, which then go; else refuse.
    Clear {
        remote: RemoteFile,
        why: Why,
        had: Option<Record>,
    },
    /// The content is right, mode or owner are not.
    Attributes(Record),
    /// Make sure a directory is there; `record` says whether the index remembers it as ours if it had to be made.
    Mkdir {
        name: Box<str>,
        record: bool,
        had: Option<Record>,
    },
    /// The blob is gone: delete once the list is complete and the guards agree.
    Delete(Record),
    /// Not ours (any more): leave the file, drop the record it may have.
    Forget(Option<Record>),
    /// Cannot become a file. `gone`: what the index had for it is to be deleted like a file whose blob is gone.
    Refuse {
        name: Box<str>,
        reason: Refusal,
        had: Option<Record>,
        gone: bool,
    },
}

/// The part of the configuration that decides about single names, and what must be remembered from name to name.
#[derive(Debug)]
pub(crate) struct Judge {
    filters: Filters,
    delete: DeletePolicy,
    root_len: usize,
    clashes: Clashes,
}

/// What a name needs before it can be decided on.
#[derive(Debug, PartialEq)]
pub(crate) enum Admission {
    /// Already decided.
    Decided(Decision),
    /// Decide after a look at the local file.
    Look {
        remote: RemoteFile,
        record: Option<Record>,
    },
}

impl Judge {
    /// The judge for one pass.
    ///
    /// # Errors
    /// If a filter is no glob.
    pub(crate) fn new(config: &Config) -> Result<Self, globset::Error> {
        Ok(Self {
            filters: Filters::new(&config.filters)?,
            delete: config.delete,
            root_len: config.path.as_os_str().len(),
            clashes: Clashes::default(),
        })
    }

    /// Decides what the name alone decides. Pairs must come in byte order of their names.
    pub(crate) fn admit(&mut self, pair: Pair) -> Admission {
        match pair {
            Pair::Local { record, used } => Admission::Decided(self.only_local(record, used)),
            Pair::Remote(listed, record) => self.remote(listed, record),
        }
    }

    fn only_local(&self, record: Record, used: bool) -> Decision {
        if used {
            Decision::Keep(record)
        } else if self.delete == DeletePolicy::Never || !self.filters.wants(&record.name) {
            Decision::Forget(Some(record))
        } else {
            Decision::Delete(record)
        }
    }

    fn remote(&mut self, listed: Listed, record: Option<Record>) -> Admission {
        let Listed {
            name,
            size,
            etag,
            sum,
            directory,
            content,
            origin,
        } = listed;
        if name.starts_with(names::OWN) || !self.filters.wants(&name) {
            return Admission::Decided(Decision::Forget(record));
        }
        let marker = size == 0 && name.ends_with('/');
        let verdict = if marker {
            names::check_marker(&name, self.root_len)
        } else {
            names::check(&name, self.root_len)
        };
        let verdict = verdict.and_then(|()| {
            if self.clashes.below_a_file(&name) {
                Err(Refusal::Clash)
            } else {
                Ok(())
            }
        });
        if let Err(reason) = verdict {
            // only a clash can be new for a name that was a file; the shorter name wins, so the deeper one goes
            let gone = record.is_some() && self.delete == DeletePolicy::Managed;
            return Admission::Decided(Decision::Refuse {
                name,
                reason,
                had: record,
                gone,
            });
        }
        if marker {
            return Admission::Decided(Decision::Mkdir {
                name,
                record: true,
                had: record,
            });
        }
        if directory {
            // stands for a directory: a stub of hierarchical tools, or a directory of a hierarchical account
            return Admission::Decided(match record {
                Some(file) => Decision::Delete(file),
                None => Decision::Mkdir {
                    name,
                    record: false,
                    had: None,
                },
            });
        }
        self.clashes.admit(&name);
        Admission::Look {
            remote: RemoteFile {
                name,
                size,
                etag,
                sum,
                content,
                origin,
            },
            record,
        }
    }
}

/// Decides about one file from the blob, the index and a look at the disk.
///
/// Clocks are never compared: the ETag says whether the blob is another one, the fingerprint whether the local file is.
pub(crate) fn decide(remote: RemoteFile, record: Option<Record>, observed: Observed) -> Decision {
    let had = record.clone();
    let known = record.and_then(|record| match record.kind {
        Kind::File(file) => Some(file),
        Kind::Directory => None,
    });
    let same_version = known
        .as_ref()
        .is_some_and(|known| known.etag == remote.etag);
    let why = match &known {
        None => Why::New,
        Some(_) if same_version => Why::Drift,
        Some(_) => Why::Changed,
    };
    let (size, fingerprint, attributes_ok) = match observed {
        Observed::Barred => {
            return Decision::Refuse {
                name: remote.name,
                reason: Refusal::InTheWay,
                had,
                gone: false,
            };
        }
        Observed::Directory => return Decision::Clear { remote, why, had },
        Observed::Missing | Observed::Other => return Decision::Get { remote, why, had },
        Observed::File {
            size,
            fingerprint,
            attributes_ok,
        } => (size, fingerprint, attributes_ok),
    };
    if size != remote.size {
        return Decision::Get { remote, why, had };
    }
    let Some(known) = known else {
        return match remote.sum {
            Some(sum) => Decision::Verify {
                remote,
                sum,
                why,
                had,
            },
            None => Decision::Get { remote, why, had },
        };
    };
    let untouched = known.size == size && known.fingerprint == fingerprint;
    let wanted = if same_version {
        Some(known.sum)
    } else {
        remote.sum
    };
    match wanted {
        _ if untouched && same_version => keep(remote, known, attributes_ok),
        Some(sum) if untouched && sum == known.sum => {
            let adopted = FileRecord {
                etag: remote.etag,
                ..known
            };
            Decision::Adopt(Record {
                name: remote.name,
                kind: Kind::File(adopted),
            })
        }
        // sums of two ways cannot be compared; the file can be summed up in the other one
        Some(sum) if !untouched || sum.way() != known.sum.way() => Decision::Verify {
            remote,
            sum,
            why,
            had,
        },
        _ => Decision::Get { remote, why, had },
    }
}

fn keep(remote: RemoteFile, known: FileRecord, attributes_ok: bool) -> Decision {
    let record = Record {
        name: remote.name,
        kind: Kind::File(known),
    };
    if attributes_ok {
        Decision::Keep(record)
    } else {
        Decision::Attributes(record)
    }
}

/// A rule that keeps a pass from deleting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// The container lists nothing at all: more likely a wrong prefix or a lost right than the truth.
    EmptyList,
    /// More files than `max_delete`.
    MaxDelete,
    /// A larger share than `max_delete_percent`.
    MaxDeletePercent,
}

impl Guard {
    /// Every guard, to initialise metrics with.
    pub const ALL: [Self; 3] = [Self::EmptyList, Self::MaxDelete, Self::MaxDeletePercent];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::EmptyList => "empty_list",
            Self::MaxDelete => "max_delete",
            Self::MaxDeletePercent => "max_delete_percent",
        }
    }
}

/// So few deletes are not held against the share: half of a tree of four files is no catastrophe.
const FEW: u64 = 10;

/// What a complete pass has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// Files the container holds and the entry wants.
    pub(crate) remote: u64,
    /// Files the index held before.
    pub(crate) indexed: u64,
    /// Files that would be deleted.
    pub(crate) deletes: u64,
}

/// Whether the deletes of a complete pass may go ahead.
///
/// # Errors
/// With the guard that holds them.
pub(crate) fn guard(census: Census, max_delete: u64, max_percent: Percent) -> Result<(), Guard> {
    let Census {
        remote,
        indexed,
        deletes,
    } = census;
    if deletes == 0 {
        return Ok(());
    }
    if remote == 0 {
        return Err(Guard::EmptyList);
    }
    if deletes > max_delete {
        return Err(Guard::MaxDelete);
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of a count; 2^53 files do not exist"
    )]
    let share = deletes as f64 / indexed.max(1) as f64;
    if deletes > FEW && share > max_percent.fraction() {
        return Err(Guard::MaxDeletePercent);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
