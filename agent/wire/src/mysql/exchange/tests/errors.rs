//! Replies that end in an error, and bytes that are no reply.

use super::*;

#[test]
fn errors_end_a_reply_anywhere() {
    let first = [Part::Err(1064)];
    for shape in [
        ReplyShape::OkOrErr,
        ReplyShape::Query,
        ReplyShape::FieldList,
        ReplyShape::Statistics,
        ReplyShape::Prepare,
        ReplyShape::Execute,
        ReplyShape::Fetch,
    ] {
        check(shape, &first, |done| {
            let Outcome::Err {
                code,
                sql_state,
                message,
            } = &done.outcome
            else {
                panic!("{done:?}")
            };
            assert_eq!(
                (*code, *sql_state, &message[..]),
                (1064, *b"HY000", &b"no"[..])
            );
            assert!(!done.status_reported);
            assert_eq!(done.results, 1);
        });
    }
    let after_rows = [
        raw(&[1]),
        column("a"),
        Part::Middle(AUTO),
        raw(b"\x01x"),
        Part::Err(1317),
    ];
    check(ReplyShape::Query, &after_rows, |done| {
        assert!(matches!(done.outcome, Outcome::Err { code: 1317, .. }))
    });
    let before_rows = [raw(&[1]), column("a"), Part::Middle(AUTO), Part::Err(1317)];
    check(ReplyShape::Query, &before_rows, |done| {
        assert_eq!(done.rows_last, 0)
    });
    let second = [Part::Ok(ok(AUTO | MORE)), Part::Err(1146)];
    check(ReplyShape::Query, &second, |done| {
        assert_eq!(done.results, 2);
        assert_eq!((done.status, done.status_reported), (AUTO, false));
    });
}

#[rustfmt::skip]
const IMPOSSIBLE: &[(&str, ReplyShape, &[u8])] = &[
    ("EOF for a query", ReplyShape::Query, b"\x05\0\0\x01\xfe\0\0\x02\0"),
    ("empty packet for a query", ReplyShape::Query, b"\0\0\0\x01"),
    ("LOCAL INFILE for EXECUTE", ReplyShape::Execute, b"\x02\0\0\x01\xfbx"),
    ("rows for a ping", ReplyShape::OkOrErr, b"\x01\0\0\x01\x01"),
    ("count of 0xFC without its bytes", ReplyShape::Query, b"\x01\0\0\x01\xfc"),
    ("count with a tail", ReplyShape::Query, b"\x02\0\0\x01\x01\x01"),
    ("count of 10 bytes", ReplyShape::Query, b"\x0a\0\0\x01\x01"),
    ("short OK", ReplyShape::Query, b"\x03\0\0\x01\0\0\0"),
    ("OK with a tail", ReplyShape::Query, b"\x09\0\0\x01\0\0\0\x02\0\0\0\0\0"),
    ("short ERR", ReplyShape::Query, b"\x02\0\0\x01\xff\x28"),
    ("short PREPARE OK", ReplyShape::Prepare, b"\x05\0\0\x01\0\x01\0\0\0"),
    ("text row for FETCH", ReplyShape::Fetch, b"\x02\0\0\x01\x01x"),
    ("OK larger than we hold", ReplyShape::Query, b"\x01\0\x10\x01\0"),
    ("wrong number", ReplyShape::Query, b"\x01\0\0\x01\x01\x02\0\0\x03\x03d"),
];

#[test]
fn what_cannot_be_is_an_error() {
    for &(what, shape, input) in IMPOSSIBLE {
        let mut exchange = Exchange::new(shape, OLD, NEW);
        assert!(
            exchange.feed(input, &mut BytesMut::new()).is_err(),
            "{what}"
        );
        let after = exchange.feed(b"", &mut BytesMut::new()).unwrap_err();
        assert_eq!(
            after,
            ProtocolError::OutOfTurn("the reply is over"),
            "{what}"
        );
    }
}

#[test]
fn a_server_that_speaks_unasked_is_leaving() {
    let mut bytes = BytesMut::new();
    ErrPacket::new(
        4031,
        *b"HY000",
        "disconnected by the server because of inactivity",
    )
    .encode(&mut bytes, &mut 0);
    let mut exchange = Exchange::new(ReplyShape::Query, OLD, NEW);
    let mut out = BytesMut::new();
    assert_eq!(
        exchange.feed(&bytes, &mut out),
        Err(ProtocolError::Unsolicited { code: 4031 })
    );
    assert!(out.is_empty() && !exchange.anything_relayed());
}

#[test]
fn nothing_comes_after_the_end() {
    let input = write(&[Part::Ok(ok(AUTO))], NEW);
    let mut exchange = Exchange::new(ReplyShape::OkOrErr, OLD, NEW);
    exchange.feed(&input, &mut BytesMut::new()).unwrap();
    let error = exchange.feed(&input, &mut BytesMut::new()).unwrap_err();
    assert_eq!(error, ProtocolError::OutOfTurn("the reply is over"));
}
