//! The connections to one server: at most so many, given out in the order of asking, each idle one kept in the bucket of what
//! its next client must share with its last. Only [`Idle`] connections can come back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lamplighter_core::metrics::IntGauge;
use lamplighter_wire::mysql::flags::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config;
use crate::error::{OpenError, StatementError};
use crate::metrics::Metrics;
use crate::server::{Account, Bucket, Busy, Idle};

/// Why a server connection was closed instead of reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Discard {
    /// Dropped while a command was on its way: the client left, the server broke off, or a fault of ours.
    Busy,
    /// The server closed it while it was idle.
    ServerClosed,
    /// Idle for too long.
    Idle,
    /// Open for too long.
    Age,
    /// Its place was needed for another bucket.
    Evicted,
    /// What a client left on it could not be wiped.
    ResetFailed,
    /// The server's role or address changed, or we are draining.
    Retired,
}

impl Discard {
    pub(crate) const ALL: [Self; 7] = [
        Self::Busy,
        Self::ServerClosed,
        Self::Idle,
        Self::Age,
        Self::Evicted,
        Self::ResetFailed,
        Self::Retired,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::ServerClosed => "server_closed",
            Self::Idle => "idle_timeout",
            Self::Age => "age",
            Self::Evicted => "evicted",
            Self::ResetFailed => "reset_failed",
            Self::Retired => "retired",
        }
    }
}

/// The pool of one server.
#[derive(Debug)]
pub(crate) struct Pool {
    name: String,
    account: Account,
    limits: config::Pool,
    /// One permit for each connection in use; FIFO, so nobody overtakes.
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    inner: Mutex<Inner>,
    /// Connections opened before the last retirement do not come back.
    generation: AtomicU64,
    metrics: Metrics,
    idle_gauge: IntGauge,
    busy_gauge: IntGauge,
}

#[derive(Debug, Default)]
struct Inner {
    /// Most recently used last.
    idle: VecDeque<Parked>,
    /// Idle, in use and being opened.
    open: usize,
    /// What the newest client asked for: what to keep ready.
    last_wanted: Option<Bucket>,
}

#[derive(Debug)]
struct Parked {
    connection: Idle,
    since: Instant,
    generation: u64,
}

/// The right to one connection of the pool. Dropped in whatever way, it gives the right back and counts the connection out.
#[derive(Debug)]
struct Place {
    pool: Arc<Pool>,
    generation: u64,
    /// A connection, open or being opened, is counted in `Inner::open` for this place.
    counted: bool,
    _permit: OwnedSemaphorePermit,
}

/// A connection taken from its pool, between two packets.
#[derive(Debug)]
pub(crate) struct Lease {
    place: Place,
    connection: Idle,
}

/// A connection taken from its pool, with a command on its way. Dropped, the connection is closed.
#[derive(Debug)]
pub(crate) struct BusyLease {
    pub(crate) connection: Busy,
    place: Place,
}

