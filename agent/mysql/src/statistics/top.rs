//! The costliest digests in a fixed number of places ("Space-Saving", Metwally et al., 2005, weighted by time): whoever is new takes
//! the place of the one that weighs least and inherits its weight, so that what is costly cannot be crowded out by what is many.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lamplighter_wire::sql::digest;

use super::latency::Latencies;
use super::report::{DigestReport, PinTally, Routes};
use super::{Place, Tally};

/// The weight of a statement that took no time at all, in microseconds.
const LEAST: u64 = 1;

/// What is known of one digest since it took its place.
#[derive(Debug)]
struct Entry {
    text: Arc<str>,
    calls: u64,
    errors: u64,
    rows_sent: u64,
    rows_affected: u64,
    bytes_sent: u64,
    micros: u64,
    micros_max: u64,
    routes: Routes,
    latencies: Latencies,
    /// Only of digests that kept a connection.
    pins: Vec<PinTally>,
    since: Instant,
    last: Instant,
}

impl Entry {
    fn new(text: Arc<str>, now: Instant) -> Self {
        Self {
            text,
            calls: 0,
            errors: 0,
            rows_sent: 0,
            rows_affected: 0,
            bytes_sent: 0,
            micros: 0,
            micros_max: 0,
            routes: Routes::default(),
            latencies: Latencies::new(),
            pins: Vec::new(),
            since: now,
            last: now,
        }
    }

    fn report(&self, now: Instant) -> DigestReport {
        let ago = |then: Instant| now.saturating_duration_since(then).as_secs();
        DigestReport {
            id: digest::id(&self.text),
            text: self.text.to_string(),
            calls: self.calls,
            errors: self.errors,
            rows_sent: self.rows_sent,
            rows_affected: self.rows_affected,
            bytes_sent: self.bytes_sent,
            seconds: Duration::from_micros(self.micros).as_secs_f64(),
            seconds_max: Duration::from_micros(self.micros_max).as_secs_f64(),
            p50_seconds: self.latencies.percentile(0.5),
            p95_seconds: self.latencies.percentile(0.95),
            p99_seconds: self.latencies.percentile(0.99),
            routes: self.routes,
            pins: self.pins.clone(),
            since_seconds: ago(self.since),
            last_seconds: ago(self.last),
        }
    }
}

/// A share of the places.
#[derive(Debug)]
pub(super) struct Shard {
    /// Beside `entries`, to be searched quickly.
    hashes: Vec<u64>,
    /// Microseconds of each, and what it inherited.
    weights: Vec<u64>,
    entries: Vec<Entry>,
    places: usize,
}

impl Shard {
    pub(super) fn new(places: usize) -> Self {
        Self {
            hashes: Vec::with_capacity(places),
            weights: Vec::with_capacity(places),
            entries: Vec::with_capacity(places),
            places,
        }
    }

    fn find(&self, hash: u64) -> Option<usize> {
        self.hashes.iter().position(|known| *known == hash)
    }

    pub(super) fn knows(&self, hash: u64) -> bool {
        self.find(hash).is_some()
    }

    /// Takes a new digest in; `true` if another had to go.
    pub(super) fn insert(&mut self, hash: u64, text: Arc<str>, now: Instant) -> bool {
        let entry = Entry::new(text, now);
        if self.entries.len() < self.places {
            self.hashes.push(hash);
            self.weights.push(0);
            self.entries.push(entry);
            return false;
        }
        let lightest = self
            .weights
            .iter()
            .enumerate()
            .min_by_key(|(_, weight)| **weight)
            .map(|(index, _)| index);
        let Some(index) = lightest else { return false };
        if let (Some(known), Some(place)) =
            (self.hashes.get_mut(index), self.entries.get_mut(index))
        {
            *known = hash;
            *place = entry;
        }
        true
    }

    /// Counts one statement. One whose digest had to go meanwhile is not counted.
    pub(super) fn record(&mut self, hash: u64, tally: &Tally, elapsed: Duration, now: Instant) {
        let Some(index) = self.find(hash) else { return };
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        if let Some(weight) = self.weights.get_mut(index) {
            *weight = weight.saturating_add(micros.max(LEAST));
        }
        let Some(entry) = self.entries.get_mut(index) else {
            return;
        };
        entry.calls += 1;
        entry.errors += u64::from(tally.failed);
        entry.rows_sent = entry.rows_sent.saturating_add(tally.rows_sent);
        entry.rows_affected = entry.rows_affected.saturating_add(tally.rows_affected);
        entry.bytes_sent = entry.bytes_sent.saturating_add(tally.bytes);
        entry.micros = entry.micros.saturating_add(micros);
        entry.micros_max = entry.micros_max.max(micros);
        match tally.place {
            Place::Primary => entry.routes.primary += 1,
            Place::Replica => entry.routes.replica += 1,
            Place::Local => entry.routes.local += 1,
        }
        entry.latencies.add(elapsed);
        entry.last = now;
    }

    /// A connection was kept because of a statement of this digest.
    pub(super) fn pinned(&mut self, hash: u64, reason: &'static str, held: Duration) {
        let index = self.find(hash);
        let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) else {
            return;
        };
        match entry.pins.iter_mut().find(|tally| tally.reason == reason) {
            Some(tally) => {
                tally.count += 1;
                tally.seconds += held.as_secs_f64();
            }
            // reasons are an enum's: there are only so many
            None => entry.pins.push(PinTally {
                reason: reason.to_owned(),
                count: 1,
                seconds: held.as_secs_f64(),
            }),
        }
    }

    pub(super) fn text(&self, hash: u64) -> Option<Arc<str>> {
        let entry = self.entries.get(self.find(hash)?)?;
        Some(Arc::clone(&entry.text))
    }

    pub(super) fn report(&self, hash: u64, now: Instant) -> Option<DigestReport> {
        let entry = self.entries.get(self.find(hash)?)?;
        (entry.calls > 0).then(|| entry.report(now))
    }

    pub(super) fn reports(&self, now: Instant) -> impl Iterator<Item = DigestReport> {
        self.entries
            .iter()
            .filter(|entry| entry.calls > 0)
            .map(move |entry| entry.report(now))
    }
}
