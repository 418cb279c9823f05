//! Clients that come: their login, then their session. Touches their sockets, through [`Client`].

use std::sync::Arc;

use lamplighter_core::fault::chain;
use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::net::{Accepted, Acceptor};
use tokio::sync::OwnedSemaphorePermit;

use super::Shared;
use crate::client::{Client, Identity, LoginError};
use crate::near::Awake;
use crate::session::Session;

/// Takes in whoever comes, until the agent drains.
pub(super) async fn accept(mut acceptor: Acceptor, shared: Arc<Shared>, tasks: Tasks) {
    loop {
        let accepted = tokio::select! {
            accepted = acceptor.accept() => accepted,
            () = tasks.draining() => break,
        };
        let session = serve(accepted, Arc::clone(&shared), tasks.clone());
        tasks.spawn("session", session);
    }
}

/// One client from its first byte to its last.
async fn serve(accepted: Accepted, shared: Arc<Shared>, tasks: Tasks) {
    // boxed: a login's room is given back when it is over, not kept for as long as the client stays
    let login = Box::pin(log_in(accepted, &shared, &tasks));
    let Some((client, identity, permit)) = login.await else {
        return;
    };
    shared.metrics.client_connections.inc();
    shared.metrics.clients.inc();
    let session = Box::new(Session::new(client, identity, &shared, &tasks));
    Box::pin(session.run()).await;
    shared.metrics.clients.dec();
    drop(permit);
}

/// Who a client is; `None` if it was not let in, or did not say in time.
async fn log_in(
    accepted: Accepted,
    shared: &Shared,
    tasks: &Tasks,
) -> Option<(Client, Identity, OwnedSemaphorePermit)> {
    let Accepted {
        stream,
        peer,
        permit,
    } = accepted;
    let mut client = Client::new(stream, peer, Awake::new(Arc::clone(&shared.attention)));
    let login = shared.greeter.login(&mut client);
    let login = tokio::select! {
        login = tokio::time::timeout(shared.login_timeout, login) => login,
        () = tasks.stopping() => return None,
    };
    match login {
        Ok(Ok(identity)) => {
            let user = String::from_utf8_lossy(&identity.user);
            tracing::debug!(id = identity.connection_id, %user, ?peer, "client");
            drop(user);
            return Some((client, identity, permit));
        }
        Ok(Err(error @ LoginError::Denied { .. })) => {
            tracing::warn!(?peer, %error, "login refused");
        }
        Ok(Err(error)) => tracing::debug!(?peer, "{}", chain(&error)),
        Err(_) => tracing::debug!(?peer, "no login in time"),
    }
    shared.metrics.client_refused.inc();
    None
}
