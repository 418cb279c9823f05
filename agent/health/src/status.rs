//! The agent's state as it is shown to people and programs: `GET /api/v1/status`. Holds no secret, no environment and no
//! configuration.

use std::fmt::Write;

use lamplighter_core::lifecycle::Progress;
use serde::{Deserialize, Serialize};

/// The answer of `GET /api/v1/status`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Status {
    /// What runs.
    pub build: BuildInfo,
    /// The process id.
    pub pid: u32,
    /// How long the agent has been running.
    pub uptime_seconds: u64,
    /// `starting`, `ready`, `shedding`, `draining`, `stopping` or `stopped`.
    pub phase: String,
    /// How far leaving has come; none: nobody wants the instance away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Leaving>,
    /// Whether `/lb` answers 200.
    pub serving: bool,
    /// Why it does not; empty when it does.
    pub serving_reason: String,
    /// What Application Health is told: `healthy`, `unhealthy` or `none`.
    pub azure: String,
    /// Why; empty when healthy.
    pub azure_reason: String,
    /// Every component, in alphabetical order.
    pub components: Vec<Component>,
    /// Work that must be done before the first traffic after boot.
    pub gates: Vec<GateStatus>,
    /// The local web server: `off`, `unknown`, `passing` or `failing`.
    pub web: String,
    /// Seconds since a load balancer last asked `/lb`; none: never.
    pub balancer_asked_seconds_ago: Option<f64>,
    /// Seconds since `/health/azure` was last asked; none: never.
    pub azure_asked_seconds_ago: Option<f64>,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct BuildInfo {
    /// The agent's version.
    pub version: String,
    /// The commit it was built from.
    pub git: String,
    /// The compiler.
    pub rustc: String,
}

/// One line of the health board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Component {
    /// `mysql`, `sync:site`, `web`.
    pub name: String,
    /// `ok`, `degraded` or `down`.
    pub condition: String,
    /// `local` or `shared`.
    pub reach: String,
    /// Why; empty when all is well.
    pub reason: String,
    /// For how long the condition has stood.
    pub seconds: u64,
}

/// How far leaving has come.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Leaving {
    /// Who asked: `signal`, `event` or `command`.
    pub source: String,
    /// `shedding`, `finishing`, `flushing`, `releasing` or `left`.
    pub step: String,
    /// For how long it has been going on.
    pub seconds: u64,
    /// How long it may take still.
    pub seconds_left: u64,
    /// What the step waits for.
    pub waiting: Vec<Waiting>,
    /// What was not done in its time.
    pub abandoned: Vec<String>,
}

/// Something that a step of leaving waits for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Waiting {
    /// What.
    pub name: String,
    /// How much of it is left, if that is known.
    pub left: Option<u64>,
}

impl Leaving {
    /// One line for people: `flushing (uploads: 3), 12 s, 20 s left`.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = self.step.clone();
        let waiting: Vec<String> = self
            .waiting
            .iter()
            .map(|it| match it.left {
                Some(left) => format!("{}: {left}", it.name),
                None => it.name.clone(),
            })
            .collect();
        // writing to a string cannot fail
        if !waiting.is_empty() {
            let _infallible = write!(line, " ({})", waiting.join(", "));
        }
        let _infallible = write!(
            line,
            ", asked for by {} {} s ago",
            self.source, self.seconds
        );
        if self.step != "left" {
            let _infallible = write!(line, ", over in {} s at the latest", self.seconds_left);
        }
        if !self.abandoned.is_empty() {
            let _infallible = write!(line, "; not done in time: {}", self.abandoned.join(", "));
        }
        line
    }
}

impl From<Progress> for Leaving {
    fn from(progress: Progress) -> Self {
        let waiting = progress.waiting.into_iter().map(|(name, left)| Waiting {
            name: name.to_string(),
            left,
        });
        let now = tokio::time::Instant::now();
        Self {
            source: progress.source.label().to_owned(),
            step: progress.step.label().to_owned(),
            seconds: now.saturating_duration_since(progress.since).as_secs(),
            seconds_left: progress.until.saturating_duration_since(now).as_secs(),
            waiting: waiting.collect(),
            abandoned: progress.abandoned.iter().map(ToString::to_string).collect(),
        }
    }
}

/// One gate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct GateStatus {
    /// Whose work it is.
    pub name: String,
    /// Whether it is done.
    pub open: bool,
}
