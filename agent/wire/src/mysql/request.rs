//! Where one command of a client ends: its packets are followed by header only, so that a command of any size can be
//! relayed as it arrives.

use std::borrow::Cow;

use super::ProtocolError;
use super::command::Command;
use super::packet::{HEADER_LEN, Header, MAX_PAYLOAD};

/// What [`RequestScanner::feed`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// Bytes of the input that belong to this command; the rest belongs to the next one.
    pub consumed: usize,
    /// The command's last byte was among them.
    pub complete: bool,
}

/// Follows one command from its first byte to its last. Buffers nothing but a header that arrives in pieces.
#[derive(Debug, Clone, Default)]
pub struct RequestScanner {
    header: [u8; HEADER_LEN],
    header_len: usize,
    body_left: usize,
    last_frame_full: bool,
    frames: u32,
    payload: u64,
    first: Option<u8>,
    complete: bool,
}

impl RequestScanner {
    /// Before the first byte of a command.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The command byte, once it was seen; `Some(None)` is one the protocol does not know.
    #[must_use]
    pub fn command(&self) -> Option<Option<Command>> {
        self.first.map(Command::from_byte)
    }

    /// Body bytes of all packets announced so far, the command byte included.
    #[must_use]
    pub const fn payload_len(&self) -> u64 {
        self.payload
    }

    /// Body bytes of the current packet that have not been fed yet.
    #[must_use]
    pub const fn body_left(&self) -> usize {
        self.body_left
    }

    /// Sequence id of the reply's first packet.
    #[must_use]
    pub fn reply_seq(&self) -> u8 {
        self.frames.to_le_bytes().first().copied().unwrap_or(0)
    }

    /// The command was seen whole.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes the bytes that follow those fed before.
    ///
    /// # Errors
    /// [`ProtocolError::OutOfOrder`] if a packet has the wrong number (a command starts with 0),
    /// [`ProtocolError::Empty`] for a command without a command byte, [`ProtocolError::OutOfTurn`] after the last byte.
    pub fn feed(&mut self, input: &[u8]) -> Result<Scanned, ProtocolError> {
        if self.complete {
            return Err(ProtocolError::OutOfTurn("the command is over"));
        }
        let mut rest = input;
        while !self.complete {
            if self.body_left > 0 {
                let Some(&first) = rest.first() else { break };
                self.first.get_or_insert(first);
                let (body, after) = rest.split_at_checked(self.body_left).unwrap_or((rest, &[]));
                self.body_left -= body.len();
                rest = after;
                self.complete = self.body_left == 0 && !self.last_frame_full;
                continue;
            }
            if self.header_len == 0
                && let Some((header, after)) = rest.split_first_chunk::<HEADER_LEN>()
            {
                self.header = *header;
                rest = after;
                self.start_frame()?;
                continue;
            }
            let Some((&byte, after)) = rest.split_first() else {
                break;
            };
            rest = after;
            if let Some(place) = self.header.get_mut(self.header_len) {
                *place = byte;
            }
            self.header_len += 1;
            if self.header_len == HEADER_LEN {
                self.header_len = 0;
                self.start_frame()?;
            }
        }
        Ok(Scanned {
            consumed: input.len() - rest.len(),
            complete: self.complete,
        })
    }

    fn start_frame(&mut self) -> Result<(), ProtocolError> {
        let Some(header) = Header::parse(&self.header) else {
            return Err(ProtocolError::Truncated);
        };
        let expected = self.reply_seq();
        if header.seq != expected {
            return Err(ProtocolError::OutOfOrder {
                expected,
                got: header.seq,
            });
        }
        if header.len == 0 && self.frames == 0 {
            return Err(ProtocolError::Empty("a command"));
        }
        self.frames = self.frames.wrapping_add(1);
        self.payload += header.len as u64;
        self.body_left = header.len;
        self.last_frame_full = header.len == MAX_PAYLOAD;
        // The last packet of an exact multiple of 16 MiB - 1 is empty.
        self.complete = header.len == 0;
        Ok(())
    }
}

/// The body of a command in `packets` (headers included, as they came), at most its first `limit` bytes: borrowed if they
/// are in one packet, else joined. Stops without complaint where the packets are cut off.
#[must_use]
pub fn payload_prefix(packets: &[u8], limit: usize) -> Cow<'_, [u8]> {
    let mut joined: Option<Vec<u8>> = None;
    let mut first: &[u8] = &[];
    let mut left = limit;
    let mut rest = packets;
    while let (Some(header), Some(body)) = (Header::parse(rest), rest.get(HEADER_LEN..)) {
        let (body, after) = body.split_at_checked(header.len).unwrap_or((body, &[]));
        let wanted = body.get(..left).unwrap_or(body);
        left -= wanted.len();
        if first.is_empty() && joined.is_none() {
            first = wanted;
        } else {
            joined
                .get_or_insert_with(|| first.to_vec())
                .extend_from_slice(wanted);
        }
        if left == 0 || header.len < MAX_PAYLOAD {
            break;
        }
        rest = after;
    }
    joined.map_or(Cow::Borrowed(first), Cow::Owned)
}

#[cfg(test)]
mod tests;
