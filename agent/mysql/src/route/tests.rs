//! Where statements go, as a table.

use lamplighter_wire::sql::{LexMode, classify};

use super::*;

fn target(
    sql: &str,
    wrote_before: bool,
    consistency: Consistency,
    fit: &[bool],
    turn: usize,
) -> Target {
    route(
        Some(&classify(sql.as_bytes(), LexMode::default())),
        wrote_before,
        consistency,
        fit,
        turn,
    )
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn statements_go_where_the_table_says() {
    use Consistency::{Eventual, Session};
    let both = [true, true];
    let read = "SELECT * FROM t WHERE id = 1";
    for (sql, wrote, consistency, fit, turn, expected) in [
        (read, false, Session, &both[..], 0, Target::Replica(0)),
        (read, false, Session, &both[..], 1, Target::Replica(1)),
        (read, false, Session, &both[..], 2, Target::Replica(0)),
        (
            read,
            false,
            Session,
            &[false, true][..],
            0,
            Target::Replica(1),
        ),
        (
            read,
            false,
            Session,
            &[false, false][..],
            7,
            Target::Primary(Why::NoReplica),
        ),
        (
            read,
            false,
            Session,
            &[][..],
            0,
            Target::Primary(Why::NoReplica),
        ),
        (
            read,
            true,
            Session,
            &both[..],
            0,
            Target::Primary(Why::WroteBefore),
        ),
        (read, true, Eventual, &both[..], 0, Target::Replica(0)),
        (
            "/* lamplighter:primary */ SELECT 1 FROM t",
            false,
            Session,
            &both[..],
            0,
            Target::Primary(Why::Hint),
        ),
        (
            "/* lamplighter:replica */ SELECT 1 FROM t",
            true,
            Session,
            &both[..],
            1,
            Target::Replica(1),
        ),
        (
            "SHOW STATUS /* lamplighter:replica */",
            true,
            Session,
            &both[..],
            0,
            Target::Replica(0),
        ),
        (
            "/* lamplighter:replica */ SELECT 1 FROM t",
            false,
            Session,
            &[false, false][..],
            0,
            Target::Primary(Why::NoReplica),
        ),
        (
            "/* lamplighter:replica */ DELETE FROM t",
            false,
            Eventual,
            &both[..],
            0,
            Target::Primary(Why::NotARead),
        ),
        (
            "SELECT * FROM t FOR UPDATE",
            false,
            Session,
            &both[..],
            0,
            Target::Primary(Why::NotARead),
        ),
        (
            "SELECT my_function(1)",
            false,
            Session,
            &both[..],
            0,
            Target::Primary(Why::NotARead),
        ),
        (
            "SELECT GET_LOCK('a', 1)",
            false,
            Session,
            &both[..],
            0,
            Target::Primary(Why::NotARead),
        ),
        (
            "SELECT id INTO @x FROM t",
            false,
            Session,
            &both[..],
            0,
            Target::Primary(Why::NotARead),
        ),
        (
            "INSERT INTO t VALUES (1)",
            false,
            Eventual,
            &both[..],
            0,
            Target::Primary(Why::NotARead),
        ),
        (
            "BEGIN",
            false,
            Eventual,
            &both[..],
            0,
            Target::Primary(Why::NotARead),
        ),
        (
            "gibberish",
            false,
            Eventual,
            &both[..],
            0,
            Target::Primary(Why::NotARead),
        ),
    ] {
        assert_eq!(
            target(sql, wrote, consistency, fit, turn),
            expected,
            "{sql}"
        );
    }
}

#[test]
fn what_cannot_be_looked_through_goes_to_the_primary() {
    assert_eq!(
        route(None, false, Consistency::Eventual, &[true], 0),
        Target::Primary(Why::NotARead)
    );
}
