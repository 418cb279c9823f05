//! Redis: the keys PHP will ask for are there before it asks.
//!
//! ```text
//!   [redis]  ─▶ Dialer ─▶ Monitor ──── the control connection: PING, leases, results
//!   clients ─▶ Endpoint ── few shared connections of its own, for many clients; see `endpoint`
//!   [[warm]] ─▶ Job ──┬─▶ Reader ──── SQL, a page at a time, through the agent's own MySQL endpoint; or lines of a file
//!                     ├─▶ Writer ──── a connection of its own: batches of SET ... PX
//!                     └─▶ crawl ───── pages of the local web server, instead of both
//! ```
//! One instance of the fleet runs a job; the others see its result in Redis and are satisfied. Talks to the Redis server
//! and to the MySQL endpoint's unix socket; reads the password file and the CA. Sockets and TLS are `lamplighter_core`'s
//! (no delay, keepalive, a dead peer noticed in seconds); the `redis` library only speaks the protocol over them.

mod backoff;
mod config;
mod endpoint;
mod fleet;
mod heat;
mod metrics;
mod probe;
mod ration;
mod server;
mod subsystem;
mod upstream;
pub mod warm;
mod writes;

pub use config::{Auth, Config, ServerKind, UpstreamUrl, UrlError};
pub use endpoint::{EndpointConfig, Notices, PrefixConfig, Unavailable};
pub use metrics::Metrics;
pub use probe::probe;
pub use subsystem::{Links, Redis, ReloadHandle, StartError};
