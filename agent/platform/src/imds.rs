//! The client of the instance metadata service (Azure: "Azure Instance Metadata Service"). Every request carries `Metadata: true`
//! and an `api-version`, goes straight to the service and through no proxy, and is paced: of the five requests a second that the
//! service grants the whole machine, the agent takes two at most. Nobody waits for an answer but the task that asked.

mod pace;

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use lamplighter_core::fault::chain;
use lamplighter_core::metrics::{IntCounterVec, MetricsError, Registry, Section};

use crate::http::{self, Answer, Ask, HttpError, Origin};
pub(crate) use pace::Pace;

/// What is asked for; the metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Instance,
    Events,
    Acknowledge,
    Token,
}

impl Endpoint {
    pub(crate) const ALL: [Self; 4] =
        [Self::Instance, Self::Events, Self::Acknowledge, Self::Token];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Events => "events",
            Self::Acknowledge => "acknowledge",
            Self::Token => "token",
        }
    }
}

/// Why there is no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImdsError {
    /// Nobody answers: not on Azure, or the host is being serviced.
    #[error("the service does not answer")]
    Absent(#[source] HttpError),
    /// It answers with a failure.
    #[error("the service answers {status}{}", detail(.text))]
    Status {
        status: u16,
        retry_after: Option<Duration>,
        text: String,
    },
    /// It answers with something that is not what its documentation says.
    #[error("the service's answer is not understood: {0}")]
    Junk(String),
}

fn detail(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

/// How an attempt ended; the metric label.
const OUTCOMES: [&str; 7] = [
    "ok",
    "absent",
    "throttled",
    "gone",
    "refused",
    "failed",
    "junk",
];

impl ImdsError {
    pub(crate) const fn outcome(&self) -> &'static str {
        match self {
            Self::Absent(_) => "absent",
            Self::Junk(_) => "junk",
            Self::Status { status, .. } => match *status {
                429 => "throttled",
                410 => "gone",
                404 | 408 | 500..=599 => "failed",
                _ => "refused",
            },
        }
    }

    /// How long to leave the service alone after the `failures`th failure in a row, in whole: jitter is the caller's.
    ///
    /// 410 is a host that is being updated, for up to 70 s: asked again soon, so that its end is noticed. 429 is obeyed. 400, 401
    /// and 403 are a mistake in the set-up: asking at once again changes nothing.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let doubled = |first: u64, max: u64| {
            let factor = 1_u64 << failures.saturating_sub(1).min(10);
            Duration::from_secs(first.saturating_mul(factor).min(max))
        };
        match self {
            Self::Status {
                retry_after: Some(wait),
                status: 429 | 503,
                ..
            } => (*wait).clamp(Duration::from_secs(1), Duration::from_secs(120)),
            Self::Status { status: 410, .. } => doubled(1, 10),
            Self::Status { status: 429, .. } => doubled(5, 60),
            _ if self.outcome() == "refused" => doubled(30, 300),
            Self::Absent(_) | Self::Junk(_) | Self::Status { .. } => doubled(2, 30),
        }
    }
}

/// The client. Clones share pace and metrics.
#[derive(Debug, Clone)]
pub(crate) struct Imds {
    origin: Arc<Origin>,
    pace: Arc<Pace>,
    requests: IntCounterVec,
}

impl Imds {
    pub(crate) fn new(origin: Origin, requests: IntCounterVec) -> Self {
        Self {
            origin: Arc::new(origin),
            pace: Arc::new(Pace::default()),
            requests,
        }
    }

    /// The series that clients count in; there once, whether or not the service is asked.
    pub(crate) fn register(registry: &Registry) -> Result<IntCounterVec, MetricsError> {
        let section = Section::new(registry, "platform");
        let requests = section.counters(
            "imds_requests_total",
            "Requests to the instance metadata service by what was asked for and how it ended.",
            &["endpoint", "outcome"],
        )?;
        for endpoint in Endpoint::ALL {
            for outcome in OUTCOMES {
                requests.with_label_values(&[endpoint.label(), outcome]);
            }
        }
        Ok(requests)
    }

    /// Gets `target` (path and query), and has `read` make something of the body.
    pub(crate) async fn get<T>(
        &self,
        endpoint: Endpoint,
        target: &str,
        limit: Duration,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, ImdsError> {
        self.ask(endpoint, Method::GET, target, Vec::new(), limit, read)
            .await
    }

    /// Posts `body` to `target`; whatever a good answer says.
    pub(crate) async fn post(
        &self,
        endpoint: Endpoint,
        target: &str,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<(), ImdsError> {
        self.ask(endpoint, Method::POST, target, body, limit, |_| Ok(()))
            .await
    }

    async fn ask<T>(
        &self,
        endpoint: Endpoint,
        method: Method,
        target: &str,
        body: Vec<u8>,
        limit: Duration,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, ImdsError> {
        self.pace.wait().await;
        let ask = Ask {
            origin: &self.origin,
            tls: None,
            method,
            target,
            headers: &[("Metadata", "true"), ("Accept", "application/json")],
            body,
        };
        let outcome = http::ask(ask, limit)
            .await
            .map_err(ImdsError::Absent)
            .and_then(|answer| good(answer, read));
        let label = outcome.as_ref().err().map_or("ok", ImdsError::outcome);
        self.requests
            .with_label_values(&[endpoint.label(), label])
            .inc();
        if let Err(error) = &outcome {
            tracing::debug!(endpoint = endpoint.label(), "{}", chain(error));
        }
        outcome
    }
}

fn good<T>(answer: Answer, read: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<T, ImdsError> {
    let body = answer.body;
    if answer.status != 200 {
        return Err(ImdsError::Status {
            status: answer.status,
            retry_after: answer.retry_after,
            text: complaint(&body),
        });
    }
    read(&body).map_err(ImdsError::Junk)
}

/// What a failure says, on one short line: `error_description` or `error` of its JSON, nothing else of the body.
pub(crate) fn complaint(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else {
        return String::new();
    };
    let text = ["error_description", "error"]
        .into_iter()
        .find_map(|key| value.get(key)?.as_str())
        .unwrap_or_default();
    one_line(text, 160)
}

/// `text` without control characters, at most `limit` characters of it.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    text.chars()
        .map(|it| if it.is_control() { ' ' } else { it })
        .take(limit)
        .collect()
}

/// Evenly from 0 to 1.
pub(crate) fn fraction() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
