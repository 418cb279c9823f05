//! What is known of a replica by the counter.

use std::time::Duration;

use super::*;

fn at(begin: Instant, millis: u64) -> Instant {
    begin + Duration::from_millis(millis)
}

#[test]
fn a_replica_covers_what_was_answered_before_the_value_ahead_of_its_own_was_last_seen() {
    let (beats, begin) = (Beats::default(), Instant::now());
    assert_eq!(beats.covered_by(1), None);
    for (value, millis) in [(10, 0), (10, 100), (11, 200), (13, 300), (13, 400)] {
        beats.seen_on_primary(value, at(begin, millis));
    }
    assert_eq!(beats.covered_by(10), None, "10 may be as old as it likes");
    assert_eq!(beats.covered_by(11), Some(at(begin, 100)));
    // 12 was never seen on the primary; it was written after 11 was
    assert_eq!(beats.covered_by(12), Some(at(begin, 200)));
    assert_eq!(beats.covered_by(13), Some(at(begin, 200)));
    assert_eq!(beats.covered_by(14), Some(at(begin, 400)));
    assert_eq!(beats.unchanged_since(), Some(at(begin, 300)));
}

#[test]
fn a_replica_from_before_all_that_is_remembered_is_at_least_that_old() {
    let (beats, minute) = (Beats::default(), Duration::from_secs(60));
    assert_eq!(beats.at_least_as_old(9), None);
    beats.seen_on_primary(10, Instant::now() - minute);
    beats.seen_on_primary(11, Instant::now());
    assert!(beats.at_least_as_old(9).is_some_and(|age| age >= minute));
    assert_eq!(
        beats.at_least_as_old(10),
        None,
        "nobody knows how old 10 is"
    );
}

#[test]
fn what_was_answered_before_a_look_is_covered_by_the_next_value() {
    let (beats, begin) = (Beats::default(), Instant::now());
    assert_eq!(beats.after(begin), None);
    beats.seen_on_primary(10, at(begin, 100));
    assert_eq!(beats.after(at(begin, 100)), Some(11));
    assert_eq!(beats.after(at(begin, 101)), None);
    beats.seen_on_primary(12, at(begin, 200));
    assert_eq!(beats.after(at(begin, 101)), Some(13));
    assert_eq!(beats.after(at(begin, 50)), Some(11));
}

#[test]
fn a_counter_that_goes_back_is_another_one_and_few_are_kept() {
    let (beats, begin) = (Beats::default(), Instant::now());
    beats.seen_on_primary(10, begin);
    beats.seen_on_primary(3, at(begin, 100));
    assert_eq!(beats.covered_by(11), Some(at(begin, 100)));
    assert_eq!(beats.covered_by(3), None);
    for value in 4..4 + 2 * KEPT_MAX as u64 {
        beats.seen_on_primary(value, at(begin, value * 100));
    }
    assert_eq!(beats.lock().len(), KEPT_MAX);
}
