//! Pages of the local web server, one after the other, so that what it keeps on this machine is warm: OPcache, APCu, page caches. Leaves
//! the server at least as much time as it takes from it. Opens connections to the web server; reads the file with paths.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use lamplighter_core::fault::chain;
use lamplighter_core::net::{DialOptions, dial};
use lamplighter_core::units::Bytes as Size;
use tokio::time::Instant;

use super::config::{JobConfig, is_path};
use super::error::RunError;
use super::intake::Read;
use super::lines::Lines;
use super::standing::Progress;
use super::value::Skip;
use crate::metrics::JobSeries;

/// The longest path in a file.
const PATH_MAX: Size = Size::new(8 * 1024);

/// The longest pause between two pages.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// So many failures one after the other end the run: the server has other worries.
const FAILURES_MAX: u32 = 3;

/// A page that takes this many times what pages took at their best is slow.
const SLOW: u32 = 3;

/// Below this no page is slow.
const QUICK: Duration = Duration::from_millis(50);

/// Why a page was not had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    #[error("{path}: no answer within {limit:?}")]
    Slow { path: String, limit: Duration },
    #[error("{path}: status {status}")]
    Status { path: String, status: u16 },
    #[error("{path}: {reason}")]
    Broken { path: String, reason: String },
}

/// How long to leave the server alone between two pages. Pure.
#[derive(Debug, Default)]
struct Pace {
    best: Option<Duration>,
    factor: u32,
}

impl Pace {
    /// After a page that took so long: as long again, and twice that, four times that while pages are slow.
    fn after(&mut self, took: Duration) -> Duration {
        let best = self.best.map_or(took, |best| best.min(took));
        self.best = Some(best);
        self.factor = match took > QUICK && took > best * SLOW {
            true => (self.factor * 2).clamp(2, 16),
            false => (self.factor / 2).max(1),
        };
        (took * self.factor).min(PAUSE_MAX)
    }
}

/// Asks for every page of the job once.
pub(crate) async fn crawl(
    job: &JobConfig,
    dry: bool,
    progress: &Progress,
    series: &JobSeries,
) -> Result<Read, RunError> {
    let mut walk = Walk {
        job,
        dry,
        progress,
        series,
        pace: Pace::default(),
        failures: 0,
        read: Read::default(),
    };
    for path in &job.urls {
        walk.step(path).await?;
    }
    if let Some(file) = &job.file {
        walk.file(file).await?;
    }
    Ok(walk.read)
}

struct Walk<'a> {
    job: &'a JobConfig,
    dry: bool,
    progress: &'a Progress,
    series: &'a JobSeries,
    pace: Pace,
    failures: u32,
    read: Read,
}

impl Walk<'_> {
    async fn file(&mut self, file: &Path) -> Result<(), RunError> {
        let mut lines = Lines::open(file, PATH_MAX).await?;
        while let Some(line) = lines.next().await? {
            let path = String::from_utf8_lossy(line).into_owned();
            // a comment
            if !path.starts_with('#') {
                self.step(&path).await?;
            }
        }
        Ok(())
    }

    async fn step(&mut self, path: &str) -> Result<(), RunError> {
        self.read.rows += 1;
        self.progress.add_rows(1);
        self.series.rows(1);
        if self.read.rows > self.job.rows_max {
            return Err(RunError::TooManyRows(self.job.rows_max));
        }
        if !is_path(path) {
            self.skip(Skip::NoPath);
            return Ok(());
        }
        if self.dry {
            return Ok(());
        }
        let began = Instant::now();
        let outcome = fetch(self.job, path).await;
        let mut pause = self.pace.after(began.elapsed());
        match outcome {
            Ok(()) => self.failures = 0,
            Err(error @ PageError::Status { status: ..500, .. }) => {
                tracing::debug!(job = self.job.name, %error, "a page to warm is not there");
                self.skip(Skip::NoPage);
            }
            Err(error) => {
                self.failures += 1;
                if self.failures >= FAILURES_MAX {
                    return Err(error.into());
                }
                self.skip(Skip::NoPage);
                pause = PAUSE_MAX / 10 * self.failures;
            }
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn skip(&mut self, skip: Skip) {
        self.read.skipped += 1;
        self.progress.add_skipped(1);
        self.series.skipped(skip, 1);
    }
}

async fn fetch(job: &JobConfig, path: &str) -> Result<(), PageError> {
    let limit = job.page_timeout.get();
    let exchange = Box::pin(exchange(job, path, limit));
    tokio::time::timeout(limit, exchange)
        .await
        .unwrap_or_else(|_| {
            Err(PageError::Slow {
                path: path.to_owned(),
                limit,
            })
        })
}

async fn exchange(job: &JobConfig, path: &str, limit: Duration) -> Result<(), PageError> {
    let broken = |reason: String| PageError::Broken {
        path: path.to_owned(),
        reason,
    };
    let options = DialOptions {
        connect_timeout: limit,
        ..DialOptions::default()
    };
    let stream = dial(&job.web, &options)
        .await
        .map_err(|error| broken(chain(&error)))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(chain(&error)))?;
    let host = job.host.as_deref().unwrap_or(&job.web.host);
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "lamplighter-warm")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(error.to_string()))?;
    let answer = async {
        let sent = sender.send_request(request).await;
        let response = sent.map_err(|error| broken(chain(&error)))?;
        let status = response.status().as_u16();
        // to its end: what PHP does after the first byte is to be warm, too
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| broken(chain(&error)))?;
        }
        match status {
            ..400 => Ok(()),
            status => Err(PageError::Status {
                path: path.to_owned(),
                status,
            }),
        }
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        outcome = &mut answer => outcome,
        // the connection has ended; what it brought is still in the channel
        _ended = &mut connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_server_is_left_alone_for_longer() {
        let millis = Duration::from_millis;
        let mut pace = Pace::default();
        assert_eq!(pace.after(millis(40)), millis(40));
        assert_eq!(pace.after(millis(100)), millis(100));
        assert_eq!(pace.after(millis(400)), millis(800));
        assert_eq!(pace.after(millis(400)), millis(1600));
        assert_eq!(pace.after(millis(40)), millis(80));
        assert_eq!(pace.after(millis(40)), millis(40));
        assert_eq!(pace.after(Duration::from_secs(60)), PAUSE_MAX);
    }
}
