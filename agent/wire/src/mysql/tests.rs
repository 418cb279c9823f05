//! What is written here is read by `mysql_common`, which other people keep, as it was meant, and the other way round.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use mysql_common::constants::{CapabilityFlags, ColumnFlags, StatusFlags};
use mysql_common::io::{BufMutExt as _, ParseBuf};
use mysql_common::packets as theirs;
use mysql_common::packets::session_state_change::SessionStateChange;
use mysql_common::proto::MySerialize as _;
use proptest::collection::vec;
use proptest::prelude::*;

use super::auth::{AuthPlugin, NONCE_LEN};
use super::flags::{Capabilities, Status};
use super::handshake::{Greeting, HandshakeResponse};
use super::packet::{HEADER_LEN, Header, Reader, put_lenenc_int};
use super::response::{ErrPacket, OkPacket, SessionTrack};
use super::resultset::{Column, ColumnType, TextResultSet};

/// The bodies of the packets that `write` appends.
fn bodies(write: impl FnOnce(&mut BytesMut, &mut u8)) -> Vec<Vec<u8>> {
    let (mut out, mut seq) = (BytesMut::new(), 0);
    write(&mut out, &mut seq);
    let mut rest = &out[..];
    let mut bodies = Vec::new();
    while let Some(header) = Header::parse(rest) {
        bodies.push(rest[HEADER_LEN..HEADER_LEN + header.len].to_vec());
        rest = &rest[HEADER_LEN + header.len..];
    }
    bodies
}

/// As they read it, to the last byte.
fn read<'a, T: mysql_common::proto::MyDeserialize<'a>>(body: &'a [u8], context: T::Ctx) -> T {
    let mut buffer = ParseBuf(body);
    let value = buffer.parse(context).expect("they read it");
    assert!(buffer.is_empty(), "left over: {:?}", buffer.0);
    value
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

/// Never with a zero byte, which would end it.
fn name() -> impl Strategy<Value = Bytes> {
    vec(1..=u8::MAX, 1..20).prop_map(Bytes::from)
}

/// Without state changes that have no tracker of their own: they expect a length there that no server sends.
fn session_tracks() -> impl Strategy<Value = SessionTrack> {
    let variables = prop::collection::btree_map(name(), bytes(300), 0..4);
    let text = || prop::option::of(bytes(40));
    (variables, text(), text(), text(), text()).prop_map(
        |(variables, schema, gtids, characteristics, state): (BTreeMap<_, _>, _, _, _, _)| {
            SessionTrack {
                system_variables: variables.into_iter().collect(),
                schema,
                state_change: false,
                gtids,
                transaction_characteristics: characteristics,
                transaction_state: state,
            }
        },
    )
}

fn ok_packets() -> impl Strategy<Value = OkPacket> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u16>());
    let status = prop::sample::subsequence(
        vec![
            Status::SERVER_STATUS_IN_TRANS,
            Status::SERVER_STATUS_AUTOCOMMIT,
            Status::SERVER_MORE_RESULTS_EXISTS,
            Status::SERVER_STATUS_NO_BACKSLASH_ESCAPES,
        ],
        0..4,
    );
    (numbers, status, bytes(300), session_tracks()).prop_map(
        |((affected_rows, last_insert_id, warnings), status, info, track)| OkPacket {
            affected_rows,
            last_insert_id,
            status: status.into_iter().fold(Status(0), |all, one| all | one),
            warnings,
            info,
            track,
        },
    )
}

/// What they make of a session state block.
fn read_track(ok: &theirs::OkPacket<'_>) -> SessionTrack {
    let mut track = SessionTrack::default();
    let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    for info in ok.session_state_info().expect("they read it") {
        match info.decode().expect("they know it") {
            SessionStateChange::SystemVariables(variables) => {
                for variable in variables {
                    let pair = (copy(variable.name_bytes()), copy(variable.value_bytes()));
                    track.system_variables.push(pair);
                }
            }
            SessionStateChange::Schema(schema) => track.schema = Some(copy(schema.as_bytes())),
            SessionStateChange::Gtids(set) => {
                // they leave the byte in front that says how the set is written, and its length
                let mut rest = Reader::new(&set.as_bytes()[1..]);
                track.gtids = Some(copy(rest.lenenc_bytes().expect("a set")));
            }
            SessionStateChange::TransactionCharacteristics(text) => {
                track.transaction_characteristics = Some(copy(text.as_bytes()));
            }
            SessionStateChange::TransactionState(text) => {
                track.transaction_state = Some(copy(text.as_bytes()));
            }
            other => panic!("{other:?}"),
        }
    }
    track
}

