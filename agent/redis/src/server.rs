//! One Redis server as the endpoint uses it: a few shared connections, one more for what may take long, and connections that belong
//! to one client at a time. Keeps them up, knows whether anybody can be asked, and says no at once when nobody can.
//!
//! ```text
//!   Trying ── connected ──▶ Up ── the last shared connection is gone ──▶ Trying ── no success, or 40 ms ──▶ Open ── connected ──▶ Up
//!     asked: waits, 40 ms at most                                                     asked: refused at once
//! ```

mod answers;
mod command;
mod connection;
mod detour;
mod handle;
mod keeper;
mod login;
mod maintenance;
mod notice;
mod private;
mod renewal;
mod router;
mod stream;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::net::HostPort;
use lamplighter_wire::redis::Protocol;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use command::{Command, Failure, Miss, Target};
pub(crate) use detour::{Verdict, unreachable};
pub(crate) use handle::{Handle, Refused};
pub(crate) use login::{Approach, Credentials};
pub(crate) use notice::{Stage, is_azures};
pub(crate) use private::{PinError, Private, PrivatePool};
pub(crate) use renewal::Renewal;
pub(crate) use router::{Router, RouterConfig};

use crate::endpoint::Lookout;
use crate::metrics::EndpointMetrics;
use detour::Detours;

/// How long a command may wait for a connection while one is being made.
const GRACE: Duration = Duration::from_millis(40);

/// How long a connection may take to prove that it lives when another one did not.
const PROOF: Duration = Duration::from_millis(500);

/// What all connections to all servers have in common.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) approach: Approach,
    /// Shared connections to each server.
    pub(crate) connections: usize,
    pub(crate) ping_interval: Duration,
    /// How long an idle connection may take to answer a PING.
    pub(crate) ping_timeout: Duration,
    pub(crate) metrics: EndpointMetrics,
    pub(crate) tasks: Tasks,
    pub(crate) detours: Detours,
    pub(crate) pool: PrivatePool,
    /// Whether a read that nobody can answer is a miss, not an error.
    pub(crate) misses: bool,
    /// How many clients are connected.
    pub(crate) clients: watch::Sender<usize>,
    /// Whether keys are shared out over several servers.
    pub(crate) is_cluster: bool,
    /// Whether servers are listened to for what they say about maintenance.
    pub(crate) listens: bool,
    /// Told when keys may be elsewhere.
    pub(crate) stale: Notify,
    /// Whom to tell what comes.
    pub(crate) lookout: Lookout,
}

impl Common {
    /// Ends a command that no server answered. It is counted, unless nobody asked for it.
    fn fail(&self, command: Command, failure: &Failure, miss_allowed: bool) {
        if !matches!(command.target, Target::Nobody) {
            self.metrics.failed(failure);
        }
        command.fail(failure, miss_allowed);
    }

    /// Resolves when the agent drains and the last client has left.
    pub(crate) async fn left(&self) {
        self.tasks.draining().await;
        let mut clients = self.clients.subscribe();
        // the sender is our own: it cannot be gone
        drop(clients.wait_for(|clients| *clients == 0).await);
    }
}

/// One server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: HostPort,
    /// What its certificate says.
    pub(crate) name: String,
    common: Arc<Common>,
    resp2: Arc<Lanes>,
    resp3: OnceLock<Arc<Lanes>>,
    /// As the server calls its version.
    version: ArcSwap<String>,
    /// Grows when the shared connections should be changed for new ones.
    renewals: watch::Sender<u64>,
    gone: CancellationToken,
}

/// The shared connections of one protocol.
#[derive(Debug)]
struct Lanes {
    protocol: Protocol,
    shared: Vec<Seat>,
    slow: Seat,
    standing: watch::Sender<Standing>,
}

#[derive(Debug, Default)]
struct Seat(ArcSwapOption<Handle>);

/// Whether anybody can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Trying,
    Up,
    Open(Arc<str>),
}

impl Lanes {
    fn new(protocol: Protocol, connections: usize) -> Arc<Self> {
        Arc::new(Self {
            protocol,
            shared: (0..connections).map(|_| Seat::default()).collect(),
            slow: Seat::default(),
            standing: watch::Sender::new(Standing::Trying),
        })
    }

    fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.shared.iter().chain(std::iter::once(&self.slow))
    }

    /// The least busy of those that are open.
    fn choose(&self, slow: bool) -> Option<Arc<Handle>> {
        let open = |seat: &Seat| seat.0.load_full().filter(|handle| handle.is_open());
        if slow && let Some(handle) = open(&self.slow) {
            return Some(handle);
        }
        self.shared
            .iter()
            .filter_map(open)
            .min_by_key(|handle| handle.load())
    }

    fn is_up(&self) -> bool {
        self.shared.iter().any(|seat| {
            seat.0
                .load()
                .as_ref()
                .is_some_and(|handle| handle.is_open())
        })
    }
}

