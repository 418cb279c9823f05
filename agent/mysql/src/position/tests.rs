//! Which replica has which writes.

use std::time::Duration;

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
