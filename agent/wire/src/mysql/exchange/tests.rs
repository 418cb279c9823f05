//! Tests of `exchange`: every shape of reply, for clients that agree with the server and for those that do not, whole and
//! cut at every byte.

use bytes::{Bytes, BytesMut};

use super::super::ProtocolError;
use super::super::flags::{Capabilities, Status};
use super::super::packet;
use super::super::response::{EofPacket, ErrPacket, OkPacket, SessionTrack};
use super::*;

mod errors;
mod large;
mod local_infile;
mod properties;
mod session_state;

const BASE: Capabilities = Capabilities(
    Capabilities::CLIENT_PROTOCOL_41.0
        | Capabilities::CLIENT_MULTI_RESULTS.0
        | Capabilities::CLIENT_LOCAL_FILES.0,
);
/// What we negotiate with servers.
const NEW: Capabilities = Capabilities(
    BASE.0 | Capabilities::CLIENT_DEPRECATE_EOF.0 | Capabilities::CLIENT_SESSION_TRACK.0,
);
/// What PHP's mysqlnd negotiates.
const OLD: Capabilities = BASE;
const TRACK_ONLY: Capabilities = Capabilities(BASE.0 | Capabilities::CLIENT_SESSION_TRACK.0);
const EOF_ONLY: Capabilities = Capabilities(BASE.0 | Capabilities::CLIENT_DEPRECATE_EOF.0);
const ALL: [Capabilities; 4] = [NEW, OLD, TRACK_ONLY, EOF_ONLY];

const AUTO: Status = Status::SERVER_STATUS_AUTOCOMMIT;
const MORE: Status = Status::SERVER_MORE_RESULTS_EXISTS;
const CURSOR: Status = Status::SERVER_STATUS_CURSOR_EXISTS;

/// A packet of a reply as both ends would write it, each for its own capabilities.
#[derive(Debug, Clone)]
enum Part {
    /// The same for everyone.
    Raw(Vec<u8>),
    Ok(OkPacket),
    Err(u16),
    /// The EOF after definitions: only without CLIENT_DEPRECATE_EOF.
    Middle(Status),
    /// The end of rows or definitions.
    End(OkPacket),
}

fn raw(body: &[u8]) -> Part {
    Part::Raw(body.to_vec())
}

fn ok(status: Status) -> OkPacket {
    OkPacket {
        status,
        ..OkPacket::default()
    }
}

fn column(name: &str) -> Part {
    let mut body = BytesMut::from(&b"\x03def\0\0\0"[..]);
    packet::put_lenenc_bytes(&mut body, name.as_bytes());
    body.extend_from_slice(b"\0\x0c\x3f\0\x15\0\0\0\x08\x81\0\0\0\0");
    Part::Raw(body.to_vec())
}

/// The reference: a reply written the way a server with these capabilities would.
fn write(parts: &[Part], capabilities: Capabilities) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut seq = 1;
    for part in parts {
        match part {
            Part::Raw(body) => packet::write(&mut out, &mut seq, body),
            Part::Ok(ok) => ok.encode(capabilities, &mut out, &mut seq),
            Part::Err(code) => ErrPacket::new(*code, *b"HY000", "no").encode(&mut out, &mut seq),
            Part::Middle(_) if capabilities.contains(Capabilities::CLIENT_DEPRECATE_EOF) => {}
            Part::Middle(status) => EofPacket {
                warnings: 0,
                status: *status,
            }
            .encode(&mut out, &mut seq),
            Part::End(ok) => ok.encode_end_of_rows(capabilities, &mut out, &mut seq),
        }
    }
    out.to_vec()
}

