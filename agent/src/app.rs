//! The only place that knows every subsystem: builds them, wires them, hands them to the supervisor.
//!
//! Building binds every listener and may fail, within the first second and with a reason; from then on the supervisor decides.
//! Work (`mysql`, `redis`, `sync`) leaves first; what watches it (`health`, `platform`, `process`) serves until all work has ended.

mod limits;
mod process;
mod reload;
mod series;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lamplighter_core::config::OnlineCheck;
use lamplighter_core::fault::Fault;
use lamplighter_core::health::HealthBoard;
use lamplighter_core::lifecycle::{Heartbeats, ShedTime, Stage, Supervisor, SupervisorConfig};
use lamplighter_core::metrics::{MetricsError, Registry};
use lamplighter_core::net::Sockets;
use lamplighter_health::{BuildInfo, Health, LastProbe, Links};
use tokio::sync::mpsc;

pub use limits::harden_process;
use process::{Process, Signals};
use reload::{Part, Reloader};
use series::ConfigSeries;

use crate::config::{Config, Loaded};

/// Reloads that may wait; each holds a person who waits for the answer.
const RELOADS_MAX: usize = 4;

/// Why the agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel would not let us answer signals.
    #[error("cannot answer signals")]
    Signals(#[source] io::Error),
    /// A series is registered twice.
    #[error("cannot set the metrics up")]
    Metrics(#[from] MetricsError),
    /// The series of the process itself.
    #[error("cannot set the metrics of the process up")]
    ProcessMetrics(#[source] prometheus::Error),
    /// `[health]` could not start.
    #[error(transparent)]
    Health(#[from] lamplighter_health::StartError),
}

/// The agent: everything bound, nothing running yet but the supervisor's door.
#[derive(Debug)]
pub struct App {
    supervisor: Supervisor,
}

impl App {
    /// Builds every subsystem that has a table, and starts their lives.
    ///
    /// # Errors
    /// If an address is taken, a secret cannot be read, or a subsystem refuses to start.
    pub fn build(loaded: &Loaded) -> Result<Self, StartError> {
        let signals = Signals::install().map_err(StartError::Signals)?;
        let config = &loaded.config;
        let registry = Registry::new();
        let board = HealthBoard::new();
        let mut sockets = Sockets::from_env();
        let mut heartbeats = Heartbeats::default();
        let main_beat = heartbeats.add("main");
        let last_probe = config.health.as_ref().map(LastProbe::new);
        let mut supervisor = Supervisor::new(
            SupervisorConfig {
                drain_deadline: config.shutdown.drain_deadline.get(),
                shed_time: shed_time(last_probe.clone()),
            },
            board.clone(),
            &registry,
        )?;
        let config_series = ConfigSeries::register(&registry, &loaded.digest)?;
        series::process(&registry).map_err(StartError::ProcessMetrics)?;
        let (reload, reloads) = mpsc::channel(RELOADS_MAX);

        let health_beat = heartbeats.add("health");
        let health = match (&config.health, last_probe) {
            (Some(config), Some(last_probe)) => {
                let links = Links {
                    board,
                    phases: supervisor.phases(),
                    control: supervisor.control(),
                    reload,
                    heartbeats,
                    beat: health_beat,
                    last_probe,
                    build: build_info(),
                    registry,
                };
                Some(Health::start(config.clone(), &mut sockets, links)?)
            }
            _ => None,
        };
        for address in sockets.unused() {
            tracing::warn!(%address, "systemd handed over a socket that no key of the configuration asks for");
        }

        let control = supervisor.control();
        let reloader = Reloader::new(loaded, parts(), config_series);
        supervisor.add(
            Stage::Watch,
            Process::new(signals, main_beat, control, reloader, reloads),
        );
        if let Some(health) = health {
            supervisor.add(Stage::Watch, health);
        }
        Ok(Self { supervisor })
    }

    /// Runs until the agent has left.
    ///
    /// # Errors
    /// With the fault that made it leave, if it was not asked to.
    pub async fn run(self) -> Result<(), Fault> {
        self.supervisor.run().await
    }
}

/// Connects to everything the configuration names, for `lamplighter check --online`.
pub async fn probe(loaded: &Loaded) -> Vec<OnlineCheck> {
    let config = &loaded.config;
    let mut rows = Vec::new();
    if let Some(health) = &config.health {
        rows.extend(lamplighter_health::probe(health).await);
    }
    rows
}

/// The tables of the configuration and who can take a change while the agent runs.
fn parts() -> Vec<Part> {
    fn text<T: serde::Serialize>(table: Option<&T>) -> Option<String> {
        table.and_then(|table| toml::to_string(table).ok())
    }
    fn fixed(table: &'static str, text: fn(&Config) -> Option<String>) -> Part {
        Part {
            table,
            text,
            apply: None,
        }
    }
    vec![
        fixed("telemetry", |config| text(Some(&config.telemetry))),
        fixed("shutdown", |config| text(Some(&config.shutdown))),
        fixed("health", |config| text(config.health.as_ref())),
    ]
}

/// How long to shed: as long as a load balancer that is looking needs to look away.
fn shed_time(last_probe: Option<LastProbe>) -> ShedTime {
    Arc::new(move || {
        last_probe
            .as_ref()
            .map_or(Duration::ZERO, LastProbe::shed_time)
    })
}

fn build_info() -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        git: env!("LAMPLIGHTER_REVISION").to_owned(),
        rustc: env!("LAMPLIGHTER_RUSTC").to_owned(),
    }
}
