//! Texts before and after.

use super::*;

fn answered(sql: &str) -> Option<String> {
    let value = |asked| {
        Some(match asked {
            SessionValue::FoundRows => "7".to_owned(),
            SessionValue::RowCount => "-1".to_owned(),
            SessionValue::ConnectionId => "99".to_owned(),
            SessionValue::LastInsertId => return None,
        })
    };
    let text = answer_in_text(sql.as_bytes(), LexMode::default(), value)?;
    Some(String::from_utf8(text).unwrap())
}

#[test]
fn columns_keep_their_names() {
    for (sql, expected) in [
        ("SELECT FOUND_ROWS()", "SELECT 7 AS `FOUND_ROWS()`"),
        (
            "SELECT ROW_COUNT() + 1;",
            "SELECT -1 + 1 AS `ROW_COUNT() + 1`;",
        ),
        ("select found_rows ( ) as n", "select 7 as n"),
        ("SELECT FOUND_ROWS() n, 1", "SELECT 7 n, 1"),
        (
            "SELECT a, (FOUND_ROWS()), ROW_COUNT() `r` FROM t WHERE x > FOUND_ROWS()",
            "SELECT a, (7) AS `(FOUND_ROWS())`, -1 `r` FROM t WHERE x > 7",
        ),
        (
            "SELECT (SELECT FOUND_ROWS() FROM t) FROM u",
            "SELECT (SELECT 7 FROM t) AS `(SELECT FOUND_ROWS() FROM t)` FROM u",
        ),
        ("SELECT CONNECTION_ID()", "SELECT 99 AS `CONNECTION_ID()`"),
        (
            "INSERT INTO t VALUES (FOUND_ROWS(), 'FOUND_ROWS()')",
            "INSERT INTO t VALUES (7, 'FOUND_ROWS()')",
        ),
    ] {
        assert_eq!(answered(sql).as_deref(), Some(expected), "{sql}");
    }
}

#[test]
fn what_does_not_ask_is_left_alone() {
    for sql in [
        "SELECT 'FOUND_ROWS()'",
        "SELECT `FOUND_ROWS` ()",
        "SELECT app.FOUND_ROWS()",
        "SELECT 1 -- FOUND_ROWS()",
        "SELECT FOUND_ROWS",
    ] {
        assert_eq!(answered(sql), None, "{sql}");
    }
    assert_eq!(
        answered("SELECT LAST_INSERT_ID(), FOUND_ROWS()").as_deref(),
        Some("SELECT LAST_INSERT_ID(), 7 AS `FOUND_ROWS()`"),
        "one value is not known"
    );
    assert_eq!(answered("SELECT LAST_INSERT_ID()"), None);
}
