//! The local MySQL endpoint: PHP talks to a unix socket, this crate talks to the servers.
//!
//! Life of a query: [`endpoint`](self) accepts a client, `client` logs it in on a greeting made here, `session` reads a command,
//! `lamplighter_wire::sql` says what it does, `route` picks the server, `pool` gives a connection of the right bucket, the
//! session relays request and reply through `lamplighter_wire::mysql::exchange`, and `hold` decides from the server's own word
//! whether the connection goes back. Beside it `monitor` watches the servers and `metrics` counts.
//!
//! Rows are never parsed; a result of any size passes through one small buffer; a connection goes back to its pool only with the
//! proof that the reply was over.

mod access;
mod balance;
mod beats;
mod cancel;
mod client;
mod config;
mod endpoint;
mod error;
mod explain;
mod fleet;
mod hold;
mod insert_id;
mod metrics;
mod monitor;
mod near;
mod overview;
mod pool;
mod position;
mod positions;
mod preferences;
mod prepared;
mod replica;
mod route;
mod server;
mod session;
mod statistics;
mod tenants;
mod variables;

pub use access::AccessError;
pub use config::{
    Client, Compression, Config, Consistency, Heartbeat, INTERNAL_USER, LagUnknown, Monitor, Pool,
    ReadsFrom, ReplicaOptions, Rule,
};
pub use endpoint::{Links, Proxy, ReloadHandle, StartError, check_online};
pub use error::OpenError;
pub use explain::{Exception, Explanation, Live, ReplicaState, explain};
pub use metrics::Metrics;
pub use overview::{Overview, PoolReport, RouteReport, ServerReport, TroubleReport};
pub use statistics::{DigestReport, PinReport, PinTally, Pins, Routes, Top};
