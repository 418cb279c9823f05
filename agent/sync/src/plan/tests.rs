//! Every decision as a table, the merge against a model, the guards.

use lamplighter_core::units::Percent;

use super::*;
use crate::config::Filter;
use crate::rig;
use crate::store::ETag;
use crate::sum::Way;

const SEEN: Fingerprint = Fingerprint {
    mtime_ns: 1,
    ctime_ns: 2,
    inode: 3,
};
const OTHER: Fingerprint = Fingerprint {
    mtime_ns: 1,
    ctime_ns: 9,
    inode: 3,
};

fn remote(version: &str, sum: Option<Sum>) -> RemoteFile {
    RemoteFile {
        name: "f".into(),
        size: 10,
        etag: ETag::new(version),
        sum,
        content: None,
        origin: None,
    }
}

fn known(version: &str, content: &[u8]) -> Record {
    Record {
        name: "f".into(),
        kind: Kind::File(FileRecord {
            size: 10,
            etag: ETag::new(version),
            sum: Way::Md5.of(content),
            fingerprint: SEEN,
        }),
    }
}

const fn file(size: u64, fingerprint: Fingerprint) -> Observed {
    Observed::File {
        size,
        fingerprint,
        attributes_ok: true,
    }
}

fn word(decision: &Decision) -> String {
    match decision {
        Decision::Keep(_) => "keep".to_owned(),
        Decision::Adopt(_) => "adopt".to_owned(),
        Decision::Verify { why, .. } => format!("verify {why:?}"),
        Decision::Get { why, .. } => format!("get {why:?}"),
        Decision::Clear { why, .. } => format!("clear {why:?}"),
        Decision::Attributes(_) => "attributes".to_owned(),
        Decision::Mkdir { name, record, .. } => format!("mkdir {name} {record}"),
        Decision::Delete(record) => format!("delete {}", record.name),
        Decision::Forget(record) => format!("forget {}", record.is_some()),
        Decision::Refuse { reason, gone, .. } => format!("refuse {reason} {gone}"),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one row is one case")]
fn every_combination_of_blob_index_and_disk_has_its_decision() {
    let right = Some(Way::Md5.of(b"right"));
    let wrong = Some(Way::Md5.of(b"other"));
    let named = Some(Way::Sha256.of(b"right"));
    for (case, remote, record, observed, expected) in [
        (
            "new, nothing there",
            remote("1", right),
            None,
            Observed::Missing,
            "get New",
        ),
        (
            "new, same size there",
            remote("1", right),
            None,
            file(10, SEEN),
            "verify New",
        ),
        (
            "new, same size, no sum",
            remote("1", None),
            None,
            file(10, SEEN),
            "get New",
        ),
        (
            "new, other size there",
            remote("1", right),
            None,
            file(9, SEEN),
            "get New",
        ),
        (
            "in step",
            remote("1", right),
            Some(known("1", b"right")),
            file(10, SEEN),
            "keep",
        ),
        (
            "in step, the blob's own sum is wrong",
            remote("1", wrong),
            Some(known("1", b"right")),
            file(10, SEEN),
            "keep",
        ),
        (
            "deleted here",
            remote("1", right),
            Some(known("1", b"right")),
            Observed::Missing,
            "get Drift",
        ),
        (
            "truncated here",
            remote("1", right),
            Some(known("1", b"right")),
            file(3, OTHER),
            "get Drift",
        ),
        (
            "touched here",
            remote("1", right),
            Some(known("1", b"right")),
            file(10, OTHER),
            "verify Drift",
        ),
        (
            "touched here, no sum",
            remote("1", None),
            Some(known("1", b"right")),
            file(10, OTHER),
            "verify Drift",
        ),
        (
            "a link put there",
            remote("1", right),
            Some(known("1", b"right")),
            Observed::Other,
            "get Drift",
        ),
        (
            "another version",
            remote("2", wrong),
            Some(known("1", b"right")),
            file(10, SEEN),
            "get Changed",
        ),
        (
            "another version, no sum",
            remote("2", None),
            Some(known("1", b"right")),
            file(10, SEEN),
            "get Changed",
        ),
        (
            "published again, same content",
            remote("2", right),
            Some(known("1", b"right")),
            file(10, SEEN),
            "adopt",
        ),
        (
            "another version, named by another sum than the index has",
            remote("2", named),
            Some(known("1", b"right")),
            file(10, SEEN),
            "verify Changed",
        ),
        (
            "the same version, named by another sum than the index has",
            remote("1", named),
            Some(known("1", b"right")),
            file(10, SEEN),
            "keep",
        ),
        (
            "another version, touched here",
            remote("2", wrong),
            Some(known("1", b"right")),
            file(10, OTHER),
            "verify Changed",
        ),
        (
            "a directory there",
            remote("1", right),
            None,
            Observed::Directory,
            "clear New",
        ),
        (
            "the way barred",
            remote("1", right),
            Some(known("1", b"right")),
            Observed::Barred,
            "refuse in_the_way false",
        ),
    ] {
        assert_eq!(word(&decide(remote, record, observed)), expected, "{case}");
    }
}

#[test]
fn a_mode_that_is_wrong_is_set_right_without_fetching() {
    let observed = Observed::File {
        size: 10,
        fingerprint: SEEN,
        attributes_ok: false,
    };
    let decision = decide(remote("1", None), Some(known("1", b"right")), observed);
    assert_eq!(word(&decision), "attributes");
}

#[test]
fn drift_is_compared_with_what_was_written_not_with_what_the_blob_claims() {
    let decision = decide(
        remote("1", Some(Way::Md5.of(b"claim"))),
        Some(known("1", b"right")),
        file(10, OTHER),
    );
    assert!(matches!(decision, Decision::Verify { sum, .. } if sum == Way::Md5.of(b"right")));
}

fn listed(name: &str) -> Listed {
    Listed {
        name: name.into(),
        size: 10,
        etag: ETag::new("1"),
        sum: None,
        directory: false,
        content: None,
        origin: None,
    }
}

fn record(name: &str) -> Record {
    let kind = if name.ends_with('/') {
        Kind::Directory
    } else {
        known("1", b"").kind
    };
    Record {
        name: name.into(),
        kind,
    }
}

/// The decisions on `remote` and `index` when every file is missing on disk.
fn judge(change: impl FnOnce(&mut Config), remote: Vec<Listed>, index: &[&str]) -> Vec<String> {
    let mut config = rig::config(std::path::Path::new("/srv"));
    change(&mut config);
    let mut judge = Judge::new(&config).unwrap();
    let mut merge = Merge::default();
    let mut index = index.iter().map(|name| Ok::<_, ()>(record(name)));
    let mut pairs = merge.page(remote, &mut index).unwrap();
    pairs.extend(merge.rest(100, &mut index).unwrap());
    pairs
        .into_iter()
        .map(|pair| match judge.admit(pair) {
            Admission::Decided(decision) => word(&decision),
            Admission::Look { remote, record } => {
                format!("look {} {}", remote.name, record.is_some())
            }
        })
        .collect()
}

#[test]
fn what_only_the_index_has_is_deleted_or_let_go() {
    assert_eq!(
        judge(|_| {}, vec![listed("b")], &["a", "b", "c"]),
        ["delete a", "look b true", "delete c"]
    );
    let never = |config: &mut Config| config.delete = DeletePolicy::Never;
    assert_eq!(
        judge(never, vec![listed("b")], &["a", "b"]),
        ["forget true", "look b true"]
    );
    let filtered = |config: &mut Config| {
        config.filters = vec![
            Filter::Exclude("a".to_owned()),
            Filter::Exclude("x".to_owned()),
        ]
    };
    assert_eq!(
        judge(filtered, vec![listed("b"), listed("x")], &["a", "b"]),
        ["forget true", "look b true", "forget false"]
    );
}

#[test]
fn a_directory_goes_when_nothing_is_wanted_below_it() {
    assert_eq!(
        judge(|_| {}, vec![listed("a/x")], &["a/", "a/x"]),
        ["keep", "look a/x true"]
    );
    assert_eq!(
        judge(|_| {}, vec![listed("a-b")], &["a/", "a/x"]),
        ["look a-b false", "delete a/", "delete a/x"]
    );
    assert_eq!(
        judge(|_| {}, vec![listed("b")], &["a/"]),
        ["delete a/", "look b false"]
    );
}

#[test]
fn of_a_file_and_names_below_it_the_shorter_name_wins_whatever_was_there_before() {
    let both = vec![listed("a"), listed("a.txt"), listed("a/b")];
    let expected = ["look a false", "look a.txt false", "refuse clash false"];
    assert_eq!(judge(|_| {}, both.clone(), &[]), expected);
    let expected = [
        "look a false",
        "look a.txt false",
        "delete a/",
        "refuse clash true",
    ];
    let decisions = judge(|_| {}, both, &["a/", "a/b"]);
    // the directory is still needed as long as something is below it in the list
    assert_eq!(
        decisions,
        expected.map(|word| if word == "delete a/" { "keep" } else { word })
    );
}

#[test]
fn markers_and_stubs_are_directories() {
    let marker = Listed {
        size: 0,
        ..listed("d/")
    };
    let stub = Listed {
        size: 0,
        directory: true,
        ..listed("s")
    };
    let content = listed("t/");
    assert_eq!(
        judge(|_| {}, vec![marker.clone(), stub.clone(), content], &[]),
        [
            "mkdir d/ true",
            "mkdir s false",
            "refuse trailing_slash false"
        ]
    );
    assert_eq!(
        judge(|_| {}, vec![marker, stub], &["d/", "s"]),
        ["mkdir d/ true", "delete s"]
    );
}

#[test]
fn hostile_names_are_refused_one_by_one() {
    let names = ["../x", "/etc/passwd", "a//b", "a\\b", "b\0", "good"];
    let mut words = judge(|_| {}, names.iter().map(|name| listed(name)).collect(), &[]);
    words.sort();
    assert_eq!(
        words,
        [
            "look good false",
            "refuse backslash false",
            "refuse control_character false",
            "refuse empty_segment false",
            "refuse leading_slash false",
            "refuse traversal false",
        ]
    );
}

#[test]
fn a_list_that_goes_back_is_noticed() {
    let mut merge = Merge::default();
    let mut index = std::iter::empty::<Result<Record, ()>>();
    merge.page(vec![listed("b")], &mut index).unwrap();
    for name in ["a", "b"] {
        let error = merge.page(vec![listed(name)], &mut index).unwrap_err();
        assert!(matches!(error, MergeError::Unsorted), "{name}");
    }
}

#[test]
fn guards_hold_what_looks_like_a_mistake() {
    let census = |remote, indexed, deletes| Census {
        remote,
        indexed,
        deletes,
    };
    let half = Percent::new(50.0);
    for (case, census, expected) in [
        ("nothing to delete", census(0, 0, 0), Ok(())),
        (
            "an empty container and an empty disk",
            census(0, 5, 0),
            Ok(()),
        ),
        ("the list is empty", census(0, 1, 1), Err(Guard::EmptyList)),
        ("few of many", census(100, 110, 10), Ok(())),
        ("few, though most", census(1, 10, 9), Ok(())),
        (
            "more than half",
            census(10, 21, 11),
            Err(Guard::MaxDeletePercent),
        ),
        ("just half", census(11, 22, 11), Ok(())),
        (
            "more than the count",
            census(10_000, 11_001, 1001),
            Err(Guard::MaxDelete),
        ),
        ("just the count", census(10_000, 11_000, 1000), Ok(())),
    ] {
        assert_eq!(guard(census, 1000, half), expected, "{case}");
    }
    assert_eq!(guard(census(5, 6, 1), 0, half), Err(Guard::MaxDelete));
}

mod properties {
    //! The merge is a set operation, however the list is cut into pages.
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn name(pair: &Pair) -> &str {
        match pair {
            Pair::Remote(listed, _) => &listed.name,
            Pair::Local { record, .. } => &record.name,
        }
    }

    proptest! {
        #[test]
        fn merging_pages_is_merging_sets(
            remote in proptest::collection::btree_set("[a-c./]{1,4}", 0..40),
            local in proptest::collection::btree_set("[a-c./]{1,4}", 0..40),
            page in 1_usize..7,
        ) {
            let list: Vec<_> = remote.iter().map(|name| listed(name)).collect();
            let mut index = local.iter().map(|name| Ok::<_, ()>(record(name)));
            let mut merge = Merge::default();
            let mut pairs = Vec::new();
            for page in list.chunks(page) {
                pairs.extend(merge.page(page.to_vec(), &mut index).unwrap());
            }
            loop {
                let rest = merge.rest(page, &mut index).unwrap();
                if rest.is_empty() {
                    break;
                }
                pairs.extend(rest);
            }
            // every name once, in order
            let names: Vec<_> = pairs.iter().map(|pair| name(pair).to_owned()).collect();
            let union: Vec<_> = remote.union(&local).cloned().collect();
            prop_assert_eq!(names, union);
            for pair in &pairs {
                match pair {
                    Pair::Remote(listed, record) => {
                        prop_assert!(remote.contains(&*listed.name));
                        prop_assert_eq!(record.is_some(), local.contains(&*listed.name));
                    }
                    Pair::Local { record, used } => {
                        prop_assert!(!remote.contains(&*record.name));
                        let below = record.name.ends_with('/') && remote.iter().any(|name| name.starts_with(&*record.name));
                        prop_assert_eq!(*used, below, "{}", record.name);
                    }
                }
            }
        }

        #[test]
        fn nothing_is_deleted_that_the_list_has(
            remote in proptest::collection::btree_set("[a-c./]{1,4}", 0..40),
            local in proptest::collection::btree_set("[a-c]{1,2}(/[a-c]{1,2}){0,2}", 0..40),
        ) {
            let words = judge(|_| {}, remote.iter().map(|name| listed(name)).collect(), &local.iter().map(String::as_str).collect::<Vec<_>>());
            let deleted: BTreeSet<_> = words.iter().filter_map(|word| word.strip_prefix("delete ")).map(str::to_owned).collect();
            prop_assert!(deleted.is_disjoint(&remote));
            prop_assert!(deleted.is_subset(&local));
            for name in local.difference(&remote) {
                prop_assert!(deleted.contains(name), "{} must go", name);
            }
        }
    }
}
