//! Tests of `packet`.

use proptest::prelude::*;

use super::*;

fn frames(mut bytes: &[u8]) -> Vec<(usize, u8)> {
    let mut found = Vec::new();
    while let Some(header) = Header::parse(bytes) {
        found.push((header.len, header.seq));
        bytes = &bytes[HEADER_LEN + header.len..];
    }
    assert!(bytes.is_empty());
    found
}

#[test]
fn headers() {
    assert_eq!(Header::parse(&[1, 2, 3]), None);
    assert_eq!(
        Header::parse(&[1, 2, 3, 4, 9]),
        Some(Header {
            len: 0x03_0201,
            seq: 4
        })
    );
    assert_eq!(
        Header {
            len: MAX_PAYLOAD,
            seq: 255
        }
        .to_bytes(),
        [0xFF; 4]
    );
}

#[test]
fn bodies_are_split_at_16_mib() {
    let cases: [(usize, &[(usize, u8)]); 6] = [
        (0, &[(0, 254)]),
        (1, &[(1, 254)]),
        (MAX_PAYLOAD - 1, &[(MAX_PAYLOAD - 1, 254)]),
        (MAX_PAYLOAD, &[(MAX_PAYLOAD, 254), (0, 255)]),
        (MAX_PAYLOAD + 1, &[(MAX_PAYLOAD, 254), (1, 255)]),
        (
            2 * MAX_PAYLOAD,
            &[(MAX_PAYLOAD, 254), (MAX_PAYLOAD, 255), (0, 0)],
        ),
    ];
    for (len, expected) in cases {
        let body = vec![b'x'; len];
        let (mut out, mut seq) = (BytesMut::new(), 254);
        write(&mut out, &mut seq, &body);
        assert_eq!(frames(&out), expected, "{len}");
        assert_eq!(seq, expected.last().unwrap().1.wrapping_add(1));
        let (mut again, mut seq) = (BytesMut::from(&b"before"[..]), 254);
        write_with(&mut again, &mut seq, |out| out.extend_from_slice(&body));
        assert!(again[6..] == out[..], "{len}");
        assert_eq!(seq, expected.last().unwrap().1.wrapping_add(1));
    }
}

#[test]
fn length_encoded_integers() {
    let cases: [(u64, &[u8]); 9] = [
        (0, &[0]),
        (250, &[250]),
        (251, &[0xFC, 251, 0]),
        (0xFFFF, &[0xFC, 0xFF, 0xFF]),
        (0x1_0000, &[0xFD, 0, 0, 1]),
        (0xFF_FFFF, &[0xFD, 0xFF, 0xFF, 0xFF]),
        (0x100_0000, &[0xFE, 0, 0, 0, 1, 0, 0, 0, 0]),
        (1 << 32, &[0xFE, 0, 0, 0, 0, 1, 0, 0, 0]),
        (u64::MAX, &[0xFE, 255, 255, 255, 255, 255, 255, 255, 255]),
    ];
    for (value, bytes) in cases {
        let mut out = BytesMut::new();
        put_lenenc_int(&mut out, value);
        assert_eq!(out, bytes);
        assert_eq!(lenenc_int_len(value), bytes.len());
        assert_eq!(Reader::new(bytes).lenenc_int(), Ok(value));
        for cut in 0..bytes.len() {
            assert_eq!(
                Reader::new(&bytes[..cut]).lenenc_int(),
                Err(ProtocolError::Truncated)
            );
        }
    }
    for first in [0xFB, 0xFF] {
        let error = Reader::new(&[first, 0, 0, 0, 0, 0, 0, 0, 0]).lenenc_int();
        assert_eq!(
            error,
            Err(ProtocolError::Malformed("length-encoded integer"))
        );
    }
}

#[test]
fn fields() {
    let mut reader =
        Reader::new(b"\x01\x02\x00\x03\x00\x00\x04\x00\x00\x00\x05\0\0\0\0\0\0\0ab\0\x02cdtail");
    assert_eq!(reader.u8(), Ok(1));
    assert_eq!(reader.u16(), Ok(2));
    assert_eq!(reader.u24(), Ok(3));
    assert_eq!(reader.u32(), Ok(4));
    assert_eq!(reader.u64(), Ok(5));
    assert_eq!(reader.nul_bytes(), Ok(&b"ab"[..]));
    assert_eq!(reader.lenenc_bytes(), Ok(&b"cd"[..]));
    assert_eq!(reader.nul_bytes(), Err(ProtocolError::Truncated));
    assert_eq!(reader.remaining(), 4);
    assert_eq!(reader.nul_bytes_or_rest(), b"tail");
    assert!(reader.is_empty());
    assert_eq!(reader.u8(), Err(ProtocolError::Truncated));
    // A length that no memory could hold.
    let huge = [0xFE, 255, 255, 255, 255, 255, 255, 255, 255, b'x'];
    assert_eq!(
        Reader::new(&huge).lenenc_bytes(),
        Err(ProtocolError::Truncated)
    );
}

#[test]
fn a_zero_byte_ends_a_string_early() {
    let mut out = BytesMut::new();
    put_nul_bytes(&mut out, b"ab\0cd");
    assert_eq!(&out[..], b"ab\0");
}

proptest! {
    #[test]
    fn what_is_written_is_read(number in any::<u64>(), text in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut out = BytesMut::new();
        put_lenenc_int(&mut out, number);
        put_lenenc_bytes(&mut out, &text);
        let mut reader = Reader::new(&out);
        prop_assert_eq!(reader.lenenc_int(), Ok(number));
        prop_assert_eq!(reader.lenenc_bytes(), Ok(&text[..]));
        prop_assert!(reader.is_empty());
    }
}
