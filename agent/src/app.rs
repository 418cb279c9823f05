//! The only place that knows every subsystem: builds them, wires them, hands them to the supervisor.
//!
//! Building binds every listener and may fail, within the first second and with a reason; from then on the supervisor decides.
//! Work leaves first (`mysql`, then `sync`, then `redis`); what watches it (`health`, `platform`, `process`) serves until all work has ended.

mod herald;
pub(crate) mod instance;
mod limits;
mod process;
mod reload;
mod series;
mod waiting;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lamplighter_core::ask::Asker;
use lamplighter_core::config::OnlineCheck;
use lamplighter_core::fault::{Fault, chain};
use lamplighter_core::fleet::{FleetDesk, FleetView};
use lamplighter_core::health::HealthBoard;
use lamplighter_core::identity::{Resource, TokenPublisher};
use lamplighter_core::lifecycle::{Heartbeats, ShedTime, Stage, Supervisor, SupervisorConfig};
use lamplighter_core::metrics::{MetricsError, Registry};
use lamplighter_core::net::{Handover, Sockets};
use lamplighter_core::views::{Views, ViewsBuilder};
use lamplighter_core::writes::Writes;
use lamplighter_health::{BuildInfo, Health, LastProbe, Links};
use lamplighter_mysql::Proxy;
use lamplighter_platform::{Azure, AzureError, Manager, Platform, StateDir};
use lamplighter_redis::Redis;
use lamplighter_sync::Syncer;
use serde::Serialize;
use tokio::sync::mpsc;