fn feed_in_pieces(
    exchange: &mut Exchange,
    pieces: &[&[u8]],
) -> Result<(Vec<u8>, Vec<Event>), ProtocolError> {
    let mut out = BytesMut::new();
    let mut events = Vec::new();
    for piece in pieces {
        let fed = exchange.feed(piece, &mut out)?;
        assert_eq!(fed.consumed, piece.len());
        assert_eq!(exchange.bytes_relayed(), out.len() as u64);
        if fed.event != Event::NeedMore {
            events.push(fed.event);
        }
    }
    Ok((out.to_vec(), events))
}

fn run(
    shape: ReplyShape,
    client: Capabilities,
    server: Capabilities,
    input: &[u8],
) -> Result<(Vec<u8>, Completion), ProtocolError> {
    let (out, mut events) = feed_in_pieces(&mut Exchange::new(shape, client, server), &[input])?;
    match (events.pop(), events.is_empty()) {
        (Some(Event::Done(completion)), true) => Ok((out, completion)),
        (other, _) => panic!("not complete: {other:?}"),
    }
}

/// Every client of every server gets what its own server would have written, however the bytes are cut, and everyone
/// learns the same of the end.
fn check(shape: ReplyShape, parts: &[Part], expect: impl Fn(&Completion)) {
    for server in ALL {
        for client in ALL {
            let input = write(parts, server);
            let expected = write(parts, client);
            let (out, completion) = run(shape, client, server, &input).unwrap();
            assert_eq!(out, expected, "client {client:?} server {server:?}");
            expect(&completion);
            for cut in 1..input.len() {
                let (start, end) = input.split_at(cut);
                let (out, events) =
                    feed_in_pieces(&mut Exchange::new(shape, client, server), &[start, end])
                        .unwrap();
                assert_eq!(out, expected, "cut at {cut}");
                let [Event::Done(split)] = &events[..] else {
                    panic!("cut at {cut}: {events:?}")
                };
                assert_eq!(split, &completion, "cut at {cut}");
            }
            let bytes: Vec<&[u8]> = input.chunks(1).collect();
            let (out, events) =
                feed_in_pieces(&mut Exchange::new(shape, client, server), &bytes).unwrap();
            assert_eq!(out, expected, "byte by byte");
            assert_eq!(events, [Event::Done(completion)]);
            check_prefixes(shape, client, server, &input);
        }
    }
}

/// No prefix of a reply is complete, and nothing may follow it.
fn check_prefixes(shape: ReplyShape, client: Capabilities, server: Capabilities, input: &[u8]) {
    for cut in 0..input.len() {
        let fed = Exchange::new(shape, client, server)
            .feed(&input[..cut], &mut BytesMut::new())
            .unwrap();
        assert_eq!(fed.event, Event::NeedMore, "prefix of {cut} bytes");
    }
    let mut longer = input.to_vec();
    longer.push(7);
    let error = Exchange::new(shape, client, server)
        .feed(&longer, &mut BytesMut::new())
        .unwrap_err();
    assert_eq!(error, ProtocolError::TrailingBytes(1));
}

fn point_select() -> Vec<Part> {
    vec![
        raw(&[1]),
        column("v"),
        Part::Middle(AUTO),
        raw(b"\x03abc"),
        Part::End(ok(AUTO)),
    ]
}

#[test]
fn ok_alone() {
    for shape in [ReplyShape::OkOrErr, ReplyShape::Query, ReplyShape::Execute] {
        let packet = OkPacket {
            affected_rows: 3,
            last_insert_id: 1000,
            status: AUTO,
            warnings: 2,
            info: Bytes::from_static(b"Rows matched: 3"),
            track: SessionTrack::default(),
        };
        check(shape, &[Part::Ok(packet)], |done| {
            assert_eq!(
                done.outcome,
                Outcome::Ok {
                    affected_rows: 3,
                    last_insert_id: 1000
                }
            );
            assert_eq!((done.status, done.status_reported), (AUTO, true));
            assert_eq!(
                (
                    done.results,
                    done.rows_last,
                    done.last_insert_id,
                    done.warnings_last
                ),
                (1, 0, 1000, 2)
            );
            assert!(done.track.is_empty());
        });
    }
}

