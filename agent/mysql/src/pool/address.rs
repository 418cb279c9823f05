//! A server's name that leads somewhere else than it did: what is open to the old address is not used again once somebody at the new
//! one has let us in. Touches the resolver, and the network through [`Idle::open`](crate::server::Idle::open).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::net::resolve;

use super::Pool;

/// How often the name is resolved. Connections that are opened resolve it themselves.
const RESOLUTION: Duration = Duration::from_secs(5);

impl Pool {
    /// Follows the server's name until we drain.
    pub(crate) async fn follow_name(self: Arc<Self>, tasks: Tasks) {
        if self.account.server.is_address() {
            return;
        }
        let mut ticker = tokio::time::interval(RESOLUTION);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut followed = Vec::new();
        loop {
            tokio::select! {
                _ = ticker.tick() => {}
                () = tasks.draining() => return,
            }
            // a resolver that does not answer says nothing
            let Ok(mut addresses) = resolve(&self.account.server).await else {
                continue;
            };
            addresses.sort();
            if addresses != followed && (self.is_at(&addresses) || self.move_on().await) {
                followed = addresses;
            }
        }
    }

    /// All that is open leads to one of these.
    fn is_at(&self, addresses: &[SocketAddr]) -> bool {
        let peers = self.account.threads.peers();
        peers.iter().all(|peer| addresses.contains(peer))
    }

    /// Gives up all that is open, if a new connection can be opened in its place. Returns whether it could.
    async fn move_on(self: &Arc<Self>) -> bool {
        let server = &self.name;
        let mut lease = match self.open_spare().await {
            Ok(lease) => lease,
            Err(error) => {
                // what is open may be all there is
                tracing::warn!(server, %error, "the name leads to an address that lets nobody in");
                return false;
            }
        };
        let address = lease.connection.peer();
        tracing::info!(server, %address, "the name leads elsewhere: connections are opened anew");
        self.retire();
        lease.place.generation = self.generation.load(Ordering::Acquire);
        lease.release();
        true
    }
}
