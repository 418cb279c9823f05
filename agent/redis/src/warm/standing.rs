//! How a job is, for people: counted while it runs, told by `lamplighter warm status`. In memory only.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::schedule::Done;

/// How a job is on this instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct WarmStatus {
    /// Its name.
    pub name: String,
    /// Where values come from, as in the configuration.
    pub source: String,
    /// When it runs, for people.
    pub schedule: String,
    /// What it does now.
    pub state: State,
    /// Runs that ended here, however they did, dry ones too.
    pub runs: u64,
    /// Rows (lines, keys, pages) read by the run under way, or by the last one here.
    pub rows: u64,
    /// Keys written by it; by a dry run: that would be.
    pub keys: u64,
    /// Of those the ones that were left as they were.
    pub kept: u64,
    /// Bytes of keys and values written by it.
    pub bytes: u64,
    /// Rows it left out.
    pub skipped: u64,
    /// The last good run, on whichever instance.
    pub last: Option<LastRun>,
    /// Why the last run here ended early; empty if it did not.
    pub trouble: String,
}

/// What a job does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Waits until it is due.
    #[default]
    Waiting,
    /// Runs here.
    Running,
    /// Runs here and writes nothing.
    DryRun,
    /// Another instance runs it.
    Elsewhere,
}

/// A run that ended well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct LastRun {
    /// When, in milliseconds since 1970, by Redis' clock.
    pub finished_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Rows read.
    pub rows: u64,
    /// Keys written.
    pub keys: u64,
    /// Which run it was.
    pub generation: u64,
}

impl From<&Done> for LastRun {
    fn from(done: &Done) -> Self {
        Self {
            finished_ms: done.finished_ms,
            duration_ms: done.duration_ms,
            rows: done.rows,
            keys: done.keys,
            generation: done.generation,
        }
    }
}

/// What the run under way has done so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    rows: AtomicU64,
    keys: AtomicU64,
    kept: AtomicU64,
    bytes: AtomicU64,
    skipped: AtomicU64,
}

impl Progress {
    pub(crate) fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(crate) fn add_skipped(&self, rows: u64) {
        self.skipped.fetch_add(rows, Ordering::Relaxed);
    }

    /// A batch of which `kept` keys stayed as they were.
    pub(crate) fn add_written(&self, batch: &Batch, kept: usize) {
        let add = |to: &AtomicU64, count: usize| {
            to.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        };
        add(&self.keys, batch.entries.len());
        add(&self.kept, kept);
        add(&self.bytes, batch.bytes);
    }

    /// What a run has read whose work is continued.
    pub(crate) fn set_read(&self, rows: u64, skipped: u64) {
        self.rows.store(rows, Ordering::Relaxed);
        self.skipped.store(skipped, Ordering::Relaxed);
    }

    fn clear(&self) {
        for count in [
            &self.rows,
            &self.keys,
            &self.kept,
            &self.bytes,
            &self.skipped,
        ] {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// A job's entry in the list that people see.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    status: Mutex<WarmStatus>,
    pub(crate) progress: Progress,
}

impl Standing {
    pub(crate) fn new(status: WarmStatus) -> Self {
        Self {
            status: Mutex::new(status),
            progress: Progress::default(),
        }
    }

    /// A run begins.
    pub(crate) fn begin(&self, state: State) {
        self.progress.clear();
        self.lock().state = state;
    }

    /// What it does while it does not run.
    pub(crate) fn rest(&self, state: State) {
        self.lock().state = state;
    }

    /// A run, or the attempt to begin one that somebody asked for, has ended; why early, if it did.
    pub(crate) fn end(&self, trouble: Option<String>) {
        let mut status = self.lock();
        status.state = State::Waiting;
        status.runs += 1;
        status.trouble = trouble.unwrap_or_default();
    }

    /// The fleet's last result.
    pub(crate) fn done(&self, done: &Done) {
        self.lock().last = Some(done.into());
    }

    pub(crate) fn read(&self) -> WarmStatus {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let progress = &self.progress;
        WarmStatus {
            rows: get(&progress.rows),
            keys: get(&progress.keys),
            kept: get(&progress.kept),
            bytes: get(&progress.bytes),
            skipped: get(&progress.skipped),
            ..self.lock().clone()
        }
    }

    fn lock(&self) -> MutexGuard<'_, WarmStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
