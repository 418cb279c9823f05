//! The subsystem `redis`: the monitor of the control connection and the warm jobs. Opens connections to Redis and to the MySQL
//! endpoint.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use lamplighter_core::ask::Questions;
use lamplighter_core::config::SecretDirs;
use lamplighter_core::fault::Fault;
use lamplighter_core::fleet::{FleetDesk, RationDesk};
use lamplighter_core::identity::TokenSource;
use lamplighter_core::instance::InstanceView;
use lamplighter_core::lifecycle::{Drained, Heartbeat, Scope, Subsystem};
use lamplighter_core::load::LoadSource;
use lamplighter_core::net::{BindError, Sockets};
use lamplighter_core::secret::Secret;
use lamplighter_core::tls::TlsError;
use lamplighter_core::writes::Errands;
use tokio::sync::{Semaphore, mpsc};

use crate::config::{Config, ServerKind};
use crate::endpoint::{DataThread, Endpoint, EndpointParts};
use crate::fleet::Roll;
use crate::heat::Heat;
use crate::metrics::Metrics;
use crate::ration::Steward;
use crate::upstream::{Dialer, Link, Monitor, SetupError};
use crate::warm::{Desk, Doorkeeper, Governor, Job, JobConfig, JobContext, JobError, Seat};
use crate::writes::Carrier;

/// Redis and the jobs that warm it.
#[derive(Debug)]
pub struct Redis {
    config: Config,
    dialer: Arc<Dialer>,
    jobs: Vec<Job>,
    socket: PathBuf,
    metrics: Metrics,
    fleet: Option<FleetDesk>,
    writes: Option<(Errands, InstanceView)>,
    rations: Vec<RationDesk>,
    endpoint: Option<Endpoint>,
    /// What clients of the endpoint have to give.
    password: Option<Secret>,
    load: Option<LoadSource>,
    questions: Option<Questions>,
}

/// What the subsystem gets from other parts of the agent.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// How the thread of the endpoint shows that it turns.
    pub beat: Option<Heartbeat>,
    /// A unix socket of the agent's MySQL endpoint, which must let the agent's own user id in as `lamplighter`.
    pub mysql_socket: Option<PathBuf>,
    /// Tokens of the machine's identity for Redis.
    pub tokens: Option<TokenSource>,
    /// How much MySQL has to do.
    pub mysql_load: Option<LoadSource>,
}

