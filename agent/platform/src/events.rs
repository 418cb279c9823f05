//! Scheduled events: asked for each second, read with care, decided on by a pure function, and acknowledged one by one. Nothing
//! waits for the service: its first answer may take two minutes.

mod desk;
mod document;

use std::time::{Duration, SystemTime};

use lamplighter_core::fault::chain;
use lamplighter_core::instance::InstanceView;
use lamplighter_core::lifecycle::{Control, Departures, DrainSource, Step, Tasks};
use lamplighter_core::metrics::{IntCounterVec, IntGaugeVec, MetricsError, Registry, Section};
use tokio::time::Instant;

use crate::config::Events as Policy;
use crate::imds::{Endpoint, Imds, ImdsError};
use desk::{Act, Desk, Situation};
pub(crate) use document::{Document, Kind};

/// The newest version that is documented for Linux ("Azure Metadata Service: Scheduled Events for Linux VMs").
const TARGET: &str = "/metadata/scheduledevents?api-version=2020-07-01";

/// How often events are asked for, as the documentation asks.
const POLL: Duration = Duration::from_secs(1);

/// The first call turns the service on for this machine and may take 2 minutes.
const FIRST_LIMIT: Duration = Duration::from_secs(150);

/// Later calls.
const LIMIT: Duration = Duration::from_secs(12);

/// The series of events.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    seen: IntCounterVec,
    pending: IntGaugeVec,
    acknowledged: IntCounterVec,
}

impl Series {
    pub(crate) fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let section = Section::new(registry, "platform");
        let series = Self {
            seen: section.counters(
                "events_total",
                "Scheduled events that named this machine, by type.",
                &["type"],
            )?,
            pending: section.gauges(
                "events_pending",
                "Scheduled events that name this machine and are not over, by type.",
                &["type"],
            )?,
            acknowledged: section.counters(
                "events_acknowledged_total",
                "Events of this machine alone that Azure was told to begin with, by type.",
                &["type"],
            )?,
        };
        for kind in Kind::ALL {
            series.seen.with_label_values(&[kind.label()]);
            series.pending.with_label_values(&[kind.label()]);
            series.acknowledged.with_label_values(&[kind.label()]);
        }
        Ok(series)
    }
}

/// Asks for events and acts on them.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) imds: Imds,
    pub(crate) policy: Policy,
    pub(crate) me: InstanceView,
    pub(crate) control: Control,
    pub(crate) departures: Departures,
    pub(crate) series: Series,
}

impl Watcher {
    /// Watches until draining begins, which for this subsystem is when all work has ended.
    pub(crate) async fn run(self, tasks: Tasks) {
        let mut desk = Desk::new(self.policy.clone());
        let mut known: Option<Document> = None;
        let mut limit = FIRST_LIMIT;
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let asked = tokio::select! {
                asked = self.imds.get(Endpoint::Events, TARGET, limit, Document::read) => asked,
                () = tasks.draining() => return,
            };
            let pause = match asked {
                Ok(document) => {
                    failures = 0;
                    limit = LIMIT;
                    known = Some(document);
                    POLL
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::info!("no scheduled events yet: {}", chain(&error));
                    }
                    // an outage of the service must not hide an event for long
                    error.pause(failures).min(Duration::from_secs(60))
                }
            };
            if let Some(document) = known.as_ref().filter(|_| failures == 0) {
                self.act(&mut desk, document).await;
            }
            tokio::select! {
                () = tokio::time::sleep_until(began + pause) => {}
                // what is left to do is to say so
                () = self.departures.reached(Step::Left), if desk.waits_to_acknowledge() => {
                    if let Some(document) = &known {
                        self.act(&mut desk, document).await;
                    }
                }
                () = tasks.draining() => return,
            }
        }
    }

    async fn act(&self, desk: &mut Desk, document: &Document) {
        let Some(me) = self.me.now() else {
            // without a name no event can be told to be ours
            return;
        };
        let left = self.departures.progress();
        let situation = Situation {
            me: &me.name,
            now: Instant::now(),
            wall: SystemTime::now(),
            left: left.is_some_and(|it| it.step == Step::Left),
        };
        let acts = desk.look(document, &situation);
        for kind in Kind::ALL {
            let pending = i64::try_from(desk.pending(kind)).unwrap_or(i64::MAX);
            self.series
                .pending
                .with_label_values(&[kind.label()])
                .set(pending);
        }
        for act in acts {
            match act {
                Act::Note(event) => {
                    self.series
                        .seen
                        .with_label_values(&[event.kind.label()])
                        .inc();
                    tracing::warn!(
                        id = event.id,
                        kind = event.kind.label(),
                        started = event.started,
                        description = event.description,
                        machines = event.resources.len(),
                        "scheduled event for this machine"
                    );
                }
                Act::Leave { limit, id } => {
                    tracing::warn!(id, limit_seconds = limit.as_secs_f64(), "leaving for it");
                    self.control.drain_within(DrainSource::Event, limit);
                }
                Act::ComeBack => {
                    tracing::info!("no event wants this machine away any more");
                    self.control.call_off();
                }
                Act::Acknowledge { id, kind } => {
                    if self.acknowledge(&id).await.is_ok() {
                        desk.acknowledged(&id);
                        self.series
                            .acknowledged
                            .with_label_values(&[kind.label()])
                            .inc();
                    }
                }
            }
        }
    }

    async fn acknowledge(&self, id: &str) -> Result<(), ImdsError> {
        let body = serde_json::json!({"StartRequests": [{"EventId": id}]});
        let body = body.to_string().into_bytes();
        let told = self
            .imds
            .post(Endpoint::Acknowledge, TARGET, body, LIMIT)
            .await;
        match &told {
            Ok(()) => tracing::info!(id, "acknowledged: it may begin"),
            Err(error) => tracing::warn!(id, "cannot acknowledge: {}", chain(error)),
        }
        told
    }
}
