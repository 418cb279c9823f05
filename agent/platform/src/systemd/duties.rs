//! What is due to be told, and whether the watchdog may be fed: a state machine over phases, the board and time. Pure.

use std::fmt::Write;
use std::time::{Duration, Instant};

use lamplighter_core::health::{Condition, Snapshot};
use lamplighter_core::lifecycle::Phase;
use sd_notify::NotifyState;

/// How much more time is asked for while the agent starts or leaves, and how often: the manager's own limit is meant for
/// services that hang, and the watchdog notices those.
const EXTENSION: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(5));

/// The least time between two status lines that differ only in what is degraded.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// The longest status line, in bytes; `systemctl status` shows one line.
const STATUS_MAX: usize = 240;

/// The world as it is when [`Duties::due`] is asked.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) phase: Phase,
    pub(crate) board: &'a Snapshot,
    /// The runtime that has not beaten for longer than the limit, with its silence.
    pub(crate) stalled: Option<(&'static str, Duration)>,
    pub(crate) now: Instant,
}

/// What to send now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) ready: bool,
    pub(crate) stopping: bool,
    pub(crate) status: Option<String>,
    pub(crate) extend: Option<Duration>,
    pub(crate) watchdog: bool,
    /// The watchdog was due and is held back from now on, because of this runtime.
    pub(crate) withheld: Option<(&'static str, Duration)>,
}

impl Due {
    /// As messages.
    pub(crate) fn states(&self) -> Vec<NotifyState<'_>> {
        let mut states = Vec::new();
        if self.ready {
            states.push(NotifyState::Ready);
        }
        if self.stopping {
            states.push(NotifyState::Stopping);
        }
        if let Some(status) = &self.status {
            states.push(NotifyState::Status(status));
        }
        if let Some(extend) = self.extend {
            let micros = u32::try_from(extend.as_micros()).unwrap_or(u32::MAX);
            states.push(NotifyState::ExtendTimeoutUsec(micros));
        }
        if self.watchdog {
            states.push(NotifyState::Watchdog);
        }
        states
    }
}

/// Remembers what has been told.
#[derive(Debug)]
pub(crate) struct Duties {
    limit: Duration,
    /// How often the watchdog is fed.
    feed: Option<Duration>,
    start: Instant,
    ready: bool,
    stopping: bool,
    status: Option<(Phase, String, Instant)>,
    extended: Option<Instant>,
    fed: Option<Instant>,
    withholding: bool,
    awake: Awake,
}

impl Duties {
    /// Nothing told yet. `limit` is how long a runtime may stand still, `watchdog` what the manager wants.
    pub(crate) fn new(limit: Duration, watchdog: Option<Duration>, now: Instant) -> Self {
        // half of it is the advice of sd_watchdog_enabled(3); a third leaves room for a busy machine
        let feed = watchdog.map(|interval| interval / 3);
        Self {
            limit,
            feed,
            start: now,
            ready: false,
            stopping: false,
            status: None,
            extended: None,
            fed: None,
            withholding: false,
            awake: Awake {
                asked: now,
                since: now,
                pause: pause(feed),
            },
        }
    }

    /// How often [`Duties::due`] must be asked.
    pub(crate) const fn pause(&self) -> Duration {
        self.awake.pause
    }

    /// What to send now.
    pub(crate) fn due(&mut self, situation: &Situation<'_>) -> Due {
        let Situation { phase, now, .. } = *situation;
        let awake_for = self.awake.ask(now);
        let frozen = awake_for <= self.limit;
        // after a freeze every runtime looks stalled until it has had its turn
        let stalled = situation.stalled.filter(|_| !frozen);
        let mut due = Due {
            ready: phase == Phase::Ready && !self.ready,
            stopping: (phase >= Phase::Draining || phase == Phase::HandingOver) && !self.stopping,
            status: self.status(situation),
            ..Due::default()
        };
        let wants_time = match phase {
            // a start that is over at once needs no more time
            Phase::Starting => now.saturating_duration_since(self.start) >= EXTENSION.1,
            Phase::Ready => false,
            Phase::HandingOver
            | Phase::Shedding
            | Phase::Draining
            | Phase::Stopping
            | Phase::Stopped => true,
        };
        let asked_lately = self.extended.is_some_and(|last| now - last < EXTENSION.1);
        if wants_time && !asked_lately && stalled.is_none() {
            due.extend = Some(EXTENSION.0);
        }
        let fed_lately = |feed: Duration| self.fed.is_some_and(|last| now - last < feed);
        if self.feed.is_some_and(|feed| !fed_lately(feed)) {
            match stalled {
                None => due.watchdog = true,
                Some(stall) if !self.withholding => due.withheld = Some(stall),
                Some(_) => {}
            }
            self.withholding = stalled.is_some();
        }
        due
    }

    /// `due` has arrived.
    pub(crate) fn done(&mut self, due: &Due, phase: Phase, now: Instant) {
        self.ready |= due.ready;
        self.stopping |= due.stopping;
        if let Some(status) = &due.status {
            self.status = Some((phase, status.clone(), now));
        }
        if due.extend.is_some() {
            self.extended = Some(now);
        }
        if due.watchdog {
            self.fed = Some(now);
        }
    }

    /// Whether READY=1 was sent.
    pub(crate) const fn is_ready(&self) -> bool {
        self.ready
    }

    fn status(&self, situation: &Situation<'_>) -> Option<String> {
        let line = status_line(situation.phase, situation.board);
        match &self.status {
            Some((_, told, _)) if *told == line => None,
            // a board that flaps must not flood the journal of the manager
            Some((phase, _, at))
                if *phase == situation.phase && situation.now - *at < STATUS_PAUSE =>
            {
                None
            }
            _ => Some(line),
        }
    }
}

fn pause(feed: Option<Duration>) -> Duration {
    let (least, most) = (Duration::from_millis(10), Duration::from_secs(1));
    feed.map_or(most, |feed| feed.clamp(least, most))
}

/// One line on the phase, what is waited for and what is degraded.
pub(crate) fn status_line(phase: Phase, board: &Snapshot) -> String {
    let mut line = phase.label().to_owned();
    let waiting: Vec<_> = board.closed_gates().collect();
    // writing to a string cannot fail
    if phase <= Phase::Ready && !waiting.is_empty() {
        let _infallible = write!(line, "; waiting for {}", waiting.join(", "));
    }
    let mut reports = board.reports.iter();
    let mut word = "; ";
    let bad = reports
        .by_ref()
        .filter(|(_, it)| it.condition != Condition::Ok);
    for (name, report) in bad {
        let condition = report.condition.label();
        let _infallible = write!(line, "{word}{name} {condition}");
        if !report.reason.is_empty() {
            let _infallible = write!(line, " ({})", report.reason);
        }
        word = ", ";
    }
    line.retain(|character| !character.is_control());
    if line.len() > STATUS_MAX {
        let end = line.floor_char_boundary(STATUS_MAX);
        line.truncate(end);
        line.push_str("...");
    }
    line
}

/// Whether our own thread has been running.
#[derive(Debug, Clone, Copy)]
struct Awake {
    asked: Instant,
    since: Instant,
    /// How often we expect to be asked.
    pause: Duration,
}

impl Awake {
    /// How long we have been asked without a gap.
    fn ask(&mut self, now: Instant) -> Duration {
        let gap = now.saturating_duration_since(self.asked);
        if gap > self.pause * 4 {
            self.since = now;
        }
        self.asked = now;
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests;
