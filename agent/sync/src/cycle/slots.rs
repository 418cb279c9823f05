//! Results come in any order, the index is written in that of names: a bounded queue of slots, filled when a task ends, written
//! from the front.

use std::collections::VecDeque;
use std::io;

use tokio::task::spawn_blocking;

use crate::index::{Finished, Kind, Record, Writer};
use crate::plan::Decision;

/// How far results may run ahead of the slowest file before it.
const SLOTS_MAX: usize = 8192;
/// How many records are written in one go off the runtime's workers.
const WRITE_BATCH: usize = 512;

/// What the next index says about one name.
#[derive(Debug, PartialEq)]
pub(super) enum Slot {
    /// The old record.
    Keep(Record),
    /// A new record; in place of the old one if there is one.
    Put(Record),
    /// The old record goes.
    LeaveOut,
    /// There was none and there is none.
    Nothing,
    /// Not known yet; the old record if the pass ends before it is.
    Pending(Option<Record>),
}

impl Slot {
    /// The old record, if there is one.
    pub(super) fn kept(had: Option<Record>) -> Self {
        had.map_or(Self::Nothing, Self::Keep)
    }

    /// What stays when a decision is not carried out.
    pub(super) fn old(decision: Decision) -> Self {
        match decision {
            Decision::Keep(record) | Decision::Delete(record) | Decision::Attributes(record) => {
                Self::Keep(record)
            }
            // nothing has to be done on the disk for it
            Decision::Adopt(record) => Self::Put(record),
            Decision::Verify { had, .. }
            | Decision::Get { had, .. }
            | Decision::Clear { had, .. }
            | Decision::Refuse { had, .. } => Self::kept(had),
            Decision::Forget(had) | Decision::Mkdir { had, .. } => Self::kept(had),
        }
    }
}

/// A slot's place in the order.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotId(u64);

/// The queue and the index behind it.
#[derive(Debug, Default)]
pub(super) struct Slots {
    queue: VecDeque<Slot>,
    /// The place of the queue's front.
    front: u64,
    ready: Vec<Slot>,
    writer: Option<Writer>,
    /// The last name that was put in line, to keep directories in order.
    last: Option<Box<str>>,
}

impl Slots {
    /// Where the slots go.
    pub(super) fn begin(&mut self, writer: Writer) {
        self.writer = Some(writer);
    }

    /// Whether nothing more should be put in line before the front is known.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= SLOTS_MAX
    }

    /// Puts a known slot in line.
    pub(super) async fn push(&mut self, slot: Slot) -> io::Result<()> {
        match &slot {
            Slot::Keep(record) | Slot::Put(record) => self.last = Some(record.name.clone()),
            Slot::LeaveOut | Slot::Nothing | Slot::Pending(_) => {}
        }
        self.queue.push_back(slot);
        self.advance().await
    }

    /// Puts a directory that was made in line, unless names after it are already there: then it is not remembered as ours,
    /// and stays when it is empty one day.
    pub(super) async fn push_directory(&mut self, name: Box<str>) -> io::Result<()> {
        if self.last.as_ref().is_some_and(|last| *last >= name) {
            return Ok(());
        }
        self.push(Slot::Put(Record {
            name,
            kind: Kind::Directory,
        }))
        .await
    }

    /// Puts a slot in line that will be filled later.
    pub(super) fn reserve(&mut self, name: &str, had: Option<Record>) -> SlotId {
        self.last = Some(name.into());
        let id = SlotId(self.front + u64::try_from(self.queue.len()).unwrap_or(0));
        self.queue.push_back(Slot::Pending(had));
        id
    }

    /// Fills a reserved slot.
    pub(super) async fn fill(&mut self, id: SlotId, slot: Slot) -> io::Result<()> {
        let place = usize::try_from(id.0 - self.front).unwrap_or(usize::MAX);
        if let Some(reserved) = self.queue.get_mut(place) {
            *reserved = slot;
        }
        self.advance().await
    }

    /// Moves what is known at the front towards the index.
    async fn advance(&mut self) -> io::Result<()> {
        while self
            .queue
            .front()
            .is_some_and(|front| !matches!(front, Slot::Pending(_)))
        {
            if let Some(slot) = self.queue.pop_front() {
                self.front += 1;
                self.ready.push(slot);
            }
        }
        if self.ready.len() >= WRITE_BATCH {
            self.write().await
        } else {
            Ok(())
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        let ready = std::mem::take(&mut self.ready);
        let Some(mut writer) = self.writer.take() else {
            return Err(cut_short());
        };
        let work = spawn_blocking(move || apply(&mut writer, ready).map(|()| writer));
        self.writer = Some(work.await.map_err(|_| cut_short())??);
        Ok(())
    }

    /// Writes the index to its end, with `rest` of the old one after what was put in line.
    pub(super) async fn finish(
        mut self,
        rest: impl Iterator<Item = io::Result<Record>> + Send + 'static,
    ) -> io::Result<Finished> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.extend(self.queue.drain(..).map(|slot| match slot {
            Slot::Pending(had) => Slot::kept(had),
            known => known,
        }));
        let Some(mut writer) = self.writer.take() else {
            return Err(cut_short());
        };
        let work = spawn_blocking(move || {
            apply(&mut writer, ready)?;
            for record in rest {
                writer.keep(&record?)?;
            }
            writer.finish()
        });
        work.await.map_err(|_| cut_short())?
    }
}

fn apply(writer: &mut Writer, slots: Vec<Slot>) -> io::Result<()> {
    for slot in slots {
        match slot {
            Slot::Keep(record) => writer.keep(&record)?,
            Slot::Put(record) => writer.put(&record)?,
            Slot::LeaveOut => writer.leave_out()?,
            Slot::Nothing | Slot::Pending(_) => {}
        }
    }
    Ok(())
}

fn cut_short() -> io::Error {
    io::Error::other("writing the index was cut short")
}
