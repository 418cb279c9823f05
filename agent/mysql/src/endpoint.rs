//! The subsystem: binds the listeners, makes pools and monitors, accepts clients and gives each a session.

mod clients;
mod leaving;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use lamplighter_core::config::{OnlineCheck, SecretDirs};
use lamplighter_core::fault::{Culprit, Fault, Retry, chain};
use lamplighter_core::identity::TokenSource;
use lamplighter_core::lifecycle::{Drained, Scope, Subsystem, Tasks};
use lamplighter_core::metrics::{MetricsError, Registry};
use lamplighter_core::net::{Acceptor, BindError, HostPort, ListenAddress, Sockets};
use lamplighter_core::tls::{TlsClient, TlsError};
use lamplighter_core::units::Millis;
use lamplighter_core::views::{ViewError, ViewsBuilder};
use tokio::sync::Semaphore;

use crate::access::{Access, AccessError};
use crate::cancel::Clients;
use crate::client::Greeter;
use crate::config::{self, Config, Consistency};
use crate::error::StatementError;
use crate::explain::{Explanation, Live, ReplicaState, explain_with};
use crate::metrics::Metrics;
use crate::monitor::{self, Role, Watcher};
use crate::near::Attention;
use crate::pool::{Ask, Lease, Pool};
use crate::prepared::Templates;
use crate::server::credential::Credential;
use crate::server::{Account, Bucket, Idle};
use crate::statistics::Statistics;
use crate::variables::Learned;

/// How often pools are looked after.
const MAINTENANCE: Duration = Duration::from_secs(1);

/// What every session shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) primary: Arc<Pool>,
    replicas: Vec<Replica>,
    pub(crate) greeter: Greeter,
    pub(crate) metrics: Metrics,
    pub(crate) statistics: Statistics,
    pub(crate) consistency: Consistency,
    pub(crate) monitor: config::Monitor,
    pub(crate) statement_size_max: usize,
    /// What SET statements do, as the servers told.
    pub(crate) learned: Learned,
    /// Who is connected, for KILL.
    pub(crate) clients: Clients,
    /// Statements that servers have prepared before.
    pub(crate) templates: Templates,
    /// Spreads reads over the replicas.
    pub(crate) turn: AtomicUsize,
    login_timeout: Duration,
    attention: Arc<Attention>,
}

#[derive(Debug)]
struct Replica {
    pool: Arc<Pool>,
    /// May answer reads now; written by the monitor, and by whoever finds it unreachable.
    fit: AtomicBool,
}

impl Shared {
    /// Writes which replicas may answer reads; returns how many there are.
    pub(crate) fn fit_replicas(&self, fit: &mut [bool]) -> usize {
        for (place, replica) in fit.iter_mut().zip(&self.replicas) {
            *place = replica.fit.load(Ordering::Relaxed);
        }
        self.replicas.len().min(fit.len())
    }

    pub(crate) fn set_fit(&self, index: usize, fit: bool) {
        if let Some(replica) = self.replicas.get(index) {
            replica.fit.store(fit, Ordering::Relaxed);
        }
    }

    /// The sessions of a server, of replica `index` or of the primary, begin otherwise than they did.
    pub(crate) fn defaults_changed(&self, index: Option<usize>) {
        let replica = |index: usize| self.replicas.get(index).map(|it| &it.pool);
        if let Some(pool) = index.map_or(Some(&self.primary), replica) {
            pool.renew();
        }
        // what SET does may depend on them, and so may what a server says of a prepared statement
        self.learned.forget();
        self.templates.forget();
    }

    fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        let replicas = self.replicas.iter().map(|it| &it.pool);
        std::iter::once(&self.primary).chain(replicas)
    }

    /// How many server connections clients hold: a statement in flight, a transaction open, or state of their own.
    fn busy(&self) -> u64 {
        self.pools().map(|pool| pool.busy()).sum()
    }

    /// A server connection with this id is one of ours.
    pub(crate) fn has_thread(&self, thread_id: u32) -> bool {
        self.pools().any(|pool| pool.has_thread(thread_id))
    }

    fn explain(&self, sql: &str) -> Explanation {
        let state = |replica: &Replica| ReplicaState {
            server: replica.pool.name().to_owned(),
            fit: replica.fit.load(Ordering::Relaxed),
        };
        let replicas: Vec<ReplicaState> = self.replicas.iter().map(state).collect();
        let fit: Vec<bool> = replicas.iter().map(|replica| replica.fit).collect();
        let mut found = explain_with(sql, self.consistency, &fit);
        found.live = Some(Live {
            replicas,
            seen: self.statistics.seen(sql.as_bytes()),
        });
        found
    }

    /// A connection to a replica. One that cannot be reached gets no reads until the monitor has seen it well.
    pub(crate) async fn acquire_replica(
        &self,
        index: usize,
        ask: &Ask<'_>,
    ) -> Result<Lease, StatementError> {
        let pool = &self
            .replicas
            .get(index)
            .map_or(&self.primary, |replica| &replica.pool);
        let acquired = pool.acquire(ask).await;
        if matches!(acquired, Err(StatementError::Open { .. })) {
            self.set_fit(index, false);
        }
        acquired
    }
}

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

