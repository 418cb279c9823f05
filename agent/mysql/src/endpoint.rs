//! The subsystem: binds the listeners, makes pools and monitors, accepts clients and gives each a session.

mod check;
mod clients;
mod leaving;
mod shared;
mod sharing;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use lamplighter_core::config::SecretDirs;
use lamplighter_core::fault::{Culprit, Fault, Retry};
use lamplighter_core::fleet::RationDesk;
use lamplighter_core::identity::TokenSource;
use lamplighter_core::instance::InstanceView;
use lamplighter_core::lifecycle::{Drained, Scope, Subsystem, Tasks};
use lamplighter_core::load::LoadSource;
use lamplighter_core::metrics::{MetricsError, Registry};
use lamplighter_core::net::{Acceptor, BindError, HostPort, ListenAddress, Sockets};
use lamplighter_core::tls::{TlsClient, TlsError};
use lamplighter_core::units::Millis;
use lamplighter_core::views::{ViewError, ViewsBuilder};
use lamplighter_core::writes::Writes;
use tokio::sync::Semaphore;

use crate::access::{Access, AccessError};
use crate::client::Greeter;
use crate::config::{self, Config};
use crate::fleet::{self, Fleet};
use crate::metrics::Metrics;
use crate::monitor::{self, Limits, Role, Senses, Watcher};
use crate::overview::overview;
use crate::pool::Pool;
use crate::server::Account;
use crate::server::credential::Credential;
use crate::statistics::Statistics;
use crate::tenants::Tenants;

pub use check::check_online;
pub(crate) use shared::Shared;

/// How often pools are looked after.
const MAINTENANCE: Duration = Duration::from_secs(1);

