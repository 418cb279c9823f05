//! Whether a job is due. The fleet's memory of a job is its last result in Redis, dated by Redis' own clock: no two
//! machines' clocks are compared. Pure; no IO.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::{JobConfig, Source};

/// How long at most between two looks at a result: a flushed cache is warm again soon after.
pub(crate) const LOOK_MAX: Duration = Duration::from_secs(5);

/// The result of a job, as all instances see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Done {
    /// Rows read.
    pub(crate) rows: u64,
    /// Keys written.
    pub(crate) keys: u64,
    /// Bytes of keys and values written.
    pub(crate) bytes: u64,
    /// Rows left out.
    pub(crate) skipped: u64,
    /// Of the keys those that were left as they were.
    #[serde(default)]
    pub(crate) kept: u64,
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

/// What a decision is made from, beside the job itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The fleet's last result.
    pub(crate) done: Option<&'a Done>,
    /// Redis' clock, in milliseconds since 1970.
    pub(crate) now_ms: u64,
    /// How long this agent has been running.
    pub(crate) up: Duration,
    /// This agent has seen a result before.
    pub(crate) settled: bool,
    /// Redis has lost its data since then.
    pub(crate) flushed: bool,
}

/// Decides whether a job is due.
pub(crate) fn decide(job: &JobConfig, facts: Facts<'_>) -> Decision {
    if facts.flushed && job.after_flush {
        return Decision::Run;
    }
    let once = job.every.is_none() && job.cron.is_none();
    match facts.done {
        // nothing more to do than to see whether it is still there
        _ if once && facts.settled => Decision::Fresh(LOOK_MAX),
        Some(done) => match left(job, done, facts.now_ms) {
            Some(left) => Decision::Fresh(left.min(LOOK_MAX)),
            None if once && !job.at_boot => Decision::NotYet(LOOK_MAX),
            None => Decision::Run,
        },
        None if job.at_boot => Decision::Run,
        None => match first(job, facts) {
            Some(left) if left.is_zero() => Decision::Run,
            Some(left) => Decision::NotYet(left.min(LOOK_MAX)),
            None => Decision::NotYet(LOOK_MAX),
        },
    }
}

/// How long a result is still good; `None` if the job is due.
fn left(job: &JobConfig, done: &Done, now_ms: u64) -> Option<Duration> {
    if let Some(cron) = &job.cron {
        // a result from the future: Redis' clock was set back; what is due is due
        if done.finished_ms > now_ms || cron.last(now_ms).is_some_and(|at| at > done.finished_ms) {
            return None;
        }
        let next = cron.next(now_ms).map_or(u64::MAX, |at| at - now_ms);
        return Some(Duration::from_millis(next));
    }
    // count it as new for no longer than an interval
    let interval = job.interval().as_u64();
    let ahead = done.finished_ms.saturating_sub(now_ms);
    let age = now_ms.saturating_sub(done.finished_ms);
    (ahead <= interval && age < interval).then(|| Duration::from_millis(interval - age))
}

/// How long until the first run of a job that nobody has done and that does not run at the start.
fn first(job: &JobConfig, facts: Facts<'_>) -> Option<Duration> {
    if let Some(cron) = &job.cron {
        let up_ms = u64::try_from(facts.up.as_millis()).unwrap_or(u64::MAX);
        let started_ms = facts.now_ms.saturating_sub(up_ms);
        if cron.last(facts.now_ms).is_some_and(|at| at > started_ms) {
            return Some(Duration::ZERO);
        }
        let next = cron.next(facts.now_ms)?;
        return Some(Duration::from_millis(next - facts.now_ms));
    }
    Some(job.every?.get().saturating_sub(facts.up))
}

/// When a job runs, for people.
pub(crate) fn describe(job: &JobConfig) -> String {
    let mut times = Vec::new();
    if job.at_boot {
        times.push("at boot".to_owned());
    }
    if let Some(every) = job.every {
        times.push(format!("every {every}"));
    }
    if let Some(cron) = &job.cron {
        times.push(format!("cron {cron} UTC"));
    }
    if job.after_flush && job.source != Source::Urls {
        times.push("after a flush".to_owned());
    }
    match times.is_empty() {
        true => "by hand".to_owned(),
        false => times.join(", "),
    }
}

/// A short name for what a job writes: another query, key or value format is another job, whose result is not there
/// yet. FNV-1a, which stays the same over versions of the agent.
pub(crate) fn fingerprint(job: &JobConfig) -> String {
    let mut parts = vec![
        job.query.clone(),
        job.database.clone().unwrap_or_default(),
        job.key.clone(),
        format!(
            "{:?} {:?} {:?} {:?}",
            job.value, job.types, job.binary, job.column
        ),
    ];
    if job.source != Source::Sql {
        parts.push(format!("{:?} {:?}", job.source, job.file));
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.join("\0").bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests;
