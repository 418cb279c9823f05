//! Which answers are taken for one.

use super::*;

#[test]
fn only_whole_answers_are_taken() {
    let whole = parse(b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\nx: y\r\n\r\nno");
    assert_eq!(
        whole,
        Some(Answer {
            status: 409,
            body: "no".to_owned()
        })
    );
    for broken in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 2\r\n\r\n",
        b"",
        b"\xff\r\n\r\n",
    ] {
        assert_eq!(parse(broken), None, "{:?}", String::from_utf8_lossy(broken));
    }
}
