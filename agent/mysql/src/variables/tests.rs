//! What counts as a plain SET, what is learned from it, and how a session is made into another.

use super::*;

fn track(variables: &[(&str, &str)]) -> SessionTrack {
    let copy = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    SessionTrack {
        system_variables: variables
            .iter()
            .map(|(name, value)| (copy(name), copy(value)))
            .collect(),
        state_change: true,
        ..SessionTrack::default()
    }
}

fn text(understood: Option<Understood>) -> Option<String> {
    let effect = understood?.changes;
    let parts: Vec<_> = effect
        .iter()
        .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
        .collect();
    Some(parts.join(" "))
}

#[test]
fn only_literals_are_plain() {
    for (sql, plain) in [
        ("SET sql_mode='STRICT_ALL_TABLES'", true),
        ("set session sql_mode = ''", true),
        (
            "SET SESSION wait_timeout = 28800, group_concat_max_len=1000000;",
            true,
        ),
        ("SET @@session.time_zone = '+00:00'", true),
        ("SET @@sql_safe_updates := ON", true),
        ("SET LOCAL lock_wait_timeout = 5", true),
        ("SET sql_mode = DEFAULT", false),
        ("SET sql_mode = @@global.sql_mode", false),
        ("SET sql_mode = CONCAT(@@sql_mode, ',ANSI')", false),
        ("SET sql_mode = 'a' 'b'", false),
        ("SET sql_mode = 'it''s'", false),
        (r"SET sql_mode = 'a\'b'", false),
        ("SET sql_mode = \"ANSI\"", false),
        ("SET @a = 1", false),
        ("SET @@global.wait_timeout = 1", false),
        ("SET GLOBAL wait_timeout = 1", false),
        ("SET PERSIST wait_timeout = 1", false),
        ("SET wait_timeout = 1; DROP TABLE t", false),
        ("SET wait_timeout = 1 /* c */", false),
        ("SET wait_timeout = 1e3", false),
        ("SET NAMES utf8mb4", false),
        ("SET TRANSACTION READ ONLY", false),
        ("SET", false),
        ("", false),
    ] {
        assert_eq!(literal::is_plain_set(sql.as_bytes()), plain, "{sql}");
    }
}

#[test]
fn names_with_and_without_a_collation() {
    for (sql, clause) in [
        ("SET NAMES utf8mb4", Some("utf8mb4")),
        (
            "set names 'utf8mb4' collate 'utf8mb4_unicode_ci'",
            Some("'utf8mb4' collate 'utf8mb4_unicode_ci'"),
        ),
        ("SET NAMES latin1;", Some("latin1")),
        ("SET NAMES DEFAULT", None),
        ("SET NAMES utf8mb4, sql_mode = ''", None),
        ("SET NAMES", None),
        ("SET NAMESutf8", None),
    ] {
        assert_eq!(
            literal::names_clause(sql.as_bytes()),
            clause.map(str::as_bytes),
            "{sql}"
        );
    }
}

#[test]
fn the_servers_word_is_what_is_kept() {
    let learn =
        |sql: &str, variables: &[(&str, &str)]| text(effect_of(sql.as_bytes(), &track(variables)));
    assert_eq!(
        learn("SET sql_mode='ansi'", &[("sql_mode", "REAL_AS_FLOAT,ANSI")]).as_deref(),
        Some(r"sql_mode=\'REAL_AS_FLOAT,ANSI\'")
    );
    assert_eq!(
        learn("SET wait_timeout=1", &[("wait_timeout", "1")]).as_deref(),
        Some("wait_timeout=1")
    );
    assert_eq!(
        learn("SET NAMES latin1", &[]).as_deref(),
        Some("NAMES=latin1")
    );
    for (sql, variables, expected) in [
        (
            "SET sql_mode = DEFAULT",
            ("sql_mode", "x"),
            r"sql_mode=\'x\'",
        ),
        (
            "SET autocommit = 0",
            ("autocommit", "OFF"),
            r"autocommit=\'OFF\'",
        ),
        (
            "SET character_set_results = NULL",
            ("character_set_results", ""),
            "character_set_results=NULL",
        ),
        (
            "SET SESSION TRANSACTION READ ONLY",
            ("transaction_read_only", "ON"),
            r"transaction_read_only=\'ON\'",
        ),
    ] {
        assert_eq!(learn(sql, &[variables]).as_deref(), Some(expected), "{sql}");
    }
    for (sql, variables) in [
        ("SET timestamp = 1", [("timestamp", "1")]),
        (
            "SET character_set_connection = 'latin1'",
            [("character_set_connection", "latin1")],
        ),
        (
            "SET character_set_client = 'gbk'",
            [("character_set_client", "gbk")],
        ),
        (
            "SET session_track_gtids = 'OFF'",
            [("session_track_gtids", "OFF")],
        ),
        ("SET time_zone = 'x'", [("time_zone", "it's")]),
    ] {
        assert_eq!(learn(sql, &variables), None, "{sql}");
    }
    let one_shot = SessionTrack {
        transaction_characteristics: Some(Bytes::from_static(b"SET TRANSACTION READ ONLY;")),
        ..track(&[("transaction_read_only", "ON")])
    };
    assert_eq!(
        text(effect_of(b"SET @@transaction_read_only = 1", &one_shot)),
        None
    );
    assert_eq!(
        learn("SET sql_mode = ''", &[]),
        None,
        "nothing reported, nothing known"
    );
}

