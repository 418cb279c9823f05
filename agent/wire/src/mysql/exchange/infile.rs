//! The client's side of LOAD DATA LOCAL: "LOCAL INFILE Request".

use bytes::{BufMut, BytesMut};

use super::super::ProtocolError;
use super::super::packet::{HEADER_LEN, Header, MAX_PAYLOAD};

/// Relays a client's file to the server: copies packets, numbers them as the server expects, and says when the empty one
/// that ends the file was seen.
#[derive(Debug, Clone)]
pub struct InfileUpload {
    /// Taken from the client's sequence ids, wrapping.
    shift: u8,
    header: [u8; HEADER_LEN],
    header_len: usize,
    body_left: usize,
    /// The packet in hand has the largest size, so the next one continues it, even if empty.
    full: bool,
    ended: bool,
}

impl InfileUpload {
    pub(super) const fn new(shift: u8) -> Self {
        Self {
            shift,
            header: [0; HEADER_LEN],
            header_len: 0,
            body_left: 0,
            full: false,
            ended: false,
        }
    }

    /// Takes the bytes that follow those fed before, appends them for the server to `out`, and returns whether the file
    /// ended with them.
    ///
    /// # Errors
    /// [`ProtocolError::TrailingBytes`] for bytes after the end, which no client sends before the server's answer.
    pub fn feed(&mut self, input: &[u8], out: &mut BytesMut) -> Result<bool, ProtocolError> {
        let mut rest = input;
        while !rest.is_empty() {
            if self.ended {
                return Err(ProtocolError::TrailingBytes(rest.len()));
            }
            if self.body_left > 0 {
                let (body, after) = rest.split_at_checked(self.body_left).unwrap_or((rest, &[]));
                out.put_slice(body);
                self.body_left -= body.len();
                rest = after;
                continue;
            }
            let Some((byte, after)) = rest.split_first() else {
                break;
            };
            rest = after;
            if let Some(place) = self.header.get_mut(self.header_len) {
                *place = *byte;
            }
            self.header_len += 1;
            if self.header_len < HEADER_LEN {
                continue;
            }
            self.header_len = 0;
            let Some(header) = Header::parse(&self.header) else {
                continue;
            };
            let seq = header.seq.wrapping_sub(self.shift);
            out.put_slice(
                &Header {
                    len: header.len,
                    seq,
                }
                .to_bytes(),
            );
            self.ended = header.len == 0 && !self.full;
            self.full = header.len == MAX_PAYLOAD;
            self.body_left = header.len;
        }
        Ok(self.ended)
    }
}
