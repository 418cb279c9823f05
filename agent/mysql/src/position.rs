//! Which writes a read has to see, and which writes a replica has. Pure; no IO and no clock but this machine's monotonic one.
//!
//! Two independent proofs that a replica has a write, either is enough:
//! - **GTIDs**: the server names each write's transaction in its answer (`session_track_gtids`), and the replica has executed it.
//! - **Beats**: a row that somebody counts up on the primary ([`crate::beats`]) reached the replica with a value that was written
//!   after the write had been answered.

use std::sync::Arc;
use std::time::Instant;

use lamplighter_wire::mysql::gtid::{GtidSet, Interval, Source};

/// Sources of transactions that are told apart; one primary is one source, each failover adds one.
const SOURCES_MAX: usize = 4;

/// Writes that have been answered; empty: none that matter.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Position {
    /// When the last of them was answered here.
    written: Option<Instant>,
    /// Their transactions; `None` if not all of them are known by name.
    marks: Option<Box<[Mark]>>,
}

/// Transactions of one source: the first and the last, and all between them, whoever's they are.
#[derive(Debug, Clone, PartialEq)]
struct Mark {
    source: Source,
    interval: Interval,
}

/// What a replica is known to have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Freshness {
    /// Everything that was answered before.
    pub(crate) covers: Option<Instant>,
    /// The newest beat.
    pub(crate) beat: Option<u64>,
    /// The transactions it has executed.
    pub(crate) executed: Arc<GtidSet>,
}

impl Position {
    /// A write whose transactions have no names: answered at `at`, or lost track of then.
    pub(crate) fn at(at: Instant) -> Self {
        Self {
            written: Some(at),
            marks: None,
        }
    }

    /// A write answered at `at` with its GTIDs, as the server wrote them.
    pub(crate) fn with_gtids(at: Instant, gtids: &[u8]) -> Self {
        let set = GtidSet::parse(gtids).ok();
        Self {
            marks: set.and_then(|set| marks_of(&set)),
            ..Self::at(at)
        }
    }

    /// No write.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These writes and `others`.
    pub(crate) fn add(&mut self, others: &Self) {
        if others.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = others.clone();
            return;
        }
        self.marks = match (&self.marks, &others.marks) {
            (Some(these), Some(those)) => joined(these, those),
            _ => None,
        };
        self.written = self.written.max(others.written);
    }

    /// Whether a replica has all of them.
    pub(crate) fn is_in(&self, replica: &Freshness) -> bool {
        let by_name = self.marks.as_ref().is_some_and(|marks| {
            let has = |mark: &Mark| replica.executed.contains(&mark.source, mark.interval);
            marks.iter().all(has)
        });
        by_name
            || self
                .written
                .is_none_or(|written| replica.covers.is_some_and(|covers| written <= covers))
    }

    /// Their GTIDs as a set that a server can be asked about; `None` if not all are known.
    pub(crate) fn gtids(&self) -> Option<String> {
        let marks = self.marks.as_ref()?;
        let parts = marks
            .iter()
            .map(|mark| format!("{}:{}", mark.source, mark.interval));
        Some(parts.collect::<Vec<_>>().join(","))
    }

    /// A replica has told that it has them.
    pub(crate) fn note_in(&self, executed: &GtidSet) -> GtidSet {
        let mut executed = executed.clone();
        for mark in self.marks.iter().flatten() {
            executed.insert(&mark.source, mark.interval);
        }
        executed
    }
}

fn marks_of(set: &GtidSet) -> Option<Box<[Mark]>> {
    let marks: Vec<Mark> = set
        .iter()
        .filter_map(|(source, intervals)| {
            let (first, last) = (intervals.first()?.first, intervals.last()?.last);
            let interval = Interval { first, last };
            let source = source.clone();
            Some(Mark { source, interval })
        })
        .collect();
    let fits = !marks.is_empty() && marks.len() <= SOURCES_MAX;
    fits.then(|| marks.into_boxed_slice())
}

fn joined(these: &[Mark], those: &[Mark]) -> Option<Box<[Mark]>> {
    let mut marks = these.to_vec();
    for mark in those {
        match marks.iter_mut().find(|it| it.source == mark.source) {
            Some(known) => {
                known.interval.first = known.interval.first.min(mark.interval.first);
                known.interval.last = known.interval.last.max(mark.interval.last);
            }
            None => marks.push(mark.clone()),
        }
    }
    (marks.len() <= SOURCES_MAX).then(|| marks.into_boxed_slice())
}

#[cfg(test)]
mod tests;
