//! Which errors prove that nothing happened, and which statements wait for a server that takes writes.

use lamplighter_wire::sql::{LexMode, classify};

use super::*;

fn ran(statement: &Statement) -> Ran<'_> {
    Ran::Statement {
        statement,
        text: b"",
        mode: LexMode::default(),
    }
}

#[test]
fn only_errors_of_a_server_that_is_no_primary_count() {
    let read_only = b"The MySQL server is running with the --super-read-only option so it cannot execute this statement";
    for (code, message, expected) in [
        (1290, &read_only[..], true),
        (1290, b"The MariaDB server is running with the --read-only option so it cannot execute this statement", true),
        (1290, b"The MySQL server is running with the --secure-file-priv option so it cannot execute this statement", false),
        (1836, b"Running in read-only mode", true),
        (1792, b"Cannot execute statement in a READ ONLY transaction.", true),
        (3100, b"Error on observer while running replication hook 'before_commit'.", true),
        (3100, b"Error on observer while running replication hook 'after_commit'.", false),
        (1047, b"WSREP has not yet prepared node for application use", true),
        (1047, b"Unknown command", false),
        (1062, b"Duplicate entry 'read-only' for key 'PRIMARY'", false),
    ] {
        let text = String::from_utf8_lossy(message);
        assert_eq!(says_no_primary(code, message), expected, "{code} {text}");
    }
}

#[test]
fn a_procedure_may_have_done_half_of_its_work() {
    for (sql, expected) in [
        ("INSERT INTO t VALUES (1)", true),
        ("CREATE TABLE t (id INT)", true),
        ("SELECT f()", true),
        ("START TRANSACTION", true),
        ("CALL p()", false),
        ("EXECUTE s", false),
        ("XA COMMIT 'a'", false),
        ("COMMIT", false),
    ] {
        let statement = classify(sql.as_bytes(), LexMode::default());
        assert_eq!(is_all_or_nothing(ran(&statement)), expected, "{sql}");
    }
    assert!(!is_all_or_nothing(Ran::Oversized));
}

#[test]
fn what_may_write_waits_for_a_server_that_takes_writes() {
    for (sql, expected) in [
        ("INSERT INTO t VALUES (1)", Need::Write),
        ("DELETE FROM t", Need::Write),
        ("BEGIN", Need::Primary),
        ("START TRANSACTION READ ONLY", Need::Any),
        ("CALL p()", Need::Primary),
        ("CREATE TEMPORARY TABLE t (id INT)", Need::Primary),
        ("SELECT f()", Need::Primary),
        ("SELECT GET_LOCK('a', 1)", Need::Primary),
        ("SELECT 1; DELETE FROM t", Need::Primary),
        ("SELECT 1", Need::Any),
        ("SET @a = 1", Need::Any),
        ("KILL 1", Need::Any),
        ("USE app", Need::Any),
    ] {
        let statement = classify(sql.as_bytes(), LexMode::default());
        assert_eq!(need_of(ran(&statement), false), expected, "{sql}");
    }
    let read = classify(b"SELECT 1", LexMode::default());
    assert_eq!(
        need_of(ran(&read), true),
        Need::Primary,
        "begins a transaction"
    );
}