#[test]
fn point_select_for_php_in_bytes() {
    // A server with CLIENT_DEPRECATE_EOF: count, definition, row, OK with 0xFE.
    let server = b"\x01\0\0\x01\x01\
        \x17\0\0\x02\x03def\0\0\0\x01v\0\x0c\x3f\0\x15\0\0\0\x08\x81\0\0\0\0\
        \x04\0\0\x03\x03abc\
        \x07\0\0\x04\xfe\0\0\x02\0\x01\0";
    // For mysqlnd: an EOF after the definitions, the later packets renumbered, an EOF at the end.
    let client = b"\x01\0\0\x01\x01\
        \x17\0\0\x02\x03def\0\0\0\x01v\0\x0c\x3f\0\x15\0\0\0\x08\x81\0\0\0\0\
        \x05\0\0\x03\xfe\0\0\x02\0\
        \x04\0\0\x04\x03abc\
        \x05\0\0\x05\xfe\x01\0\x02\0";
    let (out, done) = run(ReplyShape::Query, OLD, NEW, server).unwrap();
    assert_eq!(out, client);
    assert_eq!(
        (done.outcome, done.rows_last, done.warnings_last),
        (Outcome::ResultSet, 1, 1)
    );
    assert_eq!(run(ReplyShape::Query, NEW, NEW, server).unwrap().0, server);
    assert_eq!(run(ReplyShape::Query, NEW, OLD, client).unwrap().0, server);
}

#[test]
fn result_sets() {
    check(ReplyShape::Query, &point_select(), |done| {
        assert_eq!(done.outcome, Outcome::ResultSet);
        assert_eq!((done.results, done.rows_last), (1, 1));
    });
    let null_and_empty = [
        raw(&[2]),
        column("a"),
        column("b"),
        Part::Middle(AUTO),
        raw(b"\xfb\xfb"),
        raw(b"\0\0"),
        raw(b"\xfc\x01\x00a\x01b"),
        raw(b"\xfd\x01\x00\x00a\x01b"),
        Part::End(ok(AUTO)),
    ];
    check(ReplyShape::Query, &null_and_empty, |done| {
        assert_eq!(done.rows_last, 4)
    });
    let no_rows = [
        raw(&[1]),
        column("a"),
        Part::Middle(AUTO),
        Part::End(ok(AUTO)),
    ];
    check(ReplyShape::Query, &no_rows, |done| {
        assert_eq!((done.rows_last, done.results), (0, 1))
    });
    let binary = [
        raw(&[1]),
        column("a"),
        Part::Middle(AUTO),
        raw(b"\0\0\x03abc"),
        Part::End(ok(AUTO)),
    ];
    check(ReplyShape::Execute, &binary, |done| {
        assert_eq!(done.rows_last, 1)
    });
}

#[test]
fn rows_number_past_255() {
    let mut parts = vec![raw(&[1]), column("a"), Part::Middle(AUTO)];
    parts.extend((0..600).map(|_| raw(b"\x01x")));
    parts.push(Part::End(ok(AUTO)));
    for client in ALL {
        let (out, done) = run(ReplyShape::Query, client, NEW, &write(&parts, NEW)).unwrap();
        assert_eq!(out, write(&parts, client));
        assert_eq!(done.rows_last, 600);
    }
}

#[test]
fn many_columns() {
    let mut parts = vec![raw(&[0xFC, 0x2C, 0x01])];
    parts.extend((0..300).map(|n| column(&format!("c{n}"))));
    parts.extend([Part::Middle(AUTO), raw(b"\x01x"), Part::End(ok(AUTO))]);
    let (out, done) = run(ReplyShape::Query, OLD, NEW, &write(&parts, NEW)).unwrap();
    assert_eq!(out, write(&parts, OLD));
    assert_eq!(done.rows_last, 1);
}

