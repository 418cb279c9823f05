//! What the load balancer, Application Health and people are told: a pure function of the phase, the board, the web check and
//! the policy. No IO, no clock of its own.
//!
//! Two readers with opposite contracts. For the load balancer "down" costs nothing: new connections go elsewhere. For
//! Application Health "Unhealthy" or no valid state gets the machine replaced. So what every instance may have at the same
//! time (a server they share is away) never counts against this one.
//!
//! | condition | `/lb` | `/health/azure` |
//! |---|---|---|
//! | first start after boot, not yet fit to serve (starting, a gate closed, web server not seen) | 503 | no state (503): Application Health holds `Initializing` |
//! | restart of the agent on a running machine | 503 until the web check passes | `Healthy` from the first answer |
//! | never gets ready (the configuration cannot work) | 503 | no state: unknown when the grace ends, so a rolling upgrade stops |
//! | web server fails its check `fall` times | 503 | `Healthy`; `Unhealthy` after `unhealthy_after` |
//! | a shared server down (MySQL, Redis, Storage) | 200 and `X-Degraded` | `Healthy` |
//! | web server slow or wrong while a shared server is down | 200 and `X-Degraded` | `Healthy` |
//! | a fault proved local (`locality.rs` says how) | 503 after `shed_after` | `Unhealthy` after `unhealthy_after` |
//! | draining (signal, scheduled event, command) | 503 at once | `Healthy`: it leaves anyway, no repair is wanted |
//! | a runtime of the agent stalled | 503 after `stall_after` | no state after `stall_unknown_after`; the watchdog restarts us first |

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lamplighter_core::health::{Condition, Reach, Report, Snapshot};
use lamplighter_core::lifecycle::Phase;

use crate::config::Policy;
use crate::web::Standing;

/// The board line of the web check. The verdict follows the check itself; the line is there for people and metrics.
pub const WEB: &str = "web";

/// How long a shared outage goes on excusing the web server after it ended: requests that waited for the server must run out
/// before the check can pass again.
pub const EXCUSE_LINGERS: Duration = Duration::from_secs(15);

/// Whether this machine has been fit to serve since it was booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// Not that we know: the first start after boot.
    Fresh,
    /// It has served before: the agent was restarted, or has served in this run.
    Served,
}

/// A runtime of the agent that does not turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// Which one.
    pub runtime: &'static str,
    /// For how long.
    pub silence: Duration,
}

/// All that the verdicts depend on, besides the policy.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Where the process is in its life.
    pub phase: Phase,
    /// What the subsystems say.
    pub board: &'a Snapshot,
    /// What the check of the web server says.
    pub web: &'a Standing,
    /// Whether the machine has served since boot.
    pub past: Past,
    /// A runtime that has not turned for longer than [`Policy::stall_after`].
    pub stall: Option<Stall>,
    /// When a shared server was last seen down, now included.
    pub shared_outage: Option<Instant>,
    /// The moment of the verdict.
    pub now: Instant,
}

/// What the load balancer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Traffic {
    /// 200: send requests.
    Serve,
    /// 503: send none; the reason is one short line.
    Shed(String),
}

/// What Application Health is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Azure {
    /// 200 and the state `Healthy`.
    Healthy,
    /// 200 and the state `Unhealthy`, with our reason for people.
    Unhealthy(String),
    /// 503, which is no valid state: `Initializing` within the grace period, `Unknown` after it.
    NoState(String),
}

impl Azure {
    /// The word used in metrics and on the status page.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy(_) => "unhealthy",
            Self::NoState(_) => "none",
        }
    }
}

/// How one thing that was looked at counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As it should be.
    Pass,
    /// Not as it should be, but no reason to send traffic elsewhere.
    Note,
    /// A reason to send traffic elsewhere.
    Fail,
}

impl Mark {
    /// The sign in front of a `/readyz?verbose` line.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Pass => "[+]",
            Self::Note => "[!]",
            Self::Fail => "[-]",
        }
    }
}

/// One line of `/readyz?verbose`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What was looked at.
    pub name: String,
    /// How it counts.
    pub mark: Mark,
    /// How it is, for people.
    pub text: String,
}

