//! Why server connections are closed, by name. Pure; no IO.

/// Why a server connection was closed instead of reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Discard {
    /// Dropped while a command was on its way: the client left, the server broke off, or a fault of ours.
    Busy,
    /// The server closed it while it was idle.
    ServerClosed,
    /// Idle for too long.
    Idle,
    /// Open for too long.
    Age,
    /// Its place was needed for another bucket.
    Evicted,
    /// What a client left on it could not be wiped.
    ResetFailed,
    /// The server's role or address changed, or we are draining.
    Retired,
    /// The pool may have fewer connections than before.
    Shrunk,
}

impl Discard {
    pub(crate) const ALL: [Self; 8] = [
        Self::Busy,
        Self::ServerClosed,
        Self::Idle,
        Self::Age,
        Self::Evicted,
        Self::ResetFailed,
        Self::Retired,
        Self::Shrunk,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::ServerClosed => "server_closed",
            Self::Idle => "idle_timeout",
            Self::Age => "age",
            Self::Evicted => "evicted",
            Self::ResetFailed => "reset_failed",
            Self::Retired => "retired",
            Self::Shrunk => "shrunk",
        }
    }
}
