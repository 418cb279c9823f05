//! What is left behind, as tables: by the server's word and by the statement's text.

use bytes::{Bytes, BytesMut};
use lamplighter_wire::mysql::exchange::{Event, Exchange, ReplyShape};
use lamplighter_wire::mysql::flags::Capabilities;
use lamplighter_wire::mysql::response::{ErrPacket, OkPacket, SessionTrack};
use lamplighter_wire::sql::{LexMode, classify};

use super::*;

const BOTH: Capabilities = Capabilities::CLIENT_PROTOCOL_41
    .union(Capabilities::CLIENT_SESSION_TRACK)
    .union(Capabilities::CLIENT_DEPRECATE_EOF);

type Change = fn(&mut OkPacket);

/// The completion of a reply that is this one packet.
fn completion(write: impl FnOnce(&mut BytesMut, &mut u8)) -> Completion {
    let (mut reply, mut seq, mut out) = (BytesMut::new(), 1, BytesMut::new());
    write(&mut reply, &mut seq);
    match Exchange::new(ReplyShape::Query, BOTH, BOTH)
        .feed(&reply, &mut out)
        .unwrap()
        .event
    {
        Event::Done(completion) => completion,
        other => panic!("{other:?}"),
    }
}

fn ok(change: impl FnOnce(&mut OkPacket)) -> Completion {
    let mut packet = OkPacket {
        status: Status::SERVER_STATUS_AUTOCOMMIT,
        ..OkPacket::default()
    };
    change(&mut packet);
    completion(|out, seq| packet.encode(BOTH, out, seq))
}

const NOWHERE: Context<'static> = Context {
    schema: None,
    autocommit_off: false,
};

fn note(ties: &mut Ties, sql: &str, completion: &Completion) {
    let mode = LexMode::default();
    let ran = Ran::Statement {
        statement: &classify(sql.as_bytes(), mode),
        text: sql.as_bytes(),
        mode,
    };
    ties.note(ran, completion, NOWHERE);
}

fn after_sql(sql: &str, completion: &Completion) -> Option<HoldReason> {
    let mut ties = Ties::default();
    note(&mut ties, sql, completion);
    ties.reason()
}

fn failed(code: u16) -> Completion {
    completion(|out, seq| ErrPacket::new(code, *b"42S02", "refused").encode(out, seq))
}

#[test]
fn the_servers_word_counts_whatever_the_text_says() {
    let read = "SELECT 1";
    let cases: [(Change, Option<HoldReason>); 6] = [
        (|_| {}, None),
        (
            |ok| ok.status |= Status::SERVER_STATUS_IN_TRANS,
            Some(HoldReason::Transaction),
        ),
        (|ok| ok.warnings = 1, Some(HoldReason::Diagnostics)),
        (
            |ok| ok.status = Status::empty(),
            Some(HoldReason::SessionVariable),
        ),
        (
            |ok| ok.track.state_change = true,
            Some(HoldReason::SessionVariable),
        ),
        (
            |ok| {
                ok.track.transaction_characteristics =
                    Some(Bytes::from_static(b"SET TRANSACTION READ ONLY;"))
            },
            Some(HoldReason::NextTransaction),
        ),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        assert_eq!(after_sql(read, &ok(change)), expected, "case {index}");
    }
    assert_eq!(
        after_sql(read, &failed(1146)),
        Some(HoldReason::Diagnostics)
    );
    let mut ties = Ties::default();
    let context = Context {
        autocommit_off: true,
        ..NOWHERE
    };
    ties.note(
        Ran::UnderstoodSet,
        &ok(|ok| ok.status = Status::empty()),
        context,
    );
    assert!(ties.is_free(), "autocommit is known to be off");
}

