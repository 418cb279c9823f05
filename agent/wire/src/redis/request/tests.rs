//! Every request is found at the same place however it is cut.

use bytes::BytesMut;
use proptest::prelude::*;

use super::super::write;
use super::*;

/// Feeds `bytes` cut at `cuts`, as a reader would; lengths and arguments of all requests, or the error.
fn follow(bytes: &[u8], chunk: usize) -> Result<Vec<Vec<Vec<u8>>>, RequestError> {
    let mut scanner = RequestScanner::new();
    let mut buffer = BytesMut::new();
    let mut found = Vec::new();
    for part in bytes.chunks(chunk.max(1)) {
        buffer.extend_from_slice(part);
        loop {
            match scanner.feed(&buffer)? {
                Progress::NeedMore => break,
                Progress::Complete(length) => {
                    let arguments = scanner.arguments().iter();
                    found.push(
                        arguments
                            .map(|range| buffer[range.clone()].to_vec())
                            .collect(),
                    );
                    drop(buffer.split_to(length));
                }
                Progress::Inline(length) => {
                    found.push(inline_arguments(&buffer.split_to(length))?);
                }
            }
            scanner.reset();
            if buffer.is_empty() {
                break;
            }
        }
    }
    Ok(found)
}

#[test]
fn every_split_point_gives_the_same_requests() {
    let stream = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\nb\n\r\nPING\r\n*0\r\n*1\r\n$4\r\nQUIT\r\n\r\nset 'a b' \"\\x41\\n\"\r\n";
    let whole = follow(stream, stream.len()).unwrap();
    assert_eq!(whole.len(), 6);
    assert_eq!(
        whole[0],
        [b"SET".to_vec(), b"k".to_vec(), b"a\r\nb\n".to_vec()]
    );
    assert!(whole[2].is_empty() && whole[4].is_empty());
    assert_eq!(
        whole[5],
        [b"set".to_vec(), b"a b".to_vec(), b"A\n".to_vec()]
    );
    for first in 1..stream.len() {
        assert_eq!(follow(stream, first).unwrap(), whole, "chunks of {first}");
        // and in exactly two parts
        let mut scanner = RequestScanner::new();
        let _before = scanner.feed(&stream[..first]);
    }
}

#[test]
fn errors_have_redis_own_words() {
    for (bytes, words) in [
        (&b"*x\r\n"[..], "invalid multibulk length"),
        (b"*1048577\r\n", "invalid multibulk length"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
        (b"set \"a\r\n", "unbalanced quotes"),
        (b"set \"a\"b\r\n", "unbalanced quotes"),
    ] {
        let error = follow(bytes, 1000).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let line = vec![b'a'; LINE_MAX + 1];
    assert_eq!(follow(&line, 1 << 20), Err(RequestError::InlineTooLong));
    let count = [b"*".to_vec(), vec![b'x'; LINE_MAX + 1]].concat();
    assert_eq!(follow(&count, 1 << 20), Err(RequestError::CountTooLong));
}

#[test]
fn a_value_that_is_passed_on_as_it_comes_is_followed_to_its_end() {
    let mut bytes = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n".to_vec();
    bytes.extend(vec![b'v'; 100_000]);
    bytes.extend(b"\r\nREST");
    let mut scanner = RequestScanner::new();
    let mut buffer = BytesMut::new();
    let mut passed = 0;
    for part in bytes.chunks(999) {
        buffer.extend_from_slice(part);
        match scanner.feed(&buffer).unwrap() {
            Progress::NeedMore => {
                let scanned = scanner.scanned();
                passed += scanned;
                drop(buffer.split_to(scanned));
                scanner.forget(scanned);
                assert!(buffer.len() < 40, "{}", buffer.len());
            }
            Progress::Complete(length) => {
                passed += length;
                break;
            }
            Progress::Inline(_) => panic!("no line"),
        }
    }
    assert_eq!(passed, bytes.len() - 4);
}

proptest! {
    #[test]
    fn what_is_written_is_found(requests in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6), 1..6), chunk in 1..50_usize) {
        let bytes: Vec<u8> = requests.iter().flat_map(|arguments| write::request(arguments)).collect();
        prop_assert_eq!(follow(&bytes, chunk).unwrap(), requests);
    }

    #[test]
    fn nothing_makes_it_panic_or_differ(bytes in prop::collection::vec(prop::sample::select(b"*$0123\r\n-ab\"'\\ ".to_vec()), 0..60), chunk in 1..9_usize) {
        let whole = follow(&bytes, 1000);
        let parts = follow(&bytes, chunk);
        if let (Ok(whole), Ok(parts)) = (whole, parts) {
            prop_assert_eq!(whole, parts);
        }
    }
}
