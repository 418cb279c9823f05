//! Sequences of outcomes and the standing after each.

use std::time::Duration;

use super::*;

/// `+` success, `-` failure; gives the standing's letter after each: `?` unknown, `P` passing, `F` failing.
fn run(fall: u32, rise: u32, outcomes: &str) -> String {
    let mut damper = Damper::new(fall, rise);
    let now = Instant::now();
    let letter = |outcome: char| {
        let outcome = match outcome {
            '+' => Ok(()),
            _ => Err(Failure::Status(500)),
        };
        damper.note(outcome, now);
        match damper.standing() {
            Standing::Off => 'o',
            Standing::Unknown(_) => '?',
            Standing::Passing => 'P',
            Standing::Failing { .. } => 'F',
        }
    };
    outcomes.chars().map(letter).collect()
}

#[test]
fn three_failures_down_two_successes_up() {
    for (outcomes, standings) in [
        ("+", "P"),
        ("--+", "??P"),
        ("---", "??F"),
        ("+--+--+---", "PPPPPPPPPF"),
        ("---+-+-++", "??FFFFFFP"),
        ("---++--+", "??FFPPPP"),
        ("---++---", "??FFPPPF"),
    ] {
        assert_eq!(run(3, 2, outcomes), standings, "{outcomes}");
    }
    assert_eq!(run(1, 1, "+-+-"), "PFPF");
}

#[test]
fn a_failing_server_has_failed_since_the_first_of_the_row() {
    let mut damper = Damper::new(2, 2);
    let start = Instant::now();
    damper.note(Ok(()), start);
    damper.note(Err(Failure::Body), start + Duration::from_secs(1));
    damper.note(Err(Failure::Status(502)), start + Duration::from_secs(3));
    damper.note(Ok(()), start + Duration::from_secs(5));
    damper.note(Err(Failure::Status(503)), start + Duration::from_secs(7));
    assert_eq!(
        *damper.standing(),
        Standing::Failing {
            since: start + Duration::from_secs(1),
            failure: Failure::Status(503)
        }
    );
}
