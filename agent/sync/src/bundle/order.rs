//! What comes out of a bundle on its way to its place: small files by several threads, large ones as they come, and of each its
//! record in the index in the order of the names. Writes below the destination and to the index.

use std::collections::VecDeque;
use std::io::Read;
use std::thread::Scope;

use bytes::Bytes;

use super::Stop;
use super::writers::{SMALL, Writers};
use crate::attempts::Progress;
use crate::cycle::CycleError;
use crate::index::{FileRecord, Kind, Record, Writer};
use crate::manifest::Entry;
use crate::sum::{Sum, Way};
use crate::tree::Root;

/// How much of a large file is in memory at a time.
const PIECE: u64 = 256 * 1024;

/// A file with all of its content.
struct Whole {
    entry: Entry,
    content: Bytes,
}

/// What the index is to hold next.
enum Next {
    Known(Record),
    /// The oldest that the writers have not returned.
    Written,
}

/// The files of a bundle, one after the other.
pub(super) struct Order<'a> {
    root: &'a Root,
    index: &'a mut Writer,
    progress: &'a Progress,
    writers: Writers<Whole, Result<Record, Stop>>,
    next: VecDeque<Next>,
    /// The folder of the last file, which is there.
    parent: String,
    /// How many files are in place.
    pub(super) files: u64,
    /// How many bytes they have.
    pub(super) bytes: u64,
}

impl<'a> Order<'a> {
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        root: &'scope Root,
        index: &'a mut Writer,
        progress: &'a Progress,
    ) -> Self
    where
        'scope: 'a,
    {
        Self {
            root,
            index,
            progress,
            writers: Writers::start(scope, |whole: Whole| {
                let Whole { entry, content } = whole;
                write(root, entry, |_| Ok(content.clone()))
            }),
            next: VecDeque::new(),
            parent: String::new(),
            files: 0,
            bytes: 0,
        }
    }

    /// Brings the content of `entry` to its place, or on its way there.
    pub(super) fn place(&mut self, content: &mut impl Read, entry: Entry) -> Result<(), Stop> {
        self.make_parent(&entry.name)?;
        if entry.size > SMALL {
            let large = write(self.root, entry, |left| piece(content, left.min(PIECE)))?;
            self.next.push_back(Next::Known(large));
            return self.settle();
        }
        let content = piece(content, entry.size)?;
        while self.writers.is_full() {
            self.step()?;
        }
        self.next.push_back(Next::Written);
        self.writers
            .give(Whole { entry, content })
            .map_err(|_| Stop::General(CycleError::CutShort))
    }

    /// Waits for all that is on its way. What follows something that is wrong is recorded nevertheless; the first trouble is told.
    pub(super) fn settle(&mut self) -> Result<(), Stop> {
        let mut result = Ok(());
        while !self.next.is_empty() {
            let step = self.step();
            result = result.and(step);
        }
        result
    }

    /// Records what is next.
    fn step(&mut self) -> Result<(), Stop> {
        let record = match self.next.pop_front() {
            None => return Ok(()),
            Some(Next::Known(record)) => record,
            Some(Next::Written) => self
                .writers
                .take()
                .unwrap_or(Err(Stop::General(CycleError::CutShort)))?,
        };
        if let Kind::File(file) = &record.kind {
            self.files += 1;
            self.bytes += file.size;
            self.progress.file();
            self.progress.bytes(file.size);
        }
        let failed = |error| Stop::General(CycleError::Index(error));
        self.index.put(&record).map_err(failed)
    }

    fn make_parent(&mut self, name: &str) -> Result<(), Stop> {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        if folder.is_empty() || folder == self.parent {
            return Ok(());
        }
        let made = self.root.make_directories(folder)?;
        self.next.extend(made.into_iter().map(|name| {
            Next::Known(Record {
                name,
                kind: Kind::Directory,
            })
        }));
        folder.clone_into(&mut self.parent);
        Ok(())
    }
}

/// The next `count` bytes.
fn piece(content: &mut impl Read, count: u64) -> Result<Bytes, Stop> {
    let mut piece = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
    content
        .read_exact(&mut piece)
        .map_err(|error| Stop::broken(&error))?;
    Ok(piece.into())
}

/// Writes a file from its pieces, each of at most as many bytes as are left, and gives it its name if it is what the manifest says.
fn write(
    root: &Root,
    entry: Entry,
    mut next: impl FnMut(u64) -> Result<Bytes, Stop>,
) -> Result<Record, Stop> {
    let mut staged = root.stage(Some(&entry.name), entry.size)?;
    let mut summing = Way::Sha256.begin();
    while staged.written() < entry.size {
        let piece = next(entry.size - staged.written())?;
        summing.update(&piece);
        staged.write(&[piece])?;
    }
    let sum = summing.end();
    if sum != Sum::Sha256(entry.sha256) {
        let what = format!("{} has another content than the manifest says", entry.name);
        return Err(Stop::Bundle(what));
    }
    let fingerprint = staged.commit(root, &entry.name)?;
    let (size, listed) = (entry.size, entry.into_listed());
    Ok(Record {
        name: listed.name,
        kind: Kind::File(FileRecord {
            size,
            etag: listed.etag,
            sum,
            fingerprint,
        }),
    })
}
