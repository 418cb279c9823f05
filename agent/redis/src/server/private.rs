//! Connections that belong to one client at a time: for WATCH, for commands that wait, for subscriptions, and for requests too large
//! to be held in memory. At most so many at once; clean ones are kept for a moment for the next who needs one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lamplighter_core::net::HostPort;
use lamplighter_wire::redis::Protocol;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::connection::Connection;
use super::detour::Detours;
use super::handle::Handle;
use super::login::LoginError;
use super::{Server, keeper};

/// How long a connection waits for the next client.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// How many wait at most.
const IDLE_COUNT_MAX: usize = 8;

/// The connections of all clients to all servers.
#[derive(Debug)]
pub(crate) struct PrivatePool {
    places: Arc<Semaphore>,
    places_max: usize,
    wait: Duration,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    address: HostPort,
    protocol: Protocol,
    handle: Arc<Handle>,
    since: Instant,
}

/// A connection of one client's own. Dropped, it is closed; see [`Private::give_back`].
#[derive(Debug)]
pub(crate) struct Private {
    pub(crate) handle: Arc<Handle>,
    pub(crate) server: Arc<Server>,
    protocol: Protocol,
    _place: OwnedSemaphorePermit,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PinError {
    #[error("all {0} connections for WATCH, SUBSCRIBE and waiting commands are in use")]
    Full(usize),
    #[error("Redis is not reachable")]
    Connect(#[from] LoginError),
    #[error("Redis is not reachable")]
    Down,
}

impl PrivatePool {
    pub(crate) fn new(places_max: usize, wait: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
            wait,
            idle: Mutex::default(),
        }
    }

    /// How many are in use.
    pub(crate) fn in_use(&self) -> usize {
        self.places_max
            .saturating_sub(self.places.available_permits())
    }

    /// Closes what waits for a next client.
    pub(crate) fn clear(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, address: &HostPort, protocol: Protocol) -> Option<Arc<Handle>> {
        let mut idle = self.idle();
        idle.retain(|idle| idle.handle.is_open() && idle.since.elapsed() < IDLE_MAX);
        let fits = |idle: &Idle| idle.protocol == protocol && idle.address == *address;
        let at = idle.iter().rposition(fits)?;
        Some(idle.swap_remove(at).handle)
    }
}

impl Private {
    /// A connection to `server`.
    pub(crate) async fn open(server: &Arc<Server>, protocol: Protocol) -> Result<Self, PinError> {
        let common = &server.common;
        let pool = &common.pool;
        let place = Arc::clone(&pool.places).acquire_owned();
        let Ok(Ok(place)) = tokio::time::timeout(pool.wait, place).await else {
            return Err(PinError::Full(pool.places_max));
        };
        let own = |handle| Self {
            handle,
            server: Arc::clone(server),
            protocol,
            _place: place,
        };
        if let Some(handle) = pool.find(&server.address, protocol) {
            return Ok(own(handle));
        }
        if !server.is_up() {
            // nobody waits five seconds for what the shared connections know already
            server
                .acquire(Protocol::Resp2, false)
                .await
                .map_err(|_| PinError::Down)?;
        }
        let fresh = common
            .approach
            .connect(&server.address, &server.name, protocol)
            .await
            .inspect_err(|error| common.metrics.connect_error(error.label()))?;
        let (handle, connection) = Connection::new(fresh.stream, Detours::none(), common);
        common.metrics.connected();
        let (theirs, weak, token) = (Arc::clone(common), handle.downgrade(), fresh.token);
        common.tasks.spawn("private upstream", async move {
            let leftover = keeper::run(connection, weak, token, &theirs).await;
            theirs.metrics.disconnected();
            keeper::look_after(leftover, &theirs);
        });
        Ok(own(Arc::new(handle)))
    }

    /// The connection has no transaction, no subscription and nothing on its way: the next may have it.
    pub(crate) fn give_back(self) {
        let pool = &self.server.common.pool;
        let mut idle = pool.idle();
        let leaving = self.server.common.tasks.is_draining();
        if !leaving && idle.len() < IDLE_COUNT_MAX && self.handle.is_open() {
            idle.push(Idle {
                address: self.server.address.clone(),
                protocol: self.protocol,
                handle: Arc::clone(&self.handle),
                since: Instant::now(),
            });
        }
    }

    /// How many of these are in use, over all servers.
    pub(crate) fn in_use(&self) -> usize {
        self.server.common.pool.in_use()
    }
}
