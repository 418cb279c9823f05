//! One request to the local web server, and the loop that makes it on our own clock. The only outgoing connection of this crate.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use lamplighter_core::fault::chain;
use lamplighter_core::health::{HealthWriter, Reach};
use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::net::{DialError, DialOptions, dial};
use tokio::sync::watch;

use super::{Damper, Failure, Standing};
use crate::config::WebConfig;
use crate::metrics::Metrics;

/// How much of the body is looked at, in bytes.
const BODY_MAX: usize = 64 * 1024;

/// The longest text of somebody else's error that is passed on, in characters.
const TEXT_MAX: usize = 160;

/// Checks the web server again and again.
#[derive(Debug)]
pub(crate) struct Checker {
    config: WebConfig,
    standing: watch::Sender<Standing>,
    line: HealthWriter,
    metrics: Metrics,
}

impl Checker {
    /// A checker that publishes to `standing` and writes `line` of the board.
    pub(crate) const fn new(
        config: WebConfig,
        standing: watch::Sender<Standing>,
        line: HealthWriter,
        metrics: Metrics,
    ) -> Self {
        Self {
            config,
            standing,
            line,
            metrics,
        }
    }

    /// Checks until draining begins.
    pub(crate) async fn run(self, tasks: Tasks) {
        let mut damper = Damper::new(self.config.fall, self.config.rise);
        loop {
            let start = tokio::time::Instant::now();
            let outcome = tokio::select! {
                outcome = check_once(&self.config) => outcome,
                () = tasks.draining() => return,
            };
            self.metrics
                .web_check(start.elapsed(), outcome.as_ref().err());
            let pause = match outcome {
                Ok(()) => self.config.interval.get(),
                // be sure soon: whether it is a hiccup or an outage
                Err(_) => self.config.interval.get() / 4,
            };
            damper.note(outcome, Instant::now());
            self.publish(damper.standing());
            tokio::select! {
                () = tokio::time::sleep_until(start + pause) => {}
                () = tasks.draining() => return,
            }
        }
    }

    fn publish(&self, standing: &Standing) {
        let changed = self.standing.send_if_modified(|known| {
            let changed = known != standing;
            if changed {
                known.clone_from(standing);
            }
            changed
        });
        if !changed {
            return;
        }
        match standing {
            Standing::Off | Standing::Passing => self.line.ok(),
            Standing::Unknown(None) => self.line.degraded(Reach::Local, "not checked yet"),
            Standing::Unknown(Some(failure)) => {
                self.line.degraded(Reach::Local, failure.to_string());
            }
            Standing::Failing { failure, .. } => self.line.down(Reach::Local, failure.to_string()),
        }
    }
}

/// One check: connection, request and answer within the configured time. A connection of its own each time, so that a server
/// that no longer accepts is noticed.
///
/// # Errors
/// With what was wrong.
pub(crate) async fn check_once(config: &WebConfig) -> Result<(), Failure> {
    let limit = config.timeout.get();
    let check = Box::pin(exchange(config, limit));
    tokio::time::timeout(limit, check)
        .await
        .unwrap_or(Err(Failure::Slow(limit)))
}

async fn exchange(config: &WebConfig, limit: Duration) -> Result<(), Failure> {
    let options = DialOptions {
        connect_timeout: limit,
        ..DialOptions::default()
    };
    let stream = dial(config.url.server(), &options)
        .await
        .map_err(|error| match error {
            // a full accept queue: somebody is there and does not get round to us
            DialError::Timeout { .. } => Failure::Slow(limit),
            DialError::Resolve { .. } | DialError::Connect { .. } => {
                Failure::Refused(short(&chain(&error)))
            }
        })?;
    let garbled = |error: hyper::Error| Failure::Garbled(short(&chain(&error)));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(garbled)?;
    let host = config.host.as_deref().unwrap_or_else(|| config.url.host());
    let request = Request::get(config.url.path())
        .header(header::HOST, host)
        .header(header::USER_AGENT, "lamplighter")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::Garbled(short(&error.to_string())))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(garbled)?;
        if response.status().as_u16() != config.expect_status {
            return Err(Failure::Status(response.status().as_u16()));
        }
        let body = read_body(response.into_body()).await?;
        match &config.expect_body {
            Some(text) if !contains(&body, text.as_bytes()) => Err(Failure::Body),
            _ => Ok(()),
        }
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        outcome = &mut answer => outcome,
        // the connection has ended; what it brought is still in the channel
        _ended = &mut connection => answer.await,
    }
}

/// The body up to [`BODY_MAX`]; the rest is not waited for.
async fn read_body(mut body: hyper::body::Incoming) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Garbled(short(&chain(&error))))?;
        if let Some(data) = frame.data_ref() {
            let room = BODY_MAX - bytes.len();
            bytes.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
            if bytes.len() >= BODY_MAX {
                break;
            }
        }
    }
    Ok(bytes)
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests;
