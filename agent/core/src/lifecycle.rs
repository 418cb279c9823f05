//! The one lifecycle of the process and of everything in it. Spawns tasks; touches no file and no socket.
//!
//! ```text
//!                 all ready               drain                shed time over        tasks ended or deadline
//!   Starting ───────────────▶ Ready ───────────────▶ Shedding ───────────────▶ Draining ───────────────▶ Stopping ──▶ Stopped
//!      │                        ▲                       │  │                                                ▲
//!      │                        └──────── undrain ──────┘  │                                                │
//!      └── asked to leave before ready ──▶ Draining        └──────────── second SIGTERM, from anywhere ─────┘
//! ```
//! - *Starting*: listeners are bound, servers are being reached; the load balancer gets 503.
//! - *Ready*: everything serves.
//! - *HandingOver*: Ready ──▶ HandingOver ──▶ Stopped. A planned restart: new clients wait in the sockets' queues for the successor,
//!   who is connected finishes, and the load balancer goes on hearing 200, because nothing will be refused.
//! - *Shedding*: the load balancer gets 503 while everything still serves, so that nothing is refused before it has looked away.
//! - *Draining*: no new clients; what is in flight ends, part by part in the order of [`Step`]. - *Stopping*: the deadline has passed or all is done; drop the rest.
//!
//! A subsystem's constructor is its start: it binds and may fail. [`Subsystem::run`] is the rest of its life. It can only end
//! well with a [`Drained`], which only [`Scope::finish`] gives, and only once draining began.

mod control;
mod departure;
mod heartbeat;
mod scope;
mod supervisor;

pub use control::{Control, DrainSource};
pub use departure::{Budget, Call, Departures, Duty, Progress, Step};
pub use heartbeat::{Heartbeat, Heartbeats};
pub use scope::{Drained, Scope, Tasks};
pub use supervisor::{ShedTime, Stage, Supervisor, SupervisorConfig};

use crate::fault::Fault;

/// Where the process is in its life. See the module's diagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Binding, connecting.
    Starting,
    /// Serving.
    Ready,
    /// Finishing for those who are connected; whoever comes now waits for the successor.
    HandingOver,
    /// Serving, but asking the load balancer to look away.
    Shedding,
    /// Ending what is in flight.
    Draining,
    /// Dropping what is left.
    Stopping,
    /// Nothing left.
    Stopped,
}

impl Phase {
    /// Every phase in its order.
    pub const ALL: [Self; 7] = [
        Self::Starting,
        Self::Ready,
        Self::HandingOver,
        Self::Shedding,
        Self::Draining,
        Self::Stopping,
        Self::Stopped,
    ];

    /// The word used in metrics, on the status page and in systemd's STATUS line.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::HandingOver => "handing-over",
            Self::Shedding => "shedding",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the diagram has an arrow from `self` to `next`.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (
                Self::Starting,
                Self::Ready | Self::Draining | Self::Stopping
            ) | (
                Self::Ready,
                Self::HandingOver | Self::Shedding | Self::Stopping
            ) | (Self::HandingOver, Self::Stopping | Self::Stopped)
                | (
                    Self::Shedding,
                    Self::Ready | Self::Draining | Self::Stopping
                )
                | (Self::Draining, Self::Stopping)
                | (Self::Stopping, Self::Stopped)
        )
    }
}

/// A part of the agent with a life of its own.
pub trait Subsystem: Send + 'static {
    /// Its name: configuration table, metric prefix, span and crate all have it.
    fn name(&self) -> &'static str;

    /// Lives until it is drained. Calls [`Scope::ready`] once it can do its job or has decided to serve without.
    fn run(self, scope: Scope) -> impl Future<Output = Result<Drained, Fault>> + Send;
}

#[cfg(test)]
mod tests;
