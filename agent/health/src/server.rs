//! The subsystem: binds its listeners, then lives on a thread and a runtime of its own, so that nothing the rest of the agent
//! does can keep a probe waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lamplighter_core::ask::Asker;
use lamplighter_core::fault::{Culprit, Fault, Retry};
use lamplighter_core::fleet::FleetView;
use lamplighter_core::health::{HealthBoard, HealthWriter, Reach};
use lamplighter_core::lifecycle::{
    Control, Departures, Drained, Heartbeat, Heartbeats, Phase, Scope, Subsystem, Tasks,
};
use lamplighter_core::metrics::{MetricsError, Registry};
use lamplighter_core::net::{Acceptor, BindError, ListenAddress, Listener, Sockets};
use lamplighter_core::views::Views;
use rustix::process::{Resource, getrlimit};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Office, ReloadReply};
use crate::balancer::LastProbe;
use crate::config::{Config, WebConfig};
use crate::http::{Limits, Listening, slack};
use crate::judge::{Bulletin, Judge, Sources};
use crate::marker::Marker;
use crate::metrics::{Door, Metrics};
use crate::probe::{self, Desk};
use crate::status::BuildInfo;
use crate::verdict::{Past, WEB};
use crate::web::{Checker, Standing};

/// Who may use the admin socket: its owner and group.
const ADMIN_MODE: u32 = 0o660;

/// Who may connect to the other listeners, were they unix sockets: everybody, as with a port.
const OPEN_MODE: u32 = 0o666;

/// After a restart on a running machine the accept queue holds the probes until the first verdict is to serve, but no longer
/// than this: an answer given in the milliseconds before the first web check is done would be a needless 503.
const SETTLE: Duration = Duration::from_secs(1);

/// How long open connections may take to end once the agent leaves.
const CLOSE: Duration = Duration::from_millis(500);

/// What the subsystem works with; made in the application.
#[derive(Debug)]
pub struct Links {
    /// Where every component writes its condition.
    pub board: HealthBoard,
    /// The process's phases.
    pub phases: watch::Receiver<Phase>,
    /// For `drain` and `undrain`.
    pub control: Control,
    /// For `reload`: the application takes each request and answers it.
    pub reload: mpsc::Sender<ReloadReply>,
    /// Every runtime that must turn.
    pub heartbeats: Heartbeats,
    /// The heartbeat of our own runtime, one of `heartbeats`.
    pub beat: Heartbeat,
    /// Who asked when; the supervisor has another clone.
    pub last_probe: LastProbe,
    /// What runs.
    pub build: BuildInfo,
    /// How the other instances find the servers that all use.
    pub fleet: FleetView,
    /// All series, to be served.
    pub registry: Registry,
    /// Whom questions of the admin interface go to, by the name of the part.
    pub askers: BTreeMap<&'static str, Asker>,
    /// What the other parts answer to people.
    pub views: Views,
}

/// Why the subsystem cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error("health: {key}")]
    Bind {
        /// The key of the address.
        key: &'static str,
        /// The reason.
        source: BindError,
    },
    /// A series could not be registered.
    #[error("health: metrics")]
    Metrics(#[from] MetricsError),
}

/// The health subsystem, bound and not yet serving. `"health"` in every list.
#[derive(Debug)]
pub struct Health {
    config: Config,
    links: Links,
    metrics: Metrics,
    doors: [(Door, Listener); 4],
}

