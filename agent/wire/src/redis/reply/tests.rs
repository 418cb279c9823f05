//! Every reply is found at the same place however it is cut.

use proptest::prelude::*;

use super::*;

/// Ends of all replies in `bytes`, fed in chunks.
fn ends(bytes: &[u8], chunk: usize) -> Result<Vec<usize>, ReplyError> {
    let mut scanner = ReplyScanner::new();
    let (mut pending, mut at, mut found) = (Vec::new(), 0, Vec::new());
    for part in bytes.chunks(chunk) {
        pending.extend_from_slice(part);
        loop {
            let fed = scanner.feed(&pending)?;
            at += fed.consumed;
            pending.drain(..fed.consumed);
            if !fed.complete {
                break;
            }
            found.push(at);
            if pending.is_empty() {
                break;
            }
        }
    }
    Ok(found)
}

const REPLIES: [&[u8]; 18] = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":-12\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$5\r\na\r\nb\n\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n*1\r\n*0\r\n$1\r\nx\r\n",
    b"_\r\n",
    b",3.14\r\n",
    b"#t\r\n",
    b"(3492890328409238509324850943850943825024385\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"!5\r\nERR x\r\n",
    b"%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n_\r\n#f\r\n",
    b"|1\r\n+ttl\r\n:3600\r\n*1\r\n:7\r\n",
    b">2\r\n+invalidate\r\n~1\r\n+k\r\n",
];

#[test]
fn every_split_point_gives_the_same_ends() {
    let stream: Vec<u8> = REPLIES.concat();
    let whole = ends(&stream, stream.len()).unwrap();
    let mut expected = Vec::new();
    for reply in REPLIES {
        expected.push(expected.last().unwrap_or(&0) + reply.len());
    }
    assert_eq!(whole, expected);
    for chunk in 1..stream.len() {
        assert_eq!(ends(&stream, chunk).unwrap(), whole, "chunks of {chunk}");
    }
}

#[test]
fn what_is_no_reply_is_an_error_and_nothing_grows() {
    for bytes in [
        &b"hello\r\n"[..],
        b"$x\r\n",
        b"*12345678901234567890\r\n",
        b"\n",
        b"$\r\n",
        b"%9223372036854775807\r\n",
    ] {
        assert!(ends(bytes, 1000).is_err(), "{bytes:?}");
    }
    let deep = b"*1\r\n".repeat(DEPTH_MAX + 1);
    assert_eq!(ends(&deep, 1000), Err(ReplyError::Depth));
    let line = vec![b'+'; LINE_MAX + 2];
    assert_eq!(ends(&line, 1 << 22), Err(ReplyError::Line));
}

#[test]
fn parts_of_whole_replies() {
    assert_eq!(
        elements(b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n"),
        Some(vec![&b"$1\r\na\r\n"[..], b"*1\r\n:1\r\n"])
    );
    assert_eq!(elements(b"*2\r\n$1\r\na\r\n"), None);
    assert_eq!(string(b"$3\r\nabc\r\n"), Some(&b"abc"[..]));
    assert_eq!(string(b"+x\r\n"), Some(&b"x"[..]));
    assert_eq!(integer(b":-3\r\n"), Some(-3));
    assert_eq!(error(b"-MOVED 1 h:2\r\n"), Some(&b"MOVED 1 h:2"[..]));
    assert!(is_null(b"_\r\n") && is_null(b"$-1\r\n") && !is_null(b"$1\r\na\r\n"));
}

proptest! {
    #[test]
    fn nothing_makes_it_panic_or_differ(bytes in prop::collection::vec(prop::sample::select(b"*$%|>~_#:+-=!0123\r\n".to_vec()), 0..80), chunk in 1..9_usize) {
        let whole = ends(&bytes, 1000);
        let parts = ends(&bytes, chunk);
        if let (Ok(whole), Ok(parts)) = (whole, parts) {
            prop_assert_eq!(whole, parts);
        }
        let _parts = (elements(&bytes), string(&bytes), integer(&bytes));
    }
}