impl Server {
    /// A server whose connections are kept up from now on.
    pub(crate) fn start(address: HostPort, name: String, common: &Arc<Common>) -> Arc<Self> {
        let server = Arc::new(Self {
            address,
            name,
            common: Arc::clone(common),
            resp2: Lanes::new(Protocol::Resp2, common.connections),
            resp3: OnceLock::new(),
            version: ArcSwap::from_pointee(String::new()),
            renewals: watch::Sender::new(0),
            gone: CancellationToken::new(),
        });
        server.keep(&server.resp2);
        if common.listens {
            let listener = maintenance::listen(Arc::clone(&server));
            common.tasks.spawn("maintenance notices", listener);
        }
        server
    }

    fn keep(self: &Arc<Self>, lanes: &Arc<Lanes>) {
        for seat in 0..=lanes.shared.len() {
            let keeper = keeper::keep(Arc::clone(self), Arc::clone(lanes), seat);
            self.common.tasks.spawn("upstream", keeper);
        }
    }

    fn lanes(self: &Arc<Self>, protocol: Protocol) -> &Arc<Lanes> {
        match protocol {
            Protocol::Resp2 => &self.resp2,
            Protocol::Resp3 => self.resp3.get_or_init(|| {
                let lanes = Lanes::new(protocol, self.common.connections);
                self.keep(&lanes);
                lanes
            }),
        }
    }

    /// As the server calls its version; empty until it has been asked.
    pub(crate) fn version(&self) -> Arc<String> {
        self.version.load_full()
    }

    /// Whether a shared connection is open now.
    pub(crate) fn is_up(&self) -> bool {
        self.resp2.is_up()
    }

    /// Waits until a shared connection is open; false if there will be none any more.
    async fn came_up(&self) -> bool {
        let mut standing = self.resp2.standing.subscribe();
        standing.wait_for(|now| *now == Standing::Up).await.is_ok()
    }

    /// The least busy connection, without waiting.
    pub(crate) fn choose(self: &Arc<Self>, protocol: Protocol, slow: bool) -> Option<Arc<Handle>> {
        self.lanes(protocol).choose(slow)
    }

    /// The least busy connection; waits a moment if one is being made, and not at all if that has failed.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        protocol: Protocol,
        slow: bool,
    ) -> Result<Arc<Handle>, Failure> {
        self.acquire_within(protocol, slow, GRACE).await
    }

    /// As [`Self::acquire`], with patience of the caller's own.
    pub(crate) async fn acquire_within(
        self: &Arc<Self>,
        protocol: Protocol,
        slow: bool,
        patience: Duration,
    ) -> Result<Arc<Handle>, Failure> {
        let lanes = self.lanes(protocol);
        let mut standing = lanes.standing.subscribe();
        let deadline = Instant::now() + patience;
        loop {
            let now = standing.borrow_and_update().clone();
            if let Some(handle) = lanes.choose(slow) {
                return Ok(handle);
            }
            if let Standing::Open(reason) = now {
                return Err(Failure::Unreachable(reason));
            }
            if tokio::time::timeout_at(deadline, standing.changed())
                .await
                .is_err()
            {
                return Err(unreachable("there is no connection yet"));
            }
        }
    }

    /// Nobody can be asked: say so at once from now on.
    fn open(&self, lanes: &Lanes, reason: &str) {
        let opened = lanes.standing.send_if_modified(|standing| {
            if lanes.is_up() {
                return false;
            }
            let was_open = matches!(standing, Standing::Open(_));
            *standing = Standing::Open(Arc::from(reason));
            !was_open
        });
        if opened {
            self.common.metrics.circuit_opened(&self.address, true);
        }
    }

    /// The server is no part of the cluster any more.
    pub(crate) fn dismiss(&self) {
        self.gone.cancel();
    }

    /// Replaces every shared connection, for a server that has said that it will go.
    pub(crate) fn replace_connections(&self) {
        let lanes = std::iter::once(&self.resp2).chain(self.resp3.get());
        for seat in lanes.flat_map(|lanes| lanes.seats()) {
            if let Some(handle) = seat.0.load_full() {
                handle.replace();
            }
        }
        let lanes = std::iter::once(&self.resp2).chain(self.resp3.get());
        for lanes in lanes {
            lanes.standing.send_replace(Standing::Trying);
        }
    }

    /// One connection did not answer: the others are tried, so that nobody has to wait for each of them in turn.
    fn suspect(&self) {
        let lanes = std::iter::once(&self.resp2).chain(self.resp3.get());
        for seat in lanes.flat_map(|lanes| lanes.seats()) {
            if let Some(handle) = seat.0.load_full() {
                handle.prove(PROOF);
            }
        }
    }
}
