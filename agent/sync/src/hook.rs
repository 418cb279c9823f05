//! A command of the operator's that is run after files changed: without a shell, one at a time, not too often, not for ever.
//! Starts processes.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::config::Config;

/// How much of what a failed command said is told.
const SAID_MAX: u64 = 2000;

/// The command of one entry.
#[derive(Debug)]
pub(crate) struct Hook {
    job: String,
    words: Vec<String>,
    interval: Duration,
    time_max: Duration,
    /// When it was last begun.
    last: Option<Instant>,
    /// Something changed since; the release that is live, if there are releases.
    due: Option<String>,
}

impl Hook {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            job: config.name.clone(),
            words: config.after_change.clone(),
            interval: config.after_change_interval.get(),
            time_max: config.after_change_timeout.get(),
            last: None,
            due: None,
        }
    }

    /// Files changed, or `release` became live.
    pub(crate) fn changed(&mut self, release: Option<&str>) {
        if !self.words.is_empty() {
            self.due = Some(release.unwrap_or_default().to_owned());
        }
    }

    /// When it is to be run; `None` if it is not.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.due.as_ref()?;
        let now = Instant::now();
        Some(
            self.last
                .map_or(now, |last| (last + self.interval).max(now)),
        )
    }

    /// Runs it if it is due by now.
    ///
    /// # Errors
    /// With what it said, if it did not end with success.
    pub(crate) async fn run_if_due(&mut self) -> Option<Result<(), String>> {
        if self.due_at()? > Instant::now() {
            return None;
        }
        let release = self.due.take()?;
        self.last = Some(Instant::now());
        Some(self.run(&release).await)
    }

    async fn run(&self, release: &str) -> Result<(), String> {
        let Some((program, arguments)) = self.words.split_first() else {
            return Ok(());
        };
        tracing::info!(job = self.job, program, release, "running after_change");
        let mut child = Command::new(program)
            .args(arguments)
            .env("LAMPLIGHTER_SYNC", &self.job)
            .env("LAMPLIGHTER_RELEASE", release)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{program} cannot be started: {error}"))?;
        let mut said = Vec::new();
        let stderr = child.stderr.take();
        let work = async {
            if let Some(mut stderr) = stderr {
                let _read = (&mut stderr).take(SAID_MAX).read_to_end(&mut said).await;
                // the rest is of no interest, but must not block it
                let _rest = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
            }
            child.wait().await
        };
        match timeout(self.time_max, work).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!(
                "{program} ended with {status}: {}",
                String::from_utf8_lossy(&said).trim()
            )),
            Ok(Err(error)) => Err(format!("{program}: {error}")),
            Err(_) => Err(format!(
                "{program} was ended after {:?} (after_change_timeout)",
                self.time_max
            )),
        }
    }
}

#[cfg(test)]
mod tests;
