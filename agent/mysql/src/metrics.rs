//! Every series of the endpoint, with its help text. Registered once, handed down as handles.

use lamplighter_core::metrics::{
    GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    LATENCY_SECONDS, MetricsError, Registry, Section,
};

use crate::hold::HoldReason;
use crate::pool::{Discard, Refused};
use crate::route::Why;

/// Bounds of the time a client keeps a connection, in seconds: from one statement to a client that stays.
const HOLD_SECONDS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];

/// Bounds of the time a statement is held for a failover, in seconds: from a switch-over in one breath to the longest wait allowed.
const FAILOVER_SECONDS: [f64; 10] = [0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0, 120.0];

/// Where commands went and why: counted with each of them, so looked up by name only once.
#[derive(Debug, Clone)]
pub(crate) struct Routed([IntCounter; Why::ALL.len()]);

impl Routed {
    fn new(series: &IntCounterVec) -> Self {
        Self(Why::ALL.map(|why| series.with_label_values(&[why.target_label(), why.label()])))
    }

    /// How many there were for each reason.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Why, u64)> {
        Why::ALL.into_iter().zip(self.0.iter().map(IntCounter::get))
    }

    /// One more.
    pub(crate) fn count(&self, why: Why) {
        let mut known = Why::ALL.iter().zip(&self.0);
        if let Some((_, counter)) = known.find(|(it, _)| **it == why) {
            counter.inc();
        }
    }
}

/// The endpoint's series.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Clients connected now.
    pub clients: IntGauge,
    /// Clients that logged in.
    pub client_connections: IntCounter,
    /// Logins refused.
    pub client_refused: IntCounter,
    /// Statements and commands relayed, by target and by the reason for it.
    pub(crate) routed: Routed,
    /// Commands answered without a server.
    pub local: IntCounter,
    /// Errors of our own given to clients, by MySQL error number.
    pub errors: IntCounterVec,
    /// Time from the last byte of a command to the last byte of its answer.
    pub command_seconds: Histogram,
    /// Times a client kept its server connection, by reason.
    pub holds: IntCounterVec,
    /// How long they kept it, by the strongest reason.
    pub hold_seconds: HistogramVec,
    /// COM_STMT_PREPARE answered without a server, because the statement is known.
    pub prepares_local: IntCounter,
    /// Clients that keep a server connection now, by reason.
    pub held: IntGaugeVec,
    /// Server connections by server and state.
    pub connections: IntGaugeVec,
    /// Server connections opened, by server.
    pub opened: IntCounterVec,
    /// Server connections made to fit another client's session state, one round trip each.
    pub adapted: IntCounter,
    /// SET statements answered without a server, because their effect is known.
    pub sets_local: IntCounter,
    /// Failures to open one, by server.
    pub open_failures: IntCounterVec,
    /// Server connections closed instead of reused, by reason.
    pub discarded: IntCounterVec,
    /// Statements and connections killed on a server.
    pub kills: IntCounter,
    /// Time statements waited for a server connection.
    pub wait_seconds: Histogram,
    /// Statements that wait for a server that is away, by server.
    pub away: IntGaugeVec,
    /// How long each statement was held for a failover, in seconds.
    pub held_seconds: Histogram,
    /// Statements sent again because a server refused them as not being a primary.
    pub resent: IntCounter,
    /// Connections broken because the server was silent or knew nothing of their statement.
    pub severed: IntCounter,
    /// 1 while this agent counts the heartbeat.
    pub heartbeat_writer: IntGauge,
    /// Counts of the heartbeat by this agent.
    pub heartbeats: IntCounter,
    /// Waits of reads on a replica for a write, by how they ended.
    pub read_waits: IntCounterVec,
    /// Statements refused because there was no connection for them, by reason.
    pub refused: IntCounterVec,
    /// Statements that wait for a connection, by server.
    pub waiting: IntGaugeVec,
    /// Connections there may be, by server.
    pub limit: IntGaugeVec,
    /// Clients let go because they did not read their answer, or did not send the rest of their command.
    pub slow_clients: IntCounter,
    /// Clients let go because they kept a connection that others waited for, and did nothing.
    pub idle_holds_ended: IntCounter,
    /// Reads sent again after their connection was lost before its first byte of answer.
    pub retries: IntCounter,
    /// 1 while the server answers the monitor, by server.
    pub server_up: IntGaugeVec,
    /// 1 while the server may be read from, by server.
    pub server_readable: IntGaugeVec,
    /// How far behind a replica is at most, in seconds; -1 when unknown, by server.
    pub replica_lag: GaugeVec,
}

