//! The door through which everybody asks the process to leave or to come back: a bounded queue of requests.

use std::time::Duration;

use tokio::sync::mpsc;

/// Who asked the instance to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainSource {
    /// SIGTERM: every step, then exit.
    Signal,
    /// A scheduled event of the platform: every step, and stay, until the machine is taken or the event is called off.
    Event,
    /// `lamplighter drain`: every step, and stay, until `undrain` or a signal.
    Command,
    /// A successor on this machine goes on with whatever is left: nothing need be taken away in a hurry. Nobody asks for it by name.
    Restart,
}

impl DrainSource {
    /// The word used on the status page.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Event => "event",
            Self::Command => "command",
            Self::Restart => "restart",
        }
    }
}

/// A request to the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// With the time for all steps, if it is not the configured one.
    Drain(DrainSource, Option<Duration>),
    /// Takes a drain from this source back.
    Undrain(DrainSource),
    /// A successor gets the listening sockets.
    Restart,
    Stop,
}

/// How many requests may wait; more than a person or a signal handler can produce.
const REQUESTS_MAX: usize = 16;

/// The door through which everybody asks the process to leave or to come back.
#[derive(Debug, Clone)]
pub struct Control {
    requests: mpsc::Sender<Request>,
}

impl Control {
    /// The door and who stands behind it.
    pub(super) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        (Self { requests }, receiver)
    }

    /// Asks to leave, within the configured time once the load balancer has looked away. A [`DrainSource::Signal`] goes on to exit
    /// whoever else asked before; the others shed once.
    pub fn drain(&self, source: DrainSource) {
        self.send(Request::Drain(source, None));
    }

    /// As [`Control::drain`], with every step done or abandoned within `limit` from now.
    pub fn drain_within(&self, source: DrainSource, limit: Duration) {
        self.send(Request::Drain(source, Some(limit)));
    }

    /// Takes a [`DrainSource::Command`] back. Too late once draining began; in vain while an event still wants the instance away.
    pub fn undrain(&self) {
        self.send(Request::Undrain(DrainSource::Command));
    }

    /// Takes a [`DrainSource::Event`] back, likewise.
    pub fn call_off(&self) {
        self.send(Request::Undrain(DrainSource::Event));
    }

    /// Asks to leave to a successor who gets the listening sockets: who is connected finishes, nobody is refused, nothing is shed.
    /// Whoever is being drained already leaves as by a signal.
    pub fn restart(&self) {
        self.send(Request::Restart);
    }

    /// Ends the process now; what is in flight is dropped.
    pub fn stop(&self) {
        self.send(Request::Stop);
    }

    fn send(&self, request: Request) {
        if self.requests.try_send(request).is_err() {
            tracing::warn!(
                ?request,
                "the supervisor is gone or flooded; request dropped"
            );
        }
    }
}

/// Who wants the instance away. A signal is never taken back.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) signal: bool,
    event: bool,
    command: bool,
}

impl Wanted {
    pub(super) const fn set(&mut self, source: DrainSource, wanted: bool) -> bool {
        let flag = match source {
            DrainSource::Signal => &mut self.signal,
            DrainSource::Event => &mut self.event,
            DrainSource::Command => &mut self.command,
            DrainSource::Restart => return false,
        };
        let changed = *flag != wanted;
        *flag = wanted;
        changed
    }

    pub(super) const fn any(self) -> bool {
        self.signal || self.event || self.command
    }
}
