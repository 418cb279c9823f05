//! Tests of `exchange`: every shape of reply, for clients that agree with the server and for those that do not, whole and
//! cut at every byte.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::super::ProtocolError;
use super::super::flags::{Capabilities, Status};
use super::super::packet::{self, MAX_PAYLOAD};
use super::super::response::{EofPacket, ErrPacket, OkPacket, SessionTrack};
use super::*;

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
fn ok_with_session_state_reaches_only_those_who_asked() {
    let track = SessionTrack {
        system_variables: vec![(Bytes::from_static(b"sql_mode"), Bytes::from_static(b"ANSI"))],
        schema: Some(Bytes::from_static(b"shop")),
        state_change: true,
        gtids: Some(Bytes::from_static(
            b"3E11FA47-71CA-11E1-9E33-C80AA9429562:23",
        )),
        transaction_characteristics: Some(Bytes::new()),
        transaction_state: Some(Bytes::from_static(b"T_______")),
    };
    let packet = OkPacket {
        status: AUTO | Status::SERVER_SESSION_STATE_CHANGED,
        info: Bytes::from_static(b"done"),
        track: track.clone(),
        ..OkPacket::default()
    };
    for server in [NEW, TRACK_ONLY] {
        for client in ALL {
            let input = write(&[Part::Ok(packet.clone())], server);
            let (out, done) = run(ReplyShape::Query, client, server, &input).unwrap();
            assert_eq!(out, write(&[Part::Ok(packet.clone())], client));
            assert_eq!(done.track, track);
            let seen = OkPacket::parse(&out[4..], client).unwrap();
            let asked = client.contains(Capabilities::CLIENT_SESSION_TRACK);
            assert_eq!(
                seen.status.contains(Status::SERVER_SESSION_STATE_CHANGED),
                asked
            );
            assert_eq!(seen.track.is_empty(), !asked);
            assert_eq!(seen.info, "done");
        }
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
        assert_eq!((done.status, done.status_reported), (AUTO | MORE, false));
    });
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
fn session_state_of_all_results_adds_up() {
    let with = |track: SessionTrack, more: Status| {
        Part::Ok(OkPacket {
            status: AUTO | more | Status::SERVER_SESSION_STATE_CHANGED,
            track,
            ..OkPacket::default()
        })
    };
    let variable =
        |name: &'static str, value: &'static str| (Bytes::from(name), Bytes::from(value));
    let first = SessionTrack {
        system_variables: vec![variable("autocommit", "ON"), variable("time_zone", "UTC")],
        gtids: Some(Bytes::from_static(b"a:1")),
        schema: Some(Bytes::from_static(b"one")),
        ..SessionTrack::default()
    };
    let second = SessionTrack {
        system_variables: vec![variable("autocommit", "OFF")],
        gtids: Some(Bytes::from_static(b"a:2")),
        schema: Some(Bytes::from_static(b"two")),
        ..SessionTrack::default()
    };
    let parts = [with(first, MORE), with(second, Status::empty())];
    let (_, done) = run(ReplyShape::Query, OLD, NEW, &write(&parts, NEW)).unwrap();
    assert_eq!(
        done.track.system_variables,
        [variable("autocommit", "OFF"), variable("time_zone", "UTC")]
    );
    assert_eq!(done.track.gtids.unwrap(), "a:1,a:2");
    assert_eq!(done.track.schema.unwrap(), "two");
}

