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

fn after_sql(sql: &str, completion: &Completion) -> After {
    after(
        Ran::Statement(&classify(sql.as_bytes(), LexMode::default())),
        completion,
    )
}

#[test]
fn the_servers_word_counts_whatever_the_text_says() {
    let read = "SELECT 1";
    let cases: [(Change, After); 7] = [
        (|_| {}, After::Release),
        (
            |ok| ok.status |= Status::SERVER_STATUS_IN_TRANS,
            After::Hold(HoldReason::Transaction),
        ),
        (|ok| ok.warnings = 1, After::Hold(HoldReason::Diagnostics)),
        (
            |ok| ok.last_insert_id = 7,
            After::Pin(HoldReason::LastInsertId),
        ),
        (
            |ok| ok.status = Status::empty(),
            After::Pin(HoldReason::SessionVariable),
        ),
        (
            |ok| ok.track.state_change = true,
            After::Pin(HoldReason::SessionVariable),
        ),
        (
            |ok| {
                ok.track.transaction_characteristics =
                    Some(Bytes::from_static(b"SET TRANSACTION READ ONLY;"))
            },
            After::Pin(HoldReason::NextTransaction),
        ),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        assert_eq!(after_sql(read, &ok(change)), expected, "case {index}");
    }
    let failed =
        completion(|out, seq| ErrPacket::new(1146, *b"42S02", "no such table").encode(out, seq));
    assert_eq!(
        after_sql(read, &failed),
        After::Hold(HoldReason::Diagnostics)
    );
}

#[test]
fn the_text_adds_what_no_tracker_reports() {
    let quiet = ok(|_| {});
    for (sql, expected) in [
        ("SELECT * FROM t", After::Release),
        ("SHOW TABLES", After::Release),
        (
            "SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1",
            After::Hold(HoldReason::Diagnostics),
        ),
        ("UPDATE t SET a = 1", After::Hold(HoldReason::Diagnostics)),
        (
            "INSERT INTO t VALUES (1)",
            After::Hold(HoldReason::Diagnostics),
        ),
        (
            "CREATE TABLE t (a INT)",
            After::Hold(HoldReason::Diagnostics),
        ),
        ("SELECT GET_LOCK('a', 1)", After::Pin(HoldReason::UserLock)),
        ("SELECT get_lock ('a', 1)", After::Pin(HoldReason::UserLock)),
        ("LOCK TABLES t WRITE", After::Pin(HoldReason::LockTables)),
        (
            "FLUSH TABLES WITH READ LOCK",
            After::Pin(HoldReason::LockTables),
        ),
        ("HANDLER t OPEN", After::Pin(HoldReason::Handler)),
        ("XA START 'x'", After::Pin(HoldReason::Xa)),
        ("CALL p()", After::Pin(HoldReason::StoredProgram)),
        (
            "SELECT my_function(1)",
            After::Pin(HoldReason::StoredProgram),
        ),
        ("SELECT @a", After::Pin(HoldReason::UserVariable)),
        (
            "SELECT LAST_INSERT_ID(5)",
            After::Pin(HoldReason::LastInsertId),
        ),
        (
            "SET TRANSACTION READ ONLY",
            After::Pin(HoldReason::NextTransaction),
        ),
        ("SET NAMES latin1", After::Pin(HoldReason::SessionVariable)),
        (
            "PREPARE s FROM 'SELECT 1'",
            After::Pin(HoldReason::PreparedStatement),
        ),
        (
            "CREATE TEMPORARY TABLE t (a INT)",
            After::Pin(HoldReason::TemporaryTable),
        ),
        ("SELECT 1; SELECT 2", After::Pin(HoldReason::MultiStatement)),
        ("SOMETHING NEW", After::Pin(HoldReason::Unknown)),
    ] {
        assert_eq!(after_sql(sql, &quiet), expected, "{sql}");
    }
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
    assert_eq!(after_sql("USE app", &changed), After::Release);
    assert_eq!(
        after(Ran::Command(Command::InitDb), &changed),
        After::Release
    );
    assert_eq!(
        after_sql("SELECT 1", &changed),
        After::Pin(HoldReason::SessionVariable)
    );
}

#[test]
fn commands_that_leave_something_pin() {
    let quiet = ok(|_| {});
    for (command, expected) in [
        (Command::InitDb, After::Release),
        (Command::Statistics, After::Release),
        (Command::FieldList, After::Release),
        (
            Command::StmtPrepare,
            After::Pin(HoldReason::PreparedStatement),
        ),
        (
            Command::StmtExecute,
            After::Pin(HoldReason::PreparedStatement),
        ),
        (Command::SetOption, After::Pin(HoldReason::SessionVariable)),
    ] {
        assert_eq!(
            after(Ran::Command(command), &quiet),
            expected,
            "{command:?}"
        );
    }
    assert_eq!(
        after(Ran::Oversized, &quiet),
        After::Pin(HoldReason::Oversized)
    );
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
