//! The series of this crate: what was answered, how fast, and how every component is. Pure memory.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lamplighter_core::health::{Condition, Snapshot};
use lamplighter_core::metrics::{
    Histogram, IntCounterVec, IntGauge, IntGaugeVec, LATENCY_SECONDS, MetricsError, Registry,
    Section,
};

use crate::BuildInfo;
use crate::verdict::{Azure, Traffic, Verdicts};
use crate::web::Failure;

/// What may be asked for on the probe listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `/lb`
    Balancer,
    /// `/health/azure`
    Azure,
    /// `/livez`
    Live,
    /// `/readyz`
    Ready,
}

impl Endpoint {
    const fn label(self) -> &'static str {
        match self {
            Self::Balancer => "lb",
            Self::Azure => "azure",
            Self::Live => "livez",
            Self::Ready => "readyz",
        }
    }

    /// The verdicts it can give.
    const fn verdicts(self) -> &'static [&'static str] {
        match self {
            Self::Balancer | Self::Ready => &["serve", "shed"],
            Self::Azure => &["healthy", "unhealthy", "none"],
            Self::Live => &["live", "stalled"],
        }
    }
}

/// The listeners of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// `listen`
    Probe,
    /// `metrics_listen`
    Metrics,
    /// `admin_listen`
    AdminTcp,
    /// `admin_socket`
    AdminUnix,
}

impl Door {
    pub(crate) const ALL: [Self; 4] = [Self::Probe, Self::Metrics, Self::AdminTcp, Self::AdminUnix];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Metrics => "metrics",
            Self::AdminTcp => "admin_tcp",
            Self::AdminUnix => "admin_unix",
        }
    }
}

/// How a web check can end.
const WEB_OUTCOMES: [&str; 6] = ["ok", "refused", "slow", "status", "body", "garbled"];

/// The handles. Clones share the series.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    answers: IntCounterVec,
    pub(crate) answer_seconds: Histogram,
    pub(crate) loop_lag_seconds: Histogram,
    serving: IntGauge,
    azure_state: IntGaugeVec,
    component: IntGaugeVec,
    gate_open: IntGaugeVec,
    web_checks: IntCounterVec,
    web_check_seconds: Histogram,
    pub(crate) connections: IntGaugeVec,
    pub(crate) accepted: IntCounterVec,
    pub(crate) evicted: IntCounterVec,
    known: Arc<Mutex<Known>>,
}

/// The labels that are shown, so that those of components that are gone can be taken away.
#[derive(Debug, Default)]
struct Known {
    components: BTreeSet<Arc<str>>,
    gates: BTreeSet<Arc<str>>,
}

impl Metrics {
    /// Registers every series of `[health]`, and `lamplighter_build_info`.
    pub(crate) fn register(registry: &Registry, build: &BuildInfo) -> Result<Self, MetricsError> {
        let section = Section::new(registry, "health");
        let metrics = Self {
            answers: section.counters(
                "answers_total",
                "Probe answers by endpoint and verdict.",
                &["endpoint", "verdict"],
            )?,
            answer_seconds: section.histogram(
                "answer_seconds",
                "Time from the first byte of a request on any of our listeners to the first byte of its answer.",
                &LATENCY_SECONDS,
            )?,
            loop_lag_seconds: section.histogram(
                "loop_lag_seconds",
                "How much later than planned the probe's thread woke up, four times a second.",
                &LATENCY_SECONDS,
            )?,
            serving: section.gauge("serving", "1 while /lb answers 200.")?,
            azure_state: section.gauges(
                "azure_state",
                "1 for the state Application Health is told; none: no valid state.",
                &["state"],
            )?,
            component: section.gauges(
                "component",
                "1 for the condition the component is in, 0 for the others.",
                &["component", "condition"],
            )?,
            gate_open: section.gauges(
                "gate_open",
                "1 once the work that must be done before the first traffic is done.",
                &["gate"],
            )?,
            web_checks: section.counters(
                "web_checks_total",
                "Checks of the local web server by outcome.",
                &["outcome"],
            )?,
            web_check_seconds: section.histogram(
                "web_check_seconds",
                "How long the checks of the local web server took.",
                &LATENCY_SECONDS,
            )?,
            connections: section.gauges(
                "connections",
                "Open connections by listener.",
                &["listener"],
            )?,
            accepted: section.counters(
                "connections_total",
                "Accepted connections by listener.",
                &["listener"],
            )?,
            evicted: section.counters(
                "connections_evicted_total",
                "Connections closed to make room for newer ones, by listener.",
                &["listener"],
            )?,
            known: Arc::default(),
        };
        metrics.show_zeros();
        Section::new(registry, "")
            .gauges(
                "build_info",
                "Always 1; the labels say what runs.",
                &["version", "git", "rustc"],
            )?
            .with_label_values(&[&build.version, &build.git, &build.rustc])
            .set(1);
        Ok(metrics)
    }

