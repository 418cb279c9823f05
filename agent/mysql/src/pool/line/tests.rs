//! The line as a table of events: who gets what when, on a clock that is set by hand.

use std::time::Duration;

use super::*;

const MS: Duration = Duration::from_millis(1);
const SHEDDING: Shedding = Shedding {
    target: Duration::from_millis(100),
    interval: Duration::from_millis(200),
};
const WEB: Claim = regular(1);
const BATCH: Claim = regular(2);

const fn regular(tenant: usize) -> Claim {
    Claim {
        tenant,
        kind: ClaimKind::Regular,
    }
}

const fn fallback(tenant: usize) -> Claim {
    Claim {
        tenant,
        kind: ClaimKind::Fallback,
    }
}

/// The agent itself, `web` with all of the pool, `batch` with a quarter of it; reads that fall back have a half.
fn line(limit: usize) -> Line<u32> {
    let shares = Shares {
        tenants: [100.0, 100.0, 25.0].map(Percent::new).into(),
        fallback: Percent::new(50.0),
    };
    Line::new(limit, shares, SHEDDING)
}

/// Enters, or joins the line as `who`.
fn ask(line: &mut Line<u32>, now: Instant, claim: Claim, who: u32) -> Entry {
    let entry = line.enter(|| now, claim);
    if entry == Entry::MustWait {
        line.join(now, claim, who);
    }
    entry
}

/// Everybody whose waiting is over: who got a place, and who was shed.
fn serve(line: &mut Line<u32>, now: Instant) -> (Vec<u32>, Vec<u32>) {
    let (mut granted, mut shed) = (Vec::new(), Vec::new());
    while let Some(served) = line.serve(now) {
        match served {
            Served::Granted(who, _) => granted.push(who),
            Served::Shed(who) => shed.push(who),
        }
    }
    (granted, shed)
}

#[test]
fn places_go_to_those_who_asked_first_whoever_they_are() {
    let (mut line, now) = (line(8), Instant::now());
    for _ in 0..8 {
        assert_eq!(ask(&mut line, now, WEB, 0), Entry::Granted);
    }
    for (who, claim) in [(1, WEB), (2, BATCH), (3, fallback(1)), (4, WEB)] {
        assert_eq!(ask(&mut line, now, claim, who), Entry::MustWait);
    }
    assert_eq!((line.in_use(), line.waiting()), (8, 4));
    for expected in 1..=4 {
        line.give_back(WEB);
        assert_eq!(serve(&mut line, now), (vec![expected], vec![]));
    }
    assert_eq!((line.in_use(), line.waiting()), (8, 0));
}

#[test]
fn a_tenant_waits_for_its_own_share_and_holds_nobody_up() {
    let (mut line, now) = (line(8), Instant::now());
    assert_eq!((line.quota(WEB), line.quota(BATCH)), (8, 2));
    for who in 0..4 {
        let entry = ask(&mut line, now, BATCH, who);
        let expected = if who < 2 {
            Entry::Granted
        } else {
            Entry::MustWait
        };
        assert_eq!(entry, expected, "{who}");
    }
    for _ in 0..6 {
        assert_eq!(
            ask(&mut line, now, WEB, 0),
            Entry::Granted,
            "past the others"
        );
    }
    assert_eq!(ask(&mut line, now, WEB, 9), Entry::MustWait);
    line.give_back(WEB);
    assert_eq!(serve(&mut line, now).0, [9], "not one beyond its share");
    line.give_back(BATCH);
    assert_eq!(serve(&mut line, now).0, [2]);
}

#[test]
fn reads_without_their_replica_leave_room_for_writes() {
    let (mut line, now) = (line(4), Instant::now());
    for who in 0..10 {
        ask(&mut line, now, fallback(1), who);
    }
    assert_eq!((line.in_use(), line.waiting()), (2, 8));
    assert_eq!(line.quota(fallback(1)), 2);
    assert_eq!(ask(&mut line, now, WEB, 0), Entry::Granted);
    assert_eq!(
        ask(&mut line, now, BATCH, 0),
        Entry::Granted,
        "at least one"
    );
    line.give_back(fallback(1));
    assert_eq!(serve(&mut line, now).0, [2]);
}