use herald::Herald;
pub use limits::harden_process;
use process::{Leaving, Process, Signals, Signs};
use reload::{Part, Reloader};
use series::ConfigSeries;
use waiting::{Came, Waiting};

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
    /// `[platform]` could not start.
    #[error("platform")]
    Platform(#[from] AzureError),
    /// A `[[sync]]` could not start.
    #[error(transparent)]
    Sync(#[from] lamplighter_sync::StartError),
    /// `[health]` could not start.
    #[error(transparent)]
    Health(#[from] lamplighter_health::StartError),
    /// `[mysql]` could not start.
    #[error("mysql")]
    Mysql(#[from] lamplighter_mysql::StartError),
    /// `[redis]` or a `[[warm]]` could not start.
    #[error("redis")]
    Redis(#[from] lamplighter_redis::StartError),
}

/// The agent, everything bound.
#[derive(Debug)]
pub struct App {
    supervisor: Supervisor,
    came: Came,
}

/// How the agent left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It was asked to.
    Asked,
    /// The configuration it waited for is there: it wants to be started again.
    Configured,
}

impl App {
    /// The agent without a configuration: answers probes at the default addresses and waits for the file. Where one of those
    /// addresses is taken it waits silently.
    ///
    /// # Errors
    /// If the kernel does not let us answer signals.
    pub async fn build_waiting(blank: &Loaded) -> Result<Self, StartError> {
        let mut app = match Box::pin(Self::build(blank)).await {
            Ok(app) => app,
            Err(error) => {
                tracing::warn!("waiting without a probe: {}", chain(&error));
                let mut silent = blank.clone();
                silent.config.health = None;
                Box::pin(Self::build(&silent)).await?
            }
        };
        let waiting = Waiting::new(
            blank.path.clone(),
            app.supervisor.control(),
            app.came.clone(),
        );
        app.supervisor.add(Stage::Watch, waiting);
        Ok(app)
    }

    /// Builds every subsystem that has a table, and starts their lives. Needs a runtime.
    ///
    /// # Errors
    /// If an address is taken, a secret cannot be read, or a subsystem refuses to start.
    pub async fn build(loaded: &Loaded) -> Result<Self, StartError> {
        let signals = Signals::install().map_err(StartError::Signals)?;
        let config = &loaded.config;
        let build = announce(loaded);
        let (registry, board) = (Registry::new(), HealthBoard::new());
        let manager = Manager::from_env();
        let handover = handover_by(&manager);
        let mut sockets = Sockets::from_env(handover.clone());
        let last_probe = config.health.as_ref().map(LastProbe::new);
        let supervision = supervision(config, last_probe.clone());
        let mut supervisor = Supervisor::new(supervision, board.clone(), &registry)?;
        supervisor.set_handover(handover.clone());
        let config_series = ConfigSeries::register(&registry, &loaded.digest)?;
        series::process(&registry).map_err(StartError::ProcessMetrics)?;
        let mut heartbeats = Heartbeats::default();
        let main_beat = heartbeats.add("main");
        let health_beat = config.health.as_ref().map(|_| heartbeats.add("health"));
        let (reload, reloads) = mpsc::channel(RELOADS_MAX);

        let state = StateDir::new(&config.state.dir);
        let mut azure = Azure::settle(config.platform.clone(), state, &registry).await?;
        azure.watch_names(instance::servers(config));
        let work = Work::build(loaded, &mut azure, &registry, &mut sockets, &mut heartbeats)?;
        let (work, fleet) = work.join_fleet(&board, &azure);
        let links = lamplighter_platform::Links {
            board: board.clone(),
            phases: supervisor.phases(),
            heartbeats: heartbeats.clone(),
            control: supervisor.control(),
            departures: supervisor.departures(),
            azure: Some(azure),
        };
        let platform = Platform::new(config.platform.clone(), manager.clone(), links, &registry)?;
        let health = match (&config.health, last_probe, health_beat) {
            (Some(config), Some(last_probe), Some(beat)) => {
                let links = Links {
                    board,
                    phases: supervisor.phases(),
                    control: supervisor.control(),
                    reload,
                    heartbeats,
                    beat,
                    last_probe,
                    fleet,
                    build,
                    registry,
                    askers: work.askers.clone(),
                    views: work.views(),
                };
                Some(Health::start(config.clone(), &mut sockets, links)?)
            }
            _ => None,
        };
        leave_with(&manager, &mut sockets);
        let reloader = Reloader::new(loaded, work.parts(), config_series, platform.reloading());
        let leaving = Leaving::new(supervisor.control(), handover);
        let signs = signs(config, &supervisor);
        let process = Process::new(signals, main_beat, leaving, reloader, reloads, signs);
        supervisor.add(Stage::Watch, process);
        supervisor.add(Stage::Watch, platform);
        if let Some(health) = health {
            supervisor.add(Stage::Watch, health);
        }
        work.add_to(&mut supervisor);
        Ok(Self {
            supervisor,
            came: Came::default(),
        })
    }

    /// Runs until the agent has left.
    ///
    /// # Errors
    /// With the fault that made it leave, if it was not asked to.
    pub async fn run(self) -> Result<Left, Fault> {
        self.supervisor.run().await?;
        Ok(if self.came.is_there() {
            Left::Configured
        } else {
            Left::Asked
        })
    }
}

fn announce(loaded: &Loaded) -> BuildInfo {
    let build = build_info();
    tracing::info!(
        version = build.version,
        git = build.git,
        config = %loaded.path.display(),
        digest = loaded.digest,
        "starting"
    );
    build
}

/// With a service manager the listening sockets outlive the process: see [`leave_with`].
fn handover_by(manager: &Manager) -> Handover {
    if manager.is_there() {
        Handover::kept()
    } else {
        Handover::default()
    }
}

/// Leaves duplicates of every listening socket with the manager, for the agent that comes after this one.
fn leave_with(manager: &Manager, sockets: &mut Sockets) {
    manager.forget(&sockets.close_forgotten());
    manager.keep(&sockets.take_kept());
    for address in sockets.unused() {
        tracing::warn!(%address, "systemd handed over a socket that no key of the configuration asks for");
    }
}

/// How the web server and the operator's programs learn that the instance is leaving its pool.
fn signs(config: &Config, supervisor: &Supervisor) -> Signs {
    let health = config.health.as_ref();
    Signs {
        file: health.map(|health| (health.runtime_dir.clone(), supervisor.phases())),
        herald: Herald::new(&config.shutdown),
    }
}

/// The subsystems that do the work.
#[derive(Debug)]
struct Work {
    mysql: Option<Proxy>,
    redis: Option<Redis>,
    sync: Option<Syncer>,
    /// Whom questions of the admin interface go to.
    askers: BTreeMap<&'static str, Asker>,
}

impl Work {
    fn build(
        loaded: &Loaded,
        azure: &mut Azure,
        registry: &Registry,
        sockets: &mut Sockets,
        heartbeats: &mut Heartbeats,
    ) -> Result<Self, StartError> {
        let config = &loaded.config;
        let secrets = loaded.secret_dirs();
        let wants_fleet = config.mysql.as_ref().is_some_and(|it| it.wants_fleet());
        let (writes, errands) = wants_fleet.then(Writes::new).unzip();
        let mysql = match &config.mysql {
            Some(mysql) => {
                let links = lamplighter_mysql::Links {
                    tokens: mysql.wants_tokens().then(|| azure.tokens(Resource::Mysql)),
                    instance: Some(azure.instance()),
                    writes,
                };
                let config = mysql.clone();
                Some(Proxy::bind(config, &secrets, links, sockets, registry)?)
            }
            None => None,
        };
        let mut askers = BTreeMap::new();
        let redis = match &config.redis {
            Some(redis) => {
                let socket = config.mysql.as_ref().and_then(Proxy::internal_socket);
                let metrics = lamplighter_redis::Metrics::register(registry)?;
                let links = lamplighter_redis::Links {
                    beat: redis.has_endpoint().then(|| heartbeats.add("redis")),
                    mysql_socket: socket.map(Path::to_owned),
                    tokens: (redis.auth == lamplighter_redis::Auth::ManagedIdentity)
                        .then(|| azure.tokens(Resource::Redis)),
                    mysql_load: mysql.as_ref().map(Proxy::load_source),
                };
                let mut redis =
                    Redis::start(redis, &config.warm, links, &secrets, sockets, metrics)?;
                if let Some(errands) = errands {
                    redis = redis.carry_writes(errands, azure.instance());
                }
                if !config.warm.is_empty() {
                    let (asker, questions) = Asker::new();
                    askers.insert("warm", asker);
                    redis = redis.answering(questions);
                }
                Some(redis)
            }
            None => None,
        };
        let sync = if config.sync.is_empty() {
            None
        } else {
            let metrics = lamplighter_sync::Metrics::register(registry)?;
            let state = config.state.dir.join("sync");
            let (asker, questions) = Asker::new();
            askers.insert("sync", asker);
            let instance = instance::name();
            let mut entries = config.sync.iter();
            let tokens = entries
                .any(|entry| entry.auth.is_some())
                .then(|| azure.tokens(Resource::Storage));
            let syncer = Syncer::new(
                config.sync.clone(),
                &secrets,
                tokens.as_ref(),
                &instance,
                &state,
                &metrics,
            )?;
            Some(syncer.answering(questions))
        };
        Ok(Self {
            mysql,
            redis,
            sync,
            askers,
        })
    }

    /// Without Redis there is nobody to ask.
    fn join_fleet(mut self, board: &HealthBoard, azure: &Azure) -> (Self, FleetView) {
        let (tell, fleet) = FleetView::new();
        let desk = FleetDesk {
            board: board.clone(),
            instance: azure.instance(),
            tell,
        };
        let rations = self.mysql.as_mut().map(Proxy::rations);
        let rations = rations.unwrap_or_default();
        // without Redis the desks are dropped, and each instance takes what is safe alone
        self.redis = self
            .redis
            .map(|redis| redis.join_fleet(desk).share_out(rations));
        (self, fleet)
    }

    /// What the parts answer to people.
    fn views(&self) -> Views {
        let mut views = ViewsBuilder::default();
        if let Some(mysql) = &self.mysql {
            mysql.add_views(&mut views);
        }
        views.build()
    }

    /// The tables of the configuration and who can take a change while the agent runs.
    fn parts(&self) -> Vec<Part> {
        let mut mysql = Part::fixed("mysql", |config| text(config.mysql.as_ref()));
        if let Some(proxy) = &self.mysql {
            let handle = proxy.reload_handle();
            mysql = mysql.with_refresh(move || handle.reload_tls().map_err(|error| chain(&error)));
        }
        let mut redis = Part::fixed("redis", |config| text(config.redis.as_ref()));
        if let Some(subsystem) = &self.redis {
            let handle = subsystem.reload_handle();
            redis = redis.with_refresh(move || handle.reload_tls().map_err(|error| chain(&error)));
        }
        vec![
            Part::fixed("telemetry", |config| text(Some(&config.telemetry))),
            Part::fixed("shutdown", |config| text(Some(&config.shutdown))),
            Part::fixed("state", |config| text(Some(&config.state))),
            Part::fixed("health", |config| text(config.health.as_ref())),
            mysql,
            redis,
            Part::fixed("warm", |config| text_of_all("warm", &config.warm)),
            Part::fixed("sync", |config| text_of_all("sync", &config.sync)),
            Part::fixed("platform", |config| text(Some(&config.platform))),
        ]
    }

    fn add_to(self, supervisor: &mut Supervisor) {
        if let Some(mysql) = self.mysql {
            supervisor.add(Stage::Work, mysql);
        }
        if let Some(redis) = self.redis {
            supervisor.add(Stage::Release, redis);
        }
        if let Some(sync) = self.sync {
            supervisor.add(Stage::Flush, sync);
        }
    }
}

/// A table as text; two configurations differ in it when the texts do.
fn text<T: Serialize>(table: Option<&T>) -> Option<String> {
    table.and_then(|table| toml::to_string(table).ok())
}

/// As [`text`] for an array of tables.
fn text_of_all<T: Serialize>(name: &str, tables: &[T]) -> Option<String> {
    if tables.is_empty() {
        return None;
    }
    text(Some(&BTreeMap::from([(name, tables)])))
}

/// Connects to everything the configuration names, for `lamplighter check --online`.
pub async fn probe(loaded: &Loaded) -> Vec<OnlineCheck> {
    let config = &loaded.config;
    let secrets = loaded.secret_dirs();
    let mut rows = Vec::new();
    if let Some(health) = &config.health {
        rows.extend(lamplighter_health::probe(health).await);
    }
    if let Some(mysql) = &config.mysql {
        let fetched = match mysql.wants_tokens() {
            true => Some(lamplighter_platform::fetch_once(&config.platform, Resource::Mysql).await),
            false => None,
        };
        let tokens = fetched.as_ref().map(TokenPublisher::source);
        rows.extend(lamplighter_mysql::check_online(mysql, &secrets, tokens).await);
    }
    if let Some(redis) = &config.redis {
        let fetched = match redis.auth {
            lamplighter_redis::Auth::ManagedIdentity => {
                Some(lamplighter_platform::fetch_once(&config.platform, Resource::Redis).await)
            }
            lamplighter_redis::Auth::Password => None,
        };
        let tokens = fetched.as_ref().map(TokenPublisher::source);
        rows.extend(lamplighter_redis::probe(redis, &config.warm, &secrets, tokens).await);
    }
    if !config.sync.is_empty() {
        rows.extend(lamplighter_sync::probe(&config.sync, &secrets, None).await);
    }
    rows
}

/// Installs the one TLS implementation for the libraries that ask the process for it; our own TLS names it itself.
pub fn install_tls() {
    // already there: then it is the same one
    let _installed = rustls::crypto::ring::default_provider().install_default();
}

fn supervision(config: &Config, last_probe: Option<LastProbe>) -> SupervisorConfig {
    SupervisorConfig {
        drain_deadline: config.shutdown.drain_deadline.get(),
        command_deadline: config.shutdown.command_deadline.get(),
        shed_time: shed_time(last_probe),
    }
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