/// What everybody is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts {
    /// For the load balancer.
    pub traffic: Traffic,
    /// For Application Health.
    pub azure: Azure,
    /// For `/livez`: the stalled runtime, if there is one.
    pub stall: Option<Stall>,
    /// Every component that is not as it should be, in alphabetical order.
    pub degraded: Vec<Arc<str>>,
    /// For `/readyz?verbose`.
    pub rows: Vec<Row>,
}

/// Decides.
#[must_use]
pub fn decide(inputs: &Inputs<'_>, policy: &Policy) -> Verdicts {
    let traffic = reason_to_shed(inputs, policy).map_or(Traffic::Serve, Traffic::Shed);
    let azure = azure(inputs, policy, &traffic);
    Verdicts {
        traffic,
        azure,
        stall: inputs.stall,
        degraded: degraded(inputs),
        rows: rows(inputs, policy),
    }
}

/// Whether a component that every instance uses is down.
#[must_use]
pub fn is_shared_outage(board: &Snapshot) -> bool {
    let down =
        |report: &Report| report.condition == Condition::Down && report.reach == Reach::Shared;
    board.reports.values().any(down)
}

fn reason_to_shed(inputs: &Inputs<'_>, policy: &Policy) -> Option<String> {
    if let Some(stall) = inputs.stall {
        return Some(stall_text(stall));
    }
    if is_leaving(inputs.phase) {
        return Some(inputs.phase.label().to_owned());
    }
    let closed = closed_gates(inputs);
    if inputs.phase == Phase::Starting || !closed.is_empty() {
        return Some(start_text(&closed));
    }
    let shed_after = policy.shed_after.get();
    if let Some((name, report)) = local_faults(inputs).find(|(_, it)| age(it, inputs) >= shed_after)
    {
        return Some(format!("{name}: {}", report.reason));
    }
    match inputs.web {
        Standing::Off | Standing::Passing => None,
        Standing::Unknown(None) => Some(format!("{WEB}: not checked yet")),
        Standing::Unknown(Some(failure)) => Some(format!("{WEB}: {failure}")),
        Standing::Failing { failure, .. } if !excused(inputs, policy) => {
            Some(format!("{WEB}: {failure}"))
        }
        Standing::Failing { .. } => None,
    }
}

fn azure(inputs: &Inputs<'_>, policy: &Policy, traffic: &Traffic) -> Azure {
    if inputs.past == Past::Fresh {
        // not before it has once been fit to serve: `Healthy` would let a rolling upgrade go on over broken machines
        return match traffic {
            Traffic::Serve => Azure::Healthy,
            Traffic::Shed(reason) => Azure::NoState(reason.clone()),
        };
    }
    if is_leaving(inputs.phase) {
        return Azure::Healthy;
    }
    if let Some(stall) = inputs.stall
        && stall.silence >= policy.stall_unknown_after.get()
    {
        return Azure::NoState(stall_text(stall));
    }
    let bound = policy.unhealthy_after.get();
    if let Some((name, report)) = local_faults(inputs).find(|(_, it)| age(it, inputs) >= bound) {
        return Azure::Unhealthy(format!("{name}: {}", report.reason));
    }
    if let Standing::Failing { since, failure } = inputs.web
        && !excused(inputs, policy)
    {
        // time during which it was excused does not count
        let since = inputs
            .shared_outage
            .filter(|_| policy.shared_outage_excuses_web)
            .map_or(*since, |outage| outage.max(*since));
        if inputs.now.saturating_duration_since(since) >= bound {
            return Azure::Unhealthy(format!("{WEB}: {failure}"));
        }
    }
    Azure::Healthy
}

/// Whether the process is on its way out of the load balancer's pool.
const fn is_leaving(phase: Phase) -> bool {
    // who hands over to a successor does not leave the pool
    !matches!(phase, Phase::Starting | Phase::Ready | Phase::HandingOver)
}

/// Gates hold traffic back only until the machine has served once.
fn closed_gates<'a>(inputs: &Inputs<'a>) -> Vec<&'a str> {
    match inputs.past {
        Past::Fresh => inputs.board.closed_gates().collect(),
        Past::Served => Vec::new(),
    }
}

