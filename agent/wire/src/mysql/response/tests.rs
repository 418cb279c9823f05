//! Tests of `response`: the manual's own examples, and packets there and back.

use proptest::prelude::*;

use super::*;

const TRACK: Capabilities = Capabilities::CLIENT_SESSION_TRACK;
const EOFLESS: Capabilities = Capabilities::CLIENT_DEPRECATE_EOF;
const NOTHING: Capabilities = Capabilities::empty();
const CHANGED: Status = Status::SERVER_SESSION_STATE_CHANGED;

fn encoded(write: impl FnOnce(&mut BytesMut, &mut u8)) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut seq = 5;
    write(&mut out, &mut seq);
    assert_eq!((out[3], seq), (5, 6));
    out[4..].to_vec()
}

#[test]
fn ok_of_the_manual() {
    let body = [0, 0, 0, 2, 0, 0, 0];
    for sender in [NOTHING, TRACK] {
        let ok = OkPacket::parse(&body, sender).unwrap();
        let expected = OkPacket {
            status: Status::SERVER_STATUS_AUTOCOMMIT,
            ..OkPacket::default()
        };
        assert_eq!(ok, expected);
        assert_eq!(encoded(|out, seq| ok.encode(sender, out, seq)), body);
    }
}

#[test]
fn err_of_the_manual() {
    let body = b"\xff\x48\x04#HY000No tables used";
    let error = ErrPacket::parse(body).unwrap();
    assert_eq!(error, ErrPacket::new(1096, *b"HY000", "No tables used"));
    assert_eq!(encoded(|out, seq| error.encode(out, seq)), body);
}

#[test]
fn err_before_the_handshake_has_no_sqlstate() {
    let error = ErrPacket::parse(b"\xff\x10\x04Too many connections").unwrap();
    assert_eq!(
        error,
        ErrPacket::new(1040, ErrPacket::GENERAL, "Too many connections")
    );
}

#[test]
fn eof_of_the_manual() {
    let body = [0xFE, 0, 0, 2, 0];
    let eof = EofPacket::parse(&body).unwrap();
    assert_eq!(
        eof,
        EofPacket {
            warnings: 0,
            status: Status::SERVER_STATUS_AUTOCOMMIT
        }
    );
    assert_eq!(encoded(|out, seq| eof.encode(out, seq)), body);
}

#[test]
fn info_is_read_with_and_without_its_length() {
    let fixed = [0, 1, 0, 2, 0, 0, 0];
    let prefixed = [&fixed[..], b"\x05Rows "].concat();
    for sender in [NOTHING, TRACK] {
        assert_eq!(OkPacket::parse(&prefixed, sender).unwrap().info, "Rows ");
    }
    let bare = [&fixed[..], b"Rows matched"].concat();
    assert_eq!(
        OkPacket::parse(&bare, NOTHING).unwrap().info,
        "Rows matched"
    );
}

#[test]
fn a_state_block_byte_by_byte() {
    // autocommit=OFF, schema test, state changed, a GTID, and one tracker nobody knows.
    let block =
        b"\x00\x0f\x0aautocommit\x03OFF\x01\x05\x04test\x02\x02\x011\x03\x06\x00\x04a:42\x63\x02??";
    let mut body = b"\x00\x00\x00\x02\x40\x00\x00\x00".to_vec();
    body.push(u8::try_from(block.len()).unwrap());
    body.extend_from_slice(block);
    let ok = OkPacket::parse(&body, TRACK).unwrap();
    let expected = SessionTrack {
        system_variables: vec![(
            Bytes::from_static(b"autocommit"),
            Bytes::from_static(b"OFF"),
        )],
        schema: Some(Bytes::from_static(b"test")),
        state_change: true,
        gtids: Some(Bytes::from_static(b"a:42")),
        ..SessionTrack::default()
    };
    assert_eq!(ok.track, expected);
    assert_eq!(ok.status, Status::SERVER_STATUS_AUTOCOMMIT | CHANGED);
    // For a client that did not ask there is neither the block nor the flag.
    assert_eq!(
        encoded(|out, seq| ok.encode(NOTHING, out, seq)),
        [0, 0, 0, 2, 0, 0, 0]
    );
    for cut in 1..body.len() {
        let shorter = OkPacket::parse(&body[..cut], TRACK);
        assert!(
            shorter.is_err() || cut == 7 || cut == 8,
            "{cut}: {shorter:?}"
        );
    }
}