#[test]
fn a_limit_that_shrinks_lets_nobody_in_before_enough_came_back() {
    let (mut line, now) = (line(4), Instant::now());
    for _ in 0..4 {
        ask(&mut line, now, WEB, 0);
    }
    ask(&mut line, now, WEB, 7);
    line.set_limit(2);
    for left in [3, 2] {
        line.give_back(WEB);
        assert_eq!(serve(&mut line, now).0, [0; 0]);
        assert_eq!(line.in_use(), left);
    }
    line.give_back(WEB);
    assert_eq!(serve(&mut line, now).0, [7]);
    line.set_limit(0);
    line.give_back(WEB);
    line.give_back(WEB);
    assert_eq!(
        ask(&mut line, now, WEB, 8),
        Entry::MustWait,
        "no place at all"
    );
    line.set_limit(3);
    assert_eq!(serve(&mut line, now).0, [8]);
}

#[test]
fn who_gives_up_is_passed_over() {
    let (mut line, now) = (line(1), Instant::now());
    ask(&mut line, now, WEB, 0);
    let gone = line.join(now, WEB, 1);
    line.join(now, WEB, 2);
    line.leave(gone, WEB);
    line.leave(gone, WEB);
    assert_eq!(line.waiting(), 1);
    line.give_back(WEB);
    assert_eq!(serve(&mut line, now).0, [2]);
}

/// A pool of one whose statements take 10 ms. Everybody in `arrivals` asks at its time; returns how many were served, shed on the
/// way and turned away, and the longest wait of those served.
fn play(arrivals: &[u32]) -> (usize, usize, usize, Duration) {
    let (mut line, start) = (line(1), Instant::now());
    let mut arrivals = arrivals.to_vec();
    arrivals.sort_unstable();
    let mut arrivals = arrivals.into_iter().peekable();
    let (mut served, mut shed, mut turned_away, mut longest) = (0, 0, 0, Duration::ZERO);
    let mut busy_until = None;
    for at in 0..10_000_u32 {
        let now = start + MS * at;
        if busy_until == Some(at) {
            line.give_back(WEB);
            busy_until = None;
        }
        while arrivals.next_if(|arrival| *arrival <= at).is_some() {
            match ask(&mut line, now, WEB, at) {
                Entry::Granted => busy_until = Some(at + 10),
                Entry::MustWait => {}
                Entry::Hopeless => turned_away += 1,
            }
        }
        while let Some(next) = line.serve(now) {
            match next {
                Served::Granted(asked, _) => {
                    served += 1;
                    longest = longest.max(MS * (at - asked));
                    busy_until = Some(at + 10);
                }
                Served::Shed(_) => shed += 1,
            }
        }
    }
    (served, shed, turned_away, longest)
}

#[test]
fn a_burst_is_waited_out() {
    let burst = [0; 25];
    let (served, shed, turned_away, longest) = play(&burst);
    assert_eq!((served, shed, turned_away), (24, 0, 0));
    assert_eq!(longest, MS * 240);
}

#[test]
fn a_line_that_stands_is_kept_short_and_the_pool_stays_busy() {
    // twice as many as can be served, for five seconds
    let flood: Vec<u32> = (0..1000).map(|n| n * 5).collect();
    let (served, shed, turned_away, longest) = play(&flood);
    assert!(served >= 500, "the pool was idle: {served}");
    assert!(shed + turned_away >= 400, "{shed} {turned_away}");
    assert!(
        turned_away > shed,
        "most should be told at once: {turned_away} {shed}"
    );
    assert!(longest <= MS * 420, "{longest:?}");
    // afterwards all is as before
    let mut again = flood;
    again.extend([8000; 20]);
    let (_, shed_again, away_again, _) = play(&again);
    assert_eq!((shed_again, away_again), (shed, turned_away));
}

#[test]
fn what_was_waited_for_a_server_that_was_away_is_not_held_against_anybody() {
    let (mut line, start) = (line(1), Instant::now());
    ask(&mut line, start, WEB, 0);
    for who in 1..200 {
        ask(&mut line, start, WEB, who);
    }
    let back = start + MS * 5000;
    line.excuse(back);
    for step in 0..13 {
        line.give_back(WEB);
        let (granted, shed) = serve(&mut line, back + MS * 30 * step);
        assert_eq!((granted.len(), shed.len()), (1, 0), "{step}");
    }
}

#[test]
fn without_a_target_nobody_is_shed() {
    let never = Shedding {
        target: Duration::ZERO,
        ..SHEDDING
    };
    let shares = Shares {
        tenants: [Percent::new(100.0)].into(),
        fallback: Percent::new(100.0),
    };
    let (mut line, start) = (Line::new(1, shares, never), Instant::now());
    line.enter(|| start, Claim::OWN);
    for who in 0..100 {
        line.join(start, Claim::OWN, who);
    }
    for step in 1..100 {
        line.give_back(Claim::OWN);
        let next = line.serve(start + MS * 100 * step);
        assert!(matches!(next, Some(Served::Granted(..))), "{step}");
    }
}