impl Pool {
    pub(crate) fn new(account: Account, limits: config::Pool, metrics: &Metrics) -> Arc<Self> {
        let name = account.server.to_string();
        let gauge = |state: &str| {
            metrics
                .connections
                .with_label_values(&[name.as_str(), state])
        };
        let (idle_gauge, busy_gauge) = (gauge("idle"), gauge("busy"));
        metrics.opened.with_label_values(&[name.as_str()]);
        metrics.open_failures.with_label_values(&[name.as_str()]);
        let inner = Inner {
            // the first connection also tells what to put into the greeting
            last_wanted: Some(Bucket::of_nobody()),
            ..Inner::default()
        };
        Arc::new(Self {
            places: Arc::new(Semaphore::new(limits.max_server_connections)),
            name,
            account,
            limits,
            waiting: AtomicUsize::new(0),
            inner: Mutex::new(inner),
            generation: AtomicU64::new(0),
            metrics: metrics.clone(),
            idle_gauge,
            busy_gauge,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A connection of `bucket`: an idle one if there is one, else a new one, within the wait limit.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        bucket: &Bucket,
    ) -> Result<Lease, StatementError> {
        let mut place = self.place().await?;
        let (found, discarded) = self.take(bucket);
        place.counted = true;
        for reason in discarded {
            self.count_discard(reason);
        }
        let Some(connection) = found else {
            return self.open(place, bucket).await;
        };
        if connection.bucket() == bucket {
            return Ok(Lease { place, connection });
        }
        self.metrics.adapted.inc();
        match connection.adapt(bucket).await {
            Ok(connection) => Ok(Lease { place, connection }),
            // the client's own mistake: no such schema, no right to it
            Err(source @ OpenError::Refused(_)) => Err(StatementError::Open {
                server: self.name.clone(),
                source,
            }),
            // it had died while idle, or cannot be wiped
            Err(_) => self.open(place, bucket).await,
        }
    }

    /// Waits in line for the right to a connection. Counts as open from here on.
    async fn place(self: &Arc<Self>) -> Result<Place, StatementError> {
        let permit = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait_in_line().await?,
        };
        self.busy_gauge.inc();
        Ok(Place {
            pool: Arc::clone(self),
            generation: self.generation.load(Ordering::Acquire),
            counted: false,
            _permit: permit,
        })
    }

    async fn wait_in_line(&self) -> Result<OwnedSemaphorePermit, StatementError> {
        let start = Instant::now();
        let waiting = WaitCount::enter(&self.waiting);
        let limit = self.limits.wait_timeout.get();
        let permit = tokio::time::timeout(limit, Arc::clone(&self.places).acquire_owned()).await;
        self.metrics
            .wait_seconds
            .observe(start.elapsed().as_secs_f64());
        match permit {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => {
                self.metrics.wait_timeouts.inc();
                Err(StatementError::Exhausted {
                    server: self.name.clone(),
                    limit: self.limits.max_server_connections,
                    waited: limit,
                    waiting: waiting.others(),
                })
            }
        }
    }

    /// An idle connection of `bucket`, or room to open one. The connections on the way that cannot be used are closed here.
    fn take(&self, bucket: &Bucket) -> (Option<Idle>, Vec<Discard>) {
        let mut discarded = Vec::new();
        let mut inner = self.lock();
        if inner.last_wanted.as_ref() != Some(bucket) {
            inner.last_wanted = Some(bucket.clone());
        }
        let mut found = None;
        // one that fits, else one that can be made to fit
        let fits: [fn(&Bucket, &Bucket) -> bool; 2] = [|have, want| have == want, Bucket::is_near];
        'search: for fit in fits {
            while let Some(index) = inner
                .idle
                .iter()
                .rposition(|parked| fit(parked.connection.bucket(), bucket))
            {
                let Some(mut parked) = inner.idle.remove(index) else {
                    break;
                };
                if let Some(reason) = self.unfit(&mut parked) {
                    inner.open -= 1;
                    discarded.push(reason);
                } else {
                    found = Some(parked.connection);
                    break 'search;
                }
            }
        }
        if found.is_none() {
            // make room: what has been idle longest goes first
            while inner.open >= self.limits.max_server_connections
                && inner.idle.pop_front().is_some()
            {
                inner.open -= 1;
                discarded.push(Discard::Evicted);
            }
            inner.open += 1;
        }
        self.show(&inner);
        (found, discarded)
    }

    fn unfit(&self, parked: &mut Parked) -> Option<Discard> {
        if parked.generation != self.generation.load(Ordering::Acquire) {
            Some(Discard::Retired)
        } else if parked.connection.opened().elapsed() > self.limits.age_max.get() {
            Some(Discard::Age)
        } else if !parked.connection.is_quiet() {
            Some(Discard::ServerClosed)
        } else {
            None
        }
    }

    async fn open(&self, mut place: Place, bucket: &Bucket) -> Result<Lease, StatementError> {
        let opened = Idle::open(&self.account, bucket.clone()).await;
        let counter = if opened.is_ok() {
            &self.metrics.opened
        } else {
            &self.metrics.open_failures
        };
        counter.with_label_values(&[self.name.as_str()]).inc();
        match opened {
            Ok(connection) => Ok(Lease { place, connection }),
            Err(source) => {
                place.uncount();
                Err(StatementError::Open {
                    server: self.name.clone(),
                    source,
                })
            }
        }
    }

    /// Closes what is idle and keeps out what comes back from before: the server's role changed, or we leave.
    pub(crate) fn retire(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        let mut inner = self.lock();
        let retired = std::mem::take(&mut inner.idle);
        inner.open -= retired.len();
        self.show(&inner);
        drop(inner);
        for _ in &retired {
            self.count_discard(Discard::Retired);
        }
    }