#[test]
fn the_flag_follows_the_block() {
    let with_flag = OkPacket {
        status: CHANGED,
        ..OkPacket::default()
    };
    assert_eq!(
        encoded(|out, seq| with_flag.encode(TRACK, out, seq)),
        [0; 7]
    );
    let track = SessionTrack {
        state_change: true,
        ..SessionTrack::default()
    };
    let without_flag = OkPacket {
        track,
        ..OkPacket::default()
    };
    let body = encoded(|out, seq| without_flag.encode(TRACK, out, seq));
    assert_eq!(OkPacket::parse(&body, TRACK).unwrap().status, CHANGED);
}

#[test]
fn the_end_of_rows_has_two_forms() {
    let ok = OkPacket {
        affected_rows: 3,
        warnings: 1,
        status: CHANGED,
        ..OkPacket::default()
    };
    assert_eq!(
        encoded(|out, seq| ok.encode_end_of_rows(NOTHING, out, seq)),
        [0xFE, 1, 0, 0, 0]
    );
    assert_eq!(
        encoded(|out, seq| ok.encode_end_of_rows(EOFLESS, out, seq)),
        [0xFE, 3, 0, 0, 0, 1, 0]
    );
}

#[test]
fn an_empty_track_holds_no_memory() {
    let track = SessionTrack::parse(b"").unwrap();
    assert!(track.is_empty());
    assert_eq!(track.system_variables.capacity(), 0);
}

#[test]
fn tracks_are_bounded() {
    let mut track = SessionTrack::default();
    let mut error = None;
    for n in 0..10_000 {
        let mut block = BytesMut::new();
        let name = Bytes::from(format!("v{n}"));
        SessionTrack {
            system_variables: vec![(name, Bytes::new())],
            ..SessionTrack::default()
        }
        .put_block(&mut block);
        error = error.or_else(|| track.merge_block(&block).err());
    }
    assert!(matches!(error, Some(ProtocolError::TooLarge { .. })));
    assert!(track.system_variables.len() < 10_000);
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn tracks() -> impl Strategy<Value = SessionTrack> {
    let variables = prop::collection::btree_map(bytes(), bytes(), 0..4)
        .prop_map(|map| map.into_iter().collect());
    let texts = prop::collection::vec(prop::option::of(bytes()), 4);
    (variables, any::<bool>(), texts).prop_map(|(system_variables, state_change, mut texts)| {
        SessionTrack {
            system_variables,
            schema: texts.pop().flatten(),
            state_change,
            gtids: texts.pop().flatten(),
            transaction_characteristics: texts.pop().flatten(),
            transaction_state: texts.pop().flatten(),
        }
    })
}

proptest! {
    #[test]
    fn ok_there_and_back(
        numbers in any::<(u64, u64, u16, u16)>(),
        info in bytes(),
        track in tracks(),
        first in prop::sample::select(vec![OK, EOF]),
    ) {
        let (affected_rows, last_insert_id, status, warnings) = numbers;
        let mut status = Status(status).without(CHANGED);
        if !track.is_empty() {
            status |= CHANGED;
        }
        let ok = OkPacket { affected_rows, last_insert_id, status, warnings, info, track };
        let body = encoded(|out, seq| ok.encode_as(first, TRACK, out, seq));
        prop_assert_eq!(&OkPacket::parse(&body, TRACK).unwrap(), &ok);
        let stripped = OkPacket { track: SessionTrack::default(), status: status.without(CHANGED), ..ok };
        let body = encoded(|out, seq| stripped.encode_as(first, NOTHING, out, seq));
        prop_assert_eq!(OkPacket::parse(&body, NOTHING).unwrap(), stripped);
    }

    #[test]
    fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..64)) {
        core::hint::black_box(OkPacket::parse(&body, TRACK).is_ok());
        core::hint::black_box(OkPacket::parse(&body, NOTHING).is_ok());
        core::hint::black_box(ErrPacket::parse(&body).is_ok());
        core::hint::black_box(EofPacket::parse(&body).is_ok());
        core::hint::black_box(SessionTrack::parse(&body).is_ok());
    }
}
