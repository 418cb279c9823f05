//! The reply for clients old and new, and commands that move from one connection to another.

use super::*;

const OLD: Capabilities = Capabilities::CLIENT_PROTOCOL_41;
const NEW: Capabilities = OLD.union(Capabilities::CLIENT_DEPRECATE_EOF);

fn reply() -> PrepareReply {
    PrepareReply {
        columns: 2,
        params: 1,
        warnings: 3,
        definitions: ["param", "first", "second"]
            .map(|name| Bytes::from_static(name.as_bytes()))
            .to_vec(),
    }
}

fn encoded(reply: &PrepareReply, id: u32, client: Capabilities) -> BytesMut {
    let (mut out, mut seq) = (BytesMut::new(), 1);
    reply.encode(
        id,
        client,
        Status::SERVER_STATUS_AUTOCOMMIT,
        &mut out,
        &mut seq,
    );
    out
}

/// Bodies of the packets, with their numbers checked.
fn bodies(mut packets: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(header) = Header::parse(packets) {
        assert_eq!(usize::from(header.seq), found.len() + 1);
        let (packet, rest) = packets.split_at(HEADER_LEN + header.len);
        found.push(packet[HEADER_LEN..].to_vec());
        packets = rest;
    }
    assert!(packets.is_empty());
    found
}

#[test]
fn a_reply_is_read_as_it_was_written_under_another_id() {
    for server in [NEW, OLD] {
        let (id, read) = PrepareReply::parse(&encoded(&reply(), 77, server), server).unwrap();
        assert_eq!((id, read), (77, reply()));
    }
    let none = PrepareReply {
        columns: 0,
        params: 0,
        warnings: 0,
        definitions: Vec::new(),
    };
    assert_eq!(
        PrepareReply::parse(&encoded(&none, 1, OLD), OLD).unwrap(),
        (1, none)
    );
}

#[test]
fn an_old_client_gets_an_eof_after_each_group() {
    let found = bodies(&encoded(&reply(), 1, OLD));
    let eof = vec![0xFE, 0, 0, 2, 0];
    assert_eq!(found.len(), 6);
    assert_eq!(found[2], eof);
    assert_eq!(found[5], eof);
    assert_eq!(bodies(&encoded(&reply(), 1, NEW)).len(), 4);
}

#[test]
fn a_reply_cut_anywhere_is_an_error() {
    let whole = encoded(&reply(), 1, NEW);
    for length in 0..whole.len() {
        assert!(
            PrepareReply::parse(&whole[..length], NEW).is_err(),
            "{length}"
        );
    }
}

/// COM_STMT_EXECUTE with two parameters: `types` as sent, `values` behind.
fn execute(bound: u8, types: &[u8], values: &[u8]) -> Vec<u8> {
    let mut body = vec![0x17, 9, 0, 0, 0, 0, 1, 0, 0, 0, 0b10, bound];
    body.extend_from_slice(types);
    body.extend_from_slice(values);
    body
}

#[test]
fn types_are_found_and_put_back_in() {
    let types = [8, 0, 253, 0];
    let first = execute(1, &types, b"12345678\x02ab");
    let parsed = Execute::parse(&first, 2, OLD).unwrap();
    assert_eq!((parsed.id, parsed.cursor), (9, false));
    assert_eq!(parsed.types(&first), Some(&types[..]));
    assert!(!parsed.relies_on_earlier_types());

    let later = execute(0, &[], b"12345678\x02ab");
    let parsed = Execute::parse(&later, 2, OLD).unwrap();
    assert!(parsed.relies_on_earlier_types());
    assert_eq!(parsed.types(&later), None);
    assert_eq!(parsed.with_types(&later, &types), first);
}

#[test]
fn without_parameters_nothing_is_bound() {
    let body = [0x17, 1, 0, 0, 0, 1, 1, 0, 0, 0];
    let parsed = Execute::parse(&body, 0, OLD).unwrap();
    assert!(parsed.cursor);
    assert!(!parsed.relies_on_earlier_types());
    for length in 0..body.len() {
        assert!(Execute::parse(&body[..length], 0, OLD).is_err(), "{length}");
    }
}

#[test]
fn attributes_count_as_parameters_and_have_names() {
    let client = OLD.union(Capabilities::CLIENT_QUERY_ATTRIBUTES);
    // one parameter and one attribute called "tag"
    let body = [
        0x17, 1, 0, 0, 0, 8, 1, 0, 0, 0, 2, 0, 1, 8, 0, 0, 253, 0, 3, b't', b'a', b'g', 1, 2,
    ];
    let parsed = Execute::parse(&body, 1, client).unwrap();
    assert!(!parsed.cursor);
    assert_eq!(parsed.types(&body), Some(&body[13..22]));
}

#[test]
fn ids_are_read_and_written() {
    let mut packets = [9, 0, 0, 0, 0x19, 1, 2, 0, 0];
    assert_eq!(statement_id(&packets[HEADER_LEN..]), Some(0x201));
    assert!(set_statement_id(&mut packets, 0x0A0B_0C0D));
    assert_eq!(statement_id(&packets[HEADER_LEN..]), Some(0x0A0B_0C0D));
    assert!(!set_statement_id(&mut packets[..8], 1));
    assert_eq!(statement_id(&[0x19, 1, 2]), None);
}
