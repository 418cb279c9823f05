//! Tests of `resultset`: the packets in bytes, and as the relay's state machine sees them.

use super::super::exchange::{Event, Exchange, Outcome, ReplyShape};
use super::*;

const OLD: Capabilities = Capabilities::CLIENT_PROTOCOL_41;
const NEW: Capabilities = OLD.union(Capabilities::CLIENT_DEPRECATE_EOF);
const AUTO: Status = Status::SERVER_STATUS_AUTOCOMMIT;

fn encode(set: &TextResultSet, client: Capabilities) -> Vec<u8> {
    let mut out = BytesMut::new();
    set.encode(client, AUTO, &mut out, &mut 1);
    out.to_vec()
}

#[test]
fn last_insert_id_in_bytes() {
    let set = TextResultSet::single(
        "LAST_INSERT_ID()",
        ColumnType::Unsigned,
        Some(Bytes::from_static(b"42")),
    );
    let column =
        b"\x26\0\0\x02\x03def\0\0\0\x10LAST_INSERT_ID()\0\x0c\x3f\0\x15\0\0\0\x08\xa1\0\0\0\0";
    let old = [
        &b"\x01\0\0\x01\x01"[..],
        column,
        b"\x05\0\0\x03\xfe\0\0\x02\0\x03\0\0\x04\x0242\x05\0\0\x05\xfe\0\0\x02\0",
    ];
    assert_eq!(encode(&set, OLD), old.concat());
    let new = [
        &b"\x01\0\0\x01\x01"[..],
        column,
        b"\x03\0\0\x03\x0242\x07\0\0\x04\xfe\0\0\x02\0\0\0",
    ];
    assert_eq!(encode(&set, NEW), new.concat());
}

#[test]
fn every_client_can_follow_it() {
    let text = |name: &str| Column {
        name: Bytes::from(name.to_owned()),
        kind: ColumnType::Text { collation: 45 },
    };
    let set = TextResultSet {
        columns: vec![
            text("a"),
            Column {
                name: Bytes::from_static(b"n"),
                kind: ColumnType::Integer,
            },
        ],
        rows: vec![
            vec![
                Some(Bytes::from_static(b"x")),
                Some(Bytes::from_static(b"-1")),
            ],
            vec![None, None],
            vec![],
            vec![
                Some(Bytes::new()),
                None,
                Some(Bytes::from_static(b"too many")),
            ],
        ],
    };
    for client in [OLD, NEW] {
        let bytes = encode(&set, client);
        let mut out = BytesMut::new();
        let fed = Exchange::new(ReplyShape::Query, client, client)
            .feed(&bytes, &mut out)
            .unwrap();
        let Event::Done(done) = fed.event else {
            panic!("{fed:?}")
        };
        assert_eq!(
            (done.outcome, done.rows_last, done.status),
            (Outcome::ResultSet, 4, AUTO)
        );
        assert_eq!(out, bytes);
        // And in the other client's form.
        let other = if client == OLD { NEW } else { OLD };
        let mut out = BytesMut::new();
        Exchange::new(ReplyShape::Query, other, client)
            .with_status(AUTO)
            .feed(&bytes, &mut out)
            .unwrap();
        assert_eq!(out, encode(&set, other));
    }
}
