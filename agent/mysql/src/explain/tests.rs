//! Explanations, as a table.

use super::*;

#[test]
fn statements_are_explained_as_the_table_says() {
    for (sql, kind, target, after_write, keeps) in [
        ("SELECT a FROM t", "select", "replica", "primary", None),
        (
            "/* lamplighter:replica */ SELECT a FROM t",
            "select",
            "replica",
            "replica",
            None,
        ),
        (
            "/* lamplighter:primary */ SELECT a FROM t",
            "select",
            "primary",
            "primary",
            None,
        ),
        (
            "SELECT a FROM t FOR UPDATE",
            "select",
            "primary",
            "primary",
            None,
        ),
        (
            "INSERT INTO t VALUES (1)",
            "insert",
            "primary",
            "primary",
            None,
        ),
        (
            "START TRANSACTION READ ONLY",
            "begin",
            "replica",
            "primary",
            Some("transaction"),
        ),
        ("SELECT FOUND_ROWS()", "select", "local", "local", None),
        (
            "LOCK TABLES t WRITE",
            "lock tables",
            "primary",
            "primary",
            Some("lock_tables"),
        ),
        (
            "SELECT GET_LOCK('a', 1)",
            "select",
            "primary",
            "primary",
            Some("user_lock"),
        ),
        (
            "CREATE TEMPORARY TABLE t (a INT)",
            "ddl",
            "primary",
            "primary",
            Some("temporary_table"),
        ),
        ("gibberish", "other", "primary", "primary", Some("unknown")),
    ] {
        let found = explain_with(sql, &Preferences::default(), true);
        assert_eq!(found.kind, kind, "{sql}");
        assert_eq!(found.target, target, "{sql}");
        assert_eq!(found.target_after_write, after_write, "{sql}");
        assert_eq!(found.keeps.as_deref(), keeps, "{sql}");
        assert_eq!(found.until.is_some(), keeps.is_some(), "{sql}");
        assert!(!found.because.is_empty(), "{sql}");
    }
}

#[test]
fn it_says_why_a_read_is_no_plain_one() {
    let found = explain_with("SELECT f(1), @x", &Preferences::default(), true);
    assert_eq!(
        found.traits,
        ["a user variable", "a function that may write"]
    );
    let found = explain_with("SELECT @@version", &Preferences::default(), true);
    assert_eq!(
        found.because,
        "a read, but not a plain one: a system variable"
    );
    assert_eq!(found.text, "SELECT @@`version`");
    let found = explain_with("SELECT 1", &Preferences::default(), false);
    assert_eq!(found.because, "a plain read, but no replica is fit");
}

#[test]
fn without_an_agent_the_configuration_says_what_there_is() {
    assert_eq!(explain("SELECT 1 FROM t", None).target, "replica");
    assert_eq!(explain("SELECT 1 FROM t", None).live, None);
}

#[test]
fn rules_and_users_are_heeded() {
    let text = r#"
        primary = "p:1"
        replicas = ["r:1"]
        user = "u"
        clients.web.peer_users = ["www"]
        clients.report = { peer_users = ["www"], consistency = "eventual" }
        clients.shop = { peer_users = ["www"], reads = "primary" }
        [[rule]]
        statement = "SELECT a FROM t WHERE id = 1"
        reads = "primary"
    "#;
    let config: Config = toml::from_str(text).unwrap();
    let ruled = explain("SELECT a FROM t WHERE id = 77", Some(&config));
    assert_eq!(ruled.target, "primary");
    assert!(ruled.because.contains("the configuration"), "{ruled:?}");
    assert_eq!(ruled.exceptions, []);
    let found = explain("SELECT b FROM t", Some(&config));
    assert_eq!(
        (&*found.target, &*found.target_after_write),
        ("replica", "primary")
    );
    let others = found.exceptions.iter();
    let others: Vec<_> = others
        .map(|it| (&*it.user, &*it.target, &*it.target_after_write))
        .collect();
    assert_eq!(
        others,
        [
            ("report", "replica", "replica"),
            ("shop", "primary", "primary")
        ]
    );
}
