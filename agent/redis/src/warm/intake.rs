//! What every source gives its rows to: makes entries of them, batches of those, and hands full batches over. Holds no more than one
//! open batch and one group of rows. Touches the queue only.

use tokio::time::Instant;

use super::batch::{Batch, Batcher, Checkpoint, Payload};
use super::config::ValueFormat;
use super::error::RunError;
use super::governor::Governor;
use super::keyset::Key;
use super::mapper::{Mapper, Plan};
use super::queue::Sender;
use super::standing::Progress;
use super::value::{Cells, Skip};
use crate::metrics::JobSeries;

/// What was read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Read {
    pub(crate) rows: u64,
    pub(crate) skipped: u64,
}

/// Where batches go.
#[derive(Debug)]
pub(crate) enum Sink {
    /// To the writer.
    Queue(Sender),
    /// Nowhere: they are counted.
    Nowhere,
}

/// Takes the rows of one run in.
#[derive(Debug)]
pub(crate) struct Intake<'a> {
    pub(crate) mapper: &'a Mapper<'a>,
    sink: Sink,
    batcher: Batcher,
    group: Option<Group>,
    read: Read,
    pub(crate) governor: &'a Governor,
    progress: &'a Progress,
    pub(crate) series: &'a JobSeries,
}

/// Rows that make one value together.
#[derive(Debug)]
struct Group {
    key: Vec<u8>,
    /// The array without its end; why there will be none.
    json: Result<Vec<u8>, Skip>,
    rows: u64,
    since: Instant,
}

impl<'a> Intake<'a> {
    pub(crate) fn new(
        mapper: &'a Mapper<'a>,
        sink: Sink,
        governor: &'a Governor,
        progress: &'a Progress,
        series: &'a JobSeries,
    ) -> Self {
        let job = mapper.job;
        Self {
            mapper,
            sink,
            batcher: Batcher::new(usize::from(job.batch_keys), job.batch_bytes.as_usize()),
            group: None,
            read: Read::default(),
            governor,
            progress,
            series,
        }
    }

    /// Whether rows with one key make one value.
    pub(crate) fn is_grouped(&self) -> bool {
        self.mapper.job.value == ValueFormat::RowsJson
    }

    /// Rows so far.
    pub(crate) const fn rows(&self) -> u64 {
        self.read.rows
    }

    /// Goes on from where another run came to.
    pub(crate) fn resume(&mut self, from: &Checkpoint) {
        self.read = Read {
            rows: from.rows,
            skipped: from.skipped,
        };
        self.progress.set_read(from.rows, from.skipped);
    }

    /// Takes a row in that was asked for at `since`; gives back the batch that is full because of it.
    pub(crate) fn row(
        &mut self,
        plan: &Plan,
        cells: Cells<'_>,
        since: Instant,
    ) -> Result<Option<Batch>, RunError> {
        if self.is_grouped() {
            return self.row_of_group(plan, cells, since);
        }
        self.count(1)?;
        let entry = plan.key(cells).and_then(|key| {
            let value = plan.value(cells)?;
            self.mapper.entry(key, value, since)
        });
        match entry {
            Ok(entry) => Ok(self.batcher.add(entry)),
            Err(skip) => {
                self.skip(skip, 1);
                Ok(None)
            }
        }
    }

    fn row_of_group(
        &mut self,
        plan: &Plan,
        cells: Cells<'_>,
        since: Instant,
    ) -> Result<Option<Batch>, RunError> {
        let key = match plan.key(cells) {
            Ok(key) => key,
            Err(skip) => {
                self.count(1)?;
                self.skip(skip, 1);
                return Ok(None);
            }
        };
        let full = match &self.group {
            Some(group) if group.key == key => None,
            _ => self.end_group()?,
        };
        let group = self.group.get_or_insert_with(|| Group {
            key,
            json: Ok(Vec::new()),
            rows: 0,
            since,
        });
        group.rows += 1;
        group.add(plan.value(cells), self.mapper.job.value_max.as_usize());
        Ok(full)
    }

    /// Whether `key` is that of the group at hand.
    pub(crate) fn is_in_group(&self, key: &[u8]) -> bool {
        self.group.as_ref().is_some_and(|group| group.key == key)
    }

    /// Whether a group is at hand.
    pub(crate) const fn has_group(&self) -> bool {
        self.group.is_some()
    }

    /// Every row of the group at hand has come; gives back the batch that is full because of it.
    pub(crate) fn end_group(&mut self) -> Result<Option<Batch>, RunError> {
        let Some(group) = self.group.take() else {
            return Ok(None);
        };
        self.count(group.rows)?;
        let entry = group.json.and_then(|mut json| {
            json.push(b']');
            self.mapper
                .entry(group.key, Payload::Text(json), group.since)
        });
        match entry {
            Ok(entry) => Ok(self.batcher.add(entry)),
            Err(skip) => {
                self.skip(skip, group.rows);
                Ok(None)
            }
        }
    }

    /// The group at hand may have been cut: it comes again.
    pub(crate) fn forget_group(&mut self) {
        self.group = None;
    }

    fn count(&mut self, rows: u64) -> Result<(), RunError> {
        self.read.rows += rows;
        self.series.rows(rows);
        self.progress.add_rows(rows);
        let max = self.mapper.job.rows_max;
        if self.read.rows > max {
            return Err(RunError::TooManyRows(max));
        }
        Ok(())
    }

    fn skip(&mut self, skip: Skip, rows: u64) {
        self.read.skipped += rows;
        self.progress.add_skipped(rows);
        self.series.skipped(skip, rows);
    }

    /// All rows up to `last` have been taken in.
    pub(crate) fn mark(&mut self, last: Key) {
        self.batcher.mark(Checkpoint {
            last,
            rows: self.read.rows,
            skipped: self.read.skipped,
        });
    }

    /// Hands a full batch over; waits while there is no room.
    pub(crate) async fn hand_over(&self, batch: Batch) -> Result<(), RunError> {
        match &self.sink {
            // a writer that has gone says itself why
            Sink::Queue(queue) => queue.send(batch).await.map_err(|_| RunError::Leaving),
            Sink::Nowhere => {
                self.progress.add_written(&batch, 0);
                Ok(())
            }
        }
    }

    /// No more rows come.
    pub(crate) async fn end(mut self) -> Result<Read, RunError> {
        let full = self.end_group()?;
        for batch in full.into_iter().chain(self.batcher.take()) {
            self.hand_over(batch).await?;
        }
        Ok(self.read)
    }
}

impl Group {
    fn add(&mut self, row: Result<Payload, Skip>, max: usize) {
        let Ok(json) = &mut self.json else { return };
        match row {
            Ok(Payload::Text(row)) if json.len() + row.len() < max => {
                json.push(if json.is_empty() { b'[' } else { b',' });
                json.extend_from_slice(&row);
            }
            Ok(_) => self.json = Err(Skip::ValueTooLarge),
            Err(skip) => self.json = Err(skip),
        }
    }
}
