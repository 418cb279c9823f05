//! Where the text begins behind attributes of every type, and that nothing else is taken for one.

use proptest::prelude::*;

use super::*;

const WITH: Capabilities = Capabilities::CLIENT_QUERY_ATTRIBUTES;

/// A body with attributes of these types and values, in front of the text.
fn body(attributes: &[(u16, Option<&[u8]>)], text: &[u8]) -> Vec<u8> {
    let mut body = vec![3, u8::try_from(attributes.len()).expect("few"), 1];
    if !attributes.is_empty() {
        let mut nulls = vec![0_u8; attributes.len().div_ceil(8)];
        for (at, (_, value)) in attributes.iter().enumerate() {
            nulls[at / 8] |= u8::from(value.is_none()) << (at % 8);
        }
        body.extend_from_slice(&nulls);
        body.push(1);
        for (kind, _) in attributes {
            body.extend_from_slice(&kind.to_le_bytes());
            body.extend_from_slice(b"\x04name");
        }
        for (_, value) in attributes {
            body.extend_from_slice(value.unwrap_or_default());
        }
    }
    body.extend_from_slice(text);
    body
}

#[test]
fn the_text_is_found_behind_attributes_of_every_type() {
    let all: [(u16, Option<&[u8]>); 12] = [
        (254, Some(b"\x03abc")),
        (6, Some(b"")),
        (0x8001, Some(b"\xff")),
        (2, Some(b"ab")),
        (3, Some(b"abcd")),
        (4, Some(b"abcd")),
        (5, Some(b"abcdefgh")),
        (0x8008, Some(b"abcdefgh")),
        (12, Some(b"\x04abcd")),
        (11, Some(b"\x00")),
        (253, None),
        (252, Some(b"\xfc\x02\x00ab")),
    ];
    for count in 0..=all.len() {
        let body = body(&all[..count], b"SELECT 1");
        let at = query_text_at(&body, WITH).expect("whole");
        assert_eq!(&body[at..], b"SELECT 1", "{count} attributes");
        for end in 0..at {
            assert!(query_text_at(&body[..end], WITH).is_err() || count == 0);
        }
    }
    assert_eq!(query_text_at(b"\x03SELECT 1", Capabilities::empty()), Ok(1));
    assert_eq!(no_attributes(Capabilities::empty()), b"");
    assert_eq!(
        query_text_at(&[&[3], no_attributes(WITH)].concat(), WITH),
        Ok(3)
    );
}

#[test]
fn what_is_no_attribute_is_refused() {
    let mut unbound = body(&[(254, Some(b"\x03abc"))], b"");
    unbound[4] = 0;
    assert!(query_text_at(&unbound, WITH).is_err());
    assert!(query_text_at(&body(&[(200, Some(b"\x03abc"))], b""), WITH).is_err());
    assert!(query_text_at(b"", WITH).is_err());
    let many = [3, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1];
    assert!(query_text_at(&many, WITH).is_err());
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_place_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(at) = query_text_at(&bytes, WITH) {
            prop_assert!(at <= bytes.len());
        }
    }
}
