//! The endpoint at a glance, for `lamplighter mysql`: its servers and their pools, who waits, why statements went where they went, and
//! what costs most. Reads what others keep; no IO.

use lamplighter_core::fleet::Part;
use serde::{Deserialize, Serialize};

use crate::endpoint::Shared;
use crate::pool::{Claim, Pool};
use crate::statistics::{DigestReport, PinReport};

/// Digests and pins that are shown.
const SHOWN: usize = 5;

/// The endpoint at a glance.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Overview {
    /// Clients connected now.
    pub clients: u64,
    /// What a read may miss, as configured.
    pub consistency: String,
    /// The primary first.
    pub servers: Vec<ServerReport>,
    /// Where commands went and why, since the start; only those that happened.
    pub routes: Vec<RouteReport>,
    /// How many clients keep a server connection.
    pub pins: usize,
    /// Those that have kept theirs longest.
    pub pins_longest: Vec<PinReport>,
    /// The digests that took most time.
    pub digests: Vec<DigestReport>,
}

/// One server and its pool.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct ServerReport {
    /// `host:port`.
    pub server: String,
    /// `primary` or `replica`, as configured.
    pub role: String,
    /// As it says itself, once it has.
    pub version: Option<String>,
    /// For how long it has run, once it has said so.
    pub uptime_seconds: Option<u64>,
    /// It answers the monitor.
    pub up: bool,
    /// It may answer reads.
    pub readable: bool,
    /// How old its data are at most, by the heartbeat, else its lag as it says itself; none when unknown, and for a primary.
    pub lag_seconds: Option<f64>,
    /// Its pool.
    pub pool: PoolReport,
}

/// The connections to one server.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct PoolReport {
    /// Rises when all connections of before are given up: the server's role or address has changed.
    pub generation: u64,
    /// How many there may be now.
    pub limit: usize,
    /// Where the limit comes from: `configured`, `fleet`, `alone` or `unknown`.
    pub limit_by: String,
    /// Among how many instances `fleet_budget` is shared, if that is known.
    pub instances: Option<usize>,
    /// Idle, in use and being opened.
    pub open: usize,
    /// Waiting for the next client.
    pub idle: usize,
    /// In the hands of clients.
    pub busy: usize,
    /// Statements that wait for one.
    pub waiting: usize,
    /// Clients that keep one between statements.
    pub pins: usize,
    /// What last went wrong, and how many seconds ago.
    pub trouble: Option<TroubleReport>,
}

/// Something that went wrong with a server.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct TroubleReport {
    /// How long ago.
    pub seconds_ago: f64,
    /// What.
    pub error: String,
}

/// Commands of which the same is true.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct RouteReport {
    /// `primary` or `replica`.
    pub target: String,
    /// As in the metrics.
    pub why: String,
    /// How many.
    pub count: u64,
}

pub(crate) fn overview(shared: &Shared) -> Overview {
    let mut pins = shared.statistics.pins().pins;
    let server = |(index, pool): (usize, &std::sync::Arc<Pool>)| {
        let name = pool.name();
        let is_primary = index == 0;
        let held = pins.iter().filter(|pin| pin.server == name).count();
        let metrics = &shared.metrics;
        let lag = metrics.replica_lag.with_label_values(&[name]).get();
        let run = shared.run_of(index.checked_sub(1));
        ServerReport {
            version: run.as_ref().map(|run| run.version.clone()),
            uptime_seconds: run.map(|run| run.began.elapsed().as_secs()),
            server: name.to_owned(),
            role: if is_primary { "primary" } else { "replica" }.to_owned(),
            up: metrics.server_up.with_label_values(&[name]).get() > 0,
            readable: metrics.server_readable.with_label_values(&[name]).get() > 0,
            lag_seconds: Some(lag).filter(|lag| !is_primary && *lag >= 0.0),
            pool: pool_report(pool, held),
        }
    };
    let servers = shared.pools().enumerate().map(server).collect();
    let count = pins.len();
    pins.truncate(SHOWN);
    Overview {
        clients: u64::try_from(shared.metrics.clients.get()).unwrap_or(0),
        consistency: shared.consistency.label().to_owned(),
        servers,
        routes: routes(shared),
        pins: count,
        pins_longest: pins,
        digests: shared.statistics.top(SHOWN).digests,
    }
}

fn pool_report(pool: &Pool, pins: usize) -> PoolReport {
    let standing = pool.standing(Claim::OWN);
    let held = pool.holdings();
    let (limit_by, instances) = match pool.part() {
        None => ("configured", None),
        Some(Part::Unknown) => ("unknown", None),
        Some(Part::Agreed { among, .. }) => ("fleet", Some(among)),
        Some(Part::Alone { .. }) => ("alone", None),
    };
    PoolReport {
        generation: held.generation,
        limit: standing.limit,
        limit_by: limit_by.to_owned(),
        instances,
        open: held.open,
        idle: held.idle,
        busy: standing.in_use,
        waiting: standing.waiting,
        pins,
        trouble: pool.trouble().map(|(ago, error)| TroubleReport {
            seconds_ago: ago.as_secs_f64(),
            error,
        }),
    }
}

fn routes(shared: &Shared) -> Vec<RouteReport> {
    let routes = shared
        .metrics
        .routed
        .counts()
        .map(|(why, count)| RouteReport {
            target: why.target_label().to_owned(),
            why: why.label().to_owned(),
            count,
        });
    let mut routes: Vec<_> = routes.filter(|route| route.count > 0).collect();
    routes.sort_by_key(|route| std::cmp::Reverse(route.count));
    routes
}
