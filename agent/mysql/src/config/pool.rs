//! The `[mysql.pool]` table: how many server connections there are, who gets them, and how long is waited for one. Pure; no IO.

use lamplighter_core::config::Problem;
use lamplighter_core::units::{Millis, Percent};
use serde::{Deserialize, Serialize};

use crate::pool::Shedding;

/// Connections of each instance to a server that are no pool's: its monitor's, the heartbeat's, the one for KILL, and the one on which
/// a silent server is asked for a sign of life.
pub(crate) const OWN_CONNECTIONS: usize = 4;

/// Server connections, per server.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// At most so many connections to one server. Default 20; servers on Azure allow few (`max_connections`). Not used with
    /// `fleet_budget`.
    pub max_server_connections: usize,
    /// So many connections to one server for all live instances together, their monitors' included; each gets an equal part of it,
    /// counted through `[redis]`. No default: each instance counts for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet_budget: Option<usize>,
    /// The most instances there will be: an instance that cannot reach Redis takes this part of the budget. Default 100.
    pub fleet_size_max: usize,
    /// So many of a server's `max_connections` are left to others: people, other applications. Default 10.
    pub server_reserve: usize,
    /// So many are kept open and idle per server once somebody has used it. Default 1.
    pub min_idle: usize,
    /// How long a statement may wait for a connection. Default 2 s.
    pub wait_timeout: Millis,
    /// A line whose statements all had to wait for longer than this, for `shed_interval`, stands: from then on those who have
    /// waited for twice as long are refused, and so are newcomers for whom it would be as long. Default 500 ms; 0 never.
    pub shed_target: Millis,
    /// See `shed_target`. Default 1 s.
    pub shed_interval: Millis,
    /// The most of the primary's connections that reads get which belong on a replica, while none is fit: the rest is for writes.
    /// Default 50%.
    pub fallback_share: Percent,
    /// A client that takes no more of its answer, or sends no more of its command, for so long, while others wait for its
    /// connection, is let go. Default 10 s. While nobody waits the server's own limits count (`net_write_timeout`).
    pub slow_client_timeout: Millis,
    /// A client that keeps a connection (a transaction, a lock) and does nothing for so long, while others wait for a connection, is
    /// let go; what it had begun is rolled back. Default 10 min; 0 never.
    pub idle_hold_timeout: Millis,
    /// How long a statement of which nothing was sent yet waits for a primary that is away, as in a failover; 0 not at all.
    /// At most 120 s. Default 5 s.
    pub failover_wait: Millis,
    /// A server of which nothing was heard for so long, although it was asked, is given up: what was sent to it gets error 2013.
    /// Reads are asked elsewhere sooner. A statement that takes long on a server that answers others is never given up. Default 10 s.
    pub silence_max: Millis,
    /// Connections older than this are closed when idle, so that moved servers and changed settings are noticed. Default 30 min.
    pub age_max: Millis,
    /// Idle connections beyond `min_idle` are closed after this. Default 5 min.
    pub idle_timeout: Millis,
    /// Statements kept prepared on one connection; the least recently used is closed first. Default 64. Never more than the
    /// server's `max_prepared_stmt_count` allows each of its `max_connections`.
    pub prepared_statements_max: usize,
    /// A statement that runs alone, on a server that answers within 150 µs, looks for its answer instead of sleeping until it is
    /// woken, and so is the next command of the only client that is awake, if its commands follow one another within 150 µs:
    /// half the delay for a little of one core. A server behind a network is never that near. Default true.
    pub busy_poll: bool,
}

/// The longest wait for a server that fails over.
const FAILOVER_WAIT_MAX: Millis = Millis::from_secs(120);

/// The shortest silence for which a server may be given up.
const SILENCE_MIN: Millis = Millis::from_secs(1);

impl Default for Pool {
    fn default() -> Self {
        Self {
            max_server_connections: 20,
            fleet_budget: None,
            fleet_size_max: 100,
            server_reserve: 10,
            min_idle: 1,
            wait_timeout: Millis::from_secs(2),
            shed_target: Millis::new(500),
            shed_interval: Millis::from_secs(1),
            fallback_share: Percent::new(50.0),
            slow_client_timeout: Millis::from_secs(10),
            idle_hold_timeout: Millis::from_secs(10 * 60),
            failover_wait: Millis::from_secs(5),
            silence_max: Millis::from_secs(10),
            age_max: Millis::from_secs(30 * 60),
            idle_timeout: Millis::from_secs(5 * 60),
            prepared_statements_max: 64,
            busy_poll: true,
        }
    }
}

impl Pool {
    /// When a line counts as standing.
    pub(crate) const fn shedding(&self) -> Shedding {
        Shedding {
            target: self.shed_target.get(),
            interval: self.shed_interval.get(),
        }
    }

    /// What of `fleet_budget` is shared out: without the connections that each instance may have beside its pools.
    pub(crate) const fn shared_out(&self) -> Option<usize> {
        match self.fleet_budget {
            Some(budget) => {
                Some(budget.saturating_sub(self.fleet_size_max.saturating_mul(OWN_CONNECTIONS)))
            }
            None => None,
        }
    }

    /// Rules that serde cannot express.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |wrong: bool, key: &str, message: &str| {
            if wrong {
                problems.push(Problem::new(format!("pool.{key}"), message.to_owned()));
            }
        };
        add(
            self.max_server_connections == 0,
            "max_server_connections",
            "must be at least 1",
        );
        add(
            self.fleet_budget.is_none() && self.min_idle > self.max_server_connections,
            "min_idle",
            "is larger than pool.max_server_connections",
        );
        add(
            self.failover_wait > FAILOVER_WAIT_MAX,
            "failover_wait",
            "is longer than 120s; a server that is away for longer is not failing over",
        );
        add(
            self.silence_max < SILENCE_MIN,
            "silence_max",
            "is shorter than 1s; a busy server may be silent for that long",
        );
        add(
            self.fleet_size_max == 0,
            "fleet_size_max",
            "must be at least 1",
        );
        add(
            self.shared_out()
                .is_some_and(|shared| shared < self.fleet_size_max),
            "fleet_budget",
            "is too small: of pool.fleet_size_max instances each needs 5, one for statements and four to watch the server, count its heartbeat, KILL, and ask a silent server",
        );
        add(
            !self.shed_target.get().is_zero() && self.shed_interval < self.shed_target,
            "shed_interval",
            "is shorter than pool.shed_target",
        );
        add(
            self.slow_client_timeout.get().is_zero(),
            "slow_client_timeout",
            "must be longer than 0",
        );
        problems
    }
}
