//! The MySQL client/server protocol, one file for each part of it. Section names in the comments are those of the MySQL
//! Source Code Documentation, "Client/Server Protocol".
//!
//! - [`packet`]: 4-byte headers, splitting at 16 MiB, bounds-checked reading and writing of field types.
//! - [`flags`]: capability and status flags.
//! - [`handshake`], [`auth`]: connection phase.
//! - [`command`], [`request`]: what a client sends, and where a command ends.
//! - [`response`], [`resultset`]: OK, ERR, EOF, session state; small result sets made locally.
//! - [`attributes`]: what a client says of a statement beside its text.
//! - [`compress`]: the stream of packets, compressed.
//! - [`prepared`]: prepared statements apart from their connection.
//! - [`exchange`]: relays and follows one reply.

pub mod attributes;
pub mod auth;
pub mod command;
pub mod compress;
pub mod error;
pub mod exchange;
pub mod flags;
pub mod gtid;
pub mod handshake;
pub mod packet;
pub mod prepared;
pub mod request;
pub mod response;
pub mod resultset;

pub use error::ProtocolError;

#[cfg(test)]
mod tests;
