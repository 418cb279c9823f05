//! Tests of `request`.

use bytes::BytesMut;
use proptest::prelude::*;

use super::super::packet;
use super::*;

fn command(body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    packet::write(&mut out, &mut 0, body);
    out.to_vec()
}

#[test]
fn a_command_cut_anywhere() {
    let bytes = command(b"\x03SELECT 1");
    for cut in 0..bytes.len() {
        let mut scanner = RequestScanner::new();
        let first = scanner.feed(&bytes[..cut]).unwrap();
        assert_eq!(
            first,
            Scanned {
                consumed: cut,
                complete: false
            }
        );
        assert_eq!(scanner.command().is_some(), cut > 4);
        let second = scanner.feed(&bytes[cut..]).unwrap();
        assert_eq!(
            second,
            Scanned {
                consumed: bytes.len() - cut,
                complete: true
            }
        );
        assert_eq!(scanner.command(), Some(Some(Command::Query)));
        assert_eq!(
            (
                scanner.payload_len(),
                scanner.reply_seq(),
                scanner.body_left()
            ),
            (9, 1, 0)
        );
        assert!(scanner.is_complete());
        assert_eq!(
            scanner.feed(b"x"),
            Err(ProtocolError::OutOfTurn("the command is over"))
        );
    }
}

#[test]
fn the_next_command_is_left_alone() {
    let bytes = [command(b"\x0e"), command(b"\x01")].concat();
    let scanned = RequestScanner::new().feed(&bytes).unwrap();
    assert_eq!(
        scanned,
        Scanned {
            consumed: 5,
            complete: true
        }
    );
}

#[test]
fn commands_over_16_mib() {
    for (extra, frames) in [(0, 2), (1, 2), (MAX_PAYLOAD, 3)] {
        let mut body = vec![b'x'; MAX_PAYLOAD + extra];
        body[0] = 0x17;
        let bytes = [command(&body), command(b"\x0e")].concat();
        let mut scanner = RequestScanner::new();
        let mut at = 0;
        while !scanner.is_complete() {
            let end = (at + 100_000).min(bytes.len());
            at += scanner.feed(&bytes[at..end]).unwrap().consumed;
        }
        assert_eq!(at, bytes.len() - 5, "{extra}");
        assert_eq!(
            (scanner.reply_seq(), scanner.payload_len()),
            (frames, body.len() as u64)
        );
        assert_eq!(scanner.command(), Some(Some(Command::StmtExecute)));
        assert!(payload_prefix(&bytes, usize::MAX) == body);
        assert!(
            *payload_prefix(&bytes, MAX_PAYLOAD + 1) == body[..(MAX_PAYLOAD + 1).min(body.len())]
        );
    }
}

#[test]
fn what_is_no_command() {
    assert_eq!(
        RequestScanner::new().feed(&[0, 0, 0, 0]),
        Err(ProtocolError::Empty("a command"))
    );
    let wrong = ProtocolError::OutOfOrder {
        expected: 0,
        got: 1,
    };
    assert_eq!(RequestScanner::new().feed(&[1, 0, 0, 1]), Err(wrong));
    let mut scanner = RequestScanner::new();
    scanner.feed(&command(b"\xee")).unwrap();
    assert_eq!(scanner.command(), Some(None));
}

#[test]
fn a_prefix_is_borrowed_while_it_can_be() {
    let bytes = command(b"\x03SELECT 1");
    assert!(matches!(
        payload_prefix(&bytes, 100),
        Cow::Borrowed(b"\x03SELECT 1")
    ));
    assert!(matches!(
        payload_prefix(&bytes, 3),
        Cow::Borrowed(b"\x03SE")
    ));
    assert!(matches!(
        payload_prefix(&bytes[..7], 100),
        Cow::Borrowed(b"\x03SE")
    ));
    assert!(matches!(
        payload_prefix(&bytes[..3], 100),
        Cow::Borrowed(b"")
    ));
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40), cut in any::<prop::sample::Index>()) {
        let whole = RequestScanner::new().feed(&bytes);
        let cut = cut.index(bytes.len() + 1);
        let mut scanner = RequestScanner::new();
        let in_parts = scanner.feed(&bytes[..cut]).and_then(|first| match first.complete {
            true => Ok(first),
            false => scanner.feed(&bytes[cut..]).map(|second| Scanned { consumed: cut + second.consumed, ..second }),
        });
        prop_assert_eq!(whole, in_parts);
        core::hint::black_box(payload_prefix(&bytes, cut));
    }
}
