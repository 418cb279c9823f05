//! What comments ask for.

use super::*;

#[test]
fn a_key_is_named_like_a_hint_and_beside_it() {
    let key = |sql: &str| classify(sql.as_bytes(), LexMode::default()).key;
    let of_42 = Some(session_key(b"user-42"));
    assert_eq!(key("/* lamplighter:key=user-42 */ SELECT 1"), of_42);
    let both = "SELECT 1 /* lamplighter:replica lamplighter:key=user-42 lamplighter:key=other */";
    assert_eq!(key(both), of_42);
    assert_eq!(
        classify(both.as_bytes(), LexMode::default()).hint,
        Some(Hint::Replica)
    );
    assert_eq!(
        key("/* lamplighter:replica */ SELECT /* lamplighter:key=user-42 */ 1"),
        of_42
    );
    for none in [
        "SELECT 1",
        "SELECT '/* lamplighter:key=user-42 */'",
        "SELECT 1 -- lamplighter:key=user-42",
    ] {
        assert_eq!(key(none), None, "{none}");
    }
    assert_ne!(of_42, Some(session_key(b"user-43")));
}

#[test]
fn hints_stand_in_comments_before_the_first_word_or_in_the_first_behind_it() {
    const PRIMARY: Option<Hint> = Some(Hint::Primary);
    const REPLICA: Option<Hint> = Some(Hint::Replica);
    let cases = [
        ("/* lamplighter:primary */ SELECT 1", PRIMARY),
        ("/*lamplighter:replica*/SELECT 1", REPLICA),
        (
            "/* other */ /* lamplighter:replica page=home */ SELECT 1",
            REPLICA,
        ),
        ("/* page=home, lamplighter:replica; */ SELECT 1", REPLICA),
        (
            "/* lamplighter:primary */ /* lamplighter:replica */ SELECT 1",
            PRIMARY,
        ),
        (
            "/* lamplighter:primary lamplighter:replica */ SELECT 1",
            PRIMARY,
        ),
        (
            "-- lamplighter:replica\n/* lamplighter:primary */ SELECT 1",
            PRIMARY,
        ),
        ("SELECT /* lamplighter:primary */ 1", PRIMARY),
        ("SELECT 1 /*\nlamplighter:replica\n*/", REPLICA),
        ("/* a */ SELECT 1 /* lamplighter:replica */", REPLICA),
        ("SELECT /* a */ 1 /* lamplighter:replica */", None),
        ("SELECT 1 -- lamplighter:primary", None),
        ("SELECT 1 # lamplighter:primary", None),
        ("/* lamplighter:elsewhere */ SELECT 1", None),
        (
            "/* xlamplighter:primary lamplighter:primaryx lamplighter: primary */ SELECT 1",
            None,
        ),
        ("/* LAMPLIGHTER:PRIMARY */ SELECT 1", None),
        ("SELECT '/* lamplighter:primary */'", None),
        ("SELECT `/* lamplighter:primary */` FROM t", None),
        ("/*+ lamplighter:primary */ SELECT 1", None),
    ];
    for (sql, hint) in cases {
        let found = classify(sql.as_bytes(), PLAIN);
        assert_eq!(found.hint, hint, "{sql}");
        assert!(found.replica_safe(), "{sql}");
        assert_eq!(found.replica_wanted(), hint == REPLICA, "{sql}");
    }
}
