//! Sans-IO codecs and state machines: bytes in, bytes and decisions out. Nothing here opens a socket, reads a clock, logs
//! or counts, so every line can be tested with a byte string and fuzzed. No input may cause a panic: slices are taken with
//! bounds checks that return errors, and the lint below keeps it so.
//!
//! - [`mysql`]: the MySQL client/server protocol: packets, handshake, authentication, replies, and [`mysql::exchange`],
//!   which follows one command's reply from its first byte to its last and proves when a connection is idle again.
//! - [`redis`]: where requests and replies of Redis end, what a command may do, in which slot a key lies.
//! - [`sql`]: what a statement may do, read from its text in one pass; [`sql::digest`]: what it is without its values.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod mysql;
pub mod redis;
pub mod sql;