#[test]
fn several_results() {
    let insert = OkPacket {
        affected_rows: 2,
        last_insert_id: 41,
        status: AUTO | MORE,
        ..OkPacket::default()
    };
    let update = OkPacket {
        affected_rows: 5,
        status: AUTO,
        ..OkPacket::default()
    };
    let mut parts = vec![
        Part::Ok(insert),
        raw(&[1]),
        column("a"),
        Part::Middle(AUTO),
        raw(b"\x01x"),
    ];
    parts.extend([Part::End(ok(AUTO | MORE)), Part::Ok(update)]);
    check(ReplyShape::Query, &parts, |done| {
        assert_eq!(
            (done.results, done.rows_last, done.last_insert_id),
            (3, 0, 41)
        );
        assert_eq!(
            done.outcome,
            Outcome::Ok {
                affected_rows: 5,
                last_insert_id: 0
            }
        );
        assert_eq!(done.status, AUTO);
    });
    // A procedure called through a prepared statement: two result sets, then the OK of CALL.
    let set = |rows: usize| {
        let mut parts = vec![raw(&[1]), column("a"), Part::Middle(AUTO)];
        parts.extend((0..rows).map(|_| raw(b"\0\0\x01x")));
        parts.push(Part::End(ok(AUTO | MORE)));
        parts
    };
    let call = [set(2), set(3), vec![Part::Ok(ok(AUTO))]].concat();
    check(ReplyShape::Execute, &call, |done| {
        assert_eq!((done.results, done.rows_last), (3, 0))
    });
}

#[test]
fn cursors_end_after_the_definitions() {
    let parts = [raw(&[1]), column("a"), Part::End(ok(AUTO | CURSOR))];
    check(ReplyShape::Execute, &parts, |done| {
        assert_eq!(done.outcome, Outcome::CursorOpened);
        assert!(done.status.contains(CURSOR));
        assert_eq!((done.results, done.rows_last), (1, 0));
    });
    let fetch = [
        raw(b"\0\0\x01x"),
        raw(b"\0\0\x01y"),
        Part::End(ok(AUTO | CURSOR)),
    ];
    check(ReplyShape::Fetch, &fetch, |done| {
        assert_eq!(
            (done.outcome.clone(), done.rows_last),
            (Outcome::ResultSet, 2)
        );
    });
    let last = [Part::End(ok(AUTO | Status::SERVER_STATUS_LAST_ROW_SENT))];
    check(ReplyShape::Fetch, &last, |done| {
        assert_eq!(done.rows_last, 0)
    });
}

fn prepare_ok(columns: u8, params: u8) -> Part {
    raw(&[0, 9, 0, 0, 0, columns, 0, params, 0, 0, 3, 0])
}

#[test]
fn prepare_with_and_without_definitions() {
    let cases = [(0_u8, 0_u8), (2, 0), (0, 3), (2, 3), (1, 1)];
    for (columns, params) in cases {
        let mut parts = vec![prepare_ok(columns, params)];
        for count in [params, columns] {
            parts.extend((0..count).map(|_| column("?")));
            if count > 0 {
                parts.push(Part::Middle(AUTO));
            }
        }
        check(ReplyShape::Prepare, &parts, |done| {
            let (columns, params) = (u16::from(columns), u16::from(params));
            assert_eq!(
                done.prepared,
                Some(PreparedStatement {
                    id: 9,
                    columns,
                    params,
                    warnings: 3
                })
            );
            assert_eq!(done.outcome, Outcome::Prepared);
        });
    }
}

