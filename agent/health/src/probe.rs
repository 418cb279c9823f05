//! What is served to probers: `/lb`, `/health/azure`, `/livez`, `/readyz`; and `/metrics` on a listener of its own. Handlers
//! pick up a ready answer; only `/metrics` works for its answer, on another thread.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use lamplighter_core::metrics::{self, Registry};
use lamplighter_core::net::Peer;
use tokio::sync::Semaphore;

use crate::balancer::LastProbe;
use crate::judge::Bulletin;
use crate::metrics::{Endpoint, Metrics};
use crate::verdict::Traffic;

/// What the probe's handlers share.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(crate) bulletin: Bulletin,
    pub(crate) last_probe: LastProbe,
    pub(crate) metrics: Metrics,
}

/// The probe listener's paths.
pub(crate) fn router(desk: Desk) -> Router {
    Router::new()
        .route("/lb", get(balancer))
        .route("/health/azure", get(azure))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .with_state(desk)
}

async fn balancer(State(desk): State<Desk>, Extension(peer): Extension<Peer>) -> Response {
    desk.last_probe.note_balancer(peer);
    let answers = desk.bulletin.read();
    desk.metrics
        .answered(Endpoint::Balancer, answers.balancer.verdict);
    if matches!(answers.verdicts.traffic, Traffic::Serve) {
        // a scale set may have no health extension: its restarts are restarts all the same
        desk.bulletin.note_healthy_said();
    }
    (&answers.balancer).into_response()
}

async fn azure(State(desk): State<Desk>) -> Response {
    desk.last_probe.note_azure();
    let answers = desk.bulletin.read();
    let answer = &answers.azure;
    desk.metrics.answered(Endpoint::Azure, answer.verdict);
    if answer.verdict == crate::verdict::Azure::Healthy.label() {
        desk.bulletin.note_healthy_said();
    }
    answer.into_response()
}

async fn live(State(desk): State<Desk>) -> Response {
    let answers = desk.bulletin.read();
    desk.metrics.answered(Endpoint::Live, answers.live.verdict);
    (&answers.live).into_response()
}

async fn ready(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Response {
    let answers = desk.bulletin.read();
    let answer = match query.as_deref() {
        Some(query) if asks_verbose(query) => &answers.ready_verbose,
        _ => &answers.ready,
    };
    desk.metrics.answered(Endpoint::Ready, answer.verdict);
    answer.into_response()
}

/// `?verbose`, `?verbose=1`, `?verbose=true`, among other parameters or alone.
fn asks_verbose(query: &str) -> bool {
    query
        .split('&')
        .any(|part| matches!(part, "verbose" | "verbose=" | "verbose=1" | "verbose=true"))
}

/// What the scrape's handler shares.
#[derive(Debug, Clone)]
struct Scrape {
    registry: Registry,
    /// One at a time: a scraper that comes more often than it can be served waits.
    turn: Arc<Semaphore>,
}

/// The metrics listener's one path.
pub(crate) fn metrics_router(registry: Registry) -> Router {
    let scrape = Scrape {
        registry,
        turn: Arc::new(Semaphore::new(1)),
    };
    Router::new()
        .route("/metrics", get(scrape_metrics))
        .with_state(scrape)
}

async fn scrape_metrics(State(scrape): State<Scrape>) -> Response {
    let Ok(_turn) = scrape.turn.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let registry = scrape.registry.clone();
    // gathering thousands of series takes milliseconds, which a probe behind it would wait for
    match tokio::task::spawn_blocking(move || metrics::encode(&registry)).await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Ok(Err(error)) => {
            tracing::error!(%error, "cannot encode the metrics; this is a bug");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
