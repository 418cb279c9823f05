//! The connections to one server: at most so many, given out in the order of asking, each idle one kept in the bucket of what
//! its next client must share with its last. Only [`Idle`] connections can come back.

mod address;
mod admission;
mod ask;
mod discard;
mod insert_id;
mod kill;
mod lease;
mod limit;
mod line;
mod opening;
mod outage;
mod place;
mod role;
mod upkeep;
mod vigil;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lamplighter_core::fleet::Part;
use lamplighter_core::metrics::IntGauge;

use crate::config;
use crate::error::{OpenError, StatementError};
use crate::metrics::Metrics;
use crate::near::Nearness;
use crate::server::{Account, Bucket, Idle};

use admission::Admission;
pub(crate) use admission::{Refused, Standing};
pub(crate) use ask::Ask;
pub(crate) use discard::Discard;
pub(crate) use lease::{BusyLease, Lease};
use limit::Ceiling;
pub(crate) use line::{Claim, ClaimKind, Shares, Shedding};
use outage::Outage;
pub(crate) use place::Exhausted;
use place::{Place, Trouble};
pub(crate) use role::Need;
use role::Role;
use vigil::Vigil;

/// What [`Pool::take`] found.
#[derive(Debug, Default)]
struct Taken {
    found: Option<Idle>,
    discarded: Vec<Discard>,
    /// To be closed with [`Pool::close_evicted`].
    evicted: Option<Idle>,
}

/// What a pool has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holdings {
    /// How often all connections of before were given up.
    pub(crate) generation: u64,
    /// Idle, in use and being opened.
    pub(crate) open: usize,
    pub(crate) idle: usize,
}

/// The pool of one server.
#[derive(Debug)]
pub(crate) struct Pool {
    name: String,
    account: Account,
    limits: config::Pool,
    /// A permit for each connection in use.
    admission: Arc<Admission>,
    ceiling: Mutex<Ceiling>,
    /// What last went wrong with the server.
    trouble: Trouble,
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
    /// What has been idle longest goes first, but last what somebody may want to know something from.
    fn evict(&mut self) -> Option<Parked> {
        self.evict_free().or_else(|| self.idle.pop_front())
    }

    /// What has been idle longest of what nobody wants to know anything from.
    fn evict_free(&mut self) -> Option<Parked> {
        let index = self.idle.iter().position(|parked| !parked.is_owed())?;
        self.idle.remove(index)
    }
}

