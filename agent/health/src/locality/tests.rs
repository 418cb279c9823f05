//! Who leaves when a server is down for some.

use lamplighter_core::fleet::Peer;
use lamplighter_core::health::{HealthBoard, Report};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// How the other instances find MySQL, each with the age of its word in seconds.
fn fleet(words: &[(Condition, u64)], read: Instant) -> Fleet {
    let peers = words.iter().enumerate().map(|(number, (word, age))| Peer {
        id: number.to_string(),
        age: Duration::from_secs(*age),
        seen: BTreeMap::from([("mysql".to_owned(), *word)]),
    });
    Fleet {
        peers: peers.collect(),
        read: Some(read),
    }
}

/// A board on which MySQL has been down for `trouble`.
fn board(trouble: Duration, now: Instant) -> Arc<Snapshot> {
    let mut board = Snapshot::clone(&HealthBoard::new().snapshot());
    let report = Report {
        condition: Condition::Down,
        reach: Reach::Shared,
        reason: "refused".to_owned(),
        since: now - trouble,
    };
    board.reports.insert(Arc::from("mysql"), report);
    Arc::new(board)
}

fn is_local(words: &[(Condition, u64)], trouble: u64) -> bool {
    let now = Instant::now() + 1000 * SECOND;
    let trouble = Duration::from_secs(trouble);
    let judged = Locality::default().judge(&board(trouble, now), &fleet(words, now), now);
    judged.reports["mysql"].reach == Reach::Local
}

#[test]
fn more_than_half_of_the_others_prove_it() {
    use Condition::{Degraded, Down, Ok};
    assert!(is_local(&[(Ok, 1)], 60));
    assert!(is_local(&[(Ok, 1), (Degraded, 1), (Down, 1)], 60));
    assert!(!is_local(&[(Ok, 1), (Down, 1)], 60), "half is not more");
    assert!(!is_local(&[(Down, 1); 19], 60), "it is down for everyone");
    assert!(!is_local(&[], 60), "alone: nothing is proved");
}

#[test]
fn only_fresh_words_spoken_after_our_trouble_began_count() {
    use Condition::Ok;
    assert!(!is_local(&[(Ok, 13)], 60), "too old");
    assert!(!is_local(&[(Ok, 1)], 5), "they may not have noticed yet");
    assert!(is_local(&[(Ok, 1)], 6));
    let now = Instant::now() + 1000 * SECOND;
    let board = board(60 * SECOND, now);
    let mut locality = Locality::default();
    let old = fleet(&[(Ok, 1)], now - 12 * SECOND);
    let judged = locality.judge(&board, &old, now);
    assert_eq!(
        judged.reports["mysql"].reach,
        Reach::Shared,
        "read long ago"
    );
    let never = Fleet::default();
    let judged = locality.judge(&board, &never, now);
    assert_eq!(judged.reports["mysql"].reach, Reach::Shared);
}

#[test]
fn the_bounds_count_from_the_proof_on_and_end_with_it() {
    let now = Instant::now() + 1000 * SECOND;
    let board = board(60 * SECOND, now);
    let mut locality = Locality::default();
    let proof = fleet(&[(Condition::Ok, 1)], now);
    assert_eq!(
        locality.judge(&board, &proof, now).reports["mysql"].since,
        now
    );
    let later = now + 3 * SECOND;
    let judged = locality.judge(&board, &proof, later);
    assert_eq!(judged.reports["mysql"].since, now, "since the proof");
    assert!(judged.reports["mysql"].reason.contains("1 of 1 others"));
    let doubt = fleet(&[(Condition::Down, 1)], later);
    let judged = locality.judge(&board, &doubt, later);
    assert_eq!(judged.reports["mysql"].reach, Reach::Shared);
    let again = later + SECOND;
    let judged = locality.judge(&board, &proof, again);
    assert_eq!(judged.reports["mysql"].since, again);
}

/// Twenty instances, any number of which see a server down: never do more than half leave.
#[test]
fn no_outage_empties_the_pool() {
    for down in 0..=20 {
        let mut left = 0;
        for me in 0..20 {
            let others = (0..20).filter(|other| *other != me).map(|other| {
                let word = if other < down {
                    Condition::Down
                } else {
                    Condition::Ok
                };
                (word, 1)
            });
            let others: Vec<_> = others.collect();
            let sees_it_down = me < down;
            left += usize::from(sees_it_down && is_local(&others, 60));
        }
        assert!(left <= 10, "{down} see it down, {left} leave");
        if down == 20 {
            assert_eq!(left, 0);
        }
        if down == 1 {
            assert_eq!(left, 1);
        }
    }
}