const TRACKING: Capabilities = Capabilities::CLIENT_PROTOCOL_41
    .union(Capabilities::CLIENT_SESSION_TRACK)
    .union(Capabilities::CLIENT_DEPRECATE_EOF);

fn flags(capabilities: Capabilities) -> CapabilityFlags {
    CapabilityFlags::from_bits_retain(capabilities.bits())
}

fn plugins() -> impl Strategy<Value = AuthPlugin> {
    prop_oneof![
        Just(AuthPlugin::NativePassword),
        Just(AuthPlugin::CachingSha2Password),
        Just(AuthPlugin::Other(Bytes::from_static(b"parsec"))),
    ]
}

fn handshake_responses() -> impl Strategy<Value = HandshakeResponse> {
    let text = "[a-z]{1,9}".prop_map(Bytes::from);
    let attributes = prop::collection::btree_map(text.clone(), text, 0..3);
    let who = (name(), bytes(60), prop::option::of(name()), plugins());
    (who, any::<u32>(), any::<u8>(), any::<bool>(), attributes).prop_map(
        |((username, auth_response, database, plugin), max_packet_size, charset, lenenc, all)| {
            let mut capabilities =
                Capabilities::CLIENT_PROTOCOL_41 | Capabilities::CLIENT_SECURE_CONNECTION;
            if lenenc {
                capabilities |= Capabilities::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA;
            }
            HandshakeResponse {
                capabilities,
                max_packet_size,
                charset,
                username,
                auth_response,
                database,
                auth_plugin: Some(plugin),
                attributes: all.into_iter().collect(),
                zstd_level: None,
            }
        },
    )
}