impl Pool {
    pub(crate) fn new(
        account: Account,
        limits: config::Pool,
        shares: Shares,
        metrics: &Metrics,
    ) -> Arc<Self> {
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
        let ceiling = Ceiling::new(&limits);
        let admission = Admission::new(
            ceiling.limit(),
            shares,
            limits.shedding(),
            metrics.waiting.with_label_values(&[name.as_str()]),
            metrics.limit.with_label_values(&[name.as_str()]),
        );
        Arc::new(Self {
            admission,
            ceiling: Mutex::new(ceiling),
            trouble: Trouble::default(),
            name,
            account,
            limits,
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
        let mut place = self.place(ask.claim).await?;
        let taken = self.take(ask);
        place.counted = true;
        for reason in taken.discarded {
            self.count_discard(reason);
        }
        if let Some(connection) = taken.evicted {
            self.close_evicted(connection).await;
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
        let same_bucket = connection.bucket() == ask.bucket;
        let same_insert_id = !ask.insert_id
            || (!connection.insert_id().is_uncertain()
                && ask
                    .session
                    .is_none_or(|session| connection.insert_id().is_of(session)));
        if same_bucket && same_insert_id && !connection.insert_id().is_wanted_beside(ask.session) {
            return Ok(Lease { place, connection });
        }
        if !same_bucket {
            self.metrics.adapted.inc();
        }
        match self.adapt(connection, ask).await? {
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

    /// The connection in the state that is asked for, or why it cannot be brought there.
    async fn adapt(
        &self,
        mut connection: Idle,
        ask: &Ask<'_>,
    ) -> Result<Result<Idle, OpenError>, StatementError> {
        if ask.insert_id
            && (connection.is_wiped_for(ask.bucket) || connection.insert_id().is_uncertain())
        {
            // what a wipe takes away has to be known to be set again
            match connection.settle_insert_id().await {
                Ok(settled) => connection = settled,
                Err(error) => return Ok(Err(error)),
            }
        }
        let insert_id = self.wanted_insert_id(&connection, ask).await?;
        Ok(if ask.ahead {
            connection.adapt_ahead(ask.bucket, insert_id)
        } else {
            connection.adapt(ask.bucket, insert_id).await
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
        let alone = self.busy_gauge.get() <= 1 && self.limits.busy_poll;
        alone.then(|| self.nearness.budget()).flatten()
    }

    /// Somebody waits for a connection.
    pub(crate) fn is_wanted(&self) -> bool {
        self.admission.is_wanted()
    }

    /// For how long a client may keep a connection and do nothing while others wait, if there is a limit.
    pub(crate) fn idle_hold(&self) -> Option<Duration> {
        Some(self.limits.idle_hold_timeout.get()).filter(|limit| !limit.is_zero())
    }

    /// For how long a client may hold its answer up while others wait.
    pub(crate) fn patience(&self) -> Duration {
        self.limits.slow_client_timeout.get()
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        self.limits.idle_timeout.get()
    }

    /// An idle connection that fits or can be made to, or room to open one. The connections on the way that cannot be used are
    /// closed here.
    fn take(&self, ask: &Ask<'_>) -> Taken {
        let mut taken = Taken::default();
        let limit = self.admission.limit();
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
            if inner.open >= limit
                && let Some(parked) = inner.evict()
            {
                inner.open -= 1;
                taken.evicted = Some(parked.connection);
            }
            inner.open += 1;
        }
        self.show(&inner);
        taken
    }

    /// Keeps a connection that is free for the next client; false, and it is closed, if there are more than there may be.
    fn park(&self, connection: Idle, generation: u64) -> bool {
        let limit = self.admission.limit();
        let parked = Parked {
            connection,
            since: Instant::now(),
            generation,
        };
        let mut inner = self.lock();
        // one that knows what somebody wants to know is closed once it has told
        if inner.open > limit && !parked.is_owed() {
            return false;
        }
        inner.idle.push_back(parked);
        self.show(&inner);
        true
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

    /// The fleet's budget leaves so many connections to this instance.
    pub(crate) fn grant(self: &Arc<Self>, part: Part) {
        self.reconsider(|ceiling| ceiling.grant(part));
    }

    /// How many connections there are for all instances together, if they share them.
    pub(crate) fn shared_out(&self) -> usize {
        self.ceiling().shared_out()
    }

    /// Why it has the limit it has.
    pub(crate) fn part(&self) -> Option<Part> {
        self.ceiling().part()
    }

    fn ceiling(&self) -> MutexGuard<'_, Ceiling> {
        self.ceiling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server takes so many connections in all.
    pub(crate) fn note_server_max(self: &Arc<Self>, max_connections: usize) {
        self.reconsider(|ceiling| ceiling.note_server(max_connections));
    }

    /// Takes a new limit over: what is idle beyond it is closed now, what is in use when it comes back.
    fn reconsider(self: &Arc<Self>, change: impl FnOnce(&mut Ceiling)) {
        let limit = {
            let mut ceiling = self.ceiling();
            change(&mut ceiling);
            ceiling.limit()
        };
        if limit == self.admission.limit() {
            return;
        }
        tracing::debug!(server = self.name, limit, "connection limit");
        self.admission.set_limit(limit);
        let mut closed = Vec::new();
        let mut inner = self.lock();
        // what somebody may want to know something from is closed once the server has told it
        while inner.open > limit
            && let Some(parked) = inner.evict_free()
        {
            inner.open -= 1;
            closed.push(parked);
        }
        self.show(&inner);
        drop(inner);
        for _ in &closed {
            self.count_discard(Discard::Shrunk);
        }
    }

    /// The most connections it has or may open without asking anybody.
    pub(crate) fn claimed(&self) -> usize {
        self.lock().open.max(self.admission.limit())
    }

    /// What it has now.
    pub(crate) fn holdings(&self) -> Holdings {
        let generation = self.generation.load(Ordering::Acquire);
        let inner = self.lock();
        Holdings {
            generation,
            open: inner.open,
            idle: inner.idle.len(),
        }
    }

    /// How things stand for one with this claim.
    pub(crate) fn standing(&self, claim: Claim) -> Standing {
        self.admission.standing(claim)
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

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // nothing under the lock can leave it half done
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, inner: &Inner) {
        self.idle_gauge
            .set(i64::try_from(inner.idle.len()).unwrap_or(i64::MAX));
    }

    /// A client was let go because it held its connection up.
    pub(crate) fn count_slow_client(&self) {
        self.metrics.slow_clients.inc();
        tracing::warn!(
            server = self.name,
            "a client that does not keep up is let go: others wait for its connection"
        );
    }

    fn count_discard(&self, reason: Discard) {
        self.metrics
            .discarded
            .with_label_values(&[reason.label()])
            .inc();
    }
}

#[cfg(test)]
mod tests;
