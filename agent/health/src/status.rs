//! The agent's state as it is shown to people and programs: `GET /api/v1/status`. Holds no secret, no environment and no
//! configuration.

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

/// One gate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct GateStatus {
    /// Whose work it is.
    pub name: String,
    /// Whether it is done.
    pub open: bool,
}