/// Why the endpoint could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A listener could not be registered.
    #[error("cannot accept clients")]
    Accept(#[from] io::Error),
    /// A local account.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The CA.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The agent's own password.
    #[error(transparent)]
    Secret(#[from] lamplighter_core::secret::SecretError),
    /// Neither a password nor an identity.
    #[error("the account has neither a password nor an identity")]
    NoCredential,
    /// A metric twice.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

impl From<StartError> for Fault {
    fn from(error: StartError) -> Self {
        let culprit = match &error {
            StartError::Metrics(_) => Culprit::Bug,
            StartError::Bind(_) | StartError::Accept(_) => Culprit::Platform,
            StartError::Access(_)
            | StartError::Tls(_)
            | StartError::Secret(_)
            | StartError::NoCredential => Culprit::Operator,
        };
        Self::new(culprit, Retry::Never, error)
    }
}

/// What the endpoint gets from other parts of the agent.
#[derive(Debug, Default)]
pub struct Links {
    /// Tokens of the machine's identity for MySQL, if the configuration asks for them.
    pub tokens: Option<TokenSource>,
    /// Which machine this is: replicas of its zone are read first.
    pub instance: Option<InstanceView>,
    /// The way to what was written through other agents.
    pub writes: Option<Writes>,
}

/// The local MySQL endpoint.
#[derive(Debug)]
pub struct Proxy {
    config: Config,
    secret_dirs: SecretDirs,
    credential: Credential,
    acceptors: Vec<Acceptor>,
    shared: Arc<Shared>,
    tls: Option<Arc<TlsClient>>,
    instance: Option<InstanceView>,
    /// This instance's part of the fleet's connections to each server.
    parts: Vec<sharing::Follower>,
}

/// Reads the CA again; passwords are read at each new connection anyway.
#[derive(Debug, Clone)]
pub struct ReloadHandle(Option<Arc<TlsClient>>);

impl ReloadHandle {
    /// New server connections trust what the CA file holds now.
    ///
    /// # Errors
    /// If it cannot be read; the old one stays.
    pub fn reload_tls(&self) -> Result<(), TlsError> {
        self.0.as_ref().map_or(Ok(()), |tls| tls.reload())
    }
}

impl Proxy {
    /// Binds the listeners and reads the secrets; touches no server. Needs a runtime.
    ///
    /// # Errors
    /// If an address is taken, a secret or the CA cannot be read, or a local user does not exist.
    pub fn bind(
        config: Config,
        secret_dirs: &SecretDirs,
        links: Links,
        sockets: &mut Sockets,
        registry: &Registry,
    ) -> Result<Self, StartError> {
        let metrics = Metrics::register(registry)?;
        let tls = if config.tls.enabled {
            Some(Arc::new(TlsClient::new(&config.tls)?))
        } else {
            None
        };
        let credential =
            Credential::of(&config, secret_dirs, links.tokens).ok_or(StartError::NoCredential)?;
        if let Credential::File { file, dirs } = &credential {
            dirs.read(file)?;
        }
        let facts = Arc::new(ArcSwapOption::empty());
        let tenants = Tenants::new(&config);
        let shares = tenants.shares();
        let pool = |server: &HostPort| {
            let account = account(
                &config,
                &credential,
                server,
                tls.clone(),
                Arc::clone(&facts),
            );
            let mut limits = config.pool.clone();
            if *server != config.primary {
                // a read that cannot go to a replica goes to the primary
                limits.failover_wait = Millis::new(0);
            }
            Pool::new(account, limits, shares.clone(), &metrics)
        };
        let access = Access::new(&config.clients, secret_dirs)?;
        let places = Arc::new(Semaphore::new(config.clients_max));
        let mode = config.socket_mode_bits().unwrap_or(0o600);
        let mut acceptors = Vec::new();
        for address in &config.listen {
            acceptors.push(Acceptor::sharing(
                sockets.bind(address, mode)?,
                Arc::clone(&places),
            )?);
        }
        let greeter = Greeter::new(access, Arc::clone(&facts), config.local_infile);
        let statistics = Statistics::new(config.digests_max, registry)?;
        let fleet = links.writes.map(Fleet::new);
        let shared = Shared::new(
            &config,
            pool,
            greeter,
            metrics.clone(),
            statistics,
            tenants,
            fleet,
        );
        Ok(Self {
            config,
            secret_dirs: secret_dirs.clone(),
            credential,
            acceptors,
            shared: Arc::new(shared),
            tls,
            instance: links.instance,
            parts: Vec::new(),
        })
    }

    /// The unix socket under which the agent's own jobs reach the endpoint, if there is one.
    #[must_use]
    pub fn internal_socket(config: &Config) -> Option<&Path> {
        config.listen.iter().find_map(|address| match address {
            ListenAddress::Unix(path) => Some(path.as_path()),
            ListenAddress::Tcp(_) => None,
        })
    }

    /// How much the servers have to do, for parts of the agent that make work of their own accord.
    #[must_use]
    pub fn load_source(&self) -> LoadSource {
        let shared = Arc::clone(&self.shared);
        LoadSource::new(move || shared.load())
    }

    /// Answers what people ask of it: `mysql/overview`, `mysql/top`, `mysql/pins`, `mysql/explain`.
    pub fn add_views(&self, views: &mut ViewsBuilder) {
        let shared = Arc::clone(&self.shared);
        views.add("mysql/top", move |limit: &str| {
            let limit = limit
                .trim()
                .parse()
                .map_err(|_| ViewError::Question(format!("{limit:?} is no number of digests")))?;
            Ok(shared.statistics.top(limit))
        });
        let shared = Arc::clone(&self.shared);
        views.add("mysql/overview", move |_: &str| Ok(overview(&shared)));
        let shared = Arc::clone(&self.shared);
        views.add("mysql/pins", move |_: &str| Ok(shared.statistics.pins()));
        let shared = Arc::clone(&self.shared);
        views.add("mysql/explain", move |sql: &str| Ok(shared.explain(sql)));
    }

    /// What can be changed while it runs.
    #[must_use]
    pub fn reload_handle(&self) -> ReloadHandle {
        ReloadHandle(self.tls.clone())
    }

    /// The fleet's connections, of which this instance has a part; none if each instance counts for itself. To be called once.
    pub fn rations(&mut self) -> Vec<RationDesk> {
        let (desks, parts) = sharing::desks(&self.config.pool, &self.shared);
        self.parts = parts;
        desks
    }

    /// What is asked of servers from moment to moment: without replicas nothing.
    fn senses(&self) -> Option<Senses> {
        let table = self.config.heartbeat.quoted_table()?;
        (!self.config.replicas.is_empty()).then(|| Senses::new(table))
    }

    fn heartbeat_writer(&self, tasks: &Tasks) -> Option<impl Future<Output = ()> + use<>> {
        let config = &self.config;
        if config.replicas.is_empty() || !config.heartbeat.write {
            return None;
        }
        let watcher = Watcher::new(
            config,
            &self.secret_dirs,
            &self.credential,
            &config.primary,
            Role::Primary,
        );
        Some(monitor::count_heartbeat(
            watcher,
            config.heartbeat.quoted_table()?,
            config.heartbeat.interval.get(),
            Arc::clone(&self.shared),
            tasks.clone(),
        ))
    }

    fn servers(&self) -> impl Iterator<Item = (&HostPort, Role, Option<usize>)> {
        let primary = std::iter::once((&self.config.primary, Role::Primary, None));
        let replicas = self.config.replicas.iter().enumerate();
        primary.chain(replicas.map(|(index, server)| (server, Role::Replica, Some(index))))
    }
}

impl Subsystem for Proxy {
    fn name(&self) -> &'static str {
        "mysql"
    }

    async fn run(mut self, mut scope: Scope) -> Result<Drained, Fault> {
        for (server, role, index) in self.servers() {
            let watcher = Watcher::new(
                &self.config,
                &self.secret_dirs,
                &self.credential,
                server,
                role,
            );
            let health = scope.health().part(&server.to_string());
            scope.spawn(
                "monitor",
                monitor::watch(
                    watcher,
                    index,
                    limits(&self.config, server),
                    self.senses(),
                    Arc::clone(&self.shared),
                    health,
                    scope.tasks().clone(),
                ),
            );
        }
        for pool in self.shared.pools() {
            let (tasks, vigil) = (scope.tasks(), Arc::clone(pool));
            scope.spawn("vigil", vigil.keep_vigil(tasks.clone()));
            scope.spawn("name", Arc::clone(pool).follow_name(tasks.clone()));
        }
        if let Some(instance) = self.instance.take() {
            let shared = Arc::clone(&self.shared);
            scope.spawn("zone", follow_zone(shared, instance, scope.tasks().clone()));
        }
        if self.shared.fleet.is_some() {
            let shared = Arc::clone(&self.shared);
            scope.spawn("writes", fleet::settle(shared, scope.tasks().clone()));
        }
        if let Some(writer) = self.heartbeat_writer(scope.tasks()) {
            scope.spawn("heartbeat", writer);
        }
        scope.spawn(
            "pools",
            maintain(Arc::clone(&self.shared), scope.tasks().clone()),
        );
        scope.spawn(
            "leaving",
            leaving::finish(Arc::clone(&self.shared), scope.tasks().clone()),
        );
        for acceptor in std::mem::take(&mut self.acceptors) {
            tracing::info!(address = %acceptor.address(), "MySQL endpoint listens");
            scope.spawn(
                "accept",
                clients::accept(acceptor, Arc::clone(&self.shared), scope.tasks().clone()),
            );
        }
        // nothing else has to be waited for: statements reach for their server themselves
        sharing::begin(std::mem::take(&mut self.parts), &scope).await;
        scope.ready();
        scope.tasks().draining().await;
        scope.finish().await
    }
}

/// Tells the replicas in which zone this machine is, as soon as that is known.
async fn follow_zone(shared: Arc<Shared>, mut instance: InstanceView, tasks: Tasks) {
    loop {
        if let Some(known) = instance.now().filter(|known| !known.zone.is_empty()) {
            for replica in &shared.replicas {
                replica.set_own_zone(&known.zone);
            }
        }
        tokio::select! {
            () = instance.changed() => {}
            () = tasks.draining() => return,
        }
    }
}

async fn maintain(shared: Arc<Shared>, tasks: Tasks) {
    let mut ticker = tokio::time::interval(MAINTENANCE);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticker.tick() => {}
            () = tasks.draining() => break,
        }
        for pool in shared.pools() {
            pool.maintain().await;
        }
    }
    for pool in shared.pools() {
        pool.retire();
    }
}

fn limits(config: &Config, server: &HostPort) -> Limits {
    let options = config.replica.get(&server.to_string());
    let lag_max = options.and_then(|it| it.lag_max);
    Limits {
        lag_max: lag_max.unwrap_or(config.monitor.lag_max).get(),
        use_unknown: config.monitor.lag_unknown == config::LagUnknown::Use,
    }
}

fn account(
    config: &Config,
    credential: &Credential,
    server: &HostPort,
    tls: Option<Arc<TlsClient>>,
    facts: Arc<ArcSwapOption<crate::server::ServerFacts>>,
) -> Account {
    Account {
        server: server.clone(),
        user: config.user.clone(),
        credential: credential.clone(),
        tls,
        connect_timeout: config.connect_timeout.get(),
        compression: config.compression_algorithm(),
        statements_max: config.pool.prepared_statements_max,
        threads: Arc::default(),
        facts,
    }
}
