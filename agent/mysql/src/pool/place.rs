//! The right to one connection of a pool: waiting for it, and why there is none. Touches no server.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lamplighter_core::fault::chain;

use super::admission::{Entered, Permit, Waiting};
use super::{Claim, ClaimKind, Discard, Pool, Refused};
use crate::error::StatementError;

/// The right to one connection of the pool. Dropped in whatever way, it gives the right back and counts the connection out.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) pool: Arc<Pool>,
    pub(super) generation: u64,
    /// A connection, open or being opened, is counted in `Inner::open` for this place.
    pub(super) counted: bool,
    /// It is a client's: whoever leaves waits for it.
    lent: bool,
    _permit: Permit,
}

impl Pool {
    /// Waits in line for the right to a connection. Counts as open from here on.
    pub(super) async fn place(self: &Arc<Self>, claim: Claim) -> Result<Place, StatementError> {
        let (turn, waited) = match self.admission.enter(claim) {
            // the common case needs no clock
            Ok(Entered::At(permit)) => return Ok(Place::lent(self, permit)),
            Ok(Entered::Waiting(waiting)) => self.wait_in_line(waiting).await,
            Err(refused) => (Err(refused), Duration::ZERO),
        };
        self.metrics.wait_seconds.observe(waited.as_secs_f64());
        turn.map(|permit| Place::lent(self, permit))
            .map_err(|refused| self.refused(refused, waited, claim))
    }

    /// A place that is free now, for the pool's own upkeep. Nobody who leaves waits for it: with a server that is away there is always
    /// one on its way.
    pub(super) fn place_at_once(self: &Arc<Self>) -> Option<Place> {
        let permit = self.admission.try_enter(Claim::OWN)?;
        Some(Place::new(self, permit, false))
    }

    /// The place, or why there is none; and how long that took.
    async fn wait_in_line(&self, mut waiting: Waiting) -> (Result<Permit, Refused>, Duration) {
        let start = tokio::time::Instant::now();
        let limit = self.limits.wait_timeout.get();
        let mut turn = waiting.turn(limit).await;
        let longer = self.limits.failover_wait.get();
        let is_away = self.outage.is_on() || self.waits_for_server();
        if matches!(turn, Err(Refused::Late)) && is_away && longer > limit {
            // those before us wait for the server itself
            turn = waiting.turn(longer - limit).await;
        }
        (turn, start.elapsed())
    }

    fn refused(&self, why: Refused, waited: Duration, claim: Claim) -> StatementError {
        self.metrics.refused.with_label_values(&[why.label()]).inc();
        StatementError::Exhausted(Box::new(Exhausted {
            server: self.name.clone(),
            why,
            waited,
            standing: self.admission.standing(claim),
            fallback: claim.kind == ClaimKind::Fallback,
            trouble: self.trouble(),
        }))
    }

    /// How long ago something went wrong with the server, and what.
    pub(crate) fn trouble(&self) -> Option<(Duration, String)> {
        self.trouble.last()
    }

    /// Something went wrong between us and the server.
    pub(crate) fn note_trouble(&self, error: &(dyn std::error::Error + 'static)) {
        self.trouble.note(chain(error));
    }
}

impl Place {
    /// For a client.
    fn lent(pool: &Arc<Pool>, permit: Permit) -> Self {
        pool.busy_gauge.inc();
        Self::new(pool, permit, true)
    }

    fn new(pool: &Arc<Pool>, permit: Permit, lent: bool) -> Self {
        Self {
            pool: Arc::clone(pool),
            generation: pool.generation.load(Ordering::Acquire),
            counted: false,
            lent,
            _permit: permit,
        }
    }

    /// All connections of its time were given up since.
    pub(super) fn is_retired(&self) -> bool {
        self.generation != self.pool.generation.load(Ordering::Acquire)
    }

    /// The connection is gone without having been in anybody's hands.
    pub(super) fn uncount(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.pool.lock().open -= 1;
        }
    }

    pub(super) fn close(mut self, reason: Discard) {
        self.uncount();
        self.pool.count_discard(reason);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.counted {
            self.uncount();
            self.pool.count_discard(Discard::Busy);
        }
        if self.lent {
            self.pool.busy_gauge.dec();
        }
    }
}

/// No place for a statement, and how things stood then.
#[derive(Debug)]
pub(crate) struct Exhausted {
    server: String,
    why: Refused,
    waited: Duration,
    standing: super::Standing,
    /// It was a read for which no replica was fit.
    fallback: bool,
    trouble: Option<(Duration, String)>,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (server, waited) = (&self.server, round(self.waited));
        match self.why {
            Refused::Late | Refused::Shed => {
                write!(f, "no connection to {server} came free within {waited:?}")?;
            }
            Refused::Hopeless => write!(f, "no connection to {server} would come free in time")?,
        }
        let super::Standing {
            limit,
            quota,
            waiting,
            ..
        } = self.standing;
        if limit == 0 {
            f.write_str(": this instance has no share of the fleet's connections yet")?;
        } else if quota < limit && self.fallback {
            write!(
                f,
                ": {quota} of {limit} may serve reads while no replica is fit"
            )?;
        } else if quota < limit {
            write!(f, ": {quota} of {limit} are this user's share")?;
        } else {
            write!(f, ": all {limit} are in use")?;
        }
        write!(f, ", {waiting} statements wait")?;
        match &self.trouble {
            Some((ago, error)) => write!(f, "; last trouble, {:?} ago: {error}", round(*ago)),
            None => f.write_str("; no trouble with the server so far"),
        }
    }
}

/// To milliseconds.
fn round(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// What last went wrong with a server.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<(Instant, String)>>);

impl Trouble {
    fn note(&self, error: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error));
    }

    /// How long ago it was, and what.
    pub(super) fn last(&self) -> Option<(Duration, String)> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (when, error) = last.as_ref()?;
        Some((when.elapsed(), error.clone()))
    }
}
