//! Watches the servers over connections of its own (sqlx): who answers, who is writable, how far behind each replica is and what it
//! has. Writes what it sees to the endpoint's view, the health board and the metrics; decides nothing about statements.

mod heartbeat;
mod pulse;
mod verdict;
mod watcher;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lamplighter_core::health::{HealthWriter, Reach};
use lamplighter_core::lifecycle::Tasks;
use sqlx::mysql::MySqlConnection;

pub(crate) use heartbeat::{cannot_count, run as count_heartbeat};
pub(crate) use pulse::{Pulse, Senses};
pub(crate) use verdict::{Context, Limits, Observation, Role, Verdict, judge};
pub(crate) use watcher::{LookError, ServerRun, Watcher};

use crate::endpoint::Shared;
use crate::position::Freshness;

/// A heartbeat that stands still for so many of its intervals says nothing of how old a replica's data are.
const STILL_MAX: u32 = 10;

/// A look or two, until somebody asks again.
struct Watch {
    watcher: Watcher,
    /// Of a replica.
    index: Option<usize>,
    shared: Arc<Shared>,
    limits: Limits,
    senses: Option<Senses>,
    connection: Option<MySqlConnection>,
    seen: Option<Observation>,
    /// As they were when it answered last, however long ago.
    defaults: Option<u64>,
    looked: Option<Instant>,
    verdict: Option<Verdict>,
}

/// Watches one server until we drain. `senses`: what else than its state is asked, if anything.
pub(crate) async fn watch(
    watcher: Watcher,
    index: Option<usize>,
    limits: Limits,
    senses: Option<Senses>,
    shared: Arc<Shared>,
    health: HealthWriter,
    tasks: Tasks,
) {
    let interval = shared.monitor.interval.get();
    let beat = shared.heartbeat.interval.get();
    let pause = senses.as_ref().map_or(interval, |_| interval.min(beat));
    let mut watch = Watch {
        watcher,
        index,
        shared,
        limits,
        senses,
        connection: None,
        seen: None,
        defaults: None,
        looked: None,
        verdict: None,
    };
    let mut ticker = tokio::time::interval(pause);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticker.tick() => {}
            () = tasks.draining() => break,
        }
        let is_due = watch
            .looked
            .is_none_or(|looked| looked.elapsed() + pause / 2 >= interval);
        let error = watch.ask(is_due).await.err();
        watch.conclude(error.as_ref(), &health);
    }
}

impl Watch {
    /// Asks the server what has to be known, its state only if `is_due`.
    async fn ask(&mut self, is_due: bool) -> Result<(), LookError> {
        let asked = self.try_ask(is_due).await;
        if asked.is_err() {
            (self.seen, self.looked) = (None, None);
        }
        asked
    }

    async fn try_ask(&mut self, is_due: bool) -> Result<(), LookError> {
        if is_due {
            let is_new = self.connection.is_none();
            let seen = self.watcher.look(&mut self.connection).await?;
            if is_new {
                self.meet().await?;
            }
            self.looked = Some(Instant::now());
            self.note_globals(&seen);
            self.seen = Some(seen);
            if self.index.is_none() && seen.read_only {
                self.note_no_primary(is_new);
                return Ok(());
            }
        }
        let Some(senses) = &mut self.senses else {
            return Ok(());
        };
        let sent = Instant::now();
        let pulse = self
            .watcher
            .asked(&mut self.connection, async |open| senses.feel(open).await)
            .await?;
        self.note_pulse(pulse, sent);
        Ok(())
    }

    /// Who answers on a new connection: after a failover another server, after a crash another run of the same.
    async fn meet(&mut self) -> Result<(), LookError> {
        let run = self.watcher.meet(&mut self.connection).await?;
        let (server, version) = (&self.watcher.server, run.version.clone());
        if self.shared.note_run(self.index, run) {
            tracing::info!(%server, version, "another run of the server than before");
        }
        Ok(())
    }

    fn note_globals(&mut self, seen: &Observation) {
        if let Some(max_connections) = seen.max_connections {
            self.shared.note_server_max(self.index, max_connections);
        }
        let before = self.defaults.replace(seen.defaults);
        if before.is_some_and(|before| before != seen.defaults) {
            tracing::info!(
                server = %self.watcher.server,
                "a global default has changed: connections are opened anew"
            );
            self.shared.defaults_changed(self.index);
        }
    }