#[test]
fn the_text_adds_what_no_tracker_reports() {
    use HoldReason as R;
    let quiet = ok(|_| {});
    for (sql, expected) in [
        ("SELECT * FROM t", None),
        ("SHOW TABLES", None),
        (
            "SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1",
            Some(R::Diagnostics),
        ),
        ("UPDATE t SET a = 1", Some(R::Diagnostics)),
        ("INSERT INTO t VALUES (1)", Some(R::Diagnostics)),
        ("CREATE TABLE t (a INT)", Some(R::Diagnostics)),
        ("SELECT GET_LOCK('a', 1)", Some(R::UserLock)),
        ("SELECT get_lock ('a', 1)", Some(R::UserLock)),
        ("LOCK TABLES t WRITE", Some(R::LockTables)),
        ("LOCK INSTANCE FOR BACKUP", Some(R::LockTables)),
        ("FLUSH TABLES WITH READ LOCK", Some(R::LockTables)),
        ("HANDLER t OPEN", Some(R::Handler)),
        ("XA START 'x'", Some(R::Xa)),
        ("CALL p()", Some(R::StoredProgram)),
        ("SELECT my_function(1)", Some(R::StoredProgram)),
        ("SELECT @a", Some(R::UserVariable)),
        ("SET TRANSACTION READ ONLY", Some(R::NextTransaction)),
        ("SET NAMES latin1", Some(R::SessionVariable)),
        ("PREPARE s FROM 'SELECT 1'", Some(R::PreparedStatement)),
        ("EXECUTE s", Some(R::PreparedStatement)),
        ("CREATE TEMPORARY TABLE t (a INT)", Some(R::TemporaryTable)),
        ("SELECT 1; SELECT 2", Some(R::MultiStatement)),
        ("SOMETHING NEW", Some(R::Unknown)),
    ] {
        assert_eq!(after_sql(sql, &quiet), expected, "{sql}");
    }
}

#[test]
fn what_was_refused_before_it_ran_left_nothing() {
    for sql in ["SOMETHING NEW", "SELECT GET_LOCK('a', 1) FROM nowhere"] {
        for code in [1064, 1146] {
            assert_eq!(
                after_sql(sql, &failed(code)),
                Some(HoldReason::Diagnostics),
                "{sql}"
            );
        }
    }
    assert_eq!(
        after_sql("SELECT GET_LOCK('a', 1) FROM t", &failed(1205)),
        Some(HoldReason::UserLock)
    );
    for sql in [
        "SOMETHING NEW",
        "LOCK TABLES t READ",
        "SET sql_mode = 1",
        "USE x",
    ] {
        assert_eq!(
            after_sql(sql, &failed(1205)),
            Some(HoldReason::Diagnostics),
            "{sql}"
        );
    }
    for sql in ["CALL p()", "SELECT 1; SOMETHING", "SELECT f(@a := 1)"] {
        assert_ne!(
            after_sql(sql, &failed(1064)),
            Some(HoldReason::Diagnostics),
            "{sql}"
        );
    }
}

/// The reason after all of these, each of which succeeds.
fn after_all(statements: &[&str]) -> Option<HoldReason> {
    let mut ties = Ties::default();
    for sql in statements {
        note(&mut ties, sql, &ok(|_| {}));
    }
    // the right to ask about the last one ends by itself
    ties.reason()
        .filter(|reason| *reason != HoldReason::Diagnostics)
}

#[test]
fn what_is_taken_away_again_ends_the_hold() {
    for statements in [
        &[
            "LOCK TABLES t WRITE",
            "INSERT INTO t VALUES (1)",
            "UNLOCK TABLES",
        ][..],
        &["FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES"],
        &["LOCK INSTANCE FOR BACKUP", "UNLOCK INSTANCE"],
        &["SELECT GET_LOCK('a', 1)", "DO RELEASE_ALL_LOCKS()"],
        &[
            "XA START 'x'",
            "XA END 'x'",
            "XA PREPARE 'x'",
            "XA COMMIT 'x'",
        ],
        &["PREPARE s FROM 'SELECT 1'", "DEALLOCATE PREPARE s"],
        &[
            "HANDLER t OPEN AS h",
            "HANDLER h READ FIRST",
            "HANDLER h CLOSE",
        ],
        &[
            "CREATE TEMPORARY TABLE a (x INT)",
            "CREATE TEMPORARY TABLE b (x INT)",
            "DROP TEMPORARY TABLE b, a",
        ],
    ] {
        assert_eq!(after_all(statements), None, "{statements:?}");
        assert_ne!(
            after_all(&statements[..statements.len() - 1]),
            None,
            "{statements:?} without its end"
        );
    }
}