/// The local MySQL endpoint.
#[derive(Debug)]
pub struct Proxy {
    config: Config,
    secret_dirs: SecretDirs,
    credential: Credential,
    acceptors: Vec<Acceptor>,
    shared: Arc<Shared>,
    tls: Option<Arc<TlsClient>>,
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
    /// Binds the listeners and reads the secrets; touches no server. `tokens` are those of the machine's identity for MySQL, if the
    /// configuration asks for them. Needs a runtime.
    ///
    /// # Errors
    /// If an address is taken, a secret or the CA cannot be read, or a local user does not exist.
    pub fn bind(
        config: Config,
        secret_dirs: &SecretDirs,
        tokens: Option<TokenSource>,
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
            Credential::of(&config, secret_dirs, tokens).ok_or(StartError::NoCredential)?;
        if let Credential::File { file, dirs } = &credential {
            dirs.read(file)?;
        }
        let facts = Arc::new(ArcSwapOption::empty());
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
            Pool::new(account, limits, &metrics)
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
        let shared = Shared {
            primary: pool(&config.primary),
            replicas: config
                .replicas
                .iter()
                .map(|server| Replica {
                    pool: pool(server),
                    fit: AtomicBool::new(false),
                })
                .collect(),
            greeter: Greeter::new(access, Arc::clone(&facts), config.local_infile),
            metrics,
            statistics: Statistics::new(config.digests_max, registry)?,
            consistency: config.consistency,
            monitor: config.monitor.clone(),
            statement_size_max: config.statement_size_max.as_usize(),
            learned: Learned::default(),
            clients: Clients::default(),
            templates: Templates::default(),
            turn: AtomicUsize::new(0),
            login_timeout: config.login_timeout.get(),
            attention: Arc::new(Attention::new(config.pool.busy_poll)),
        };
        Ok(Self {
            config,
            secret_dirs: secret_dirs.clone(),
            credential,
            acceptors,
            shared: Arc::new(shared),
            tls,
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

    /// Answers what people ask of it: `mysql/top`, `mysql/pins`, `mysql/explain`.
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
        views.add("mysql/pins", move |_: &str| Ok(shared.statistics.pins()));
        let shared = Arc::clone(&self.shared);
        views.add("mysql/explain", move |sql: &str| Ok(shared.explain(sql)));
    }

    /// What can be changed while it runs.
    #[must_use]
    pub fn reload_handle(&self) -> ReloadHandle {
        ReloadHandle(self.tls.clone())
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
        // nothing has to be waited for: statements reach for their server themselves
        scope.ready();
        scope.tasks().draining().await;
        scope.finish().await
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

/// Connects to every server as the endpoint and as the monitor would, for `lamplighter check --online`.
pub async fn check_online(
    config: &Config,
    secret_dirs: &SecretDirs,
    tokens: Option<TokenSource>,
) -> Vec<OnlineCheck> {
    let mut checks = Vec::new();
    let servers = std::iter::once((&config.primary, Role::Primary))
        .chain(config.replicas.iter().map(|server| (server, Role::Replica)));
    for (server, role) in servers {
        let outcome = check_server(config, secret_dirs, tokens.clone(), server, role).await;
        checks.push(OnlineCheck {
            what: format!("mysql {}", role.label()),
            target: server.to_string(),
            outcome,
        });
    }
    checks
}

async fn check_server(
    config: &Config,
    dirs: &SecretDirs,
    tokens: Option<TokenSource>,
    server: &HostPort,
    role: Role,
) -> Result<String, String> {
    let credential =
        Credential::of(config, dirs, tokens).ok_or_else(|| chain(&StartError::NoCredential))?;
    let tls = match config
        .tls
        .enabled
        .then(|| TlsClient::new(&config.tls))
        .transpose()
    {
        Ok(tls) => tls.map(Arc::new),
        Err(error) => return Err(chain(&error)),
    };
    let facts = Arc::new(ArcSwapOption::empty());
    let account = account(config, &credential, server, tls, Arc::clone(&facts));
    Idle::open(&account, Bucket::of_nobody())
        .await
        .map_err(|error| chain(&error))?;
    let version = facts
        .load()
        .as_ref()
        .map_or_else(String::new, |facts| facts.version.clone());
    let (seen, _) = Watcher::new(config, dirs, &credential, server, role)
        .look(&mut None)
        .await
        .map_err(|error| chain(&error))?;
    let use_unknown = config.monitor.lag_unknown == config::LagUnknown::Use;
    let verdict = monitor::judge(role, Some(&seen), config.monitor.lag_max.get(), use_unknown);
    let how = if config.tls.enabled {
        "over TLS"
    } else {
        "without TLS"
    };
    match verdict.reason() {
        reason if reason.is_empty() => Ok(format!("MySQL {version}, logged in {how}")),
        reason => Err(format!("MySQL {version}, logged in {how}, but {reason}")),
    }
}
