//! What every session shares: the pools, what is known of the servers, and who is connected. In memory only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use lamplighter_core::load::MysqlLoad;
use lamplighter_core::net::HostPort;

use crate::balance::{self, Candidate, Choice};
use crate::beats::Beats;
use crate::cancel::Clients;
use crate::client::Greeter;
use crate::config::{self, Config, Consistency};
use crate::explain::{Explanation, Live, ReplicaState, explain_with};
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::monitor::ServerRun;
use crate::near::Attention;
use crate::pool::Pool;
use crate::position::Position;
use crate::positions::Positions;
use crate::preferences::Preferences;
use crate::prepared::Templates;
use crate::replica::Replica;
use crate::statistics::Statistics;
use crate::tenants::Tenants;
use crate::variables::Learned;

/// Replicas that are looked at; Azure allows ten for each server.
const REPLICAS_MAX: usize = 16;

/// What every session shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) primary: Arc<Pool>,
    pub(super) replicas: Vec<Replica>,
    /// Of the primary, then of each replica: which program runs there since when.
    runs: Vec<ArcSwapOption<ServerRun>>,
    /// What was seen of the heartbeat on the primary.
    pub(crate) beats: Beats,
    /// The primary tells the GTIDs of what is written.
    names_writes: AtomicBool,
    /// The primary does not answer the monitor.
    primary_away: AtomicBool,
    pub(crate) greeter: Greeter,
    pub(crate) metrics: Metrics,
    pub(crate) statistics: Statistics,
    /// Who shares the pools.
    pub(crate) tenants: Tenants,
    pub(crate) preferences: Preferences,
    /// What was written through this agent.
    pub(crate) positions: Positions,
    /// The way to what was written through others.
    pub(crate) fleet: Option<Fleet>,
    pub(crate) read_wait: Duration,
    pub(crate) consistency: Consistency,
    pub(crate) monitor: config::Monitor,
    pub(crate) heartbeat: config::Heartbeat,
    pub(crate) statement_size_max: usize,
    /// What SET statements do, as the servers told.
    pub(crate) learned: Learned,
    /// Who is connected, for KILL.
    pub(crate) clients: Clients,
    /// Statements that servers have prepared before.
    pub(crate) templates: Templates,
    /// Spreads reads over the replicas.
    turn: AtomicUsize,
    pub(super) login_timeout: Duration,
    pub(super) attention: Arc<Attention>,
}

impl Shared {
    /// Before anything was heard of any server.
    pub(super) fn new(
        config: &Config,
        pool: impl Fn(&HostPort) -> Arc<Pool>,
        greeter: Greeter,
        metrics: Metrics,
        statistics: Statistics,
        tenants: Tenants,
        fleet: Option<Fleet>,
    ) -> Self {
        let replica = |server: &HostPort| {
            let options = config.replica.get(&server.to_string()).cloned();
            // a replica that keeps up is seen with a beat that is one or two intervals old
            let wait_age_max = config.read_wait.get() + config.heartbeat.interval.get() * 3;
            Replica::new(pool(server), &options.unwrap_or_default(), wait_age_max)
        };
        Self {
            primary: pool(&config.primary),
            replicas: config.replicas.iter().map(replica).collect(),
            runs: std::iter::repeat_with(ArcSwapOption::empty)
                .take(config.replicas.len() + 1)
                .collect(),
            beats: Beats::default(),
            names_writes: AtomicBool::new(false),
            primary_away: AtomicBool::new(false),
            greeter,
            metrics,
            statistics,
            tenants,
            preferences: Preferences::new(config),
            positions: Positions::default(),
            fleet,
            read_wait: config.read_wait.get(),
            consistency: config.consistency,
            monitor: config.monitor.clone(),
            heartbeat: config.heartbeat.clone(),
            statement_size_max: config.statement_size_max.as_usize(),
            learned: Learned::default(),
            clients: Clients::default(),
            templates: Templates::default(),
            turn: AtomicUsize::new(0),
            login_timeout: config.login_timeout.get(),
            attention: Arc::new(Attention::new(config.pool.busy_poll)),
        }
    }

    /// How much the servers have to do.
    pub(super) fn load(&self) -> MysqlLoad {
        let lags = self.replicas.iter().filter_map(|replica| {
            let labels = &[replica.pool.name()];
            let lag = self.metrics.replica_lag.with_label_values(labels);
            Duration::try_from_secs_f64(lag.get()).ok()
        });
        let waits = &self.metrics.wait_seconds;
        MysqlLoad {
            waited: Duration::try_from_secs_f64(waits.get_sample_sum()).unwrap_or_default(),
            statements: waits.get_sample_count(),
            lag: lags.max(),
            lag_max: self.monitor.lag_max.get(),
            behind_max: match self.replicas.is_empty() {
                true => Duration::ZERO,
                false => self.monitor.behind_max(),
            },
        }
    }

