//! The admin interface: a status page and its JSON on loopback, the same and the commands on a unix socket. Changes nothing
//! itself: it asks the supervisor and the application.

mod page;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::StatusCode;
use hyper::header::{self, HeaderName};
use lamplighter_core::ask::{Asker, NoAnswer, Question};
use lamplighter_core::fault::chain;
use lamplighter_core::health::HealthBoard;
use lamplighter_core::lifecycle::{Control, Departures, DrainSource, Phase};
use lamplighter_core::views::{ViewError, Views};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::balancer::LastProbe;
use crate::judge::Bulletin;
use crate::status::{BuildInfo, Component, GateStatus, Status};
use crate::verdict::{Azure, Traffic};
use crate::web::Standing;

/// How long the supervisor may take to act on a command; it does so at once unless it is stuck.
const COMMAND_TIME: Duration = Duration::from_secs(5);

/// How long a reload may take.
const RELOAD_TIME: Duration = Duration::from_secs(60);

/// Where a reload's outcome is wanted: a line for people, or everything that is wrong with the new configuration.
pub type ReloadReply = oneshot::Sender<Result<String, String>>;

/// What the admin interface shows and whom it asks.
#[derive(Debug, Clone)]
pub(crate) struct Office {
    pub(crate) build: BuildInfo,
    pub(crate) start: Instant,
    pub(crate) board: HealthBoard,
    pub(crate) phases: watch::Receiver<Phase>,
    pub(crate) web: watch::Receiver<Standing>,
    pub(crate) bulletin: Bulletin,
    pub(crate) last_probe: LastProbe,
    pub(crate) control: Control,
    pub(crate) departures: Departures,
    pub(crate) reload: mpsc::Sender<ReloadReply>,
    pub(crate) askers: Arc<BTreeMap<&'static str, Asker>>,
    pub(crate) views: Views,
}

/// What the TCP listener serves: nothing that changes anything.
pub(crate) fn read_router(office: Office) -> Router {
    reading().with_state(office)
}

/// What the unix socket serves: the same, and the commands. Who may open it is decided by its mode.
pub(crate) fn full_router(office: Office) -> Router {
    reading()
        .route("/api/v1/drain", post(drain))
        .route("/api/v1/undrain", post(undrain))
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/{part}/{verb}", post(command))
        .route("/api/v1/views/{part}/{view}", post(view))
        .with_state(office)
}

fn reading() -> Router<Office> {
    Router::new()
        .route("/", get(show_page))
        .route("/api/v1/status", get(show_status))
        .route("/api/v1/{part}/{verb}", get(question))
}

/// The words of a question beyond its verb.
#[derive(Debug, Default, Deserialize)]
struct Words {
    #[serde(default)]
    name: String,
    argument: Option<String>,
}

async fn question(
    State(office): State<Office>,
    Path((part, verb)): Path<(String, String)>,
    Query(words): Query<Words>,
) -> Response {
    office.ask(&part, verb, words, false).await
}

