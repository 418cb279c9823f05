//! What can be wrong with bytes that claim to be the MySQL protocol.

use thiserror::Error;

/// The peer broke the protocol, or uses a part of it that we do not speak. The connection cannot be used any more: where
/// its next packet starts is not known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A field reaches beyond the end of its packet.
    #[error("packet is shorter than its fields say")]
    Truncated,
    /// A packet with an empty body where a body is needed.
    #[error("empty packet while waiting for {0}")]
    Empty(&'static str),
    /// A packet that cannot come here.
    #[error("packet starts with 0x{first:02x} while waiting for {expected}")]
    Unexpected {
        /// First byte of the packet's body.
        first: u8,
        /// What could have come.
        expected: &'static str,
    },
    /// A field has a value that the protocol does not allow.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A packet that has to be held whole is larger than we allow.
    #[error("{what} of {bytes} bytes, more than the {limit} bytes allowed")]
    TooLarge {
        /// Which packet.
        what: &'static str,
        /// Its size in bytes.
        bytes: usize,
        /// The most that is allowed, in bytes.
        limit: usize,
    },
    /// The sequence id is not the one after the last packet's.
    #[error("packet number {got} where {expected} should come")]
    OutOfOrder {
        /// The id that should have come.
        expected: u8,
        /// The id that came.
        got: u8,
    },
    /// The server spoke without being asked: it closes the connection (shutdown, idle timeout, kill).
    #[error("server ended the connection with error {code}")]
    Unsolicited {
        /// MySQL error number.
        code: u16,
    },
    /// More bytes than the reply has: the stream is not where we think it is.
    #[error("{0} bytes after the end of the reply")]
    TrailingBytes(usize),
    /// A step was asked for that the state does not allow (a bug on our side, never the peer's doing).
    #[error("exchange used out of turn: {0}")]
    OutOfTurn(&'static str),
    /// A feature we never negotiate.
    #[error("unsupported: {0}")]
    Unsupported(&'static str),
}
