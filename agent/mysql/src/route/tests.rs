//! Where statements may go, as a table.

use lamplighter_wire::sql::{LexMode, classify};

use super::*;

fn wish(sql: &str, reads: ReadsFrom) -> Wish {
    route(Some(&classify(sql.as_bytes(), LexMode::default())), reads)
}

#[test]
fn statements_go_where_the_table_says() {
    const NO_READ: Wish = Wish::Primary(Why::NotARead);
    const HINT: Wish = Wish::Primary(Why::Hint);
    const RULE: Wish = Wish::Primary(Why::Rule);
    let cases = [
        ("SELECT * FROM t WHERE id = 1", Wish::Replica, RULE),
        ("/* lamplighter:primary */ SELECT 1 FROM t", HINT, HINT),
        (
            "/* lamplighter:replica */ SELECT 1 FROM t",
            Wish::AnyReplica,
            Wish::AnyReplica,
        ),
        (
            "SHOW STATUS /* lamplighter:replica */",
            Wish::AnyReplica,
            Wish::AnyReplica,
        ),
        ("/* lamplighter:replica */ DELETE FROM t", NO_READ, NO_READ),
        ("SELECT * FROM t FOR UPDATE", NO_READ, NO_READ),
        ("SELECT my_function(1)", NO_READ, NO_READ),
        ("SELECT GET_LOCK('a', 1)", NO_READ, NO_READ),
        ("SELECT id INTO @x FROM t", NO_READ, NO_READ),
        ("INSERT INTO t VALUES (1)", NO_READ, NO_READ),
        ("BEGIN", NO_READ, NO_READ),
        ("START TRANSACTION READ WRITE", NO_READ, NO_READ),
        ("START TRANSACTION READ ONLY", Wish::Replica, RULE),
        (
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
            Wish::Replica,
            RULE,
        ),
        (
            "START TRANSACTION READ ONLY /* lamplighter:primary */",
            HINT,
            HINT,
        ),
        (
            "START TRANSACTION READ ONLY; DELETE FROM t",
            NO_READ,
            NO_READ,
        ),
        ("gibberish", NO_READ, NO_READ),
    ];
    for (sql, usual, ruled) in cases {
        assert_eq!(wish(sql, ReadsFrom::Replicas), usual, "{sql}");
        assert_eq!(wish(sql, ReadsFrom::Primary), ruled, "{sql}");
    }
}

#[test]
fn what_cannot_be_looked_through_goes_to_the_primary() {
    assert_eq!(
        route(None, ReadsFrom::Replicas),
        Wish::Primary(Why::NotARead)
    );
}
