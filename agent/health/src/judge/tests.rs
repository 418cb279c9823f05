//! When a silence is a stall and when it is a freeze.

use super::*;

#[test]
fn a_thread_that_was_frozen_itself_accuses_nobody_at_first() {
    let start = Instant::now();
    let mut clock = OwnClock::new(start);
    let mut now = start;
    for _ in 0..40 {
        now += TICK;
        clock.tick(now);
    }
    assert_eq!(clock.awake_for(now), TICK * 40);
    // nine seconds of freeze: asked before the next tick as after it
    now += Duration::from_secs(9);
    assert_eq!(clock.awake_for(now), Duration::ZERO);
    clock.tick(now);
    assert_eq!(clock.awake_for(now), Duration::ZERO);
    now += TICK;
    clock.tick(now);
    assert_eq!(clock.awake_for(now), TICK);
}