    /// The primary takes no writes, or what was the primary does not: the name is resolved anew before anything is concluded.
    fn note_no_primary(&mut self, is_new: bool) {
        if is_new {
            self.shared.primary.note_seen_read_only();
        }
        self.connection = None;
    }

    fn note_pulse(&self, pulse: Pulse, sent: Instant) {
        let beats = &self.shared.beats;
        let Some(replica) = self.index.and_then(|index| self.shared.replica(index)) else {
            if let Some(value) = pulse.beat {
                beats.seen_on_primary(value, sent);
            }
            return;
        };
        replica.note_answer(sent.elapsed());
        let keeps_order = self.seen.is_some_and(|seen| seen.keeps_order);
        let beat = pulse.beat.filter(|_| keeps_order);
        replica.set_freshness(Freshness {
            covers: beat.and_then(|value| beats.covered_by(value)),
            beat,
            executed: Arc::new(pulse.executed),
            told: Arc::default(),
        });
    }

    /// How old the replica's data are at most, if the heartbeat tells.
    fn age(&self) -> Option<Duration> {
        let replica = self.shared.replica(self.index?)?;
        let freshness = replica.freshness();
        let beat = freshness.beat?;
        let still = self.shared.beats.unchanged_since()?.elapsed();
        if still > self.shared.heartbeat.interval.get() * STILL_MAX {
            return None;
        }
        let covered = freshness.covers.map(|covers| covers.elapsed());
        // it may be much older than that
        let old = || self.shared.beats.at_least_as_old(beat);
        covered.or_else(|| old().filter(|age| *age > self.limits.lag_max))
    }

    /// Draws the conclusion and tells everybody.
    fn conclude(&mut self, error: Option<&LookError>, health: &HealthWriter) {
        let context = Context {
            age: self.age(),
            primary_is_away: self.shared.primary_is_away(),
        };
        let role = self.watcher.role;
        let verdict = judge(
            role,
            self.seen.as_ref(),
            self.limits,
            context,
            self.verdict.as_ref(),
        );
        self.publish(&verdict, context.age);
        let reason = match error {
            None => verdict.reason(),
            Some(error) => lamplighter_core::fault::chain(error),
        };
        report(health, role, &verdict, &reason);
        let label = verdict.label();
        let before = self.verdict.replace(verdict);
        if before.as_ref().is_some_and(|it| it.label() == label) {
            return;
        }
        tracing::info!(
            server = %self.watcher.server,
            role = role.label(),
            verdict = label,
            reason,
            "server"
        );
        if before.is_some() {
            // behind the same name there may be another server now, with other rules for SET
            self.shared.learned.forget();
        }
    }

    fn publish(&self, verdict: &Verdict, age: Option<Duration>) {
        let is_fit = *verdict == Verdict::Fit;
        let name = self.watcher.server.to_string();
        let metrics = &self.shared.metrics;
        let gauge = metrics.server_up.with_label_values(&[&name]);
        gauge.set(i64::from(self.seen.is_some()));
        let gauge = metrics.server_readable.with_label_values(&[&name]);
        gauge.set(i64::from(is_fit));
        let Some(replica) = self.index.and_then(|index| self.shared.replica(index)) else {
            self.shared.set_primary_away(self.seen.is_none());
            let names_writes = self.seen.is_some_and(|seen| seen.names_writes);
            self.shared.set_names_writes(names_writes);
            return;
        };
        replica.set_fit(is_fit);
        let lag = match (age, self.seen.map(|seen| seen.lag)) {
            (Some(age), _) => age.as_secs_f64(),
            (None, Some(verdict::Lag::Seconds(seconds))) => {
                Duration::from_secs(seconds).as_secs_f64()
            }
            _ => -1.0,
        };
        metrics.replica_lag.with_label_values(&[&name]).set(lag);
    }
}

/// A server that is away is away for every instance, as far as anybody here can know.
fn report(health: &HealthWriter, role: Role, verdict: &Verdict, reason: &str) {
    match (role, verdict) {
        (_, Verdict::Fit) => health.ok(),
        (Role::Primary, Verdict::Away) => health.down(Reach::Shared, reason),
        (Role::Primary | Role::Replica, _) => health.degraded(Reach::Shared, reason),
    }
}
