//! Whether a job is due. The fleet's memory of a job is its last result in Redis, dated by Redis' own clock: no two
//! machines' clocks are compared. Pure; no IO.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::JobConfig;

/// How long at most between two looks at a result: a flushed cache is warm again soon after.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// The result of a job, as all instances see it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Done {
    /// Rows read.
    pub(crate) rows: u64,
    /// Keys written.
    pub(crate) keys: u64,
    /// Bytes of keys and values written.
    pub(crate) bytes: u64,
    /// Rows left out.
    pub(crate) skipped: u64,
    /// How long it took.
    pub(crate) duration_ms: u64,
    /// When it ended, in milliseconds since 1970 by Redis' clock.
    pub(crate) finished_ms: u64,
    /// Which run it was.
    pub(crate) generation: u64,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Run it, if no other instance does.
    Run,
    /// A fresh result is there; look again after this.
    Fresh(Duration),
    /// Not yet; look again after this.
    NotYet(Duration),
}

/// Decides for a job whose last result is `done`, `up` after this agent's start.
pub(crate) fn decide(job: &JobConfig, done: Option<&Done>, now_ms: u64, up: Duration) -> Decision {
    let interval = job.interval();
    if let Some(done) = done {
        // a result from the future: Redis' clock was set back; count it as new for no longer than an interval
        let ahead = done.finished_ms.saturating_sub(now_ms);
        let age = now_ms.saturating_sub(done.finished_ms);
        if ahead <= interval.as_u64() && age < interval.as_u64() {
            let left = Duration::from_millis(interval.as_u64() - age);
            return Decision::Fresh(left.min(LOOK_MAX));
        }
        return Decision::Run;
    }
    if job.at_boot || up >= interval.get() {
        return Decision::Run;
    }
    Decision::NotYet((interval.get() - up).min(LOOK_MAX))
}

/// A short name for what a job writes: another query, key or value format is another job, whose result is not there
/// yet. FNV-1a, which stays the same over versions of the agent.
pub(crate) fn fingerprint(job: &JobConfig) -> String {
    let parts = [
        job.query.as_str(),
        job.database.as_deref().unwrap_or_default(),
        &job.key,
        &format!(
            "{:?} {:?} {:?} {:?}",
            job.value, job.types, job.binary, job.column
        ),
    ];
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.join("\0").bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests;