async fn command(
    State(office): State<Office>,
    Path((part, verb)): Path<(String, String)>,
    Query(words): Query<Words>,
) -> Response {
    office.ask(&part, verb, words, true).await
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct CommandOutcome {
    /// Whether it was done.
    pub done: bool,
    /// What happened or what is wrong, for people.
    pub message: String,
}

fn outcome(status: StatusCode, message: impl Into<String>) -> Response {
    let body = CommandOutcome {
        done: status.is_success(),
        message: message.into(),
    };
    (status, Json(body)).into_response()
}

async fn show_status(State(office): State<Office>) -> Response {
    Json(office.status()).into_response()
}

async fn show_page(State(office): State<Office>) -> Response {
    const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (HEADERS, page::render(&office.status())).into_response()
}

async fn drain(State(office): State<Office>) -> Response {
    if *office.phases.borrow() == Phase::Starting {
        return outcome(
            StatusCode::CONFLICT,
            "not started yet: ask again once the agent is ready",
        );
    }
    office.control.drain(DrainSource::Command);
    // also true of a restart under way, which refuses nobody and comes back ready
    office
        .wait_phase(|phase| *phase >= Phase::HandingOver)
        .await
}

async fn undrain(State(office): State<Office>) -> Response {
    let phase = *office.phases.borrow();
    match phase {
        Phase::Ready => return outcome(StatusCode::OK, "nothing to undrain: ready"),
        Phase::Shedding => {}
        Phase::Starting
        | Phase::HandingOver
        | Phase::Draining
        | Phase::Stopping
        | Phase::Stopped => {
            let message = format!("too late or too early to undrain: {}", phase.label());
            return outcome(StatusCode::CONFLICT, message);
        }
    }
    office.control.undrain();
    office.wait_phase(|phase| *phase != Phase::Shedding).await
}

async fn reload(State(office): State<Office>) -> Response {
    let (reply, answer) = oneshot::channel();
    if office.reload.try_send(reply).is_err() {
        return outcome(
            StatusCode::SERVICE_UNAVAILABLE,
            "cannot reload now: another reload is under way, or the agent is leaving",
        );
    }
    match tokio::time::timeout(RELOAD_TIME, answer).await {
        Ok(Ok(Ok(message))) => outcome(StatusCode::OK, message),
        Ok(Ok(Err(problems))) => outcome(StatusCode::UNPROCESSABLE_ENTITY, problems),
        Ok(Err(_)) => outcome(
            StatusCode::SERVICE_UNAVAILABLE,
            "the reload was dropped: the agent is leaving",
        ),
        Err(_) => outcome(
            StatusCode::GATEWAY_TIMEOUT,
            format!("no outcome after {} s; see the log", RELOAD_TIME.as_secs()),
        ),
    }
}

/// A question to another part: the body is what is asked. On the unix socket only, because answers name clients and statements.
async fn view(
    State(office): State<Office>,
    Path((part, view)): Path<(String, String)>,
    question: String,
) -> Response {
    let name = format!("{part}/{view}");
    match office.views.ask(&name, &question) {
        Some(Ok(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Some(Err(error @ ViewError::Question(_))) => {
            outcome(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
        }
        Some(Err(error)) => outcome(StatusCode::INTERNAL_SERVER_ERROR, chain(&error)),
        None => outcome(
            StatusCode::NOT_FOUND,
            format!("this agent has nobody to answer {name}: is its table in the configuration?"),
        ),
    }
}

impl Office {
    /// Carries a question to the subsystem `part`; its answer is JSON.
    async fn ask(self, part: &str, verb: String, words: Words, command: bool) -> Response {
        let Some(asker) = self.askers.get(part) else {
            let message = format!("this agent has no [{part}] that could be asked");
            return outcome(StatusCode::NOT_FOUND, message);
        };
        let question = Question {
            verb,
            command,
            name: words.name,
            argument: words.argument,
        };
        match asker.ask(question).await {
            Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Err(refused @ NoAnswer::Refused(_)) => {
                outcome(StatusCode::UNPROCESSABLE_ENTITY, refused.to_string())
            }
            Err(silent @ NoAnswer::Silent) => {
                outcome(StatusCode::SERVICE_UNAVAILABLE, silent.to_string())
            }
        }
    }

    /// Waits until the supervisor has acted, and says where the process is then.
    async fn wait_phase(mut self, there: impl FnMut(&Phase) -> bool) -> Response {
        let waited = self.phases.wait_for(there);
        match tokio::time::timeout(COMMAND_TIME, waited).await {
            Ok(Ok(phase)) => outcome(StatusCode::OK, phase.label()),
            Ok(Err(_)) => outcome(StatusCode::SERVICE_UNAVAILABLE, "the supervisor is gone"),
            Err(_) => outcome(
                StatusCode::GATEWAY_TIMEOUT,
                format!(
                    "the supervisor has not acted within {} s (or refused: another drain is under way)",
                    COMMAND_TIME.as_secs()
                ),
            ),
        }
    }

    fn status(&self) -> Status {
        let board = self.board.snapshot();
        let answers = self.bulletin.read();
        let (serving, serving_reason) = match &answers.verdicts.traffic {
            Traffic::Serve => (true, String::new()),
            Traffic::Shed(reason) => (false, reason.clone()),
        };
        let azure_reason = match &answers.verdicts.azure {
            Azure::Healthy => String::new(),
            Azure::Unhealthy(reason) | Azure::NoState(reason) => reason.clone(),
        };
        let component = |name: &str, report: &lamplighter_core::health::Report| Component {
            name: name.to_owned(),
            condition: report.condition.label().to_owned(),
            reach: report.reach.label().to_owned(),
            reason: report.reason.clone(),
            seconds: report.since.elapsed().as_secs(),
        };
        Status {
            build: self.build.clone(),
            pid: std::process::id(),
            uptime_seconds: self.start.elapsed().as_secs(),
            phase: self.phases.borrow().label().to_owned(),
            leaving: self.departures.progress().map(Into::into),
            serving,
            serving_reason,
            azure: answers.verdicts.azure.label().to_owned(),
            azure_reason,
            components: board
                .reports
                .iter()
                .map(|(name, report)| component(name, report))
                .collect(),
            gates: board
                .gates
                .iter()
                .map(|(name, open)| GateStatus {
                    name: name.to_string(),
                    open: *open,
                })
                .collect(),
            web: self.web.borrow().label().to_owned(),
            balancer_asked_seconds_ago: self.last_probe.balancer_age().map(|age| age.as_secs_f64()),
            azure_asked_seconds_ago: self.last_probe.azure_age().map(|age| age.as_secs_f64()),
        }
    }
}
