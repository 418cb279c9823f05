//! Bodies of 16 MiB and more, and how little is held back.

use super::super::super::packet::MAX_PAYLOAD;
use super::*;

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
        for client in [OLD, NEW] {
            let (out, done) = run(ReplyShape::Execute, client, NEW, &input).unwrap();
            assert!(out == write(&parts, client));
            assert_eq!(done.rows_last, 1);
        }
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
