//! SCAN over a cluster: one cursor for a walk through the keys of one server after the other. Pure; no IO.

use bytes::{Bytes, BytesMut};
use lamplighter_wire::redis::reply::{elements, string};
use lamplighter_wire::redis::write;

/// A server's own cursor and which server it is, as one number: 0 is the beginning and the end of the whole walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor(u64);

impl Cursor {
    /// From a client, or from a server.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let number = digits.then(|| std::str::from_utf8(text).ok()?.parse().ok());
        number.flatten().map(Self)
    }

    /// Which of so many servers is next, and its own cursor. `None` without servers.
    pub(crate) fn at(self, servers: usize) -> Option<(usize, u64)> {
        let count = u64::try_from(servers).ok()?;
        let index = self.0.checked_rem(count)?;
        Some((usize::try_from(index).ok()?, self.0 / count))
    }

    /// What the client goes on with when the server `index` of so many has said `own`.
    fn after(index: usize, servers: usize, own: Self) -> Option<Self> {
        let count = u64::try_from(servers).ok()?;
        let index = u64::try_from(index).ok()?;
        match own {
            // this one has no more
            Self(0) if index + 1 == count => Some(Self(0)),
            Self(0) => Some(Self(index + 1)),
            Self(own) => own.checked_mul(count)?.checked_add(index).map(Self),
        }
    }
}

/// The reply of one server as the client sees it.
pub(crate) fn reply(reply: &Bytes, index: usize, servers: usize) -> Option<Bytes> {
    let parts = elements(reply)?;
    let [own, keys] = parts.as_slice() else {
        return None;
    };
    let Cursor(next) = Cursor::after(index, servers, Cursor::read(string(own)?)?)?;
    let mut out = BytesMut::with_capacity(reply.len() + 32);
    write::put_header(&mut out, b'*', 2);
    write::put_bulk(&mut out, next.to_string().as_bytes());
    out.extend_from_slice(keys);
    Some(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_visits_every_server_to_its_end() {
        // what each of three servers says, step by step
        let walks: [&[u64]; 3] = [&[17, 5, 0], &[0], &[9, 0]];
        let mut steps = [0; 3];
        let mut cursor = Cursor(0);
        let mut seen = Vec::new();
        loop {
            let (index, own) = cursor.at(3).unwrap();
            seen.push((index, own));
            let said = walks[index][steps[index]];
            steps[index] += 1;
            cursor = Cursor::after(index, 3, Cursor(said)).unwrap();
            if cursor == Cursor(0) {
                break;
            }
        }
        assert_eq!(seen, [(0, 0), (0, 17), (0, 5), (1, 0), (2, 0), (2, 9)]);
    }

    #[test]
    fn what_is_no_cursor_is_none_and_nothing_overflows() {
        for text in ["", "-1", "x", "1 ", "18446744073709551616"] {
            assert_eq!(Cursor::read(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Cursor(5).at(0), None);
        assert_eq!(Cursor::after(0, 3, Cursor(u64::MAX)), None);
        let bytes = Bytes::from_static(b"*2\r\n$1\r\n4\r\n*1\r\n$1\r\nk\r\n");
        let seen = reply(&bytes, 1, 3).unwrap();
        assert_eq!(&*seen, b"*2\r\n$2\r\n13\r\n*1\r\n$1\r\nk\r\n");
    }
}
