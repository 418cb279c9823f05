//! The probe's answers, made ready when the verdict changes, so that a request only picks one up. Pure.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{StatusCode, header::CONTENT_TYPE};
use serde::Serialize;

use crate::verdict::{Azure, Mark, Row, Traffic, Verdicts};

/// The header that names what is not as it should be while traffic is still wanted.
const DEGRADED: HeaderName = HeaderName::from_static("x-degraded");

/// The longest reason in a body, in bytes; a probe's log line is no place for more.
const REASON_MAX: usize = 200;

/// The body of `/lb` while traffic is wanted: a stable word, for Application Gateway's body match.
const READY: &str = "ready";

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// One answer, complete.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
    degraded: Option<HeaderValue>,
    close: bool,
    /// The metric label.
    pub(crate) verdict: &'static str,
}

impl IntoResponse for &Answer {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, self.content_type.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(names) = &self.degraded {
            headers.insert(DEGRADED, names.clone());
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        (self.status, headers, self.body.clone()).into_response()
    }
}

/// The answers of every endpoint, with the verdicts they were made from.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    pub(crate) verdicts: Verdicts,
    pub(crate) balancer: Answer,
    pub(crate) azure: Answer,
    pub(crate) live: Answer,
    pub(crate) ready: Answer,
    pub(crate) ready_verbose: Answer,
}

/// The body of the rich health states (Azure, "Application Health extension", "Rich health states"). `customMetrics`, a string
/// that holds JSON, is left out: we have none to report.
#[derive(Debug, Serialize)]
struct RichState {
    #[serde(rename = "ApplicationHealthState")]
    state: &'static str,
}

impl Answers {
    /// The answers for `verdicts`. `leaving` closes connections after the answer, so that a restarted agent is asked anew.
    pub(crate) fn new(verdicts: Verdicts, leaving: bool) -> Self {
        let mut answers = Self {
            balancer: balancer(&verdicts),
            azure: azure(&verdicts.azure),
            live: live(&verdicts),
            ready: ready(&verdicts, false),
            ready_verbose: ready(&verdicts, true),
            verdicts,
        };
        answers.balancer.close |= leaving;
        answers.azure.close |= leaving;
        answers
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>, verdict: &'static str) -> Answer {
    Answer {
        status,
        content_type: TEXT,
        body: body.into(),
        degraded: None,
        close: false,
        verdict,
    }
}

fn balancer(verdicts: &Verdicts) -> Answer {
    match &verdicts.traffic {
        Traffic::Serve => Answer {
            degraded: degraded_header(verdicts),
            ..text(StatusCode::OK, READY, "serve")
        },
        Traffic::Shed(reason) => Answer {
            close: true,
            ..text(StatusCode::SERVICE_UNAVAILABLE, one_line(reason), "shed")
        },
    }
}

fn azure(state: &Azure) -> Answer {
    let rich = |word| {
        // a struct of one string always encodes
        let body = serde_json::to_vec(&RichState { state: word }).unwrap_or_default();
        Answer {
            content_type: JSON,
            ..text(StatusCode::OK, body, state.label())
        }
    };
    match state {
        Azure::Healthy => rich("Healthy"),
        Azure::Unhealthy(_) => rich("Unhealthy"),
        Azure::NoState(reason) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            one_line(reason),
            state.label(),
        ),
    }
}

fn live(verdicts: &Verdicts) -> Answer {
    match &verdicts.stall {
        None => text(StatusCode::OK, "live", "live"),
        Some(stall) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the {} runtime stands still", stall.runtime),
            "stalled",
        ),
    }
}

fn ready(verdicts: &Verdicts, verbose: bool) -> Answer {
    let mut body = String::new();
    if verbose {
        for Row { name, mark, text } in &verdicts.rows {
            body.push_str(&one_line(&format!("{} {name}: {text}", mark.sign())));
            body.push('\n');
        }
    }
    match &verdicts.traffic {
        Traffic::Serve => {
            body.push_str(READY);
            text(StatusCode::OK, body, "serve")
        }
        Traffic::Shed(reason) => {
            body.push_str("not ready: ");
            body.push_str(&one_line(reason));
            text(StatusCode::SERVICE_UNAVAILABLE, body, "shed")
        }
    }
}

/// The names of what is degraded, as far as a header may hold them.
fn degraded_header(verdicts: &Verdicts) -> Option<HeaderValue> {
    if verdicts.degraded.is_empty() {
        return None;
    }
    let names = one_line(&verdicts.degraded.join(", "));
    let plain = names.replace(|c: char| !c.is_ascii_graphic() && c != ' ', "?");
    HeaderValue::from_str(&plain).ok()
}

/// `text` without line breaks and other control characters, cut at [`REASON_MAX`] bytes.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(REASON_MAX));
    for character in text.chars() {
        let character = if character.is_control() {
            ' '
        } else {
            character
        };
        if line.len() + character.len_utf8() > REASON_MAX {
            line.push_str("...");
            break;
        }
        line.push(character);
    }
    line
}

/// The answer given while nothing has been decided yet.
pub(crate) fn undecided() -> Answers {
    let reason = "starting".to_owned();
    Answers::new(
        Verdicts {
            traffic: Traffic::Shed(reason.clone()),
            azure: Azure::NoState(reason),
            stall: None,
            degraded: Vec::new(),
            rows: vec![Row {
                name: "phase".to_owned(),
                mark: Mark::Fail,
                text: "starting".to_owned(),
            }],
        },
        false,
    )
}

#[cfg(test)]
mod tests;
