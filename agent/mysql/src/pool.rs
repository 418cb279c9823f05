//! The connections to one server: at most so many, given out in the order of asking, each idle one kept in the bucket of what
//! its next client must share with its last. Only [`Idle`] connections can come back.

mod address;
mod ask;
mod discard;
mod kill;
mod lease;
mod opening;
mod outage;
mod role;
mod vigil;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lamplighter_core::metrics::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config;
use crate::error::{OpenError, StatementError};
use crate::insert_id::OfSession;
use crate::metrics::Metrics;
use crate::near::Nearness;
use crate::server::{Account, Bucket, Idle};

pub(crate) use ask::Ask;
pub(crate) use discard::Discard;
use lease::Place;
pub(crate) use lease::{BusyLease, Lease};
use outage::Outage;
pub(crate) use role::Need;
use role::Role;
use vigil::Vigil;

/// A connection stays the one that knows a session's LAST_INSERT_ID() for this long; then the server is asked.
const INSERT_ID_TIME: Duration = Duration::from_secs(1);

/// What [`Pool::take`] found.
#[derive(Debug, Default)]
struct Taken {
    found: Option<Idle>,
    discarded: Vec<Discard>,
    /// To be closed, once the server has told what its last session may want to know.
    evicted: Option<Idle>,
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
    nearness: Nearness,
    outage: Outage,
    role: Role,
    vigil: Vigil,
    /// For KILL.
    control: tokio::sync::Mutex<Option<Idle>>,
    /// Connections opened before the last retirement do not come back.
    generation: AtomicU64,
    began: Instant,
    /// What was opened so soon after `began`, in microseconds, has the defaults of before.
    outdated: AtomicU64,
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

impl Parked {
    fn is_owed(&self) -> bool {
        self.connection.insert_id().is_wanted_beside(None)
    }
}

impl Inner {
    /// What has been idle longest goes first, but not what somebody may want to know something from.
    fn evict(&mut self) -> Option<Parked> {
        let index = self
            .idle
            .iter()
            .position(|parked| !parked.is_owed())
            .unwrap_or(0);
        self.idle.remove(index)
    }
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
        let away = metrics.away.with_label_values(&[name.as_str()]);
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
            nearness: Nearness::default(),
            outage: Outage::new(away.clone(), metrics.held_seconds.clone()),
            role: Role::new(away, metrics.held_seconds.clone()),
            vigil: Vigil::default(),
            control: tokio::sync::Mutex::new(None),
            generation: AtomicU64::new(0),
            began: Instant::now(),
            outdated: AtomicU64::new(0),
            metrics: metrics.clone(),
            idle_gauge,
            busy_gauge,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A connection as it is asked for, within the wait limit. A statement that writes gets none to a server that takes no writes; it
    /// waits for one that does until `ask.until`.
    pub(crate) async fn acquire(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, StatementError> {
        let mut until = ask.until;
        loop {
            self.until_heard().await?;
            self.until_writable(ask.need, &mut until).await?;
            let lease = self.acquire_any(ask).await?;
            if ask.need != Need::Write || !lease.connection.is_read_only() {
                return Ok(lease);
            }
            // it is good for reads
            lease.release();
        }
    }

    /// An idle connection if there is one, else a new one, whatever the server's role.
    async fn acquire_any(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, StatementError> {
        let mut place = self.place().await?;
        let taken = self.take(ask);
        place.counted = true;
        for reason in taken.discarded {
            self.count_discard(reason);
        }
        if let Some(connection) = taken.evicted {
            // its session may still want to know its LAST_INSERT_ID(); if the server does not say, the session hears that
            drop(connection.settle_insert_id().await);
            self.count_discard(Discard::Evicted);
        }
        let Some(connection) = taken.found else {
            let lease = self.open(place, ask.bucket).await?;
            return self.adapted(lease.place, lease.connection, ask).await;
        };
        self.adapted(place, connection, ask).await
    }

    /// Brings the connection into the state that is asked for, or opens one in its place.
    async fn adapted(
        &self,
        place: Place,
        connection: Idle,
        ask: &Ask<'_>,
    ) -> Result<Lease, StatementError> {
        let insert_id = self.wanted_insert_id(&connection, ask).await?;
        let fits = connection.bucket() == ask.bucket && insert_id.is_none();
        if fits && !connection.insert_id().is_wanted_beside(ask.session) {
            return Ok(Lease { place, connection });
        }
        if connection.bucket() != ask.bucket {
            self.metrics.adapted.inc();
        }
        let adapted = if ask.ahead {
            connection.adapt_ahead(ask.bucket, insert_id)
        } else {
            connection.adapt(ask.bucket, insert_id).await
        };
        match adapted {
            Ok(connection) => Ok(Lease { place, connection }),
            // the client's own mistake: no such schema, no right to it
            Err(source @ OpenError::Refused(_)) => Err(self.not_open(source)),
            // it had died while idle, or cannot be wiped
            Err(_) => {
                let Lease { place, connection } = self.open(place, ask.bucket).await?;
                let insert_id = self.wanted_insert_id(&connection, ask).await?;
                match connection.adapt(ask.bucket, insert_id).await {
                    Ok(connection) => Ok(Lease { place, connection }),
                    Err(source) => Err(self.not_open(source)),
                }
            }
        }
    }

    /// What LAST_INSERT_ID() has to be set to, if it matters and is not so already.
    async fn wanted_insert_id(
        &self,
        connection: &Idle,
        ask: &Ask<'_>,
    ) -> Result<Option<u64>, StatementError> {
        let Some(session) = ask.session.filter(|_| ask.insert_id) else {
            return Ok(None);
        };
        if connection.insert_id().is_of(session) {
            return Ok(None);
        }
        let known = match session {
            OfSession::Known(value) => Some(*value),
            OfSession::Awaited(awaited) => {
                tokio::time::timeout(self.limits.wait_timeout.get(), awaited.value())
                    .await
                    .unwrap_or_default()
            }
        };
        known.map(Some).ok_or_else(|| StatementError::InsertIdLost {
            server: self.name.clone(),
        })
    }

    fn not_open(&self, source: OpenError) -> StatementError {
        StatementError::Open {
            server: self.name.clone(),
            source,
        }
    }

    /// How soon the server answers.
    pub(crate) const fn nearness(&self) -> &Nearness {
        &self.nearness
    }

    /// For how long the only statement there is may look for its answer instead of sleeping.
    pub(crate) fn look_budget(&self) -> Option<Duration> {
        let in_use = self.limits.max_server_connections - self.places.available_permits();
        let alone = in_use <= 1 && self.limits.busy_poll;
        alone.then(|| self.nearness.budget()).flatten()
    }

    /// Somebody waits for a connection.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        self.limits.idle_timeout.get()
    }

    /// Waits in line for the right to a connection. Counts as open from here on.
    async fn place(self: &Arc<Self>) -> Result<Place, StatementError> {
        let permit = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait_in_line().await?,
        };
        Ok(Place::lent(self, permit))
    }