    /// The replica with this index.
    pub(crate) fn replica(&self, index: usize) -> Option<&Replica> {
        self.replicas.get(index)
    }

    /// The replica for a read that has to see `needed`.
    pub(crate) fn choose_replica(&self, needed: &Position) -> Choice {
        let mut candidates = [Candidate::default(); REPLICAS_MAX];
        for (place, replica) in candidates.iter_mut().zip(&self.replicas) {
            *place = replica.candidate(needed);
        }
        let count = self.replicas.len().min(REPLICAS_MAX);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // Fibonacci hashing: neighbours end far from each other
        let random = turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 17;
        balance::choose(candidates.get(..count).unwrap_or_default(), random)
    }

    /// Whether a replica can be asked to wait for `needed`.
    pub(crate) fn waits_for(&self, needed: &Position) -> bool {
        !self.read_wait.is_zero() && needed.has_names()
    }

    /// Whether a write that is answered without a GTID has changed nothing.
    pub(crate) fn names_writes(&self) -> bool {
        self.names_writes.load(Ordering::Relaxed)
    }

    pub(crate) fn primary_is_away(&self) -> bool {
        self.primary_away.load(Ordering::Relaxed)
    }

    pub(crate) fn set_primary_away(&self, away: bool) {
        self.primary_away.store(away, Ordering::Relaxed);
    }

    pub(crate) fn set_names_writes(&self, names: bool) {
        self.names_writes.store(names, Ordering::Relaxed);
    }

    /// The sessions of a server, of replica `index` or of the primary, begin otherwise than they did.
    pub(crate) fn defaults_changed(&self, index: Option<usize>) {
        if let Some(pool) = self.pool_of(index) {
            pool.renew();
        }
        // what SET does may depend on them, and so may what a server says of a prepared statement
        self.learned.forget();
        self.templates.forget();
    }

    /// What runs as replica `index`, or as the primary. Returns whether it was started since it was last seen.
    pub(crate) fn note_run(&self, index: Option<usize>, run: ServerRun) -> bool {
        let Some(place) = self.runs.get(index.map_or(0, |index| index + 1)) else {
            return false;
        };
        let run = Arc::new(run);
        let before = place.swap(Some(Arc::clone(&run)));
        before.is_some_and(|before| run.is_after(&before))
    }

    /// The same, as it was last seen.
    pub(crate) fn run_of(&self, index: Option<usize>) -> Option<Arc<ServerRun>> {
        let place = self.runs.get(index.map_or(0, |index| index + 1))?;
        place.load_full()
    }

    /// The server of replica `index`, or the primary, takes so many connections in all.
    pub(crate) fn note_server_max(&self, index: Option<usize>, max_connections: usize) {
        if let Some(pool) = self.pool_of(index) {
            pool.note_server_max(max_connections);
        }
    }

    /// The pool of replica `index`, or of the primary.
    fn pool_of(&self, index: Option<usize>) -> Option<&Arc<Pool>> {
        match index {
            None => Some(&self.primary),
            Some(index) => self.replicas.get(index).map(|replica| &replica.pool),
        }
    }

    /// Reads that come to the primary for want of a replica are to leave it room for writes.
    pub(crate) fn has_replicas(&self) -> bool {
        !self.replicas.is_empty()
    }

    /// The primary's first.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        let replicas = self.replicas.iter().map(|it| &it.pool);
        std::iter::once(&self.primary).chain(replicas)
    }

    /// How many server connections clients hold: a statement in flight, a transaction open, or state of their own.
    pub(super) fn busy(&self) -> u64 {
        self.pools().map(|pool| pool.busy()).sum()
    }

    /// A server connection with this id is one of ours.
    pub(crate) fn has_thread(&self, thread_id: u32) -> bool {
        self.pools().any(|pool| pool.has_thread(thread_id))
    }

    pub(super) fn explain(&self, sql: &str) -> Explanation {
        let state = |replica: &Replica| ReplicaState {
            server: replica.pool.name().to_owned(),
            fit: replica.is_fit(),
        };
        let replicas: Vec<ReplicaState> = self.replicas.iter().map(state).collect();
        let is_one_fit = replicas.iter().any(|replica| replica.fit);
        let mut found = explain_with(sql, &self.preferences, is_one_fit);
        found.live = Some(Live {
            replicas,
            seen: self.statistics.seen(sql.as_bytes()),
        });
        found
    }
}
