//! Who answers, as shares of many reads.

use super::*;

const FRESH: Candidate = Candidate {
    fit: true,
    has_all: true,
    may_wait: true,
    near: true,
    cost: 100,
};

fn shares(candidates: &[Candidate]) -> Vec<usize> {
    let mut hits = vec![0; candidates.len()];
    for random in 0..10_000 {
        if let Choice::Fresh(index) = choose(candidates, random) {
            hits[index] += 1;
        }
    }
    hits
}

#[test]
fn equals_share_the_reads() {
    for count in 1..6 {
        let hits = shares(&vec![FRESH; count]);
        let fair = 10_000 / count;
        assert!(
            hits.iter().all(|hits| hits.abs_diff(fair) <= fair / 5),
            "{hits:?}"
        );
    }
}

#[test]
fn a_slow_one_gets_few_and_never_all() {
    let slow = Candidate { cost: 900, ..FRESH };
    let hits = shares(&[FRESH, slow, FRESH]);
    assert_eq!(hits[1], 0, "it is never the cheaper one of two");
    // alone it is better than none
    let away = Candidate {
        fit: false,
        ..FRESH
    };
    assert_eq!(choose(&[away, slow], 7), Choice::Fresh(1));
}

#[test]
fn neighbours_come_first_if_they_can() {
    let far = Candidate {
        near: false,
        cost: 1,
        ..FRESH
    };
    assert_eq!(shares(&[far, FRESH, far]), [0, 10_000, 0]);
    let behind = Candidate {
        has_all: false,
        ..FRESH
    };
    assert_eq!(shares(&[far, behind]), [10_000, 0]);
}

#[test]
fn what_is_behind_is_waited_for_only_if_nobody_has_all() {
    let behind = Candidate {
        has_all: false,
        ..FRESH
    };
    let hopeless = Candidate {
        may_wait: false,
        ..behind
    };
    let away = Candidate {
        fit: false,
        ..hopeless
    };
    assert_eq!(choose(&[behind, FRESH], 3), Choice::Fresh(1));
    assert_eq!(choose(&[hopeless, behind, away], 3), Choice::Soon(1));
    assert_eq!(choose(&[hopeless, away], 3), Choice::Behind);
    assert_eq!(choose(&[away], 3), Choice::None);
    assert_eq!(choose(&[], 3), Choice::None);
}