    async fn wait_in_line(&self) -> Result<OwnedSemaphorePermit, StatementError> {
        let start = Instant::now();
        let waiting = WaitCount::enter(&self.waiting);
        let mut limit = self.limits.wait_timeout.get();
        let mut line = std::pin::pin!(Arc::clone(&self.places).acquire_owned());
        let mut permit = tokio::time::timeout(limit, line.as_mut()).await;
        let longer = self.limits.failover_wait.get();
        let is_away = self.outage.is_on() || self.waits_for_server();
        if permit.is_err() && is_away && longer > limit {
            // those before us wait for the server itself
            permit = tokio::time::timeout(longer - limit, line).await;
            limit = longer;
        }
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

    /// An idle connection that fits or can be made to, or room to open one. The connections on the way that cannot be used are
    /// closed here.
    fn take(&self, ask: &Ask<'_>) -> Taken {
        let mut taken = Taken::default();
        let mut inner = self.lock();
        if inner.last_wanted.as_ref() != Some(ask.bucket) {
            inner.last_wanted = Some(ask.bucket.clone());
        }
        'search: for fit in ask.preferences() {
            while let Some(index) = inner
                .idle
                .iter()
                .rposition(|parked| fit(ask, &parked.connection))
            {
                let Some(mut parked) = inner.idle.remove(index) else {
                    break;
                };
                if let Some(reason) = self.unfit(&mut parked) {
                    inner.open -= 1;
                    taken.discarded.push(reason);
                } else {
                    taken.found = Some(parked.connection);
                    break 'search;
                }
            }
        }
        if taken.found.is_none() {
            if inner.open >= self.limits.max_server_connections
                && let Some(parked) = inner.evict()
            {
                inner.open -= 1;
                if parked.connection.insert_id().is_wanted_beside(None) {
                    taken.evicted = Some(parked.connection);
                } else {
                    taken.discarded.push(Discard::Evicted);
                }
            }
            inner.open += 1;
        }
        self.show(&inner);
        taken
    }

