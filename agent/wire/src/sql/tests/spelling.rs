//! Tests of `exact_spelling`.

use super::super::*;

#[test]
fn the_three_spellings() {
    let cases = [
        (
            "SELECT FOUND_ROWS()",
            SessionValue::FoundRows,
            "FOUND_ROWS()",
        ),
        (
            "select last_insert_id();",
            SessionValue::LastInsertId,
            "last_insert_id()",
        ),
        (
            "  SELECT\n\tRow_Count ( ) ; ",
            SessionValue::RowCount,
            "Row_Count ( )",
        ),
        (
            "/* x */ SELECT LAST_INSERT_ID() AS id",
            SessionValue::LastInsertId,
            "id",
        ),
        (
            "SELECT FOUND_ROWS() AS `the total`;",
            SessionValue::FoundRows,
            "the total",
        ),
        (
            "SELECT FOUND_ROWS() `n` -- end",
            SessionValue::FoundRows,
            "n",
        ),
    ];
    for (sql, value, column) in cases {
        let expected = ExactSpelling {
            value,
            column: column.as_bytes(),
        };
        assert_eq!(exact_spelling(sql.as_bytes()), Some(expected), "{sql}");
    }
}

#[test]
fn anything_more_is_none() {
    for sql in [
        "",
        "SELECT",
        "SELECT FOUND_ROWS",
        "SELECT FOUND_ROWS(",
        "SELECT FOUND_ROWS(1)",
        "SELECT LAST_INSERT_ID(5)",
        "SELECT LAST_INSERT_ID() + 1",
        "SELECT LAST_INSERT_ID(), 1",
        "SELECT LAST_INSERT_ID() FROM t",
        "SELECT LAST_INSERT_ID() INTO @x",
        "SELECT LAST_INSERT_ID() AS",
        "SELECT LAST_INSERT_ID() AS a b",
        "SELECT LAST_INSERT_ID() AS 'a'",
        "SELECT LAST_INSERT_ID(); SELECT 1",
        "SELECT shop.LAST_INSERT_ID()",
        "SELECT `LAST_INSERT_ID`()",
        "SELECT LAST_INSERT_ID() /*! + 1 */",
        "SELECT LAST_INSERT_ID() /* open",
        "(SELECT LAST_INSERT_ID())",
        "DO LAST_INSERT_ID()",
        "SELECT VERSION()",
    ] {
        assert_eq!(exact_spelling(sql.as_bytes()), None, "{sql}");
    }
}
