//! What statements cost, by digest, and who keeps a server connection and why: for `lamplighter mysql top`, `mysql pins` and `explain`.
//! Bounded memory whatever the clients send; a known digest costs one short lock and no allocation. No IO, no text of values.

mod latency;
mod pins;
mod report;
mod top;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lamplighter_core::metrics::{IntCounter, IntGauge, MetricsError, Registry, Section};
use lamplighter_wire::mysql::exchange::{Completion, Outcome};
use lamplighter_wire::sql::digest::{Digest, Mode};

pub(crate) use pins::PinFacts;
pub use report::{DigestReport, PinReport, PinTally, Pins, Routes, Top};
use top::Shard;

/// Locks among which digests are spread.
const SHARDS: usize = 16;

/// Where a command was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Place {
    Primary,
    Replica,
    /// By the endpoint itself.
    #[default]
    Local,
}

/// What one command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) place: Place,
    pub(crate) failed: bool,
    pub(crate) rows_sent: u64,
    pub(crate) rows_affected: u64,
    /// Of the answer, as sent to the client.
    pub(crate) bytes: u64,
}

impl Tally {
    /// Takes over what the server said at the end of its answer.
    pub(crate) const fn note(&mut self, completion: &Completion) {
        self.rows_sent = completion.rows_last;
        match completion.outcome {
            Outcome::Ok { affected_rows, .. } => self.rows_affected = affected_rows,
            Outcome::Err { .. } => self.failed = true,
            _ => {}
        }
    }
}

/// A digest that has been taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

/// The series about them.
#[derive(Debug, Clone)]
struct Series {
    /// Digests known now.
    digests: IntGauge,
    /// Digests forgotten because others weigh more.
    evicted: IntCounter,
}

/// All statistics of one endpoint.
#[derive(Debug)]
pub(crate) struct Statistics {
    shards: [Mutex<Shard>; SHARDS],
    pins: pins::Registry,
    series: Series,
    since: Instant,
    digests_max: usize,
}

impl Statistics {
    /// Keeps at most `digests_max` digests; 0 switches all of it but the pins off.
    pub(crate) fn new(digests_max: usize, registry: &Registry) -> Result<Self, MetricsError> {
        let section = Section::new(registry, "mysql");
        let series = Series {
            digests: section.gauge("digests", "Statement digests whose statistics are kept.")?,
            evicted: section.counter(
                "digests_evicted_total",
                "Statement digests whose statistics were dropped for those of costlier ones.",
            )?,
        };
        let each = digests_max.div_ceil(SHARDS);
        let now = Instant::now();
        Ok(Self {
            shards: std::array::from_fn(|_| Mutex::new(Shard::new(each))),
            pins: pins::Registry::default(),
            series,
            since: now,
            digests_max,
        })
    }

    /// The digest of a statement, taken in if it is new. `None` when switched off.
    pub(crate) fn key(&self, sql: &[u8], mode: Mode) -> Option<Key> {
        if self.digests_max == 0 {
            return None;
        }
        let digest = Digest::of(sql, mode);
        let key = Key(digest.hash());
        let mut shard = self.shard(key);
        if !shard.knows(key.0) {
            let text = digest.text();
            if shard.insert(key.0, text.into(), Instant::now()) {
                self.series.evicted.inc();
            } else {
                self.series.digests.inc();
            }
        }
        Some(key)
    }

    /// The digest has its place still.
    pub(crate) fn knows(&self, key: Key) -> bool {
        self.shard(key).knows(key.0)
    }

    /// A command with this digest has been answered.
    pub(crate) fn record(&self, key: Key, tally: &Tally, elapsed: Duration) {
        self.shard(key)
            .record(key.0, tally, elapsed, Instant::now());
    }

    /// A client keeps its server connection from now on.
    pub(crate) fn pinned(&self, client: u32, facts: PinFacts) {
        self.pins.insert(client, facts);
    }

    /// It does not any more.
    pub(crate) fn unpinned(&self, client: u32) {
        let Some(facts) = self.pins.remove(client) else {
            return;
        };
        if let Some(key) = facts.key {
            let held = facts.since.elapsed();
            self.shard(key).pinned(key.0, facts.reason, held);
        }
    }

    /// The costliest digests, by the time their statements took.
    pub(crate) fn top(&self, limit: usize) -> Top {
        let now = Instant::now();
        let mut digests = Vec::new();
        for shard in &self.shards {
            digests.extend(lock(shard).reports(now));
        }
        let known = digests.len();
        digests.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
        digests.truncate(limit);
        Top {
            since_seconds: self.since.elapsed().as_secs(),
            known,
            digests_max: self.digests_max,
            evicted: self.series.evicted.get(),
            digests,
        }
    }

    /// What is known of the digest of `sql`.
    pub(crate) fn seen(&self, sql: &[u8]) -> Option<DigestReport> {
        self.of(Key(Digest::of(sql, Mode::default()).hash()))
    }

    fn of(&self, key: Key) -> Option<DigestReport> {
        self.shard(key).report(key.0, Instant::now())
    }

    /// Who keeps a server connection now, longest first.
    pub(crate) fn pins(&self) -> Pins {
        let mut pins: Vec<PinReport> = self
            .pins
            .all()
            .into_iter()
            .map(|(client, facts)| {
                let text = facts.key.and_then(|key| self.shard(key).text(key.0));
                facts.report(client, text.as_deref())
            })
            .collect();
        pins.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
        Pins { pins }
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        let [first, rest @ ..] = &self.shards;
        let index = usize::try_from(key.0 >> 60).unwrap_or_default();
        lock(
            index
                .checked_sub(1)
                .and_then(|index| rest.get(index))
                .unwrap_or(first),
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
