//! What silence is, and when a statement is given up that a server does not know of.

use super::*;

fn waiting(since: u64, seconds: u64) -> Waiting {
    Waiting {
        id: 7,
        since,
        waited: Duration::from_secs(seconds),
        sent: 0,
        harmless: false,
        has_own_id: true,
        peer: "127.0.0.1:3306".parse().unwrap(),
    }
}

#[test]
fn a_statement_is_given_up_when_the_server_twice_does_not_know_of_it() {
    let mut doubts = Vec::new();
    let mut at = |seconds, works| {
        follow(&mut doubts, [waiting(1, seconds)].into_iter());
        doubts[0].is_due().then(|| doubts[0].is_borne_out(works))
    };
    assert_eq!(at(10, true), Some(false), "it works on it");
    assert_eq!(at(12, false), None, "asked again after as long again");
    assert_eq!(at(20, false), Some(false), "it may have ended just then");
    assert_eq!(at(21, true), Some(false), "or begun");
    assert_eq!(at(31, false), Some(false));
    assert_eq!(at(32, false), Some(true));
}

#[test]
fn a_server_may_take_longer_to_read_what_is_large() {
    assert_eq!(doubt_after(0), DOUBT);
    let seconds = doubt_after(17 << 20).as_secs();
    assert!((27..29).contains(&seconds), "{seconds}");
}

#[test]
fn another_statement_on_the_same_connection_is_another_doubt() {
    let mut doubts = Vec::new();
    follow(&mut doubts, [waiting(1, 10)].into_iter());
    assert!(!doubts[0].is_borne_out(false));
    follow(&mut doubts, [waiting(2, 11)].into_iter());
    assert!(
        !doubts[0].is_borne_out(false),
        "asked about for the first time"
    );
    follow(&mut doubts, [].into_iter());
    assert!(doubts.is_empty());
}

#[test]
fn only_who_says_nothing_is_silent() {
    let connect = |kind: ErrorKind| {
        OpenError::Dial(DialError::Connect {
            address: "db:3306".parse().unwrap(),
            source: kind.into(),
        })
    };
    for (error, expected) in [
        (OpenError::Timeout(ASK), "silence"),
        (connect(ErrorKind::TimedOut), "silence"),
        (connect(ErrorKind::HostUnreachable), "silence"),
        (connect(ErrorKind::ConnectionRefused), "refused"),
        (OpenError::Io(ErrorKind::ConnectionReset.into()), "refused"),
        (OpenError::ClearPassword, "not asked"),
    ] {
        let seen = match answer_of(&error) {
            Answer::Silence => "silence",
            Answer::Refused => "refused",
            Answer::NotAsked => "not asked",
            Answer::Heard(_) => "heard",
        };
        assert_eq!(seen, expected, "{error:?}");
    }
}
