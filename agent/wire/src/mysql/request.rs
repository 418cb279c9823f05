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
        let _ = (input, HEADER_LEN, MAX_PAYLOAD, Header { len: 0, seq: 0 });
        Err(ProtocolError::Unsupported("not written yet"))
    }
}

/// The body of a command in `packets` (headers included, as they came), at most its first `limit` bytes: borrowed if they
/// are in one packet, else joined. Stops without complaint where the packets are cut off.
#[must_use]
pub fn payload_prefix(packets: &[u8], limit: usize) -> Cow<'_, [u8]> {
    let _ = limit;
    Cow::Borrowed(packets)
}

#[cfg(test)]
mod tests;