impl Metrics {
    /// Registers all series.
    ///
    /// # Errors
    /// If one of the names is taken.
    #[expect(
        clippy::too_many_lines,
        reason = "one flat list of series, read from top to bottom"
    )]
    pub fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let s = Section::new(registry, "mysql");
        let metrics = Self {
            clients: s.gauge("clients", "Clients connected to the endpoint.")?,
            client_connections: s.counter("client_connections_total", "Clients that logged in.")?,
            client_refused: s.counter(
                "client_refused_total",
                "Client logins refused or not finished.",
            )?,
            routed: Routed::new(&s.counters(
                "routed_total",
                "Commands sent to a server, by target and by the reason for it.",
                &["target", "why"],
            )?),
            local: s.counter("local_answers_total", "Commands answered without a server.")?,
            errors: s.counters(
                "errors_total",
                "Errors of the endpoint itself given to clients, by MySQL error number.",
                &["code"],
            )?,
            command_seconds: s.histogram(
                "command_seconds",
                "Time from a command's last byte to the last byte of its answer.",
                &LATENCY_SECONDS,
            )?,
            holds: s.counters(
                "holds_total",
                "Times a client kept its server connection, by reason.",
                &["reason"],
            )?,
            hold_seconds: s.histograms(
                "hold_seconds",
                "Time a client kept its server connection beyond one command, by reason.",
                &["reason"],
                &HOLD_SECONDS,
            )?,
            prepares_local: s.counter(
                "prepares_local_total",
                "Statements prepared without a server, because a server prepared the same before.",
            )?,
            held: s.gauges(
                "held",
                "Clients that keep a server connection, by reason.",
                &["reason"],
            )?,
            connections: s.gauges(
                "connections",
                "Server connections, by server and state.",
                &["server", "state"],
            )?,
            opened: s.counters(
                "connections_opened_total",
                "Server connections opened, by server.",
                &["server"],
            )?,
            adapted: s.counter(
                "connections_adapted_total",
                "Server connections made to fit another session's state, one round trip each.",
            )?,
            sets_local: s.counter(
                "sets_local_total",
                "SET statements answered without a server, because the server told their effect before.",
            )?,
            open_failures: s.counters(
                "connection_failures_total",
                "Failures to open a server connection, by server.",
                &["server"],
            )?,
            discarded: s.counters(
                "connections_discarded_total",
                "Server connections closed instead of reused, by reason.",
                &["reason"],
            )?,
            kills: s.counter(
                "kills_total",
                "Statements and connections killed on a server: by KILL, or because their client was gone.",
            )?,
            wait_seconds: s.histogram(
                "wait_seconds",
                "Time statements waited for a server connection.",
                &LATENCY_SECONDS,
            )?,
            away: s.gauges(
                "failover_waiting",
                "Statements that wait for a server that is away, by server.",
                &["server"],
            )?,
            held_seconds: s.histogram(
                "failover_wait_seconds",
                "Time statements were held because the primary was away or took no writes.",
                &FAILOVER_SECONDS,
            )?,
            resent: s.counter(
                "resent_total",
                "Statements sent again because a server had refused them as read-only, having done nothing.",
            )?,
            severed: s.counter(
                "connections_severed_total",
                "Server connections broken under a waiting statement, because the server was silent or knew nothing of it.",
            )?,
            refused: s.counters(
                "refused_total",
                "Statements refused because no server connection was free: none came in time, or none would have.",
                &["why"],
            )?,
            waiting: s.gauges(
                "waiting",
                "Statements that wait for a server connection, by server.",
                &["server"],
            )?,
            limit: s.gauges(
                "connections_limit",
                "Server connections there may be now, by server.",
                &["server"],
            )?,
            slow_clients: s.counter(
                "slow_clients_total",
                "Clients let go because they neither read nor sent while others waited for their connection.",
            )?,
            idle_holds_ended: s.counter(
                "idle_holds_ended_total",
                "Clients let go because they kept an idle server connection that others waited for.",
            )?,
            heartbeat_writer: s.gauge(
                "heartbeat_writer",
                "1 while this agent is the one that counts the heartbeat on the primary.",
            )?,
            heartbeats: s.counter("heartbeats_total", "Counts of the heartbeat by this agent.")?,
            read_waits: s.counters(
                "read_waits_total",
                "Waits of reads on a replica for a write they have to see, by how they ended: caught_up or behind.",
                &["outcome"],
            )?,
            retries: s.counter(
                "retries_total",
                "Reads sent again because their connection was lost before it answered.",
            )?,
            server_up: s.gauges(
                "server_up",
                "1 while the server answers the monitor.",
                &["server"],
            )?,
            server_readable: s.gauges(
                "server_readable",
                "1 while the server may answer reads.",
                &["server"],
            )?,
            replica_lag: s.gauges_float(
                "replica_lag_seconds",
                "How old a replica's data are at most by the heartbeat, else its lag as it says itself; in seconds, -1 when unknown.",
                &["server"],
            )?,
        };
        metrics.initialise();
        Ok(metrics)
    }

    /// Shows every label value as 0 from the start, so that a rate has a beginning.
    fn initialise(&self) {
        for reason in HoldReason::ALL {
            self.holds.with_label_values(&[reason.label()]);
            self.held.with_label_values(&[reason.label()]);
            self.hold_seconds.with_label_values(&[reason.label()]);
        }
        for why in Refused::ALL {
            self.refused.with_label_values(&[why.label()]);
        }
        for reason in Discard::ALL {
            self.discarded.with_label_values(&[reason.label()]);
        }
    }
}
