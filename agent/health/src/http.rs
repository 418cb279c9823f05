//! HTTP/1.1 on one listener: accepts, serves with hyper, closes what idles, and keeps room for newcomers. Knows nothing of
//! what is served.
//!
//! Every answer comes from memory, so a connection that has no answer yet is one that has not asked. When the listener has as
//! many connections as it may have, the one that has waited longest without ever asking makes room, then the one that asked
//! longest ago: a flood of silent connections pushes itself out, while a probe, which asks at once, is answered.

mod roster;
mod watched;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::{Request, service::service_fn};
use hyper_util::rt::TokioIo;
use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::net::{Accepted, Acceptor, Peer};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::metrics::{Door, Metrics};
use roster::{Roster, Seat};
use watched::Watched;

/// Room above [`Limits::connections`] for connections that were told to go and have not gone yet.
pub(crate) const fn slack(connections: usize) -> usize {
    connections / 4 + 4
}

/// hyper's read buffer per connection, in bytes; a request head that does not fit is refused with 431. hyper takes no less.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// More header lines than any prober sends.
const HEADERS_MAX: usize = 64;

/// The bounds of one listener's connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How many may be open.
    pub(crate) connections: usize,
    /// How long a request may take from its first byte to the first byte of its answer.
    pub(crate) request: Duration,
    /// How long a connection may idle, before its first request or between two.
    pub(crate) idle: Duration,
    /// How long a connection that has not asked yet is kept when the listener ends.
    pub(crate) last_call: Duration,
}

/// One listener with what it serves.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) door: Door,
    pub(crate) acceptor: Acceptor,
    pub(crate) limits: Limits,
    pub(crate) router: Router,
}

impl Listening {
    /// Serves until `ending`, then answers what is in the accept queue, closes idle connections and ends.
    pub(crate) async fn run(mut self, tasks: Tasks, metrics: Metrics, ending: CancellationToken) {
        let roster = Roster::new(self.limits.connections);
        let serving = Serving {
            door: self.door,
            limits: self.limits,
            router: self.router,
            metrics,
            ending,
        };
        let serving = Arc::new(serving);
        loop {
            let accepted = tokio::select! {
                accepted = self.acceptor.accept() => accepted,
                () = serving.ending.cancelled() => break,
            };
            serving.start(accepted, &roster, &tasks);
        }
        // closing a listening socket resets what it has queued, and a reset counts as a failed probe
        while let Some(accepted) = self.acceptor.accept().now_or_never() {
            serving.start(accepted, &roster, &tasks);
        }
    }
}

/// What every connection of a listener shares.
#[derive(Debug)]
struct Serving {
    door: Door,
    limits: Limits,
    router: Router,
    metrics: Metrics,
    ending: CancellationToken,
}

impl Serving {
    fn start(self: &Arc<Self>, accepted: Accepted, roster: &Roster, tasks: &Tasks) {
        let label = self.door.label();
        self.metrics.accepted.with_label_values(&[label]).inc();
        let (seat, evicted) = roster.sit();
        if evicted {
            self.metrics.evicted.with_label_values(&[label]).inc();
        }
        tasks.spawn("connection", Arc::clone(self).connection(accepted, seat));
    }

    async fn connection(self: Arc<Self>, accepted: Accepted, seat: Seat) {
        let Accepted {
            stream,
            peer,
            permit,
        } = accepted;
        let open = self
            .metrics
            .connections
            .with_label_values(&[self.door.label()]);
        open.inc();
        let stream = Watched::new(
            stream,
            seat,
            self.limits,
            self.metrics.answer_seconds.clone(),
        );
        let asked = CancellationToken::new();
        let service = service_fn(|request| {
            asked.cancel();
            answer(self.router.clone(), request, peer)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            // "printf ... | nc" closes its half before it reads
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = self.last_call(&asked) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = outcome {
            // resets, half requests, garbage: the other end's business
            tracing::debug!(door = self.door.label(), ?peer, %error, "connection ended badly");
        }
        open.dec();
        drop(permit);
    }

    /// Resolves when the connection has to end: with the listener, but not before a request that is on its way has had the time
    /// to arrive. Whoever connected wants an answer, and none at all counts as a failed probe.
    async fn last_call(&self, asked: &CancellationToken) {
        self.ending.cancelled().await;
        tokio::select! {
            () = asked.cancelled() => {}
            () = tokio::time::sleep(self.limits.last_call) => {}
        }
    }
}

async fn answer(
    router: Router,
    mut request: Request<Incoming>,
    peer: Peer,
) -> Result<axum::response::Response, Infallible> {
    request.extensions_mut().insert(peer);
    router.oneshot(request).await
}

#[cfg(test)]
mod tests;