#[test]
fn the_small_shapes() {
    check(
        ReplyShape::FieldList,
        &[column("a"), column("b"), Part::End(ok(AUTO))],
        |done| {
            assert_eq!(
                (done.outcome.clone(), done.results),
                (Outcome::ResultSet, 1)
            );
        },
    );
    check(
        ReplyShape::Statistics,
        &[raw(b"Uptime: 1  Threads: 2")],
        |done| assert_eq!(done.outcome, Outcome::Text),
    );
    // COM_SET_OPTION and COM_DEBUG answer with an EOF, or its OK.
    check(ReplyShape::OkOrErr, &[Part::End(ok(AUTO))], |done| {
        assert_eq!(
            done.outcome,
            Outcome::Ok {
                affected_rows: 0,
                last_insert_id: 0
            }
        );
    });
    let fed = Exchange::new(ReplyShape::None, OLD, NEW)
        .feed(b"", &mut BytesMut::new())
        .unwrap();
    assert!(matches!(
        fed.event,
        Event::Done(Completion {
            outcome: Outcome::Nothing,
            ..
        })
    ));
    let error = Exchange::new(ReplyShape::None, OLD, NEW)
        .feed(b"x", &mut BytesMut::new())
        .unwrap_err();
    assert_eq!(error, ProtocolError::TrailingBytes(1));
}

#[test]
fn the_eof_made_here_has_the_last_known_status() {
    let status = AUTO | Status::SERVER_STATUS_IN_TRANS;
    let parts = [
        raw(&[1]),
        column("a"),
        Part::Middle(status),
        raw(b"\x01x"),
        Part::End(ok(status)),
    ];
    let mut exchange = Exchange::new(ReplyShape::Query, OLD, NEW).with_status(status);
    let mut out = BytesMut::new();
    exchange.feed(&write(&parts, NEW), &mut out).unwrap();
    assert_eq!(out, write(&parts, OLD));
}

/// The reply to EXECUTE of a procedure with an OUT parameter, as MySQL 9.7 sends it in either form.
fn out_params(capabilities: Capabilities) -> Vec<u8> {
    let flags = Status::SERVER_PS_OUT_PARAMS | MORE;
    let mut parts = vec![
        raw(&[1]),
        column("x"),
        Part::Middle(AUTO | flags),
        raw(b"\0\0\x05\0\0\0"),
    ];
    let behind = if capabilities.contains(Capabilities::CLIENT_DEPRECATE_EOF) {
        AUTO | flags
    } else {
        AUTO
    };
    parts.extend([Part::End(ok(behind)), Part::Ok(ok(AUTO))]);
    write(&parts, capabilities)
}

#[test]
fn out_parameters() {
    for server in ALL {
        for client in ALL {
            let input = out_params(server);
            let (out, done) = run(ReplyShape::Execute, client, server, &input).unwrap();
            assert_eq!(
                out,
                out_params(client),
                "client {client:?} server {server:?}"
            );
            assert_eq!((done.results, done.rows_last, done.status), (2, 0, AUTO));
            let bytes: Vec<&[u8]> = input.chunks(1).collect();
            let mut exchange = Exchange::new(ReplyShape::Execute, client, server);
            assert_eq!(feed_in_pieces(&mut exchange, &bytes).unwrap().0, out);
            check_prefixes(ReplyShape::Execute, client, server, &input);
        }
    }
}

#[test]
fn only_the_first_row_of_a_prepared_statement_waits() {
    let parts = [
        raw(&[1]),
        column("a"),
        Part::Middle(AUTO),
        raw(b"\0\0\x01x"),
        raw(b"\0\0\x01y"),
        Part::End(ok(AUTO)),
    ];
    let input = write(&parts, NEW);
    let second = input.len() - 7 - 4 - 4;
    let mut exchange = Exchange::new(ReplyShape::Execute, OLD, NEW);
    let mut out = BytesMut::new();
    exchange.feed(&input[..second], &mut out).unwrap();
    let definitions = out.len();
    // The header of the second row and its first byte release the first.
    exchange.feed(&input[second..second + 1], &mut out).unwrap();
    assert!(out.len() > definitions + 9);
    exchange.feed(&input[second + 1..], &mut out).unwrap();
    assert_eq!(out, write(&parts, OLD));
}
