//! The listening side: binds the sockets, starts the connections to the servers, gives each client a session. Opens sockets.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::net::{Accepted, Acceptor, BindError, Sockets, Stream, UnixSocket};
use lamplighter_core::secret::Secret;
use lamplighter_wire::redis::command::{Class, Command as Known};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::config::{EndpointConfig, Unavailable};
use super::lease::Leases;
use super::rules::Rules;
use super::session::Session;
use crate::config::{Config, ServerKind};
use crate::heat::Heat;
use crate::metrics::EndpointMetrics;
use crate::server::{Approach, Common, PrivatePool, Router, RouterConfig};

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
    /// Binds the listeners; `None` if there are none. Needs a runtime.
    pub(crate) fn bind(config: &Config, sockets: &mut Sockets) -> Result<Option<Self>, BindError> {
        // shards are found by the endpoint for the agent's own jobs, too
        if config.listen.is_empty() && config.kind != ServerKind::Cluster {
            return Ok(None);
        }
        let places = Arc::new(Semaphore::new(config.clients_max));
        let mode = config.socket_mode_bits().unwrap_or(0o660);
        let mut acceptors = Vec::new();
        for address in &config.listen {
            let listener = sockets.bind(address, mode)?;
            let acceptor = Acceptor::sharing(listener, Arc::clone(&places));
            acceptors.push(acceptor.map_err(|source: io::Error| BindError::Io {
                address: address.clone(),
                source,
            })?);
        }
        Ok(Some(Self { acceptors }))
    }

    /// Connects to the servers and serves clients from now on, until the agent drains.
    pub(crate) fn start(self, config: &Config, parts: EndpointParts, tasks: &Tasks) -> Arc<Shared> {
        let (detours, strays) = Router::detours();
        let endpoint = &config.endpoint;
        let misses = endpoint.unavailable == Unavailable::Miss;
        let metrics = parts.metrics;
        let common = Arc::new(Common {
            approach: parts.approach,
            connections: usize::from(endpoint.connections),
            ping_interval: config.ping_interval.get(),
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
            unread: Arc::default(),
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
        shared
    }
}

impl Shared {
    /// Serves a client until it leaves.
    fn serve(self: &Arc<Self>, stream: Stream, permit: Option<OwnedSemaphorePermit>) {
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
        self.serve(Stream::Unix(UnixSocket::new(theirs)?), None);
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