    fn show_zeros(&self) {
        for endpoint in [
            Endpoint::Balancer,
            Endpoint::Azure,
            Endpoint::Live,
            Endpoint::Ready,
        ] {
            for verdict in endpoint.verdicts() {
                self.answers.with_label_values(&[endpoint.label(), verdict]);
            }
        }
        for outcome in WEB_OUTCOMES {
            self.web_checks.with_label_values(&[outcome]);
        }
        for door in Door::ALL {
            self.connections.with_label_values(&[door.label()]);
            self.accepted.with_label_values(&[door.label()]);
            self.evicted.with_label_values(&[door.label()]);
        }
    }

    /// Counts an answer; `verdict` is one of [`Endpoint::verdicts`].
    pub(crate) fn answered(&self, endpoint: Endpoint, verdict: &'static str) {
        debug_assert!(
            endpoint.verdicts().contains(&verdict),
            "{endpoint:?} {verdict}"
        );
        self.answers
            .with_label_values(&[endpoint.label(), verdict])
            .inc();
    }

    /// Counts a web check.
    pub(crate) fn web_check(&self, duration: Duration, failure: Option<&Failure>) {
        let outcome = failure.map_or("ok", Failure::label);
        debug_assert!(WEB_OUTCOMES.contains(&outcome), "{outcome}");
        self.web_checks.with_label_values(&[outcome]).inc();
        self.web_check_seconds.observe(duration.as_secs_f64());
    }

    /// Shows the verdicts.
    pub(crate) fn show_verdicts(&self, verdicts: &Verdicts) {
        self.serving
            .set(i64::from(verdicts.traffic == Traffic::Serve));
        let states = [
            Azure::Healthy,
            Azure::Unhealthy(String::new()),
            Azure::NoState(String::new()),
        ];
        for state in states {
            let on = state.label() == verdicts.azure.label();
            self.azure_state
                .with_label_values(&[state.label()])
                .set(i64::from(on));
        }
    }

    /// Shows the board, and takes away what is no longer on it.
    pub(crate) fn show_board(&self, board: &Snapshot) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, report) in &board.reports {
            for condition in Condition::ALL {
                self.component
                    .with_label_values(&[&**name, condition.label()])
                    .set(i64::from(report.condition == condition));
            }
        }
        for (name, open) in &board.gates {
            self.gate_open
                .with_label_values(&[&**name])
                .set(i64::from(*open));
        }
        for name in &known.components {
            if !board.reports.contains_key(name) {
                for condition in Condition::ALL {
                    // only fails for a series that is not there
                    let _gone = self
                        .component
                        .remove_label_values(&[&**name, condition.label()]);
                }
            }
        }
        for name in &known.gates {
            if !board.gates.contains_key(name) {
                let _gone = self.gate_open.remove_label_values(&[&**name]);
            }
        }
        known.components = board.reports.keys().cloned().collect();
        known.gates = board.gates.keys().cloned().collect();
    }
}