    /// Closes what has been idle or open for too long or was closed by the server, and keeps `min_idle` ready. Called on a clock.
    pub(crate) async fn maintain(self: &Arc<Self>) {
        for reason in self.sweep() {
            self.count_discard(reason);
        }
        if let Some(bucket) = self.wants_one_ready()
            && let Ok(permit) = Arc::clone(&self.places).try_acquire_owned()
        {
            self.lock().open += 1;
            self.busy_gauge.inc();
            let generation = self.generation.load(Ordering::Acquire);
            let place = Place {
                pool: Arc::clone(self),
                generation,
                counted: true,
                _permit: permit,
            };
            // a server that is away is reported by the monitor
            if let Ok(lease) = self.open(place, &bucket).await {
                lease.release();
            }
        }
    }

    fn sweep(&self) -> Vec<Discard> {
        let mut inner = self.lock();
        let mut discarded = Vec::new();
        let mut kept = VecDeque::with_capacity(inner.idle.len());
        // newest first, so that the oldest are the ones beyond `min_idle`
        while let Some(mut parked) = inner.idle.pop_back() {
            let idle_too_long = kept.len() >= self.limits.min_idle
                && parked.since.elapsed() > self.limits.idle_timeout.get();
            match self
                .unfit(&mut parked)
                .or_else(|| idle_too_long.then_some(Discard::Idle))
            {
                Some(reason) => discarded.push(reason),
                None => kept.push_front(parked),
            }
        }
        inner.idle = kept;
        inner.open -= discarded.len();
        self.show(&inner);
        discarded
    }

    fn wants_one_ready(&self) -> Option<Bucket> {
        let inner = self.lock();
        let room = inner.open < self.limits.max_server_connections;
        (room && inner.idle.len() < self.limits.min_idle)
            .then(|| inner.last_wanted.clone())
            .flatten()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // nothing under the lock can leave it half done
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, inner: &Inner) {
        self.idle_gauge
            .set(i64::try_from(inner.idle.len()).unwrap_or(i64::MAX));
    }

    fn count_discard(&self, reason: Discard) {
        self.metrics
            .discarded
            .with_label_values(&[reason.label()])
            .inc();
    }
}

impl Place {
    /// The connection is gone without having been in anybody's hands.
    fn uncount(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.pool.lock().open -= 1;
        }
    }

    fn close(mut self, reason: Discard) {
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
        self.pool.busy_gauge.dec();
    }
}

impl Lease {
    /// Gives the connection back for the next client of its bucket.
    pub(crate) fn release(self) {
        let Self {
            mut place,
            connection,
        } = self;
        let pool = Arc::clone(&place.pool);
        if place.generation != pool.generation.load(Ordering::Acquire) {
            return place.close(Discard::Retired);
        }
        let mut inner = pool.lock();
        inner.idle.push_back(Parked {
            connection,
            since: Instant::now(),
            generation: place.generation,
        });
        // the count goes with the connection
        place.counted = false;
        pool.show(&inner);
        drop(inner);
        // only now may the next in line come: it must find the connection
        drop(place);
    }

    /// Wipes what a client left on the connection, then gives it back.
    pub(crate) async fn reset_and_release(self) {
        let Self { place, connection } = self;
        let limit = Duration::from_secs(5);
        match tokio::time::timeout(limit, connection.reset()).await {
            Ok(Ok(connection)) => Self { place, connection }.release(),
            Ok(Err(_)) | Err(_) => place.close(Discard::ResetFailed),
        }
    }

    /// Closes the connection.
    pub(crate) fn close(self, reason: Discard) {
        self.place.close(reason);
    }

    /// Takes the connection into use.
    pub(crate) fn start(self) -> BusyLease {
        let connection = self.connection.start();
        BusyLease {
            connection,
            place: self.place,
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.place.pool
    }

    pub(crate) fn status(&self) -> Status {
        self.connection.status()
    }
}

impl BusyLease {
    /// Back to between two packets.
    pub(crate) fn finish(self, finish: impl FnOnce(Busy) -> Idle) -> Lease {
        Lease {
            connection: finish(self.connection),
            place: self.place,
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.place.pool
    }
}

/// Counts a waiter while it waits, cancelled or not.
struct WaitCount<'a>(&'a AtomicUsize);

impl<'a> WaitCount<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }

    fn others(&self) -> usize {
        self.0.load(Ordering::Relaxed).saturating_sub(1)
    }
}

impl Drop for WaitCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
