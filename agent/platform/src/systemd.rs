//! systemd's notify protocol (sd_notify(3)): the socket, what is told in which phase, and whether the watchdog may be fed.
//! Sends datagrams; decides nothing by itself but what the pure functions here say.

mod duties;
mod socket;

pub use socket::Manager;

pub(crate) use duties::{Duties, Situation, status_line};

use std::sync::{Arc, Mutex, PoisonError};

use sd_notify::NotifyState;

/// What was last told, shared between the thread that tells and whoever reloads.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Whether READY=1 was sent: before that, the end of a reload must not look like the end of the start.
    pub(crate) ready: bool,
    pub(crate) status: String,
}

/// Brackets a reload in `RELOADING=1` and `READY=1`. Clones share it.
#[derive(Debug, Clone)]
pub struct Reloading {
    manager: Manager,
    told: Arc<Mutex<Told>>,
}

impl Reloading {
    pub(crate) const fn new(manager: Manager, told: Arc<Mutex<Told>>) -> Self {
        Self { manager, told }
    }

    /// A reload begins; it ends when the notice is dropped. Costs one datagram each; nothing without systemd.
    #[must_use = "the reload ends when this is dropped"]
    pub fn begin(&self) -> ReloadNotice {
        let ready = self.lock(|told| told.ready);
        if !ready {
            return ReloadNotice(None);
        }
        let mut states = vec![NotifyState::Reloading, NotifyState::Status("reloading")];
        // systemd 253 and newer want the time, older ones do not mind it
        states.extend(NotifyState::monotonic_usec_now());
        self.manager.tell(&states);
        ReloadNotice(Some(self.clone()))
    }

    fn lock<T>(&self, look: impl FnOnce(&Told) -> T) -> T {
        look(&self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A reload under way; dropping it says that it is over, well or not.
#[derive(Debug)]
pub struct ReloadNotice(Option<Reloading>);

impl Drop for ReloadNotice {
    fn drop(&mut self) {
        if let Some(reloading) = &self.0 {
            let status = reloading.lock(|told| told.status.clone());
            reloading
                .manager
                .tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        }
    }
}

#[cfg(test)]
mod tests;