proptest! {
    #[test]
    fn length_encoded_integers_are_the_same(value: u64, shift in 0..64_u32) {
        let value = value >> shift;
        let (mut ours, mut others) = (BytesMut::new(), Vec::new());
        put_lenenc_int(&mut ours, value);
        others.put_lenenc_int(value);
        prop_assert_eq!(&ours[..], &others[..]);
        prop_assert_eq!(Reader::new(&others).lenenc_int(), Ok(value));
        prop_assert_eq!(ParseBuf(&ours).checked_eat_lenenc_int(), Some(value));
    }

    #[test]
    fn ok_packets_with_session_state_are_the_same(ok in ok_packets(), tracks: bool) {
        let client = if tracks { TRACKING } else { TRACKING.without(Capabilities::CLIENT_SESSION_TRACK) };
        let [body] = &bodies(|out, seq| ok.encode(client, out, seq))[..] else { panic!("one packet") };
        let got: theirs::OkPacketDeserializer<'_, theirs::CommonOkPacket> = read(body, flags(client));
        let got = got.into_inner();
        prop_assert_eq!(got.affected_rows(), ok.affected_rows);
        prop_assert_eq!(got.last_insert_id().unwrap_or(0), ok.last_insert_id);
        prop_assert_eq!(got.warnings(), ok.warnings);
        prop_assert_eq!(got.info_ref().unwrap_or_default(), &ok.info[..]);
        let track = if tracks { ok.track.clone() } else { SessionTrack::default() };
        prop_assert_eq!(got.status_flags().contains(StatusFlags::SERVER_SESSION_STATE_CHANGED), !track.is_empty());
        prop_assert_eq!(read_track(&got), track);
        let [end] = &bodies(|out, seq| ok.encode_end_of_rows(client, out, seq))[..] else { panic!("one packet") };
        let end: theirs::OkPacketDeserializer<'_, theirs::ResultSetTerminator> = read(end, flags(client));
        prop_assert_eq!(end.into_inner().status_flags(), got.status_flags());
    }

    #[test]
    fn errors_are_the_same(code in 1000..5000_u16, message in bytes(300)) {
        let error = ErrPacket::new(code, *b"42S02", message);
        let [body] = &bodies(|out, seq| error.encode(out, seq))[..] else { panic!("one packet") };
        let got: theirs::ErrPacket<'_> = read(body, CapabilityFlags::CLIENT_PROTOCOL_41);
        prop_assert_eq!(got.server_error().error_code(), code);
        prop_assert_eq!(got.server_error().message_ref(), &error.message[..]);
        let mut again = Vec::new();
        got.serialize(&mut again);
        prop_assert_eq!(ErrPacket::parse(&again), Ok(error));
    }

    #[test]
    fn column_definitions_are_the_same(name in bytes(300), value in prop::option::of(bytes(60)), collation in 1..300_u16) {
        let kind = ColumnType::Text { collation };
        let columns = [kind, ColumnType::Integer, ColumnType::Unsigned].map(|kind| Column { name: name.clone(), kind });
        let longest = value.as_ref().map_or(0, Bytes::len);
        let set = TextResultSet { columns: columns.to_vec(), rows: vec![vec![value]] };
        let packets = bodies(|out, seq| set.encode(TRACKING, Status(0), out, seq));
        for (body, column) in packets[1..4].iter().zip(&columns) {
            let got: theirs::Column = read(body, ());
            prop_assert_eq!(got.name_ref(), &name[..]);
            let is_text = column.kind == kind;
            prop_assert_eq!(got.character_set(), if is_text { collation } else { 63 });
            prop_assert_eq!(got.column_length(), if is_text { u32::try_from(longest).expect("small") } else { 21 });
            // only read: what they write has two fields in the wrong order
            prop_assert_eq!(got.decimals(), if is_text { 31 } else { 0 });
            let is_unsigned = got.flags().contains(ColumnFlags::UNSIGNED_FLAG);
            prop_assert_eq!(is_unsigned, column.kind == ColumnType::Unsigned);
        }
    }

    #[test]
    fn handshake_responses_are_the_same(response in handshake_responses()) {
        let [body] = &bodies(|out, seq| response.encode(out, seq))[..] else { panic!("one packet") };
        let got: theirs::HandshakeResponse<'_> = read(body, ());
        prop_assert_eq!(got.user(), &response.username[..]);
        prop_assert_eq!(got.scramble_buf(), &response.auth_response[..]);
        prop_assert_eq!(got.db_name(), response.database.as_deref());
        prop_assert_eq!(got.collation(), response.charset);
        prop_assert_eq!(got.auth_plugin().map(|plugin| plugin.as_bytes()), response.auth_plugin.as_ref().map(AuthPlugin::name));
        let attributes = got.connect_attributes().unwrap_or_default();
        prop_assert_eq!(attributes.len(), response.attributes.len());
        let mut again = Vec::new();
        got.serialize(&mut again);
        let mut back = HandshakeResponse::parse(&again).expect("ours reads theirs");
        back.attributes.sort();
        let wanted = HandshakeResponse::parse(body).expect("ours reads ours");
        prop_assert_eq!(back, wanted);
    }

    #[test]
    fn greetings_are_the_same(id: u32, nonce in prop::array::uniform20(1..128_u8), charset: u8, plugin in plugins()) {
        let greeting = Greeting {
            server_version: "8.4.2-azure".to_owned(),
            connection_id: id,
            nonce,
            capabilities: TRACKING | Capabilities::CLIENT_PLUGIN_AUTH | Capabilities::CLIENT_SECURE_CONNECTION,
            charset,
            status: Status::SERVER_STATUS_AUTOCOMMIT,
            auth_plugin: plugin,
        };
        let [body] = &bodies(|out, seq| greeting.encode(out, seq))[..] else { panic!("one packet") };
        let got: theirs::HandshakePacket<'_> = read(body, ());
        prop_assert_eq!(got.connection_id(), id);
        prop_assert_eq!(&got.nonce()[..NONCE_LEN], &nonce);
        prop_assert_eq!(got.capabilities().bits(), greeting.capabilities.bits());
        prop_assert_eq!(got.default_collation(), charset);
        prop_assert_eq!(got.auth_plugin_name_ref(), Some(greeting.auth_plugin.name()));
        let mut again = Vec::new();
        got.serialize(&mut again);
        prop_assert_eq!(Greeting::parse(&again), Ok(greeting));
    }
}
