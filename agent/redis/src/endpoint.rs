//! The local Redis endpoint: clients on a unix socket or loopback, without TLS and without a password to the server, on few shared
//! connections.
//!
//! ```text
//!  PHP ── unix socket ──▶ Session ── policy ──▶ answered here: PING, AUTH, HELLO, CLIENT, QUEUED, refusals
//!                            │                    shared: one of a few connections to the server, commands of many clients in a row
//!                            │                    private: WATCH, SUBSCRIBE, BLPOP, values above 1 MiB on their way in
//!                            └◀── Outbox ◀────── replies, each in its place
//! ```
//!
//! | module | what it does | touches |
//! |---|---|---|
//! | `policy` | what is done with a command | nothing |
//! | `local` | answers about the connection itself | nothing |
//! | `rules` | rules for keys that begin alike | nothing |
//! | `transaction` | what stands between MULTI and EXEC | memory |
//! | `outbox`, `merge`, `tally` | replies in order, put together, counted | memory |
//! | `lookout` | keeps the thread awake while something is about to come | the processor |
//! | `lease` | one client fills a missing key while the others wait | Redis |
//! | `thread` | where all of this runs, and the connections to the servers | one thread |
//! | `session` | one client from its first byte to its last | the client's socket |

mod config;
mod lease;
mod listener;
mod local;
mod lookout;
mod merge;
mod outbox;
mod policy;
mod rules;
mod scan;
mod session;
mod tally;
mod thread;
mod transaction;

pub use config::{EndpointConfig, Notices, PrefixConfig, Unavailable};

pub(crate) use config::prefix_problems;
pub(crate) use listener::{Endpoint, EndpointParts, Shared};
pub(crate) use lookout::{Lookout, Owing};
pub(crate) use merge::Merge;
pub(crate) use outbox::{Data, LARGE, LOOKS_MAX, Outbox};
pub(crate) use policy::Refusal;
pub(crate) use rules::TOMBSTONE;
pub(crate) use tally::{HitSeries, Tally};
pub(crate) use thread::DataThread;
