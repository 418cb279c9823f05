//! The series of the endpoint, `lamplighter_redis_endpoint_*`. In memory only.

use lamplighter_core::metrics::{
    Histogram, IntCounter, IntCounterVec, IntGauge, LATENCY_SECONDS, MetricsError, Registry,
    Section,
};
use lamplighter_core::net::HostPort;

use crate::endpoint::{HitSeries, Refusal};
use crate::server::{Failure, Stage, Verdict};

/// What the endpoint counts. Clones share the series.
#[derive(Debug, Clone)]
pub(crate) struct EndpointMetrics {
    connects: IntCounter,
    connect_errors: IntCounterVec,
    clients: IntGauge,
    accepted: IntCounter,
    shared: IntCounter,
    slow: IntCounter,
    private: IntCounter,
    local: IntCounter,
    refused: IntCounterVec,
    hits: IntCounterVec,
    misses: IntCounterVec,
    failed: IntCounterVec,
    retried: IntCounter,
    detours: IntCounterVec,
    connections: IntGauge,
    private_connections: IntGauge,
    circuit: IntGauge,
    reauth: IntCounterVec,
    notices: IntCounterVec,
    renewals: IntCounter,
    leases: IntCounterVec,
    stale_fills: IntCounter,
    pub(crate) command_seconds: Histogram,
}

/// How a wait for another client's fill ended, as the label `outcome`.
const LEASES: [&str; 4] = ["filler", "waited", "stale", "in_vain"];

impl EndpointMetrics {
    pub(super) fn register(
        registry: &Registry,
        connects: &IntCounter,
        connect_errors: &IntCounterVec,
    ) -> Result<Self, MetricsError> {
        let section = Section::new(registry, "redis");
        let commands = section.counters(
            "endpoint_commands_total",
            "Commands of clients, by the way they took.",
            &["way"],
        )?;
        let metrics = Self {
            connects: connects.clone(),
            connect_errors: connect_errors.clone(),
            clients: section.gauge("endpoint_clients", "Clients connected to the endpoint.")?,
            accepted: section.counter("endpoint_client_connections_total", "Clients that connected.")?,
            shared: commands.with_label_values(&["shared"]),
            slow: commands.with_label_values(&["slow"]),
            private: commands.with_label_values(&["private"]),
            local: commands.with_label_values(&["local"]),
            refused: section.counters(
                "endpoint_refused_total",
                "Commands refused by the endpoint, by reason.",
                &["reason"],
            )?,
            hits: section.counters("endpoint_hits_total", "Keys that were there when asked for, by prefix.", &["prefix"])?,
            misses: section.counters("endpoint_misses_total", "Keys that were not there when asked for, by prefix.", &["prefix"])?,
            failed: section.counters(
                "endpoint_failed_total",
                "Commands that Redis did not answer, by reason; what was answered as a miss, too.",
                &["reason"],
            )?,
            retried: section.counter("endpoint_retried_total", "Commands sent once more over another connection: reads, and what had not been sent.")?,
            detours: section.counters(
                "endpoint_detours_total",
                "Commands that a server did not execute but pointed elsewhere or put off, by its reason.",
                &["reason"],
            )?,
            connections: section.gauge("endpoint_upstream_connections", "Connections of the endpoint to Redis.")?,
            private_connections: section.gauge("endpoint_private_connections", "Connections that belong to one client: WATCH, SUBSCRIBE, waiting commands, large values.")?,
            circuit: section.gauge("endpoint_circuits_open", "Servers that cannot be reached, for which commands are refused at once.")?,
            reauth: section.counters("endpoint_reauth_total", "New tokens shown on open connections, the control connection among them, by outcome.", &["outcome"])?,
            notices: section.counters("endpoint_maintenance_notices_total", "What Azure said about maintenance of Redis, by how far it is.", &["stage"])?,
            renewals: section.counter("endpoint_renewals_total", "Connections changed for new ones ahead of a maintenance's end of them, and after a failover.")?,
            leases: section.counters("endpoint_leases_total", "Reads of missing keys under a lease, by what the client got.", &["outcome"])?,
            stale_fills: section.counter("endpoint_stale_fills_total", "Writes of values read before a newer write or delete, which were left out.")?,
            command_seconds: section.histogram(
                "endpoint_command_seconds",
                "Time from a command being taken over to the end of Redis' reply.",
                &LATENCY_SECONDS,
            )?,
        };
        metrics.init();
        Ok(metrics)
    }

    /// Makes every series appear at zero.
    fn init(&self) {
        for label in Refusal::LABELS {
            self.refused.with_label_values(&[label]);
        }
        for label in Failure::LABELS {
            self.failed.with_label_values(&[label]);
        }
        for label in Verdict::LABELS {
            self.detours.with_label_values(&[label]);
        }
        for label in ["accepted", "refused"] {
            self.reauth.with_label_values(&[label]);
        }
        for label in Stage::LABELS {
            self.notices.with_label_values(&[label]);
        }
        for label in LEASES {
            self.leases.with_label_values(&[label]);
        }
        drop(self.prefix("other"));
    }

    /// The counters of a prefix.
    pub(crate) fn prefix(&self, prefix: &str) -> HitSeries {
        HitSeries {
            hits: self.hits.with_label_values(&[prefix]),
            misses: self.misses.with_label_values(&[prefix]),
        }
    }

    pub(crate) fn client(&self, came: bool) {
        if came {
            self.accepted.inc();
            self.clients.inc();
        } else {
            self.clients.dec();
        }
    }

    pub(crate) fn sent(&self, slow: bool) {
        if slow {
            self.slow.inc()
        } else {
            self.shared.inc()
        }
    }

    pub(crate) fn private(&self) {
        self.private.inc();
    }

    pub(crate) fn local(&self) {
        self.local.inc();
    }

    pub(crate) fn refused(&self, label: &str) {
        self.refused.with_label_values(&[label]).inc();
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        self.failed.with_label_values(&[failure.label()]).inc();
    }

    pub(crate) fn retried(&self) {
        self.retried.inc();
    }

    pub(crate) fn detour(&self, label: &str) {
        self.detours.with_label_values(&[label]).inc();
    }

    pub(crate) fn connected(&self) {
        self.connects.inc();
        self.connections.inc();
    }

    pub(crate) fn disconnected(&self) {
        self.connections.dec();
    }

    pub(crate) fn connect_error(&self, label: &str) {
        self.connect_errors.with_label_values(&[label]).inc();
    }

    pub(crate) fn private_in_use(&self, count: usize) {
        self.private_connections
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn circuit_opened(&self, server: &HostPort, open: bool) {
        if open {
            self.circuit.inc();
            tracing::warn!(%server, "Redis cannot be reached; commands are refused at once");
        } else {
            self.circuit.dec();
            tracing::info!(%server, "Redis can be reached again");
        }
    }

    pub(crate) fn reauth(&self, accepted: bool) {
        let outcome = if accepted { "accepted" } else { "refused" };
        self.reauth.with_label_values(&[outcome]).inc();
    }

    pub(crate) fn notice(&self, label: &str) {
        self.notices.with_label_values(&[label]).inc();
    }

    pub(crate) fn renewed(&self) {
        self.renewals.inc();
    }

    pub(crate) fn lease(&self, outcome: &str) {
        self.leases.with_label_values(&[outcome]).inc();
    }

    pub(crate) fn stale_fill(&self) {
        self.stale_fills.inc();
    }
}
