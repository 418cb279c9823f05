//! What is told when, over phases and time.

use lamplighter_core::health::{HealthBoard, Reach};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

/// Duties with a clock and a board of the test's own.
struct Story {
    duties: Duties,
    board: HealthBoard,
    now: Instant,
    stalled: Option<(&'static str, Duration)>,
}

fn story(watchdog: Option<Duration>) -> Story {
    let now = Instant::now();
    Story {
        duties: Duties::new(LIMIT, watchdog, now),
        board: HealthBoard::new(),
        now,
        stalled: None,
    }
}

impl Story {
    /// What is sent in `phase` now, as the messages themselves.
    fn tell(&mut self, phase: Phase) -> Vec<String> {
        let due = self.due(phase);
        self.duties.done(&due, phase, self.now);
        due.states().iter().map(ToString::to_string).collect()
    }

    fn due(&mut self, phase: Phase) -> Due {
        self.duties.due(&Situation {
            phase,
            board: &self.board.snapshot(),
            stalled: self.stalled,
            now: self.now,
        })
    }

    /// Asks in `phase` every pause for `span`, and counts the messages.
    fn count(&mut self, phase: Phase, span: Duration, message: &str) -> usize {
        let end = self.now + span;
        let mut count = 0;
        while self.now < end {
            self.now += self.duties.pause();
            let told = self.tell(phase);
            count += told.iter().filter(|it| it.starts_with(message)).count();
        }
        count
    }
}

#[test]
fn a_life_without_trouble() {
    let mut story = story(None);
    assert_eq!(story.tell(Phase::Starting), ["STATUS=starting"]);
    assert_eq!(story.tell(Phase::Starting), [""; 0]);
    assert_eq!(story.tell(Phase::Ready), ["READY=1", "STATUS=ready"]);
    assert_eq!(story.count(Phase::Ready, 600 * SECOND, ""), 0);
    let more = "EXTEND_TIMEOUT_USEC=30000000";
    assert_eq!(story.tell(Phase::Shedding), ["STATUS=shedding", more]);
    story.now += 5 * SECOND;
    assert_eq!(story.tell(Phase::Shedding), [more]);
    // taken back: ready is not announced a second time
    assert_eq!(story.tell(Phase::Ready), ["STATUS=ready"]);
    assert_eq!(story.tell(Phase::Shedding), ["STATUS=shedding"]);
    assert_eq!(
        story.tell(Phase::Draining),
        ["STOPPING=1", "STATUS=draining"]
    );
    story.now += 5 * SECOND;
    assert_eq!(story.tell(Phase::Stopping), ["STATUS=stopping", more]);
}

#[test]
fn what_did_not_arrive_is_told_again() {
    let mut story = story(None);
    for _ in 0..3 {
        let lost = story.due(Phase::Ready);
        assert!(lost.ready && lost.status.is_some());
    }
    assert_eq!(story.tell(Phase::Ready), ["READY=1", "STATUS=ready"]);
}

#[test]
fn a_start_that_waits_asks_for_time_and_says_for_what() {
    let mut story = story(None);
    let gate = story.board.gate("sync:site");
    assert_eq!(
        story.tell(Phase::Starting),
        ["STATUS=starting; waiting for sync:site"]
    );
    assert_eq!(
        story.count(Phase::Starting, 60 * SECOND, "EXTEND_TIMEOUT_USEC="),
        12
    );
    assert_eq!(
        story.tell(Phase::Ready),
        ["READY=1", "STATUS=ready; waiting for sync:site"]
    );
    gate.open();
    story.now += SECOND;
    assert_eq!(story.tell(Phase::Ready), ["STATUS=ready"]);
}

#[test]
fn the_status_names_what_is_degraded_and_does_not_flap() {
    let mut story = story(None);
    story.tell(Phase::Ready);
    let mysql = story.board.writer("mysql");
    story.board.writer("redis").degraded(Reach::Shared, "slow");
    mysql.down(Reach::Shared, "refused\nX=1");
    assert_eq!(story.tell(Phase::Ready), [""; 0], "too soon");
    story.now += SECOND;
    assert_eq!(
        story.tell(Phase::Ready),
        ["STATUS=ready; mysql down (refusedX=1), redis degraded (slow)"]
    );
    mysql.ok();
    assert_eq!(story.tell(Phase::Ready), [""; 0]);
    // a phase is told at once
    assert!(story.tell(Phase::Shedding)[0].starts_with("STATUS=shedding; redis"));
    mysql.down(Reach::Shared, "\u{e9}".repeat(500));
    let line = status_line(Phase::Ready, &story.board.snapshot());
    assert!(
        line.len() <= STATUS_MAX + 3 && line.ends_with("..."),
        "{line}"
    );
}

#[test]
fn the_watchdog_is_fed_three_times_per_interval_while_all_turns() {
    let mut story = story(Some(30 * SECOND));
    assert_eq!(story.duties.pause(), SECOND);
    assert_eq!(
        story.tell(Phase::Starting),
        ["STATUS=starting", "WATCHDOG=1"]
    );
    for phase in [Phase::Starting, Phase::Ready, Phase::Draining] {
        assert_eq!(
            story.count(phase, 300 * SECOND, "WATCHDOG=1"),
            30,
            "{phase:?}"
        );
    }
}

#[test]
fn a_runtime_that_stands_still_gets_no_watchdog_and_no_time() {
    let mut story = story(Some(30 * SECOND));
    story.count(Phase::Ready, 60 * SECOND, "");
    story.stalled = Some(("data", 11 * SECOND));
    story.now += SECOND;
    let mut held = 0;
    for _ in 0..60 {
        story.now += SECOND;
        let due = story.due(Phase::Draining);
        story.duties.done(&due, Phase::Draining, story.now);
        assert!(!due.watchdog && due.extend.is_none());
        held += usize::from(due.withheld == Some(("data", 11 * SECOND)));
    }
    assert_eq!(held, 1, "said once");
    story.stalled = None;
    story.now += SECOND;
    assert!(story.due(Phase::Draining).watchdog);
}

#[test]
fn after_a_freeze_the_runtimes_get_their_turn_first() {
    let mut story = story(Some(30 * SECOND));
    story.count(Phase::Ready, 60 * SECOND, "");
    story.now += 29 * SECOND;
    story.stalled = Some(("data", 29 * SECOND));
    assert_eq!(story.tell(Phase::Ready), ["WATCHDOG=1"]);
    assert_eq!(story.count(Phase::Ready, 9 * SECOND, "WATCHDOG=1"), 0);
    story.stalled = Some(("data", 39 * SECOND));
    // thawed for longer than the limit and still silent: that is a stall
    assert_eq!(
        story.count(Phase::Ready, 30 * SECOND, "WATCHDOG=1"),
        1,
        "the one that was due at the limit"
    );
    assert_eq!(story.count(Phase::Ready, 30 * SECOND, "WATCHDOG=1"), 0);
}
