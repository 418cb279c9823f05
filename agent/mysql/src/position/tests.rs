//! Which replica has which writes.

use std::collections::BTreeSet;
use std::time::Duration;

use lamplighter_wire::mysql::gtid::TEXT_MAX;
use proptest::prelude::*;

use super::*;

const A: &str = "084925bc-e703-11f1-8a4d-02fc00000001";
const B: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

fn replica(gtids: &str) -> Freshness {
    Freshness {
        executed: Arc::new(GtidSet::parse(gtids.as_bytes()).unwrap()),
        ..Freshness::default()
    }
}

fn write(at: Instant, gtids: &str) -> Position {
    Position::with_gtids(at, gtids.as_bytes())
}

#[test]
fn nobody_has_to_see_nothing() {
    assert!(Position::default().is_in(&Freshness::default()));
}

#[test]
fn a_write_with_a_name_is_looked_for_by_its_name() {
    let mut position = write(Instant::now(), &format!("{A}:7"));
    assert!(position.is_in(&replica(&format!("{A}:1-7"))));
    assert!(!position.is_in(&replica(&format!("{A}:1-6:8-9"))));
    position.add(&write(Instant::now(), &format!("{A}:9")));
    // what lies between two writes of a session is not known to be somebody else's
    assert!(!position.is_in(&replica(&format!("{A}:1-7:9"))));
    assert!(position.is_in(&replica(&format!("{A}:1-10"))));
    assert_eq!(position.gtids().unwrap(), format!("{A}:7-9"));
    position.add(&write(Instant::now(), &format!("{B}:1")));
    assert!(!position.is_in(&replica(&format!("{A}:1-10"))));
    assert!(position.is_in(&replica(&format!("{A}:1-10,{B}:1-2"))));
}

#[test]
fn a_write_without_a_name_needs_a_beat_behind_it() {
    let at = Instant::now();
    let mut position = Position::at(at);
    let has_all = replica(&format!("{A}:1-100"));
    assert!(!position.is_in(&has_all), "no name, no beat");
    let covering = |covers| Freshness {
        covers: Some(covers),
        ..Freshness::default()
    };
    assert!(position.is_in(&covering(at)));
    assert!(!position.is_in(&covering(at - Duration::from_nanos(1))));
    // one write without a name makes all of them count by time
    position.add(&write(at + Duration::from_secs(1), &format!("{A}:7")));
    assert_eq!(position.gtids(), None);
    assert!(!position.is_in(&has_all) && !position.is_in(&covering(at)));
    assert!(position.is_in(&covering(at + Duration::from_secs(1))));
}

#[test]
fn a_name_that_cannot_be_read_is_none() {
    for text in ["", "nonsense", &format!("{A}:0")] {
        let position = write(Instant::now(), text);
        assert_eq!(position.gtids(), None);
        assert!(!position.is_in(&replica(&format!("{A}:1-9"))));
    }
    let five: Vec<String> = (0..5).map(|id| format!("{A}{id}:1")).collect();
    let position = write(Instant::now(), &five.join(",").replacen("084", "", 5));
    assert_eq!(position.gtids(), None, "more sources than are kept");
}

#[test]
fn writes_of_others_have_to_be_there_whatever_else_is() {
    let mut others = Position::of_others_by_beat(12);
    let at = |beat| Freshness {
        beat: Some(beat),
        ..Freshness::default()
    };
    assert!(!others.is_in(&at(11)) && others.is_in(&at(12)));
    let written = Instant::now();
    others.add(&Position::at(written));
    assert!(!others.is_in(&at(12)), "our own is not known to be there");
    let both = Freshness {
        covers: Some(written),
        ..at(12)
    };
    assert!(others.is_in(&both));
    assert_eq!(others.gtids(), None);
    // a name is looked for even where our own write is known by time
    others.add(&Position::of_others_by_gtids(format!("{A}:3").as_bytes()).unwrap());
    assert!(!others.is_in(&both));
    let all = Freshness {
        executed: replica(&format!("{A}:1-3")).executed,
        ..both
    };
    assert!(others.is_in(&all));
    let mut named = Position::of_others_by_gtids(format!("{A}:3").as_bytes()).unwrap();
    named.add(&write(written, &format!("{B}:1")));
    assert_eq!(named.gtids().unwrap(), format!("{B}:1-1,{A}:3-3"));
    assert_eq!(Position::of_others_by_gtids(b"?"), None);
    // more than can be remembered are nowhere
    for id in 1..6 {
        let gtids = format!("{}:1", A.replace("02fc", &format!("02f{id}")));
        named.add(&Position::of_others_by_gtids(gtids.as_bytes()).unwrap());
    }
    assert!(!named.is_in(&all) && named.gtids().is_none());
}

