//! Sets as servers write them, and against sets of numbers.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const A: &str = "084925bc-e703-11f1-8a4d-02fc00000001";
const B: &str = "3E11FA47-71CA-11E1-9E33-C80AA9429562";

fn source(text: &str) -> Source {
    let set = GtidSet::parse(format!("{text}:1").as_bytes()).unwrap();
    let (source, _) = set.iter().next().unwrap();
    source.clone()
}

#[test]
fn sets_are_read_as_the_server_writes_them() {
    let text = format!("{A}:1-38,\n{B}:1-5:7:11-18");
    let set = GtidSet::parse(text.as_bytes()).unwrap();
    let small = B.to_ascii_lowercase();
    assert_eq!(set.to_string(), format!("{A}:1-38,{small}:1-5:7-7:11-18"));
    let tagged = GtidSet::parse(format!("{A}:1-3:Red_1:1-2:blue:9").as_bytes()).unwrap();
    assert_eq!(
        tagged.to_string(),
        format!("{A}:1-3,{A}:blue:9-9,{A}:red_1:1-2")
    );
    assert!(GtidSet::parse(b"").unwrap().is_empty());
}

#[test]
fn what_is_no_set_is_refused() {
    let long = "x".repeat(TEXT_MAX + 1);
    for text in [
        "x:1",
        &format!("{A}:0"),
        &format!("{A}:3-2"),
        &format!("{A}:9tag"),
        &format!("{A}00:1"),
        &long,
    ] {
        assert_eq!(GtidSet::parse(text.as_bytes()), Err(NotASet), "{text}");
    }
}

proptest! {
    #[test]
    fn a_set_is_what_it_was_made_of(parts in prop::collection::vec((1_u64..60, 0_u64..6), 0..20), asked in (1_u64..60, 0_u64..6)) {
        let source = source(A);
        let mut set = GtidSet::default();
        let mut all = BTreeSet::new();
        for (first, more) in parts {
            set.insert(&source, Interval { first, last: first + more });
            all.extend(first..=first + more);
        }
        let (first, last) = (asked.0, asked.0 + asked.1);
        prop_assert_eq!(
            set.contains(&source, Interval { first, last }),
            (first..=last).all(|it| all.contains(&it))
        );
        let kept: Vec<u64> = set.iter().flat_map(|(_, it)| it.iter().flat_map(|it| it.first..=it.last)).collect();
        prop_assert_eq!(kept, all.into_iter().collect::<Vec<_>>());
        let again = GtidSet::parse(set.to_string().as_bytes()).unwrap();
        prop_assert_eq!(again, set);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".*") {
        let _either = GtidSet::parse(text.as_bytes());
    }
}
