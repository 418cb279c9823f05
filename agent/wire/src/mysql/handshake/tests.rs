//! Tests of `handshake`: the manual's own examples, and packets there and back.

use proptest::prelude::*;

use super::*;

/// "Protocol::HandshakeV10", a 5.6.4 server.
const GREETING: &[u8] = b"\x0a5.6.4-m7-log\0\x56\x0a\0\0RB3vz&Gr\0\xff\xff\x08\x02\0\x0f\xc0\x15\
    \0\0\0\0\0\0\0\0\0\0+yD&/ZZ305ZG\0mysql_native_password\0";

/// "Protocol::HandshakeResponse41", user pam, schema test.
const RESPONSE: &[u8] =
    b"\x8d\xa6\x0f\0\0\0\0\x01\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    pam\0\x14\xab\x09\xee\xf6\xbc\xb1\x32\x3e\x61\x14\x38\x65\xc0\x99\x1d\x95\x7d\x75\xd4\x47\
    test\0mysql_native_password\0";

fn encoded(write: impl FnOnce(&mut BytesMut, &mut u8)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out, &mut 0);
    out[4..].to_vec()
}

#[test]
fn greeting_of_the_manual() {
    let greeting = Greeting::parse(GREETING).unwrap();
    let expected = Greeting {
        server_version: "5.6.4-m7-log".to_owned(),
        connection_id: 0xA56,
        nonce: *b"RB3vz&Gr+yD&/ZZ305ZG",
        capabilities: Capabilities(0xC00F_FFFF),
        charset: 8,
        status: Status::SERVER_STATUS_AUTOCOMMIT,
        auth_plugin: AuthPlugin::NativePassword,
    };
    assert_eq!(greeting, expected);
    assert_eq!(encoded(|out, seq| greeting.encode(out, seq)), GREETING);
    for cut in 0..GREETING.len() - 22 {
        assert!(Greeting::parse(&GREETING[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn greetings_that_are_none() {
    assert_eq!(
        Greeting::parse(b"\x09old").unwrap_err(),
        ProtocolError::Unexpected {
            first: 9,
            expected: "greeting (protocol 10)"
        }
    );
    let mut ancient = GREETING.to_vec();
    ancient[28] = 0;
    ancient[29] = 0;
    assert!(matches!(
        Greeting::parse(&ancient),
        Err(ProtocolError::Unsupported(_))
    ));
}

#[test]
fn response_of_the_manual() {
    let response = HandshakeResponse::parse(RESPONSE).unwrap();
    assert_eq!(response.capabilities, Capabilities(0x000F_A68D));
    assert_eq!((response.max_packet_size, response.charset), (1 << 24, 8));
    assert_eq!(
        (&response.username[..], response.database.as_deref()),
        (&b"pam"[..], Some(&b"test"[..]))
    );
    assert_eq!(response.auth_response.len(), 20);
    assert_eq!(response.auth_plugin, Some(AuthPlugin::NativePassword));
    assert!(response.attributes.is_empty());
    assert_eq!(encoded(|out, seq| response.encode(out, seq)), RESPONSE);
}

#[test]
fn the_answer_is_not_printed() {
    let mut response = HandshakeResponse::parse(RESPONSE).unwrap();
    response.auth_response = Bytes::from_static(b"hunter2");
    let text = format!("{response:?}");
    assert!(text.contains("pam") && !text.contains("hunter2"), "{text}");
}

#[test]
fn ssl_requests() {
    let request = SslRequest {
        capabilities: Capabilities::CLIENT_SSL | Capabilities::CLIENT_PROTOCOL_41,
        max_packet_size: 1 << 24,
        charset: 45,
    };
    let body = encoded(|out, seq| request.encode(out, seq));
    assert_eq!(body.len(), 32);
    assert_eq!(SslRequest::parse(&body), Some(request));
    assert_eq!(
        HandshakeResponse::parse(&body),
        Err(ProtocolError::Unsupported("SSL request"))
    );
    assert_eq!(SslRequest::parse(RESPONSE), None);
}

#[test]
fn responses_of_sloppy_clients() {
    // No zero byte behind the last name.
    let cut = HandshakeResponse::parse(&RESPONSE[..RESPONSE.len() - 1]).unwrap();
    assert_eq!(cut.auth_plugin, Some(AuthPlugin::NativePassword));
    // CLIENT_CONNECT_WITH_DB with an empty name.
    let mut empty = RESPONSE[..RESPONSE.len() - 27].to_vec();
    empty.extend_from_slice(b"\0mysql_native_password\0");
    assert_eq!(HandshakeResponse::parse(&empty).unwrap().database, None);
    // An answer that says it is longer than the packet.
    let mut long = RESPONSE.to_vec();
    long[36] = 0xF0;
    assert_eq!(
        HandshakeResponse::parse(&long),
        Err(ProtocolError::Truncated)
    );
}

#[test]
fn auth_switch_of_the_manual() {
    let body = b"\xfemysql_native_password\0zQg4i6oNy6=rHN/>-b)A\0";
    let request = AuthSwitchRequest::parse(body).unwrap();
    assert_eq!(request.plugin, AuthPlugin::NativePassword);
    assert_eq!(request.data, "zQg4i6oNy6=rHN/>-b)A");
    assert_eq!(encoded(|out, seq| request.encode(out, seq)), body);
    assert!(matches!(
        AuthSwitchRequest::parse(b"\xfe"),
        Err(ProtocolError::Unsupported(_))
    ));
    assert!(AuthSwitchRequest::parse(b"\x00x\0").is_err());
}

#[test]
fn more_data() {
    let packet = AuthMoreData {
        data: Bytes::from_static(&[super::super::auth::PERFORM_FULL_AUTHENTICATION]),
    };
    let body = encoded(|out, seq| packet.encode(out, seq));
    assert_eq!(body, [1, 4]);
    assert_eq!(AuthMoreData::parse(&body), Ok(packet));
    assert!(AuthMoreData::parse(b"").is_err());
    assert!(AuthMoreData::parse(b"\x00").is_err());
}

fn name() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(1_u8.., 1..60).prop_map(Bytes::from)
}

fn responses() -> impl Strategy<Value = HandshakeResponse> {
    let secret = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        // An access token.
        prop::collection::vec(any::<u8>(), 1500..2500),
    ];
    let plugin = prop::option::of(name().prop_map(|name| AuthPlugin::from_name(&name)));
    let attributes = prop::collection::vec((name(), name()), 0..4);
    (
        any::<u32>(),
        any::<u8>(),
        name(),
        secret,
        prop::option::of(name()),
        plugin,
        attributes,
        prop::option::of(1_u8..23),
    )
        .prop_map(
            |(
                max_packet_size,
                charset,
                username,
                secret,
                database,
                auth_plugin,
                attributes,
                zstd_level,
            )| {
                HandshakeResponse {
                    capabilities: Capabilities::CLIENT_PROTOCOL_41
                        | Capabilities::CLIENT_SECURE_CONNECTION,
                    max_packet_size,
                    charset,
                    username,
                    auth_response: Bytes::from(secret),
                    database,
                    auth_plugin,
                    attributes,
                    zstd_level,
                }
            },
        )
}

proptest! {
    #[test]
    fn response_there_and_back(response in responses()) {
        let body = encoded(|out, seq| response.encode(out, seq));
        let parsed = HandshakeResponse::parse(&body).unwrap();
        let capabilities = parsed.capabilities;
        prop_assert_eq!(capabilities.contains(Capabilities::CLIENT_CONNECT_WITH_DB), parsed.database.is_some());
        prop_assert_eq!(parsed, HandshakeResponse { capabilities, ..response });
    }

    #[test]
    fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..120), at in any::<prop::sample::Index>(), byte: u8) {
        core::hint::black_box(Greeting::parse(&body).is_ok());
        core::hint::black_box(HandshakeResponse::parse(&body).is_ok());
        core::hint::black_box(AuthSwitchRequest::parse(&body).is_ok());
        let mut damaged = RESPONSE.to_vec();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        core::hint::black_box(HandshakeResponse::parse(&damaged).is_ok());
    }
}
