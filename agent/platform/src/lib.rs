//! The machine below the agent. Today that is systemd: what it is told and when the watchdog is fed. Instance metadata,
//! identity and scheduled events of Azure belong here too.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | the `[platform]` table |
//! | [`systemd`] | the notify protocol: its socket, its messages, when each is due |
//! | `subsystem` | the thread that sends them |

pub mod config;
mod subsystem;
pub mod systemd;

pub use config::Config;
pub use subsystem::{Links, Platform};
pub use systemd::{Manager, ReloadNotice, Reloading};