#[test]
fn what_a_replica_tells_of_one_write_copies_no_history() {
    // 5,000 gaps, as a server has that was written to by many at once
    let gaps: Vec<String> = (1..5_000).map(|at| format!("{}", at * 3)).collect();
    let known = replica(&format!("{A}:{}", gaps.join(":")));
    let history = Arc::clone(&known.executed);
    let mut known = known;
    for number in 0..1_000_u64 {
        let gtid = format!("{A}:{}", 100_000 + number * 2);
        let position = write(Instant::now(), &gtid);
        assert!(!position.is_in(&known));
        known = known.with(&position);
        assert!(position.is_in(&known));
        assert!(known.told.intervals() <= TOLD_MAX);
    }
    assert!(Arc::ptr_eq(&history, &known.executed));
    assert!(write(Instant::now(), &format!("{A}:9")).is_in(&known));
}

#[test]
fn a_position_does_not_grow_with_the_writes_it_stands_for() {
    let mut position = Position::default();
    for number in 1..100_000_u64 {
        position.add(&write(Instant::now(), &format!("{A}:{}", number * 2)));
    }
    assert_eq!(position.marks().count(), 1);
    assert_eq!(position.gtids().unwrap(), format!("{A}:2-199998"));
}

#[test]
fn a_history_too_long_to_be_told_is_no_history() {
    let servers: Vec<String> = (0..500)
        .map(|id| A.replace("02fc", &format!("{id:04x}")))
        .collect();
    let intervals: Vec<String> = (1..100).map(|at| (at * 2).to_string()).collect();
    let text: Vec<String> = servers
        .iter()
        .map(|server| format!("{server}:{}", intervals.join(":")))
        .collect();
    let text = text.join(",");
    assert!(text.len() > TEXT_MAX);
    let short = text.get(..TEXT_MAX / 2).unwrap();
    let short = short.rsplit_once(',').unwrap().0;
    let known = replica(short);
    assert!(known.executed.intervals() <= TEXT_MAX / 2);
    assert!(write(Instant::now(), &format!("{}:198", servers[3])).is_in(&known));
    // as the monitor takes it: nothing, and the replica is asked for each write
    let unknown = GtidSet::parse(text.as_bytes()).unwrap_or_default();
    assert!(unknown.is_empty());
}

/// Transactions of two sources; the position of some writes, and what a replica has, both as sets of numbers as well.
fn transactions() -> impl Strategy<Value = Vec<(bool, u64)>> {
    prop::collection::vec((any::<bool>(), 1_u64..30), 0..12)
}

fn text_of(transactions: &[(bool, u64)]) -> String {
    let parts = transactions.iter();
    let parts = parts.map(|(first, number)| format!("{}:{number}", if *first { A } else { B }));
    parts.collect::<Vec<_>>().join(",")
}

proptest! {
    /// Never a replica that lacks one of the writes; always one that has everything up to the last of them.
    #[test]
    fn a_replica_that_answers_has_every_write(writes in transactions(), has in transactions(), told in transactions()) {
        let mut position = Position::default();
        for one in &writes {
            position.add(&write(Instant::now(), &text_of(&[*one])));
        }
        let mut known = replica(&text_of(&has));
        for one in &told {
            known = known.with(&write(Instant::now(), &text_of(&[*one])));
        }
        let there: BTreeSet<_> = has.iter().chain(&told).collect();
        if position.is_in(&known) {
            prop_assert!(writes.iter().all(|one| there.contains(one)));
        }
        let everything = replica(&format!("{A}:1-30,{B}:1-30"));
        prop_assert!(position.is_in(&everything));
        prop_assert_eq!(position.has_names(), !writes.is_empty());
    }

    /// In whatever order they are added, and through however many sessions.
    #[test]
    fn writes_add_up_in_any_order(writes in transactions(), cut in 0_usize..12) {
        let at = Instant::now();
        let sum = |of: &mut dyn Iterator<Item = &(bool, u64)>| {
            let mut sum = Position::default();
            for one in of {
                sum.add(&write(at, &text_of(&[*one])));
            }
            sum
        };
        let (before, after) = writes.split_at(cut.min(writes.len()));
        let mut parts = sum(&mut before.iter());
        parts.add(&sum(&mut after.iter()));
        let backwards = sum(&mut writes.iter().rev());
        let sorted = |position: &Position| {
            let mut marks: Vec<String> = position.marks().map(|it| format!("{it:?}")).collect();
            marks.sort();
            marks
        };
        prop_assert_eq!(sorted(&parts), sorted(&backwards));
        prop_assert_eq!(sorted(&parts), sorted(&sum(&mut writes.iter())));
    }

    /// What is told to other instances means the same to them.
    #[test]
    fn what_others_are_told_is_what_was_written(writes in transactions(), has in transactions()) {
        let mut position = Position::default();
        for one in &writes {
            position.add(&write(Instant::now(), &text_of(&[*one])));
        }
        if let Some(gtids) = position.gtids() {
            let heard = Position::of_others_by_gtids(gtids.as_bytes()).unwrap();
            let known = replica(&text_of(&has));
            prop_assert_eq!(heard.is_in(&known), position.is_in(&known));
        }
    }
}
