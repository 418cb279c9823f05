//! Redis: where a request and a reply end (RESP2 and RESP3), what a command may do and which keys it touches, and in which slot of
//! a cluster a key lies. Bytes are looked at and passed on, not decoded: the scanners find boundaries and keep a bounded state.
//!
//! Sources: the "Redis serialization protocol specification", the "Redis cluster specification", and `COMMAND` of Redis 7.0.

pub mod command;
pub mod keys;
pub mod reply;
pub mod request;
pub mod write;

/// Which version of the protocol a connection speaks; `HELLO` changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Protocol {
    /// RESP2, what every connection starts with.
    #[default]
    Resp2,
    /// RESP3, with maps, nulls and out-of-band data.
    Resp3,
}
