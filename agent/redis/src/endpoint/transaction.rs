//! What stands between MULTI and EXEC: kept until EXEC and then sent in one piece, so that it can go over a shared connection. In
//! memory only.

use bytes::{Bytes, BytesMut};

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// A transaction that has begun.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    commands: BytesMut,
    count: u32,
    /// A command was refused: EXEC will be, too.
    pub(crate) spoiled: bool,
    pub(crate) slow: bool,
    slot: Option<u16>,
    /// Keys of several slots.
    pub(crate) crosses: bool,
    /// Written before the transaction itself, for rules.
    pub(crate) ahead: Vec<Bytes>,
}

impl Transaction {
    /// Adds a request with keys in `slot`; false if it would be more than `max` bytes.
    pub(crate) fn add(
        &mut self,
        request: &[u8],
        slot: Option<u16>,
        slow: bool,
        max: usize,
    ) -> bool {
        if self.commands.len() + request.len() > max {
            self.spoiled = true;
            return false;
        }
        self.commands.extend_from_slice(request);
        self.count += 1;
        self.slow |= slow;
        self.crosses |= matches!((self.slot, slot), (Some(one), Some(other)) if one != other);
        self.slot = self.slot.or(slot);
        true
    }

    /// Where its keys are.
    pub(crate) const fn slot(&self) -> Option<u16> {
        self.slot
    }

    /// Whether there is nothing in it.
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The whole of it, and how many replies the server gives.
    pub(crate) fn block(&self) -> (Bytes, u32) {
        let size = MULTI.len() + self.commands.len() + EXEC.len();
        let mut block = BytesMut::with_capacity(size);
        block.extend_from_slice(MULTI);
        block.extend_from_slice(&self.commands);
        block.extend_from_slice(EXEC);
        (block.freeze(), self.count + 2)
    }
}