#[test]
fn session_state_at_the_end_of_rows() {
    let track = SessionTrack {
        gtids: Some(Bytes::from_static(b"a:7")),
        ..SessionTrack::default()
    };
    let end = OkPacket {
        status: AUTO | Status::SERVER_SESSION_STATE_CHANGED,
        track,
        ..OkPacket::default()
    };
    let parts = [
        raw(&[1]),
        column("a"),
        Part::Middle(AUTO),
        raw(b"\x01x"),
        Part::End(end),
    ];
    for client in ALL {
        let (out, done) = run(ReplyShape::Query, client, NEW, &write(&parts, NEW)).unwrap();
        assert_eq!(out, write(&parts, client));
        assert_eq!(done.track.gtids.unwrap(), "a:7");
    }
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
fn rows_over_16_mib_are_not_their_end() {
    for extra in [0, 1, MAX_PAYLOAD, MAX_PAYLOAD + 5] {
        // A field of 16 MiB or more: 0xFE and eight bytes of length. The end of rows starts with 0xFE too.
        let mut row = BytesMut::new();
        let field = MAX_PAYLOAD + extra;
        packet::put_lenenc_int(&mut row, field as u64 + 1);
        row.resize(row.len() + field + 1, b'x');
        let parts = [
            raw(&[1]),
            column("a"),
            Part::Middle(AUTO),
            Part::Raw(row.to_vec()),
            Part::End(ok(AUTO)),
        ];
        let (input, expected) = (write(&parts, NEW), write(&parts, OLD));
        let (out, done) = run(ReplyShape::Query, OLD, NEW, &input).unwrap();
        assert!(out == expected, "{extra}");
        assert_eq!(done.rows_last, 1);
        let pieces: Vec<&[u8]> = input.chunks(16 * 1024).collect();
        let mut exchange = Exchange::new(ReplyShape::Query, OLD, NEW);
        let (out, events) = feed_in_pieces(&mut exchange, &pieces).unwrap();
        assert!(out == expected, "{extra} in pieces");
        assert_eq!(events, [Event::Done(done)]);
    }
}

#[test]
fn rows_of_exact_multiples_have_an_empty_packet() {
    // A binary row starts with 0x00, so its size is free to be exact.
    for packets in [1, 2] {
        let row = vec![0; MAX_PAYLOAD * packets];
        let parts = [
            raw(&[1]),
            column("a"),
            Part::Middle(AUTO),
            Part::Raw(row),
            Part::End(ok(AUTO)),
        ];
        let input = write(&parts, NEW);
        let (out, done) = run(ReplyShape::Execute, OLD, NEW, &input).unwrap();
        assert!(out == write(&parts, OLD));
        assert_eq!(done.rows_last, 1);
    }
}

#[test]
fn big_bodies_pass_through_as_they_come() {
    let parts = [
        raw(&[1]),
        column("a"),
        Part::Middle(AUTO),
        Part::Raw(vec![0x20; 1 << 20]),
        Part::End(ok(AUTO)),
    ];
    let input = write(&parts, NEW);
    let mut exchange = Exchange::new(ReplyShape::Query, NEW, NEW);
    let mut out = BytesMut::new();
    let mut given = 0;
    for piece in input.chunks(8192) {
        exchange.feed(piece, &mut out).unwrap();
        given += piece.len();
        assert!(
            given - out.len() < 16,
            "holds back {} bytes",
            given - out.len()
        );
        assert!(exchange.stash.capacity() < 64);
    }
    assert_eq!(out, input);
}

#[test]
fn local_infile() {
    for (client, server) in [(OLD, NEW), (NEW, NEW)] {
        // The second statement of two, so that the client's packet numbers are not the server's.
        let mut parts = point_select();
        parts[4] = Part::End(ok(AUTO | MORE));
        parts.push(raw(b"\xfb/tmp/a.csv"));
        let mut exchange = Exchange::new(ReplyShape::Query, client, server);
        let (out, events) = feed_in_pieces(&mut exchange, &[&write(&parts, server)]).unwrap();
        assert_eq!(out, write(&parts, client));
        assert_eq!(
            events,
            [Event::LocalInfile {
                file_name: Bytes::from_static(b"/tmp/a.csv")
            }]
        );
        let (server_next, client_next) = (6, if client == OLD { 7 } else { 6 });
        assert_eq!(
            exchange.feed(b"", &mut BytesMut::new()).unwrap().event,
            Event::NeedMore
        );

        let file = |first: u8| {
            [
                &[3, 0, 0, first][..],
                b"1,2",
                &[2, 0, 0, first + 1],
                b"3\n",
                &[0, 0, 0, first + 2],
            ]
            .concat()
        };
        let (sent, expected) = (file(client_next), file(server_next));
        for cut in 0..sent.len() {
            let mut upload = exchange.infile_upload();
            let mut out = BytesMut::new();
            assert!(!upload.feed(&sent[..cut], &mut out).unwrap());
            assert!(upload.feed(&sent[cut..], &mut out).unwrap());
            assert_eq!(out, expected);
            assert_eq!(
                upload.feed(b"x", &mut out),
                Err(ProtocolError::TrailingBytes(1))
            );
        }

        exchange.infile_sent().unwrap();
        let mut seq = server_next + 3;
        let mut answer = BytesMut::new();
        OkPacket {
            affected_rows: 2,
            status: AUTO,
            ..OkPacket::default()
        }
        .encode(server, &mut answer, &mut seq);
        let mut out = BytesMut::new();
        let fed = exchange.feed(&answer, &mut out).unwrap();
        let Event::Done(done) = fed.event else {
            panic!("{fed:?}")
        };
        assert_eq!(
            done.outcome,
            Outcome::Ok {
                affected_rows: 2,
                last_insert_id: 0
            }
        );
        assert_eq!(out[3], client_next + 3);
    }
}

#[test]
fn a_file_ends_at_an_empty_packet_that_continues_nothing() {
    let mut sent = BytesMut::new();
    let mut seq = 2;
    packet::write(&mut sent, &mut seq, &vec![b'x'; MAX_PAYLOAD]);
    packet::write(&mut sent, &mut seq, b"");
    let mut upload = InfileUpload::new(0);
    let mut out = BytesMut::new();
    let end = sent.len() - 4;
    assert!(!upload.feed(&sent[..end], &mut out).unwrap());
    assert!(upload.feed(&sent[end..], &mut out).unwrap());
    assert!(out == sent);
}

#[test]
fn local_infile_that_the_client_cannot_answer() {
    let client = OLD.without(Capabilities::CLIENT_LOCAL_FILES);
    let input = write(&[raw(b"\xfbx")], NEW);
    let error = Exchange::new(ReplyShape::Query, client, NEW)
        .feed(&input, &mut BytesMut::new())
        .unwrap_err();
    assert!(matches!(error, ProtocolError::Unsupported(_)));
    assert_eq!(
        Exchange::new(ReplyShape::Query, OLD, NEW).infile_sent(),
        Err(ProtocolError::OutOfTurn("no file was asked for"))
    );
}

#[test]
fn what_cannot_be_is_an_error() {
    let eof = b"\x05\0\0\x01\xfe\0\0\x02\0";
    let cases: [(&str, ReplyShape, Vec<u8>); 14] = [
        ("EOF for a query", ReplyShape::Query, eof.to_vec()),
        (
            "empty packet for a query",
            ReplyShape::Query,
            b"\0\0\0\x01".to_vec(),
        ),
        (
            "LOCAL INFILE for EXECUTE",
            ReplyShape::Execute,
            b"\x02\0\0\x01\xfbx".to_vec(),
        ),
        (
            "rows for a ping",
            ReplyShape::OkOrErr,
            b"\x01\0\0\x01\x01".to_vec(),
        ),
        (
            "count of 0xFC without its bytes",
            ReplyShape::Query,
            b"\x01\0\0\x01\xfc".to_vec(),
        ),
        (
            "count with a tail",
            ReplyShape::Query,
            b"\x02\0\0\x01\x01\x01".to_vec(),
        ),
        (
            "count of 10 bytes",
            ReplyShape::Query,
            b"\x0a\0\0\x01\x01".to_vec(),
        ),
        (
            "short OK",
            ReplyShape::Query,
            b"\x03\0\0\x01\0\0\0".to_vec(),
        ),
        (
            "OK with a tail",
            ReplyShape::Query,
            b"\x09\0\0\x01\0\0\0\x02\0\0\0\0\0".to_vec(),
        ),
        (
            "short ERR",
            ReplyShape::Query,
            b"\x02\0\0\x01\xff\x28".to_vec(),
        ),
        (
            "short PREPARE OK",
            ReplyShape::Prepare,
            b"\x05\0\0\x01\0\x01\0\0\0".to_vec(),
        ),
        (
            "text row for FETCH",
            ReplyShape::Fetch,
            b"\x02\0\0\x01\x01x".to_vec(),
        ),
        (
            "OK larger than we hold",
            ReplyShape::Query,
            b"\x01\0\x10\x01\0".to_vec(),
        ),
        (
            "wrong number",
            ReplyShape::Query,
            b"\x01\0\0\x01\x01\x02\0\0\x03\x03d".to_vec(),
        ),
    ];
    for (what, shape, input) in cases {
        let mut exchange = Exchange::new(shape, OLD, NEW);
        assert!(
            exchange.feed(&input, &mut BytesMut::new()).is_err(),
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

fn shapes() -> impl Strategy<Value = ReplyShape> {
    prop::sample::select(vec![
        ReplyShape::OkOrErr,
        ReplyShape::Query,
        ReplyShape::FieldList,
        ReplyShape::Statistics,
        ReplyShape::Prepare,
        ReplyShape::Execute,
        ReplyShape::Fetch,
    ])
}

fn rows() -> impl Strategy<Value = Vec<Part>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12).prop_map(|rows| {
        let row = |value: Vec<u8>| {
            let mut body = BytesMut::new();
            packet::put_lenenc_bytes(&mut body, &value);
            Part::Raw(body.to_vec())
        };
        rows.into_iter().map(row).collect()
    })
}

/// A reply to COM_QUERY of any number of results.
fn query_reply() -> impl Strategy<Value = Vec<Part>> {
    let result = prop_oneof![
        (any::<u64>(), any::<u64>(), any::<u16>(), ".{0,20}").prop_map(
            |(affected_rows, last_insert_id, warnings, info)| {
                let info = Bytes::from(info);
                vec![Part::Ok(OkPacket {
                    affected_rows,
                    last_insert_id,
                    warnings,
                    info,
                    ..ok(AUTO)
                })]
            }
        ),
        rows().prop_map(|rows| {
            [
                vec![raw(&[1]), column("c"), Part::Middle(AUTO)],
                rows,
                vec![Part::End(ok(AUTO))],
            ]
            .concat()
        }),
    ];
    prop::collection::vec(result, 1..4).prop_map(|mut results| {
        let last = results.len() - 1;
        for result in &mut results[..last] {
            if let Some(Part::Ok(end) | Part::End(end)) = result.last_mut() {
                end.status |= MORE;
            }
        }
        results.concat()
    })
}

proptest! {
    #[test]
    fn translation_is_what_the_client_s_own_server_would_say(
        parts in query_reply(),
        client in prop::sample::select(&ALL[..]),
        server in prop::sample::select(&ALL[..]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let (input, expected) = (write(&parts, server), write(&parts, client));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len())).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &input[cut[0]..cut[1]]).collect();
        let mut exchange = Exchange::new(ReplyShape::Query, client, server);
        // A cut at the very end would feed an empty piece after the completion.
        let pieces: Vec<&[u8]> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let (out, events) = feed_in_pieces(&mut exchange, &pieces).unwrap();
        prop_assert_eq!(&out, &expected);
        prop_assert_eq!(events.len(), 1);
        // And back again.
        let (back, _) = run(ReplyShape::Query, server, client, &out).unwrap();
        prop_assert_eq!(back, input);
    }

    #[test]
    fn any_bytes_end_in_an_error_or_a_whole_reply(
        shape in shapes(),
        client in prop::sample::select(&ALL[..]),
        server in prop::sample::select(&ALL[..]),
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = Exchange::new(shape, client, server).feed(&bytes, &mut BytesMut::new());
        let cut = cut.index(bytes.len() + 1);
        let mut exchange = Exchange::new(shape, client, server);
        let mut out = BytesMut::new();
        let parts = exchange.feed(&bytes[..cut], &mut out).and_then(|first| match first.event {
            Event::NeedMore => exchange.feed(&bytes[cut..], &mut out),
            _ => Ok(first),
        });
        if let Ok(Fed { event: Event::Done(_), .. }) = &whole {
            prop_assert_eq!(&parts, &whole.map(|fed| Fed { consumed: bytes.len() - if cut == bytes.len() { 0 } else { cut }, ..fed }));
        }
    }

    #[test]
    fn a_damaged_reply_never_panics(
        parts in query_reply(),
        client in prop::sample::select(&ALL[..]),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        shape in shapes(),
    ) {
        let mut input = write(&parts, NEW);
        let at = at.index(input.len());
        input[at] = byte;
        let _ = Exchange::new(shape, client, NEW).feed(&input, &mut BytesMut::new());
    }
}