#[test]
fn only_what_does_the_same_every_time_is_remembered() {
    let track = track(&[("sql_mode", "x")]);
    for (sql, expected) in [
        ("SET sql_mode = 'x'", true),
        ("SET NAMES utf8mb4", true),
        (
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            true,
        ),
        ("SET sql_mode = DEFAULT", false),
        ("SET sql_mode = @@global.sql_mode", false),
    ] {
        let understood = effect_of(sql.as_bytes(), &track).unwrap();
        assert_eq!(understood.is_the_same_every_time, expected, "{sql}");
    }
}

/// A fresh session in which these have been set.
fn set(effects: &[(&'static str, &'static str)]) -> Variables {
    effects
        .iter()
        .fold(Variables::default(), |variables, (name, value)| {
            let pair = (
                Bytes::from_static(name.as_bytes()),
                Bytes::from_static(value.as_bytes()),
            );
            variables.with(&Arc::from([pair]))
        })
}

#[test]
fn a_session_is_made_into_another_or_needs_a_login() {
    let fresh = Variables::default();
    let wanted = set(&[
        ("sql_mode", "''"),
        ("NAMES", "utf8mb4"),
        ("wait_timeout", "5"),
    ]);
    let sql = |from: &Variables, to: &Variables| {
        from.statement_to(to, Capabilities::empty())
            .map(|sql| String::from_utf8(sql).unwrap())
    };
    assert_eq!(
        sql(&fresh, &wanted).as_deref(),
        Some("SET NAMES utf8mb4, SESSION sql_mode = '', SESSION wait_timeout = 5")
    );
    let near = set(&[("NAMES", "utf8mb4"), ("wait_timeout", "9")]);
    assert_eq!(
        sql(&near, &wanted).as_deref(),
        Some("SET SESSION sql_mode = '', SESSION wait_timeout = 5")
    );
    assert_eq!(
        sql(&wanted, &near).as_deref(),
        Some("SET SESSION wait_timeout = 9, SESSION sql_mode = DEFAULT")
    );
    assert_eq!(
        sql(&set(&[("unique_checks", "'OFF'")]), &fresh).as_deref(),
        Some("SET SESSION unique_checks = @@GLOBAL.unique_checks")
    );
    // a client with CLIENT_IGNORE_SPACE begins with a mode of its own
    let spaced = wanted.statement_to(&near, Capabilities::CLIENT_IGNORE_SPACE);
    assert!(spaced.is_some_and(|sql| {
        sql.ends_with(b"SESSION sql_mode = CONCAT(@@GLOBAL.sql_mode, ',IGNORE_SPACE')")
    }));
    assert!(wanted.goes_back(&near) && !near.goes_back(&wanted));
    assert_eq!(
        sql(&wanted, &fresh),
        None,
        "the login's character set is not known"
    );
    let narrow = set(&[("NAMES", "utf8mb4"), ("character_set_results", "NULL")]);
    let plain = set(&[("NAMES", "utf8mb4")]);
    assert_eq!(
        sql(&plain, &narrow).as_deref(),
        Some("SET SESSION character_set_results = NULL")
    );
    assert_eq!(sql(&narrow, &plain).as_deref(), Some("SET NAMES utf8mb4"));
    let other = set(&[("NAMES", "latin1"), ("character_set_results", "NULL")]);
    assert_eq!(
        sql(&narrow, &other).as_deref(),
        Some("SET NAMES latin1, SESSION character_set_results = NULL")
    );
    let names: Effect = Arc::from([(Bytes::from_static(b"NAMES"), Bytes::from_static(b"utf8mb4"))]);
    assert_eq!(narrow.with(&names), plain, "SET NAMES sets all of them");
    assert!(set(&[("autocommit", "'OFF'")]).autocommit_is_off());
    assert!(!fresh.autocommit_is_off());
    assert_eq!(
        wanted,
        set(&[
            ("wait_timeout", "5"),
            ("NAMES", "utf8mb4"),
            ("sql_mode", "''")
        ]),
        "order does not matter"
    );
}

#[test]
fn what_sql_mode_says_is_read() {
    assert_eq!(Variables::default().sql_mode(), None);
    let mode = |modes| set(&[("sql_mode", modes)]).sql_mode();
    let quotes = SqlMode {
        ansi_quotes: true,
        ..SqlMode::default()
    };
    assert_eq!(mode("'STRICT_ALL_TABLES,ansi_quotes'"), Some(quotes));
    assert_eq!(mode("''"), Some(SqlMode::default()));
    assert!(mode("'NO_BACKSLASH_ESCAPES'").is_some_and(|mode| mode.no_backslash_escapes));
}

#[test]
fn what_is_learned_is_bounded() {
    let learned = Learned::default();
    let effect: Effect = Arc::from([(Bytes::from_static(b"a"), Bytes::from_static(b"1"))]);
    for number in 0..=LEARNED_MAX {
        learned.put(format!("SET a = {number}").as_bytes(), &effect);
    }
    assert!(learned.get(b"SET a = 0").is_none());
    assert!(
        learned
            .get(format!("SET a = {LEARNED_MAX}").as_bytes())
            .is_some()
    );
    learned.put(&vec![b'x'; TEXT_MAX + 1], &effect);
    assert!(learned.get(&vec![b'x'; TEXT_MAX + 1]).is_none());
    learned.forget();
    assert!(learned.get(b"SET a = 1").is_none());
}