fn local_faults<'a>(inputs: &Inputs<'a>) -> impl Iterator<Item = (&'a str, &'a Report)> {
    inputs
        .board
        .reports
        .iter()
        .map(|(name, report)| (&**name, report))
        .filter(|(name, report)| {
            *name != WEB && report.condition == Condition::Down && report.reach == Reach::Local
        })
}

/// Whether the web server's failure may come from a server that all instances share, so that it proves nothing about this one.
fn excused(inputs: &Inputs<'_>, policy: &Policy) -> bool {
    let Standing::Failing { failure, .. } = inputs.web else {
        return false;
    };
    policy.shared_outage_excuses_web
        && inputs.past == Past::Served
        && !failure.is_refusal()
        && inputs
            .shared_outage
            .is_some_and(|last| inputs.now.saturating_duration_since(last) < EXCUSE_LINGERS)
}

fn age(report: &Report, inputs: &Inputs<'_>) -> Duration {
    inputs.now.saturating_duration_since(report.since)
}

fn stall_text(stall: Stall) -> String {
    format!(
        "the {} runtime has stood still for {} s",
        stall.runtime,
        stall.silence.as_secs()
    )
}

fn start_text(closed: &[&str]) -> String {
    if closed.is_empty() {
        Phase::Starting.label().to_owned()
    } else {
        format!("waiting for {}", closed.join(", "))
    }
}

fn degraded(inputs: &Inputs<'_>) -> Vec<Arc<str>> {
    let reports = inputs.board.reports.iter();
    reports
        .filter(|(_, report)| report.condition != Condition::Ok)
        .map(|(name, _)| Arc::clone(name))
        .collect()
}

fn rows(inputs: &Inputs<'_>, policy: &Policy) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |name: &str, mark, text: String| {
        rows.push(Row {
            name: name.to_owned(),
            mark,
            text,
        });
    };
    let ready = matches!(inputs.phase, Phase::Ready | Phase::HandingOver);
    add(
        "phase",
        if ready { Mark::Pass } else { Mark::Fail },
        inputs.phase.label().to_owned(),
    );
    match inputs.stall {
        None => add("runtimes", Mark::Pass, "turning".to_owned()),
        Some(stall) => add("runtimes", Mark::Fail, stall_text(stall)),
    }
    for (gate, open) in &inputs.board.gates {
        let (mark, text) = match (open, inputs.past) {
            (true, _) => (Mark::Pass, "done"),
            (false, Past::Fresh) => (Mark::Fail, "not done yet"),
            (false, Past::Served) => (Mark::Note, "not done yet; served before"),
        };
        add(&format!("gate {gate}"), mark, text.to_owned());
    }
    for (name, report) in inputs
        .board
        .reports
        .iter()
        .filter(|(name, _)| &***name != WEB)
    {
        let (mark, text) = component_row(report, inputs, policy);
        add(name, mark, text);
    }
    match inputs.web {
        Standing::Off => {}
        Standing::Passing => add(WEB, Mark::Pass, "ok".to_owned()),
        Standing::Unknown(None) => add(WEB, Mark::Fail, "not checked yet".to_owned()),
        Standing::Unknown(Some(failure)) => add(WEB, Mark::Fail, failure.to_string()),
        Standing::Failing { failure, .. } if excused(inputs, policy) => add(
            WEB,
            Mark::Note,
            format!("{failure} (excused: a shared server is down)"),
        ),
        Standing::Failing { failure, .. } => add(WEB, Mark::Fail, failure.to_string()),
    }
    rows
}

fn component_row(report: &Report, inputs: &Inputs<'_>, policy: &Policy) -> (Mark, String) {
    let mut text = report.condition.label().to_owned();
    if report.condition == Condition::Ok {
        return (Mark::Pass, text);
    }
    // writing to a string cannot fail
    let _infallible = write!(
        text,
        " ({}) for {} s: {}",
        report.reach.label(),
        age(report, inputs).as_secs(),
        report.reason
    );
    let sheds = report.condition == Condition::Down
        && report.reach == Reach::Local
        && age(report, inputs) >= policy.shed_after.get();
    (if sheds { Mark::Fail } else { Mark::Note }, text)
}

#[cfg(test)]
mod tests;
