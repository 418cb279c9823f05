//! Tokens of the machine's identity: who is asked, when, and what is made of the answer. One task per resource, so that one
//! refresh at a time is under way for each; whoever needs a token reads it from memory
//! ([`lamplighter_core::identity::TokenSource`]) and never waits for a refresh while the old one is valid.

mod provider;
mod reply;
mod schedule;

use std::time::Duration;

use lamplighter_core::fault::chain;
use lamplighter_core::health::{HealthWriter, Reach};
use lamplighter_core::identity::{Resource, TokenPublisher};
use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::metrics::{
    Gauge, GaugeVec, IntCounter, IntCounterVec, MetricsError, Registry, Section,
};
use tokio::time::Instant;

pub(crate) use provider::{Provider, ProviderError, Workload};
use schedule::Schedule;

use crate::imds::fraction;

/// How often the remaining time is shown.
const SHOW: Duration = Duration::from_secs(1);

/// The series of identity.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    expires: GaugeVec,
    refreshes: IntCounterVec,
}

/// How a refresh can end.
const OUTCOMES: [&str; 3] = ["ok", "failed", "refused"];

impl Series {
    pub(crate) fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let section = Section::new(registry, "platform");
        Ok(Self {
            expires: section.gauges_float(
                "token_expires_seconds",
                "How long the token in memory is still valid; 0 when there is none. By resource.",
                &["resource"],
            )?,
            refreshes: section.counters(
                "token_refreshes_total",
                "Requests for a token by resource and outcome; refused: the set-up is wrong, asking again does not help.",
                &["resource", "outcome"],
            )?,
        })
    }

    fn of(&self, resource: Resource) -> (Gauge, [IntCounter; 3]) {
        let label = resource.label();
        let counters = OUTCOMES.map(|outcome| self.refreshes.with_label_values(&[label, outcome]));
        (self.expires.with_label_values(&[label]), counters)
    }
}

/// Keeps one resource's token fresh.
#[derive(Debug)]
pub(crate) struct Refresher {
    provider: Provider,
    publisher: TokenPublisher,
    line: HealthWriter,
    expires: Gauge,
    counters: [IntCounter; 3],
    schedule: Schedule,
    /// Whether the last attempt failed, so that a change is logged once.
    failing: bool,
}

impl Refresher {
    pub(crate) fn new(
        provider: Provider,
        publisher: TokenPublisher,
        line: HealthWriter,
        series: &Series,
    ) -> Self {
        let (expires, counters) = series.of(publisher.resource());
        Self {
            provider,
            publisher,
            line,
            expires,
            counters,
            schedule: Schedule::new(Instant::now()),
            failing: false,
        }
    }

    /// Refreshes until draining begins.
    pub(crate) async fn run(mut self, tasks: Tasks) {
        let mut show = tokio::time::interval(SHOW);
        show.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = self.schedule.due();
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.publisher.rejected(), if !self.schedule.forced() => {
                    tracing::warn!(resource = self.publisher.resource().label(), "a server refused the token; getting another");
                    self.schedule.rejected(Instant::now());
                    continue;
                }
                _ = show.tick() => {
                    self.show();
                    continue;
                }
                () = tasks.draining() => return,
            }
            let resource = self.publisher.resource();
            let asked = {
                let asking = self.provider.ask(resource);
                tokio::pin!(asking);
                loop {
                    tokio::select! {
                        asked = &mut asking => break asked,
                        _ = show.tick() => Self::show_remaining(&self.publisher, &self.expires),
                        () = tasks.draining() => return,
                    }
                }
            };
            self.take(asked);
            self.show();
        }
    }

    fn take(&mut self, asked: Result<reply::Reply, ProviderError>) {
        let resource = self.publisher.resource();
        let now = Instant::now();
        match asked {
            Ok(reply) => {
                self.counters[0].inc();
                if self.failing {
                    tracing::info!(resource = resource.label(), "tokens come again");
                }
                self.failing = false;
                self.schedule.succeeded(now, reply.lifetime, fraction());
                self.publisher
                    .publish(reply.secret, now + reply.lifetime, reply.object_id);
            }
            Err(error) => {
                let refused = error.is_refusal();
                self.counters[if refused { 2 } else { 1 }].inc();
                self.publisher.fail(chain(&error));
                if !self.failing {
                    tracing::warn!(
                        resource = resource.label(),
                        refused,
                        "no new token: {}",
                        chain(&error)
                    );
                }
                self.failing = true;
                let failures = self.schedule.failures() + 1;
                self.schedule.failed(now, error.pause(failures), fraction());
            }
        }
    }

    fn show_remaining(publisher: &TokenPublisher, expires: &Gauge) {
        let remaining = publisher.published().map(|token| token.remaining());
        expires.set(remaining.unwrap_or_default().as_secs_f64());
    }

    /// The series, and the line on the board: a token that will end is told before it has.
    fn show(&self) {
        Self::show_remaining(&self.publisher, &self.expires);
        let token = self.publisher.published();
        let remaining = token.as_ref().map(|token| token.remaining());
        match remaining {
            // every instance has the same identity service, so this is never a reason to leave
            None if self.failing => self.line.down(Reach::Shared, "no token; see the log"),
            None => {}
            Some(left) if left.is_zero() => self.line.down(Reach::Shared, "the token has expired"),
            Some(_) if self.failing => self.line.degraded(
                Reach::Shared,
                "no new token comes; the old one is still valid",
            ),
            Some(_) => self.line.ok(),
        }
    }
}

#[cfg(test)]
mod tests;