/// Why the subsystem could not be set up; no server has been asked yet.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The CA or the password file.
    #[error("cannot set up the connection to Redis")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A table `[[warm]]`.
    #[error("the warm job {name:?}")]
    Job {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An address to listen on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The thread of the endpoint.
    #[error("cannot start the endpoint's thread")]
    Thread(#[source] io::Error),
    /// There are jobs, but no unix listener of the MySQL endpoint.
    #[error("warm needs a unix listener in [mysql]")]
    NoSocket,
}

impl From<SetupError> for StartError {
    fn from(error: SetupError) -> Self {
        Self::Setup(Box::new(error))
    }
}

impl Redis {
    /// Binds the endpoint's listeners, reads the CA and the password files and checks the jobs; connects to nothing. Needs a runtime
    /// when there is something to listen on.
    ///
    /// # Errors
    /// If an address is taken, a file cannot be read, or a job is not one. A server that is away is no error: it is waited for.
    pub fn start(
        config: &Config,
        jobs: &[JobConfig],
        links: Links,
        secrets: &SecretDirs,
        sockets: &mut Sockets,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let dialer = Arc::new(Dialer::new(config, secrets, links.tokens)?);
        let password = config.clients_password_file.as_ref();
        let password = password.map(|file| secrets.read(file)).transpose();
        let password = password.map_err(SetupError::from)?;
        let endpoint = if config.has_endpoint() {
            let thread = DataThread::start(links.beat).map_err(StartError::Thread)?;
            Some(Endpoint::bind(config, sockets, thread)?)
        } else {
            None
        };
        let jobs = jobs
            .iter()
            .map(|job| {
                Job::new(job.clone()).map_err(|source: JobError| StartError::Job {
                    name: job.name.clone(),
                    source: Box::new(source),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let socket = match links.mysql_socket {
            Some(socket) => socket,
            None if jobs.iter().any(|job: &Job| job.config.source.is_sql()) => {
                return Err(StartError::NoSocket);
            }
            None => PathBuf::new(),
        };
        for job in &jobs {
            metrics.init_job(&job.config.name);
        }
        Ok(Self {
            config: config.clone(),
            dialer,
            jobs,
            socket,
            metrics,
            fleet: None,
            writes: None,
            rations: Vec::new(),
            endpoint,
            password,
            load: links.mysql_load,
            questions: None,
        })
    }

    /// Carries positions of writes between the instances.
    #[must_use]
    pub fn carry_writes(mut self, errands: Errands, instance: InstanceView) -> Self {
        self.writes = Some((errands, instance));
        self
    }

    /// Has the jobs answer what people ask.
    #[must_use]
    pub fn answering(mut self, questions: Questions) -> Self {
        self.questions = Some(questions);
        self
    }

    /// Makes the instance one of the fleet's list in Redis, and tells what the others say.
    #[must_use]
    pub fn join_fleet(mut self, desk: FleetDesk) -> Self {
        self.fleet = Some(desk);
        self
    }

    /// Shares out among the instances what is theirs together.
    #[must_use]
    pub fn share_out(mut self, rations: Vec<RationDesk>) -> Self {
        self.rations = rations;
        self
    }

    /// What can be read again while the subsystem lives.
    #[must_use]
    pub fn reload_handle(&self) -> ReloadHandle {
        ReloadHandle {
            dialer: Arc::clone(&self.dialer),
        }
    }

    fn spawn_stewards(&mut self, scope: &Scope, link: &Link, alive: &mpsc::Sender<()>) {
        for desk in std::mem::take(&mut self.rations) {
            let steward = Steward {
                desk,
                link: link.clone(),
                owner: owner(),
            };
            let (tasks, alive) = (scope.tasks().clone(), alive.clone());
            scope.spawn("ration", async move {
                steward.run(tasks).await;
                drop(alive);
            });
        }
    }

    fn spawn_jobs(self, scope: &Scope, link: &Link, alive: &mpsc::Sender<()>) {
        // first those that traffic waits for
        let mut jobs = self.jobs;
        jobs.sort_by_key(|job| !job.config.required);
        let metrics = &self.metrics;
        let slots = Arc::new(Semaphore::new(usize::from(self.config.warm_jobs_max)));
        let governor = Arc::new(Governor::new(
            self.config.warm_rows_per_second,
            metrics.budget.clone(),
            metrics.slowdowns.clone(),
        ));
        let owner: Arc<str> = owner().into();
        let holdoffs = self.config.prefix.iter();
        let holdoffs = holdoffs.filter_map(|rule| Some((rule.prefix.clone(), rule.holdoff?.get())));
        let holdoffs: Arc<[_]> = holdoffs.collect();
        let mut seats = Vec::new();
        for job in jobs {
            let (seat, errands) = Seat::new(job.standing());
            seats.push(seat);
            let health = scope.health().part(&format!("warm:{}", job.config.name));
            let gate = job.config.required.then(|| {
                let name = job.config.name.as_str();
                Doorkeeper::new(
                    health.gate(),
                    job.config.gate_deadline.get(),
                    name,
                    metrics.gate_timeouts.with_label_values(&[name]),
                    scope.tasks(),
                )
            });
            let context = JobContext {
                dialer: Arc::clone(&self.dialer),
                link: link.clone(),
                kind: self.config.kind,
                write_timeout: self.config.write_timeout.get(),
                socket: self.socket.clone(),
                load: self.load.clone(),
                holdoffs: Arc::clone(&holdoffs),
                owner: Arc::clone(&owner),
                slots: Arc::clone(&slots),
                governor: Arc::clone(&governor),
                metrics: metrics.clone(),
                tasks: scope.tasks().clone(),
                health,
                gate,
                errands,
                alive: alive.clone(),
            };
            scope.spawn("warm job", job.live(context));
        }
        if let Some(questions) = self.questions {
            let desk = Desk { seats, questions };
            scope.spawn("warm desk", desk.answer(scope.tasks().clone()));
        }
    }
}

/// Reads again what a running subsystem took from files. The password needs none: each connection reads it.
#[derive(Debug, Clone)]
pub struct ReloadHandle {
    dialer: Arc<Dialer>,
}

impl ReloadHandle {
    /// Reads the CA again; connections made from now on use it. On an error the old one stays.
    ///
    /// # Errors
    /// If the CA cannot be read or holds no certificate.
    pub fn reload_tls(&self) -> Result<(), TlsError> {
        self.dialer.reload_tls()
    }
}

impl Subsystem for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn run(mut self, mut scope: Scope) -> Result<Drained, Fault> {
        let mut thread = None;
        if let Some(endpoint) = self.endpoint.take() {
            let parts = EndpointParts {
                approach: self.dialer.approach(),
                password: self.password.take(),
                metrics: self.metrics.endpoint.clone(),
                heat: Heat::new(self.jobs.iter().filter_map(Job::hot_list)),
            };
            let (endpoint, its) = endpoint.start(&self.config, parts, scope.tasks());
            thread = Some(its);
            if self.config.kind == ServerKind::Cluster {
                self.dialer.go_through(endpoint);
            }
        }
        let (monitor, link) = Monitor::new(
            Arc::clone(&self.dialer),
            self.config.command_timeout.get(),
            self.config.ping_interval.get(),
            self.metrics.clone(),
            scope.health().clone(),
        );
        let (alive, mut jobs_gone) = mpsc::channel(1);
        if let Some(desk) = self.fleet.take() {
            let roll = Roll {
                desk,
                link: link.clone(),
                owner: owner(),
            };
            let (tasks, alive) = (scope.tasks().clone(), alive.clone());
            scope.spawn("fleet", async move {
                roll.run(tasks).await;
                drop(alive);
            });
        }
        if let Some((errands, instance)) = self.writes.take() {
            let carrier = Carrier {
                errands,
                instance,
                link: link.clone(),
                owner: owner(),
            };
            scope.spawn("writes", carrier.run(scope.tasks().clone()));
        }
        self.spawn_stewards(&scope, &link, &alive);
        self.spawn_jobs(&scope, &link, &alive);
        drop((alive, link));
        // gates are closed by now where they have to be: what is not required is not waited for
        scope.ready();
        let tasks = scope.tasks().clone();
        let leaving = async {
            tasks.draining().await;
            // jobs give their leases back over the control connection
            tokio::select! {
                _ = jobs_gone.recv() => {}
                () = tasks.stopping() => {}
            }
        };
        tokio::select! {
            () = monitor.run(&tasks) => {}
            () = leaving => {}
        }
        let drained = scope.finish().await;
        drop(thread);
        drained
    }
}

/// A name that no other process has.
fn owner() -> String {
    let random = || getrandom::u64().unwrap_or_default();
    format!("{:016x}{:016x}-{}", random(), random(), std::process::id())
}
