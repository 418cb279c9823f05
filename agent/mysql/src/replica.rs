//! One replica as the data path sees it: its pool, whether it may answer reads, what it has, and how soon it answers. Written by the
//! monitor, read with each statement; no IO.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::balance::Candidate;
use crate::config::ReplicaOptions;
use crate::pool::{Ask, Lease, Pool};
use crate::position::{Freshness, Position};

/// A replica on which a wait for a write ran out is not waited for again for so long.
const WAIT_PAUSE: Duration = Duration::from_millis(500);

/// Delays that differ by less than this, in microseconds, are told apart by chance only.
const EQUALLY_SOON_MICROS: u64 = 4_000;

/// A replica.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) pool: Arc<Pool>,
    /// May answer reads now; also cleared by whoever finds it unreachable.
    fit: AtomicBool,
    freshness: ArcSwap<Freshness>,
    weight: u32,
    zone: Option<String>,
    /// It is in this machine's zone, or nobody knows.
    near: AtomicBool,
    /// How soon it answers the monitor, in microseconds, averaged over the last few answers.
    answers_in: AtomicU32,
    /// It is worth a wait only if what it has is no older than this.
    wait_age_max: Duration,
    /// No waits on it before.
    wait_from: ArcSwap<Instant>,
}

impl Replica {
    pub(crate) fn new(pool: Arc<Pool>, options: &ReplicaOptions, wait_age_max: Duration) -> Self {
        Self {
            pool,
            fit: AtomicBool::new(false),
            freshness: ArcSwap::default(),
            weight: options.weight,
            zone: options.zone.clone(),
            wait_age_max,
            near: AtomicBool::new(true),
            answers_in: AtomicU32::new(0),
            wait_from: ArcSwap::from_pointee(Instant::now()),
        }
    }

    pub(crate) fn is_fit(&self) -> bool {
        self.fit.load(Ordering::Relaxed)
    }

    pub(crate) fn set_fit(&self, fit: bool) {
        self.fit.store(fit, Ordering::Relaxed);
    }

    /// It answered the monitor after so long.
    pub(crate) fn note_answer(&self, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let average = match self.answers_in.load(Ordering::Relaxed) {
            0 => took,
            average => average - average / 4 + took / 4,
        };
        self.answers_in.store(average, Ordering::Relaxed);
    }

    /// This machine is in `zone`.
    pub(crate) fn set_own_zone(&self, zone: &str) {
        let near = self.zone.as_deref().is_none_or(|it| it == zone);
        self.near.store(near, Ordering::Relaxed);
    }

    pub(crate) fn freshness(&self) -> Arc<Freshness> {
        self.freshness.load_full()
    }

    pub(crate) fn set_freshness(&self, freshness: Freshness) {
        self.freshness.store(Arc::new(freshness));
    }

    /// The server itself has said that it has `position`.
    pub(crate) fn note_has(&self, position: &Position) {
        self.freshness.rcu(|known| known.with(position));
    }

    /// A wait for a write ran out.
    pub(crate) fn note_waited_in_vain(&self) {
        self.wait_from.store(Arc::new(Instant::now() + WAIT_PAUSE));
    }

    /// How it looks to a read that has to see `needed`.
    pub(crate) fn candidate(&self, needed: &Position) -> Candidate {
        let fit = self.is_fit();
        let has_all = fit && (needed.is_empty() || needed.is_in(&self.freshness.load()));
        Candidate {
            fit,
            has_all,
            may_wait: fit && !has_all && self.may_wait(),
            near: self.near.load(Ordering::Relaxed),
            cost: self.cost(),
        }
    }

    /// Whether it may have in a moment what it has not yet.
    fn may_wait(&self) -> bool {
        let freshness = self.freshness.load();
        let young = |covers: Instant| covers.elapsed() <= self.wait_age_max;
        // without a heartbeat nobody knows
        let is_young = freshness.beat.is_none() || freshness.covers.is_some_and(young);
        is_young && **self.wait_from.load() <= Instant::now()
    }

    /// What one more statement on it costs, relative to the others: how soon it answers times how many wait already.
    fn cost(&self) -> u64 {
        let micros = u64::from(self.answers_in.load(Ordering::Relaxed));
        let delay = micros / EQUALLY_SOON_MICROS + 1;
        delay.saturating_mul(self.pool.busy() + 1) * 10_000 / u64::from(self.weight.max(1))
    }

    /// A connection. A replica that cannot be reached gets no reads until the monitor has seen it well.
    pub(crate) async fn acquire(
        &self,
        ask: &Ask<'_>,
    ) -> Result<Lease, crate::error::StatementError> {
        let acquired = self.pool.acquire(ask).await;
        if matches!(acquired, Err(crate::error::StatementError::Open { .. })) {
            self.set_fit(false);
        }
        acquired
    }
}