impl Health {
    /// Binds every listener, or takes those that systemd bound.
    ///
    /// # Errors
    /// If an address is taken or a series is registered twice.
    pub fn start(config: Config, sockets: &mut Sockets, links: Links) -> Result<Self, StartError> {
        let metrics = Metrics::register(&links.registry, &links.build)?;
        let mut bind = |key, address: &ListenAddress, mode| {
            // probes are answered until the last moment, also while a successor waits
            sockets
                .bind_to_the_end(address, mode)
                .map_err(|source| StartError::Bind { key, source })
        };
        let admin_tcp = ListenAddress::Tcp(config.admin_listen);
        let admin_unix = ListenAddress::Unix(config.admin_socket.clone());
        let doors = [
            (Door::Probe, bind("listen", &config.listen, OPEN_MODE)?),
            (
                Door::Metrics,
                bind("metrics_listen", &config.metrics_listen, OPEN_MODE)?,
            ),
            (Door::AdminTcp, bind("admin_listen", &admin_tcp, OPEN_MODE)?),
            (
                Door::AdminUnix,
                bind("admin_socket", &admin_unix, ADMIN_MODE)?,
            ),
        ];
        Ok(Self {
            config,
            links,
            metrics,
            doors,
        })
    }

    /// Every listener by name (`"probe"`, `"metrics"`, `"admin_tcp"`, `"admin_unix"`) with its address; a port 0 shows as the
    /// one the system chose.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, ListenAddress)> {
        let doors = self.doors.iter();
        doors.map(|(door, listener)| (door.label(), listener.local_address()))
    }
}

impl Subsystem for Health {
    fn name(&self) -> &'static str {
        "health"
    }

    async fn run(self, mut scope: Scope) -> Result<Drained, Fault> {
        let (up, is_up) = oneshot::channel();
        let (down, is_down) = oneshot::channel();
        let tasks = scope.tasks().clone();
        std::thread::Builder::new()
            .name("health".to_owned())
            .spawn(move || {
                // nobody listens any more when the supervisor has given up on us
                let _late = down.send(self.live(tasks, up));
            })
            .map_err(|error| Fault::new(Culprit::Platform, Retry::Never, error))?;
        if is_up.await.is_ok() {
            scope.ready();
        }
        match is_down.await {
            Ok(Ok(())) => scope.finish().await,
            Ok(Err(error)) => Err(Fault::new(Culprit::Platform, Retry::Never, error)),
            Err(_) => Err(Fault::bug("the probe's thread panicked")),
        }
    }
}

impl Health {
    /// The thread's whole life.
    fn live(self, tasks: Tasks, up: oneshot::Sender<()>) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("health-blocking")
            .max_blocking_threads(2)
            .build()?;
        prefer_this_thread();
        let outcome = runtime.block_on(self.serve(tasks, up));
        // a name that does not resolve may block a thread for long; nothing hangs on it
        runtime.shutdown_background();
        outcome
    }

    async fn serve(self, tasks: Tasks, up: oneshot::Sender<()>) -> std::io::Result<()> {
        let Self {
            config,
            links,
            metrics,
            doors,
        } = self;
        let ending = CancellationToken::new();
        let beat = links.beat.clone().beat();
        tasks.spawn("heartbeat", until(ending.clone(), beat));
        let web = start_web(config.web, &links.board, &metrics, &tasks);
        let bulletin = Bulletin::new();
        let sources = Sources {
            board: links.board.clone(),
            phases: links.phases.clone(),
            web: web.clone(),
            heartbeats: links.heartbeats.clone(),
            marker: Marker::new(&config.runtime_dir),
            fleet: links.fleet.clone(),
        };
        let mut judge = Judge::new(sources, config.policy, bulletin.clone(), metrics.clone());
        judge.decide();
        let settle = match judge.past() {
            Past::Served => SETTLE,
            Past::Fresh => Duration::ZERO,
        };
        tasks.spawn("judge", until(ending.clone(), judge.run(tasks.clone())));
        let routers = Routers::new(links, web, &bulletin, &metrics, tasks.departures());
        for (door, listener) in doors {
            let listening = routers.listening(door, listener)?;
            let serve = listening.run(tasks.clone(), metrics.clone(), ending.clone());
            let (bulletin, stop) = (bulletin.clone(), ending.clone());
            tasks.spawn(door.label(), async move {
                if door == Door::Probe {
                    tokio::select! {
                        () = bulletin.serving() => {}
                        () = tokio::time::sleep(settle) => {}
                        () = stop.cancelled() => {}
                    }
                }
                Box::pin(serve).await;
            });
        }
        // the application may have gone; then there is nothing to be up for
        let _gone = up.send(());
        tasks.draining().await;
        ending.cancel();
        let closed = async {
            while tasks.running() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(CLOSE, closed).await.is_err() {
            tracing::debug!("connections left open at the end");
        }
        Ok(())
    }
}