    fn unfit(&self, parked: &mut Parked) -> Option<Discard> {
        if parked.generation != self.generation.load(Ordering::Acquire) {
            Some(Discard::Retired)
        } else if (parked.connection.opened().elapsed() > self.limits.age_max.get()
            || self.is_outdated(parked.connection.opened()))
            && !parked.is_owed()
        {
            Some(Discard::Age)
        } else if !parked.connection.is_quiet() {
            Some(Discard::ServerClosed)
        } else {
            None
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

    /// A global default of the server has changed: what is open began with another one, and is closed as if it were too old.
    pub(crate) fn renew(&self) {
        let now = self.since_began(Instant::now());
        self.outdated.store(now, Ordering::Release);
    }

    fn is_outdated(&self, opened: Instant) -> bool {
        self.since_began(opened) < self.outdated.load(Ordering::Acquire)
    }

    fn since_began(&self, then: Instant) -> u64 {
        let since = then.saturating_duration_since(self.began);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// Closes what has been idle or open for too long or was closed by the server, and keeps `min_idle` ready. Called on a clock.
    pub(crate) async fn maintain(self: &Arc<Self>) {
        for reason in self.sweep() {
            self.count_discard(reason);
        }
        self.settle_insert_ids().await;
        if let Some(bucket) = self.wants_one_ready()
            && let Ok(permit) = Arc::clone(&self.places).try_acquire_owned()
        {
            self.lock().open += 1;
            let generation = self.generation.load(Ordering::Acquire);
            let mut place = Place::upkeep(self, permit, generation);
            // a server that is away is reported by the monitor
            match self.try_open(&bucket).await {
                Ok((connection, generation)) => {
                    place.generation = generation;
                    Lease { place, connection }.release();
                }
                Err(_) => place.uncount(),
            }
        }
    }

    /// Asks for each LAST_INSERT_ID() that a session has left behind and may want, so that its connection is free.
    async fn settle_insert_ids(self: &Arc<Self>) {
        while let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            let Some(parked) = self.take_owed() else {
                return;
            };
            let place = Place::upkeep(self, permit, parked.generation);
            // one that has died is counted out by its place
            if let Ok(connection) = parked.connection.settle_insert_id().await {
                Lease { place, connection }.release();
            }
        }
    }

    fn take_owed(&self) -> Option<Parked> {
        let mut inner = self.lock();
        let index = inner
            .idle
            .iter()
            .position(|parked| parked.since.elapsed() > INSERT_ID_TIME && parked.is_owed())?;
        inner.idle.remove(index)
    }

    fn sweep(&self) -> Vec<Discard> {
        let mut inner = self.lock();
        let mut discarded = Vec::new();
        let mut kept = VecDeque::with_capacity(inner.idle.len());
        // newest first, so that the oldest are the ones beyond `min_idle`
        while let Some(mut parked) = inner.idle.pop_back() {
            let idle_too_long = kept.len() >= self.limits.min_idle
                && !parked.is_owed()
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
        (room && !self.is_silent() && inner.idle.len() < self.limits.min_idle)
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
