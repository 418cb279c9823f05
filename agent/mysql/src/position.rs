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
    /// When the last of those of this machine was answered; `None`: there are none.
    written: Option<Instant>,
    /// Their transactions; `None` if not all of them are known by name.
    marks: Option<Box<[Mark]>>,
    others: Option<Box<Others>>,
}

/// Writes of other machines: all of these have to be there.
#[derive(Debug, Clone, Default, PartialEq)]
struct Others {
    marks: Box<[Mark]>,
    /// One that came after those without names.
    beat: Option<u64>,
    /// They cannot all be remembered.
    too_many: bool,
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
    /// The transactions it has executed; none where it has too long a history to be told in a few words.
    pub(crate) executed: Arc<GtidSet>,
    /// What it has told since, when it was asked for a write: a few, so that nobody copies its history for one of them.
    pub(crate) told: Arc<GtidSet>,
}

/// What is told by replicas between two looks at them is remembered up to so many intervals.
const TOLD_MAX: usize = 64;

impl Freshness {
    /// Whether it has all transactions of a source in this interval.
    fn has(&self, mark: &Mark) -> bool {
        [&self.executed, &self.told]
            .iter()
            .any(|set| set.contains(&mark.source, mark.interval))
    }

    /// The replica has told that it has `position`.
    pub(crate) fn with(&self, position: &Position) -> Self {
        let mut told = GtidSet::clone(&self.told);
        if told.intervals() >= TOLD_MAX {
            told = GtidSet::default();
        }
        for mark in position.marks() {
            told.insert(&mark.source, mark.interval);
        }
        Self {
            told: Arc::new(told),
            ..self.clone()
        }
    }
}

impl Position {
    /// A write whose transactions have no names: answered at `at`, or lost track of then.
    pub(crate) fn at(at: Instant) -> Self {
        Self {
            written: Some(at),
            marks: None,
            others: None,
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

    /// Writes of other machines, by their GTIDs. `None` if the text is none.
    pub(crate) fn of_others_by_gtids(gtids: &[u8]) -> Option<Self> {
        let marks = marks_of(&GtidSet::parse(gtids).ok()?)?;
        Some(Self::of_others(Others {
            marks,
            ..Others::default()
        }))
    }

    /// Writes of other machines, by a beat that came after them.
    pub(crate) fn of_others_by_beat(beat: u64) -> Self {
        Self::of_others(Others {
            beat: Some(beat),
            ..Others::default()
        })
    }

    fn of_others(others: Others) -> Self {
        Self {
            others: Some(Box::new(others)),
            ..Self::default()
        }
    }

    /// When the last write of this machine was answered.
    pub(crate) fn written(&self) -> Option<Instant> {
        self.written
    }

    /// No write.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These writes and `more`.
    pub(crate) fn add(&mut self, more: &Self) {
        match (self.written, more.written) {
            (_, None) => {}
            (None, Some(_)) => {
                self.written = more.written;
                self.marks.clone_from(&more.marks);
            }
            (Some(these), Some(those)) => {
                self.written = Some(these.max(those));
                self.marks = match (&self.marks, &more.marks) {
                    (Some(these), Some(those)) => joined(these, those),
                    _ => None,
                };
            }
        }
        match (&mut self.others, &more.others) {
            (_, None) => {}
            (None, Some(_)) => self.others.clone_from(&more.others),
            (Some(these), Some(those)) => these.add(those),
        }
    }

    /// Whether a replica has all of them.
    pub(crate) fn is_in(&self, replica: &Freshness) -> bool {
        let by_name = || {
            let marks = self.marks.as_ref();
            marks.is_some_and(|marks| are_in(marks, replica))
        };
        let by_beat = |written| replica.covers.is_some_and(|covers| written <= covers);
        let own = self
            .written
            .is_none_or(|written| by_name() || by_beat(written));
        own && self
            .others
            .as_ref()
            .is_none_or(|others| others.are_in(replica))
    }

    /// Whether all of them have names, so that a server can be asked about them.
    pub(crate) fn has_names(&self) -> bool {
        let own = self.written.is_none() || self.marks.is_some();
        let are_named = |others: &Others| others.beat.is_none() && !others.too_many;
        own && self.others.as_deref().is_none_or(are_named) && self.marks().next().is_some()
    }

    /// Their GTIDs as a set that a server can be asked about; `None` if not all are known.
    pub(crate) fn gtids(&self) -> Option<String> {
        if !self.has_names() {
            return None;
        }
        let parts: Vec<String> = self
            .marks()
            .map(|mark| format!("{}:{}", mark.source, mark.interval))
            .collect();
        Some(parts.join(","))
    }

    /// All of them that are known by name.
    fn marks(&self) -> impl Iterator<Item = &Mark> {
        let others = self.others.iter().flat_map(|others| &others.marks);
        self.marks.iter().flatten().chain(others)
    }
}

impl Others {
    fn add(&mut self, more: &Self) {
        match joined(&self.marks, &more.marks) {
            Some(marks) => self.marks = marks,
            None => self.too_many = true,
        }
        self.too_many |= more.too_many;
        self.beat = self.beat.max(more.beat);
    }

    fn are_in(&self, replica: &Freshness) -> bool {
        let has_beat = self
            .beat
            .is_none_or(|wanted| replica.beat.is_some_and(|beat| wanted <= beat));
        !self.too_many && has_beat && are_in(&self.marks, replica)
    }
}

fn are_in(marks: &[Mark], replica: &Freshness) -> bool {
    marks.iter().all(|mark| replica.has(mark))
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
