//! The machine below the agent: systemd, and Azure. Says which machine this is, fetches the tokens of its identity, and leaves in
//! time when Azure is about to take it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | the `[platform]` table |
//! | [`systemd`] | the notify protocol: its socket, its messages, when each is due |
//! | `azure` | who of the next is there, and what they share |
//! | `imds`, `http` | the client of the instance metadata service: pace, deadlines, which failure means what |
//! | `instance`, `state` | which machine this is; whose state the state directory holds |
//! | `machine` | what the machine sees of itself: its network, its disk |
//! | `names` | whether its resolver knows the servers |
//! | `identity` | tokens: when, from whom, what is believed |
//! | `events` | scheduled events: read, decided on, acknowledged |
//! | `subsystem` | the life of all of them |

mod azure;
pub mod config;
mod events;
mod http;
mod identity;
mod imds;
mod instance;
mod machine;
mod names;
mod state;
mod subsystem;
pub mod systemd;

pub use azure::{Azure, AzureError, fetch_once};
pub use config::Config;
pub use state::StateDir;
pub use subsystem::{Links, Platform};
pub use systemd::{Manager, ReloadNotice, Reloading};
