//! The listening side: binds the sockets, starts the connections to the servers, gives each client a session. Opens sockets.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::net::{Accepted, Acceptor, BindError, Sockets, Stream, UnixSocket};
use lamplighter_core::secret::Secret;
use lamplighter_wire::redis::command::{Class, Command as Known};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::config::{EndpointConfig, Unavailable};
use super::lease::Leases;
use super::lookout::Lookout;
use super::rules::Rules;
use super::session::Session;
use super::thread::DataThread;
use crate::config::{Config, ServerKind};
use crate::heat::Heat;
use crate::metrics::EndpointMetrics;
use crate::server::{Approach, Common, PrivatePool, Router, RouterConfig};

/// Bytes read from a client at once.
pub(super) const READ_SIZE: usize = 64 * 1024;

/// What every session shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) router: Arc<Router>,
    pub(crate) rules: Rules,
    pub(crate) leases: Leases,
    pub(crate) metrics: EndpointMetrics,
    pub(crate) config: EndpointConfig,
    /// The password clients have to give, if they have to.
    pub(crate) password: Option<Secret>,
    pub(crate) tasks: Tasks,
    /// Whether a read that nobody can answer is a miss.
    pub(crate) misses: bool,
    pub(crate) heat: Heat,
    /// Bytes of replies that clients have not read yet.
    pub(crate) unread: Arc<AtomicUsize>,
    /// What sessions read into.
    space: Mutex<Box<[u8]>>,
    /// Where clients are served.
    runtime: Handle,
    common: Arc<Common>,
    ids: AtomicU64,
    allowed: Vec<String>,
    command_timeout: Duration,
    slow_timeout: Duration,
}

impl Shared {
    /// Whether a command that is refused by default may be used.
    pub(crate) fn allows(&self, known: &Known) -> bool {
        known.class == Class::Denied && self.allowed.iter().any(|name| name == known.name)
    }

    /// Whom to tell what comes.
    pub(crate) fn lookout(&self) -> &Lookout {
        &self.common.lookout
    }

    /// Room to read into for whoever is at it.
    pub(crate) fn space(&self) -> MutexGuard<'_, Box<[u8]>> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a reply may take.
    pub(crate) const fn patience(&self, slow: bool) -> Duration {
        if slow {
            self.slow_timeout
        } else {
            self.command_timeout
        }
    }
}

/// The endpoint with its sockets bound.
#[derive(Debug)]
pub(crate) struct Endpoint {
    acceptors: Vec<Acceptor>,
    thread: DataThread,
}

/// What the endpoint is made of beside its configuration.
#[derive(Debug)]
pub(crate) struct EndpointParts {
    pub(crate) approach: Approach,
    pub(crate) password: Option<Secret>,
    pub(crate) metrics: EndpointMetrics,
    /// Where it counts which keys are read.
    pub(crate) heat: Heat,
}

impl Endpoint {
    /// Binds the listeners; clients will be served on `thread`.
    pub(crate) fn bind(
        config: &Config,
        sockets: &mut Sockets,
        thread: DataThread,
    ) -> Result<Self, BindError> {
        let places = Arc::new(Semaphore::new(config.clients_max));
        let mode = config.socket_mode_bits().unwrap_or(0o660);
        let mut acceptors = Vec::new();
        let its = thread.enter();
        for address in &config.listen {
            let listener = sockets.bind(address, mode)?;
            let acceptor = Acceptor::sharing(listener, Arc::clone(&places));
            acceptors.push(acceptor.map_err(|source: io::Error| BindError::Io {
                address: address.clone(),
                source,
            })?);
        }
        drop(its);
        Ok(Self { acceptors, thread })
    }

    /// Connects to the servers and serves clients from now on, until the agent drains. All of it ends with the thread.
    pub(crate) fn start(
        self,
        config: &Config,
        parts: EndpointParts,
        tasks: &Tasks,
    ) -> (Arc<Shared>, DataThread) {
        let thread = self.thread;
        let tasks = &tasks.on(thread.handle().clone());
        let (detours, strays) = Router::detours();
        let endpoint = &config.endpoint;
        let misses = endpoint.unavailable == Unavailable::Miss;
        let metrics = parts.metrics;
        let common = Arc::new(Common {
            approach: parts.approach,
            connections: usize::from(endpoint.connections),
            ping_interval: config.ping_interval.get(),
            ping_timeout: config.command_timeout.get(),
            metrics: metrics.clone(),
            tasks: tasks.clone(),
            detours,
            pool: PrivatePool::new(
                usize::from(endpoint.private_max),
                endpoint.private_wait.get(),
            ),
            misses,
            clients: watch::Sender::new(0),
            is_cluster: config.kind == ServerKind::Cluster,
            listens: endpoint
                .maintenance_notices
                .wanted(&config.upstream.address.host),
            stale: Notify::new(),
            lookout: thread.lookout().clone(),
        });
        let router_config = RouterConfig {
            kind: config.kind,
            address: config.upstream.address.clone(),
        };
        let router = Router::start(router_config, Arc::clone(&common), strays);
        let allowed = endpoint.allow.iter().map(|name| name.to_ascii_uppercase());
        let shared = Arc::new(Shared {
            router,
            rules: Rules::new(&config.prefix, |prefix| metrics.prefix(prefix)),
            leases: Leases::default(),
            metrics,
            config: endpoint.clone(),
            password: parts.password,
            tasks: tasks.clone(),
            misses,
            heat: parts.heat,
            runtime: thread.handle().clone(),
            unread: Arc::default(),
            space: Mutex::new(vec![0; READ_SIZE].into()),
            common,
            ids: AtomicU64::new(1),
            allowed: allowed.collect(),
            command_timeout: config.command_timeout.get(),
            slow_timeout: config.write_timeout.get(),
        });
        for acceptor in self.acceptors {
            tracing::info!(address = %acceptor.address(), "Redis endpoint listens");
            tasks.spawn("accept", accept(acceptor, Arc::clone(&shared)));
        }
        (shared, thread)
    }
}

impl Shared {
    /// Serves a client until it leaves.
    fn serve(self: &Arc<Self>, stream: Stream, permit: Option<OwnedSemaphorePermit>) {
        self.lookout().note();
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let session = Session::new(stream, Arc::clone(self), id, permit.is_none());
        self.metrics.client(true);
        self.common.clients.send_modify(|clients| *clients += 1);
        let shared = Arc::clone(self);
        self.tasks.spawn("session", async move {
            session.run(&shared.tasks).await;
            shared.metrics.client(false);
            shared.common.clients.send_modify(|clients| *clients -= 1);
            drop(permit);
        });
    }

    /// A connection for the agent's own use: no rules for prefixes, and it stays while the agent drains.
    ///
    /// # Errors
    /// If the system has no more sockets.
    pub(crate) fn connect(self: &Arc<Self>) -> io::Result<UnixSocket> {
        let (ours, theirs) = UnixStream::pair()?;
        let its = self.runtime.enter();
        let theirs = UnixSocket::new(theirs)?;
        drop(its);
        self.serve(Stream::Unix(theirs), None);
        UnixSocket::new(ours)
    }
}

async fn accept(mut acceptor: Acceptor, shared: Arc<Shared>) {
    let tasks = shared.tasks.clone();
    loop {
        let accepted = tokio::select! {
            accepted = acceptor.accept() => accepted,
            () = tasks.draining() => break,
        };
        let Accepted { stream, permit, .. } = accepted;
        shared.serve(stream, Some(permit));
    }
    // what waits for a next client would keep its connection open
    shared.common.pool.clear();
}