/// How much sooner than others this thread gets a core when it wakes (nice(2)); it sleeps nearly all the time.
const NICENESS: i32 = -10;

/// Asks the kernel to run this thread before those of the data path and of the application. Threads have a niceness of their own on
/// Linux (setpriority(2), "C library/kernel differences"); the unit allows it with `LimitNICE=`. Elsewhere it is not worth a word.
fn prefer_this_thread() {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), NICENESS) {
        tracing::debug!(%error, "the probe's thread has no higher priority than others");
    }
}

/// Runs `work` until `ending`.
async fn until(ending: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = ending.cancelled() => {}
    }
}

/// Starts the web check if there is one, and follows its standing.
fn start_web(
    config: Option<WebConfig>,
    board: &HealthBoard,
    metrics: &Metrics,
    tasks: &Tasks,
) -> watch::Receiver<Standing> {
    let Some(config) = config else {
        return watch::Sender::new(Standing::Off).subscribe();
    };
    let (sender, receiver) = watch::channel(Standing::Unknown(None));
    let line: HealthWriter = board.writer(WEB);
    line.degraded(Reach::Local, "not checked yet");
    let checker = Checker::new(config, sender, line, metrics.clone());
    tasks.spawn("web check", Box::pin(checker.run(tasks.clone())));
    receiver
}

/// How many connections the probe listener may hold: more than every prober and scraper together, and never so many that the
/// process runs out of descriptors for them, because then nobody could make room.
fn probe_connections() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 8).map_or(512, |share| share.clamp(16, 512))
}

/// What each door serves.
struct Routers {
    desk: Desk,
    office: Office,
    registry: Registry,
}

impl Routers {
    fn new(
        links: Links,
        web: watch::Receiver<Standing>,
        bulletin: &Bulletin,
        metrics: &Metrics,
        departures: &Departures,
    ) -> Self {
        let desk = Desk {
            bulletin: bulletin.clone(),
            last_probe: links.last_probe.clone(),
            metrics: metrics.clone(),
        };
        let office = Office {
            build: links.build,
            start: Instant::now(),
            board: links.board,
            phases: links.phases,
            web,
            bulletin: bulletin.clone(),
            last_probe: links.last_probe,
            control: links.control,
            departures: departures.clone(),
            reload: links.reload,
            askers: Arc::new(links.askers),
            views: links.views,
        };
        Self {
            desk,
            office,
            registry: links.registry,
        }
    }

    fn listening(&self, door: Door, listener: Listener) -> std::io::Result<Listening> {
        let seconds = Duration::from_secs;
        // a prober may keep its connection over one interval of Application Health, 60 s at most
        let idle = seconds(120);
        let (router, connections, request) = match door {
            Door::Probe => (
                probe::router(self.desk.clone()),
                probe_connections(),
                seconds(5),
            ),
            Door::Metrics => (
                probe::metrics_router(self.registry.clone()),
                32,
                seconds(10),
            ),
            Door::AdminTcp => (admin::read_router(self.office.clone()), 16, seconds(10)),
            // a reload takes its time
            Door::AdminUnix => (admin::full_router(self.office.clone()), 16, seconds(90)),
        };
        Ok(Listening {
            door,
            acceptor: Acceptor::new(listener, connections + slack(connections))?,
            limits: Limits {
                connections,
                request,
                idle,
                last_call: Duration::from_millis(200),
            },
            router,
        })
    }
}

#[cfg(test)]
mod tests;
