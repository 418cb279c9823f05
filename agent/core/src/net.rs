//! Listening, accepting and dialling. Sockets only; no protocol, no TLS.

mod accept;
mod dial;
mod handover;
mod holder;
mod lifeline;
mod listen;
mod near;
mod unix;

pub use accept::{Accepted, Acceptor, Peer, Stream};
pub use dial::{DialError, DialOptions, HostPort, dial, resolve};
pub use handover::Handover;
pub use lifeline::Lifeline;
pub use listen::{BindError, Kept, ListenAddress, Listener, Sockets};
pub use near::{NearSocket, look_for_bytes};
pub use unix::UnixSocket;

#[cfg(test)]
mod tests;
