//! Requests and replies as bytes.

use bytes::{BufMut, Bytes, BytesMut};

use super::Protocol;

/// A request of these arguments.
#[must_use]
pub fn request<A: AsRef<[u8]>>(arguments: &[A]) -> Bytes {
    let size: usize = arguments
        .iter()
        .map(|argument| argument.as_ref().len() + 16)
        .sum();
    let mut out = BytesMut::with_capacity(size + 16);
    put_request(&mut out, arguments);
    out.freeze()
}

/// Appends a request of these arguments.
pub fn put_request<A: AsRef<[u8]>>(out: &mut BytesMut, arguments: &[A]) {
    put_header(out, b'*', arguments.len());
    for argument in arguments {
        put_bulk(out, argument.as_ref());
    }
}

/// Appends a bulk string.
pub fn put_bulk(out: &mut BytesMut, bytes: &[u8]) {
    put_header(out, b'$', bytes.len());
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

/// Appends a marker with a count and its line break.
pub fn put_header(out: &mut BytesMut, marker: u8, count: usize) {
    let mut digits = [0_u8; 20];
    let mut rest = count;
    let mut length = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        length += 1;
        if rest == 0 {
            break;
        }
    }
    out.put_u8(marker);
    out.put_slice(digits.get(digits.len() - length..).unwrap_or_default());
    out.put_slice(b"\r\n");
}

/// A reply that is a bulk string.
#[must_use]
pub fn bulk(bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(bytes.len() + 16);
    put_bulk(&mut out, bytes);
    out.freeze()
}

/// A reply that is an error; `text` begins with its code (`ERR`, `MOVED`) and loses its line breaks.
#[must_use]
pub fn error(text: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(text.len() + 3);
    out.put_u8(b'-');
    out.extend(
        text.bytes()
            .map(|byte| if byte < b' ' { b' ' } else { byte }),
    );
    out.put_slice(b"\r\n");
    out.freeze()
}

/// A reply that is an integer.
#[must_use]
pub fn integer(value: i64) -> Bytes {
    Bytes::from(format!(":{value}\r\n"))
}

/// `+OK`.
pub const OK: Bytes = Bytes::from_static(b"+OK\r\n");

/// `+QUEUED`.
pub const QUEUED: Bytes = Bytes::from_static(b"+QUEUED\r\n");

/// `+PONG`.
pub const PONG: Bytes = Bytes::from_static(b"+PONG\r\n");

/// The null of a string.
#[must_use]
pub const fn null(protocol: Protocol) -> Bytes {
    match protocol {
        Protocol::Resp2 => Bytes::from_static(b"$-1\r\n"),
        Protocol::Resp3 => Bytes::from_static(b"_\r\n"),
    }
}

/// The null of an array.
#[must_use]
pub const fn null_array(protocol: Protocol) -> Bytes {
    match protocol {
        Protocol::Resp2 => Bytes::from_static(b"*-1\r\n"),
        Protocol::Resp3 => Bytes::from_static(b"_\r\n"),
    }
}

/// An array of `count` nulls.
#[must_use]
pub fn nulls(protocol: Protocol, count: usize) -> Bytes {
    let null = null(protocol);
    let mut out = BytesMut::with_capacity(16 + count * null.len());
    put_header(&mut out, b'*', count);
    for _ in 0..count {
        out.put_slice(&null);
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_redis_reads() {
        assert_eq!(
            &request(&["SET", "k", ""])[..],
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n"
        );
        assert_eq!(&error("ERR a\r\nb")[..], b"-ERR a  b\r\n");
        assert_eq!(&nulls(Protocol::Resp3, 2)[..], b"*2\r\n_\r\n_\r\n");
        let mut out = BytesMut::new();
        put_header(&mut out, b'*', 1_234_567_890);
        assert_eq!(&out[..], b"*1234567890\r\n");
    }
}