#[test]
fn what_is_not_provably_gone_stays() {
    for statements in [
        &["CREATE TEMPORARY TABLE a (x INT)", "DROP TEMPORARY TABLE A"][..],
        &["CREATE TEMPORARY TABLE a (x INT)", "DROP TABLE a"],
        &[
            "CREATE TEMPORARY TABLE a (x INT)",
            "ALTER TABLE a RENAME b",
            "DROP TEMPORARY TABLE a",
        ],
        &["SELECT GET_LOCK('a', 1)", "SELECT RELEASE_LOCK('a')"],
        &[
            "PREPARE s FROM 'SELECT 1'",
            "EXECUTE s",
            "DEALLOCATE PREPARE s",
        ],
        &["CALL p()", "UNLOCK TABLES"],
        &["SELECT @a", "SELECT 1"],
    ] {
        assert!(after_all(statements).is_some(), "{statements:?}");
    }
    let mut ties = Ties::default();
    note(&mut ties, "CREATE TEMPORARY TABLE a (x INT)", &ok(|_| {}));
    note(&mut ties, "DROP TEMPORARY TABLE a, b", &failed(1051));
    assert_eq!(ties.reason(), Some(HoldReason::TemporaryTable));
}

#[test]
fn a_one_shot_transaction_setting_ends_with_the_transaction() {
    let mut ties = Ties::default();
    let said = |text: &'static [u8]| {
        ok(|ok| ok.track.transaction_characteristics = Some(Bytes::from_static(text)))
    };
    note(
        &mut ties,
        "SET TRANSACTION READ ONLY",
        &said(b"SET TRANSACTION READ ONLY;"),
    );
    note(&mut ties, "SELECT 1", &ok(|_| {}));
    assert_eq!(ties.reason(), Some(HoldReason::NextTransaction));
    note(&mut ties, "SELECT 1 FROM t", &said(b""));
    assert!(ties.is_free());
}

#[test]
fn cursors_and_long_data_are_counted() {
    let mut ties = Ties::default();
    ties.set_cursor(3, true);
    ties.set_long_data(4, true);
    assert_eq!(ties.reason(), Some(HoldReason::Cursor));
    ties.set_cursor(3, false);
    assert_eq!(ties.reason(), Some(HoldReason::LongData));
    ties.set_long_data(4, false);
    assert!(ties.is_free());
}

#[test]
fn a_change_of_schema_alone_pins_only_where_it_hides_something() {
    let changed = ok(|ok| {
        ok.track = SessionTrack {
            schema: Some(Bytes::from_static(b"app")),
            state_change: true,
            ..SessionTrack::default()
        };
    });
    assert_eq!(after_sql("USE app", &changed), None);
    let mut ties = Ties::default();
    ties.note(Ran::Command(Command::InitDb), &changed, NOWHERE);
    assert!(ties.is_free());
    assert_eq!(
        after_sql("SELECT 1", &changed),
        Some(HoldReason::SessionVariable)
    );
}

#[test]
fn what_could_not_be_read_stays_for_ever() {
    let mut ties = Ties::default();
    ties.note(Ran::Oversized, &ok(|_| {}), NOWHERE);
    assert_eq!(ties.reason(), Some(HoldReason::Oversized));
    assert!(ties.is_forever());
}

#[test]
fn questions_about_the_last_statement_are_recognised() {
    for (sql, is_question) in [
        ("SHOW WARNINGS", true),
        ("SHOW COUNT(*) WARNINGS", true),
        ("GET DIAGNOSTICS @a = NUMBER", true),
        ("SELECT FOUND_ROWS()", true),
        ("SELECT ROW_COUNT() + 1", true),
        ("SELECT @@warning_count", true),
        ("SELECT 'FOUND_ROWS()'", false),
        ("SELECT 1", false),
    ] {
        assert_eq!(
            asks_about_the_last(&classify(sql.as_bytes(), LexMode::default())),
            is_question,
            "{sql}"
        );
    }
}
