//! Names that may be files, names that may not, and files in the way of directories.

use super::*;

#[test]
fn ordinary_names_pass() {
    for name in [
        "a",
        "a/b/c.php",
        "with space/ü/日本語/🦀.txt",
        "trail.",
        "...",
        "..a/b..",
        ".htaccess",
        "a:b*c?d\"e<f>g|h",
        "percent%2Fencoded",
        "e\u{301}", // decomposed; not the same file as the composed form, and need not be
    ] {
        assert_eq!(check(name, 20), Ok(()), "{name:?}");
    }
    assert_eq!(check(&"x".repeat(255), 20), Ok(()));
}

#[test]
fn names_that_are_no_paths_are_refused_with_the_reason() {
    let long = "x".repeat(256);
    let deep = "d/".repeat(2030) + "f";
    for (name, reason) in [
        ("../x", Refusal::Traversal),
        ("a/../../etc/passwd", Refusal::Traversal),
        ("a/./b", Refusal::Traversal),
        ("..", Refusal::Traversal),
        ("a//b", Refusal::EmptySegment),
        ("", Refusal::EmptySegment),
        ("/lead", Refusal::LeadingSlash),
        ("dir/", Refusal::TrailingSlash),
        ("a\\b", Refusal::Backslash),
        ("nul\0l", Refusal::Control),
        ("line\nbreak", Refusal::Control),
        ("del\u{7f}", Refusal::Control),
        ("c1\u{85}", Refusal::Control),
        (long.as_str(), Refusal::SegmentTooLong),
        (deep.as_str(), Refusal::PathTooLong),
        (".lamplighter-staging/x", Refusal::Reserved),
        ("a/.lamplighter", Refusal::Reserved),
    ] {
        assert_eq!(check(name, 40), Err(reason), "{name:?}");
    }
}

#[test]
fn a_directory_marker_is_a_good_name_with_one_slash() {
    assert_eq!(check_marker("dir/", 20), Ok(()));
    assert_eq!(check_marker("a/b/", 20), Ok(()));
    assert_eq!(check_marker("dir//", 20), Err(Refusal::EmptySegment));
    assert_eq!(check_marker("../", 20), Err(Refusal::Traversal));
    assert_eq!(check_marker("/", 20), Err(Refusal::LeadingSlash));
}

#[test]
fn the_way_to_the_root_counts_for_the_length() {
    let name = vec!["d".repeat(200); 20].join("/");
    assert_eq!(check(&name, 20), Ok(()));
    assert_eq!(check(&name, 2000), Err(Refusal::PathTooLong));
}

#[test]
fn a_file_in_the_way_is_found_over_names_between() {
    let mut clashes = Clashes::default();
    let mut below = Vec::new();
    // '-' and '.' sort before '/'
    for name in [
        "a", "a-1", "a.txt", "a/b", "a/c/d", "ab", "b", "b/", "c", "cc/d", "e/f", "e/f/g",
    ] {
        if clashes.below_a_file(name) {
            below.push(name);
        } else {
            clashes.admit(name);
        }
    }
    assert_eq!(below, ["a/b", "a/c/d", "b/", "e/f/g"]);
}

mod properties {
    //! The chain finds what a set of all names would find.
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn clashes_are_those_a_set_would_find(names in proptest::collection::btree_set("[ab./-]{1,6}", 0..60)) {
            let mut clashes = Clashes::default();
            let mut admitted = BTreeSet::new();
            for name in &names {
                let expected = name.match_indices('/').any(|(at, _)| {
                    name.get(..at).is_some_and(|above| admitted.contains(above))
                });
                prop_assert_eq!(clashes.below_a_file(name), expected, "{}", name);
                if !expected {
                    clashes.admit(name);
                    admitted.insert(name.clone());
                }
            }
        }

        #[test]
        fn what_passes_stays_below_the_root(name in "[a./\\\\\u{0}é]{0,20}") {
            if check(&name, 10).is_ok() {
                let path = std::path::Path::new("/root").join(&name);
                let parts: Vec<_> = path.components().collect();
                prop_assert!(path.starts_with("/root"));
                prop_assert!(parts.iter().all(|part| matches!(part, std::path::Component::Normal(_) | std::path::Component::RootDir)));
                // and the name is the path: nothing was normalised away
                prop_assert_eq!(parts.len(), 2 + name.split('/').count());
            }
        }
    }
}
